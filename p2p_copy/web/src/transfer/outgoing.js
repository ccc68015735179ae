// What a person has chosen to send, as the entries of a manifest in their order, without what may not be named.

import { Kind, Reason } from '../protocol/messages.js';
import * as limits from '../protocol/limits.js';
import { collisionKey, refusal } from '../protocol/names.js';
import { utf8 } from '../protocol/bytes.js';

const FILE_MODE = 0o644; // a browser does not tell permissions
const DIRECTORY_MODE = 0o755;

class Directory {
  constructor() {
    this.children = new Map(); // by name, in the order of choice
  }
}

const omission = (path, reason, directory) => ({ type: 'Omitted', path, reason, directory });

/**
 * Of two things with the same name the first is sent; but a folder rather than a file.
 *
 * @param {{path: string[], file?: File}[]} chosen files by the names from the top down; without a file, a directory
 * @returns {{entries: object[], omitted: {path: string, reason: number, directory: boolean}[]}}
 */
export function arrange(chosen) {
  const top = new Directory();
  const entries = [];
  const omitted = [];
  for (const { path, file } of chosen) {
    let place = top;
    const names = file ? path.slice(0, -1) : path;
    for (const [depth, name] of names.entries()) {
      const there = place.children.get(name);
      if (!(there instanceof Directory)) {
        if (there) omitted.push(omission(path.slice(0, depth + 1).join('/'), Reason.NAME, false));
        place.children.set(name, new Directory());
      }
      place = place.children.get(name);
    }
    if (file && place.children.has(path.at(-1))) omitted.push(omission(path.join('/'), Reason.NAME, false));
    else if (file) place.children.set(path.at(-1), file);
  }
  visit(top, 0, '', null, entries, omitted);
  return { entries, omitted };
}

function visit(directory, depth, above, parent, entries, omitted) {
  const seen = new Set();
  for (const [name, child] of directory.children) {
    const path = above ? `${above}/${name}` : name;
    const isDirectory = child instanceof Directory;
    const key = collisionKey(name);
    let reason = null;
    if (refusal(name) !== null || seen.has(key)) reason = Reason.NAME;
    else if (depth >= limits.MAX_DEPTH || utf8(path).length > limits.MAX_PATH) reason = Reason.TOO_DEEP;
    if (reason !== null) {
      omitted.push(omission(path, reason, isDirectory));
      continue;
    }
    seen.add(key);
    const kind = isDirectory ? Kind.DIRECTORY : Kind.FILE;
    const mode = isDirectory ? DIRECTORY_MODE : FILE_MODE;
    const mtime = BigInt(isDirectory ? Date.now() : child.lastModified) * 1_000_000n;
    const entry = { kind, depth, name, mode, mtime, size: isDirectory ? 0 : child.size, path, parent };
    if (!isDirectory) entry.file = child;
    const index = entries.push(entry) - 1;
    if (isDirectory) visit(child, depth + 1, path, index, entries, omitted);
  }
}
