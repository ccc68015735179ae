// Saves what was received into a folder that a person has chosen. Nothing there is replaced.

import { TransferError } from '../protocol/errors.js';
import { Kind } from '../protocol/messages.js';

/**
 * With these a browser refuses one entry: a name that it lets no page use, such as `link.lnk` in Chromium, or contents
 * that it takes for dangerous. All other errors are about the folder.
 */
const REFUSALS = new Set(['TypeError', 'AbortError']);

/** The folder cannot be written. */
class NotSaved extends TransferError {
  static kind = 'NotSaved';

  constructor({ message }) {
    super(`Not all was saved, because the folder cannot be written. Choose another one, or download it. The browser says: ${message}`);
  }
}

/**
 * Write all entries below `directory`. An entry that the browser refuses is left out, with all that lies in it.
 *
 * @param {FileSystemDirectoryHandle} directory
 * @param {{entries: object[], contents: (entry: object) => Blob}} result
 * @param {(count: number) => void} tell hears how many entries are done
 * @returns {Promise<{names: string[], refused: string[]}>} names: what is new in the folder; refused: paths that are not
 * @throws {NotSaved} the folder cannot be written; what is there already stays
 */
export async function saveInto(directory, { entries, contents }, tell) {
  const names = new Map(); // by the name at the top that an entry was sent with
  const refused = new Set();
  for (const [number, entry] of entries.entries()) {
    const path = entry.path.split('/');
    let place = directory;
    for (let depth = 1; depth <= path.length; depth++) {
      const above = path.slice(0, depth).join('/');
      if (refused.has(above)) break;
      try {
        if (depth === 1 && !names.has(above)) names.set(above, await freeName(directory, above));
        const name = depth === 1 ? names.get(above) : path[depth - 1];
        if (depth === path.length && entry.kind === Kind.FILE) await write(place, name, contents(entry));
        else place = await place.getDirectoryHandle(name, { create: true });
      } catch (error) {
        if (!REFUSALS.has(error.name)) throw new NotSaved(error);
        refused.add(above);
        names.delete(above);
        break;
      }
    }
    tell(number + 1);
  }
  return { names: [...names.values()], refused: [...refused] };
}

async function write(place, name, contents) {
  const file = await place.getFileHandle(name, { create: true });
  try {
    await contents.stream().pipeTo(await file.createWritable());
  } catch (error) {
    await place.removeEntry(name).catch(() => {}); // it is empty
    throw error;
  }
}

/** A name that nothing has in a directory: the name itself, or with a number. */
async function freeName(directory, name) {
  const dot = name.lastIndexOf('.');
  const [stem, end] = dot > 0 ? [name.slice(0, dot), name.slice(dot)] : [name, ''];
  for (let number = 1; ; number++) {
    const found = number === 1 ? name : `${stem} (${number})${end}`;
    if (!(await exists(directory, found))) return found;
  }
}

async function exists(directory, name) {
  try {
    await directory.getFileHandle(name);
  } catch (error) {
    if (error.name === 'NotFoundError') return false;
    if (error.name !== 'TypeMismatchError') throw error; // it is a directory
  }
  return true;
}
