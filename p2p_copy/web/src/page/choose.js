// What a person chooses or drops, as `{path, file}` by the names from the top down; a directory has no file.

/** From an input of files or of one folder. */
export function ofInput(input) {
  return [...input.files].map((file) => ({ path: (file.webkitRelativePath || file.name).split('/'), file }));
}

/** Chromium lets a page from a disk read no entries, but handles. Others have entries only, and let it read them. */
const BY_HANDLES = location.protocol === 'file:' && 'getAsFileSystemHandle' in DataTransferItem.prototype;

/** From what was dropped: files, and directories with all that lies in them. */
export async function ofDrop(transfer) {
  const items = [...transfer.items].filter(({ kind }) => kind === 'file');
  const chosen = [];
  if (BY_HANDLES) {
    const handles = await Promise.all(items.map((item) => item.getAsFileSystemHandle()));
    for (const handle of handles) await walkHandle(handle, [], chosen);
  } else {
    const entries = items.map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    for (const entry of entries) await walk(entry, [], chosen);
  }
  return chosen;
}

async function walkHandle(handle, above, chosen) {
  const path = [...above, handle.name];
  if (handle.kind === 'file') {
    chosen.push({ path, file: await handle.getFile() });
    return;
  }
  chosen.push({ path });
  for await (const each of handle.values()) await walkHandle(each, path, chosen);
}

async function walk(entry, above, chosen) {
  const path = [...above, entry.name];
  if (entry.isFile) {
    chosen.push({ path, file: await new Promise((resolve, reject) => entry.file(resolve, reject)) });
    return;
  }
  chosen.push({ path });
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return;
    for (const each of some) await walk(each, path, chosen);
  }
}
