// What a page without storage keeps in memory.

import assert from 'node:assert/strict';
import { test } from 'node:test';

const web = '../../p2p_copy/web/src';
const { NoSpace } = await import(`${web}/protocol/errors.js`);
const { MemoryStore } = await import(`${web}/transfer/memory_store.js`);

const MIB = 1024 * 1024;

test('a file is written at any place, and read and cut as on a disk', async () => {
  const store = new MemoryStore();
  const file = await store.open('id');
  const data = Uint8Array.from({ length: 5 * MIB }, (_, at) => at % 251);
  assert.equal(file.write(data, { at: 2 * MIB }), data.length); // over the border of two blocks, behind a gap
  const into = new Uint8Array(8 * MIB);
  assert.equal(file.read(into, { at: MIB }), 6 * MIB);
  assert.deepEqual(into.subarray(0, MIB), new Uint8Array(MIB));
  assert.deepEqual(into.subarray(MIB, 6 * MIB), data);
  assert.equal(file.read(into, { at: 7 * MIB }), 0);
  file.truncate(3 * MIB);
  file.write(new Uint8Array([1]), { at: 3 * MIB + 2 });
  const blob = await store.file('id');
  assert.equal(blob.size, 3 * MIB + 3);
  const end = new Uint8Array(await blob.slice(3 * MIB - 1).arrayBuffer());
  assert.deepEqual([...end], [data[MIB - 1], 0, 0, 1]); // nothing of what was cut is there again
});

test('all files together have a bound, and what is removed makes room', async () => {
  const store = new MemoryStore();
  const one = await store.open('one');
  const other = await store.open('other');
  one.write(new Uint8Array(1), { at: store.most / 2 - 1 });
  other.write(new Uint8Array(1), { at: store.most / 2 - 1 });
  assert.equal(await store.space(), 0);
  assert.throws(() => other.write(new Uint8Array(1), { at: store.most / 2 }), NoSpace);
  assert.throws(() => store.checkSize(1), NoSpace);
  await store.remove('one');
  store.checkSize(store.most / 2);
  assert.throws(() => store.checkSize(store.most / 2 + 1), NoSpace);
});

test('entries are kept as they were saved', async () => {
  const store = new MemoryStore();
  const entry = { path: 'a', kind: 2, size: 1, mtime: 0n, mode: 0, number: 1, at: 0, crc: 0, whole: false, segments: 0 };
  await store.saveEntries('id', [entry, { ...entry, path: 'b', number: 0 }]);
  entry.whole = true;
  const found = await store.entries('id');
  assert.deepEqual(found.map(({ path, whole }) => [path, whole]), [['b', false], ['a', false]]);
  await store.forgetEntries('id', [0]);
  assert.equal((await store.entries('id')).length, 1);
});
