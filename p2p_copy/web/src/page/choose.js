// What a person chooses or drops, as `{path, file}` by the names from the top down; a directory has no file.

/** From an input of files or of one folder. */
export function ofInput(input) {
  return [...input.files].map((file) => ({ path: (file.webkitRelativePath || file.name).split('/'), file }));
}

/** From what was dropped: files, and directories with all that lies in them. */
export async function ofDrop(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const chosen = [];
  for (const entry of entries) await walk(entry, [], chosen);
  return chosen;
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
