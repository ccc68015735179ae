// What this browser keeps of transfers that it receives, so that a page that is loaded again goes on.
//
// IndexedDB has a transfer's ticket and the list of its entries; the origin's private file system has one file for each
// transfer: the zip file that its files become. A file's place in there is reserved when its contents begin.

import { createCRC32 } from 'hash-wasm';
import { FileDigest, prefixDigest, prepare } from '../protocol/digest.js';
import { SEGMENT } from '../protocol/limits.js';
import { Kind } from '../protocol/messages.js';
import { centralDirectory, localHeader, SIGNATURE } from './zip.js';

const DATABASE = 'p2p-copy';
const FOLDER = 'p2p-copy';
const READ = 1024 * 1024; // bytes read at once
const PAUSE = 128 * READ; // bytes read again until something else has a turn: the sender must see that this side lives
const HASHED = [0, 1, 2]; // files at once: one under way, one that may go on, one that is read again

const done = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

async function openDatabase() {
  const request = indexedDB.open(DATABASE, 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore('transfers', { keyPath: 'id' });
    request.result.createObjectStore('entries', { keyPath: ['id', 'number'] });
  };
  return done(request);
}

const committed = (transaction) =>
  new Promise((resolve, reject) => {
    transaction.oncomplete = resolve;
    transaction.onabort = () => reject(transaction.error);
  });

async function folder() {
  const root = await navigator.storage.getDirectory();
  return root.getDirectoryHandle(FOLDER, { create: true });
}

/** What is saved of an entry. */
export const stored = (id, { path, kind, size, mtime, mode, number, at, crc, whole, segments }) =>
  ({ id, path, kind, size, mtime, mode, number, at, crc, whole, segments });

const entriesOf = (id) => IDBKeyRange.bound([id, 0], [id, Infinity]);

/** All transfers that this browser keeps. */
export class Store {
  /** Whether what is kept is still there when the page is loaded again, and bytes that it takes at most. */
  lasting = true;
  most = Infinity;

  constructor(database) {
    this.database = database;
  }

  /** Throws if the browser gives this page no storage. */
  static async begin() {
    await folder();
    return new Store(await openDatabase());
  }

  transfers() {
    return done(this.database.transaction('transfers').objectStore('transfers').getAll());
  }

  transfer(id) {
    return done(this.database.transaction('transfers').objectStore('transfers').get(id));
  }

  async save(transfer) {
    const transaction = this.database.transaction('transfers', 'readwrite', { durability: 'strict' });
    transaction.objectStore('transfers').put(transfer);
    await committed(transaction);
  }

  /** `durability`: 'strict' if a loss of power must not undo this, nor what was saved before. */
  async saveEntries(id, entries, durability) {
    const transaction = this.database.transaction('entries', 'readwrite', { durability });
    for (const entry of entries) transaction.objectStore('entries').put(stored(id, entry));
    await committed(transaction);
  }

  async forgetEntries(id, numbers, durability) {
    const transaction = this.database.transaction('entries', 'readwrite', { durability });
    for (const number of numbers) transaction.objectStore('entries').delete([id, number]);
    await committed(transaction);
  }

  /** The entries of a transfer, in the order in which they came. */
  entries(id) {
    return done(this.database.transaction('entries').objectStore('entries').getAll(entriesOf(id)));
  }

  /** Remove all of a transfer: what is known of it, then its file. */
  async remove(id) {
    const transaction = this.database.transaction(['transfers', 'entries'], 'readwrite');
    transaction.objectStore('transfers').delete(id);
    transaction.objectStore('entries').delete(entriesOf(id));
    await committed(transaction);
    await (await folder()).removeEntry(id).catch(() => {});
  }

  /** Remove files of which nothing is known: a page was closed between two steps. */
  async removeOrphans(known) {
    const files = await folder();
    for await (const name of files.keys()) if (!known.includes(name)) await files.removeEntry(name).catch(() => {});
  }

  /** The file of a transfer, to read and write. */
  async open(id) {
    const file = await (await folder()).getFileHandle(id, { create: true });
    return file.createSyncAccessHandle();
  }

  /** The file of a transfer as it is now. */
  async file(id) {
    return (await (await folder()).getFileHandle(id)).getFile();
  }

  /** Bytes for which there is space, about. */
  async space() {
    const { quota = 0, usage = 0 } = await navigator.storage.estimate();
    return quota - usage;
  }

  /** What does not fit is seen when it comes: the browser's estimate is no promise. */
  checkSize() {}
}

/** What a finished transfer gives its user: one file as it is, or a zip file of all. */
export async function resultOf(store, id) {
  const entries = await store.entries(id);
  const file = await store.file(id);
  // Without a type Chromium takes it for text, and saves `README` as `README.txt`.
  const contents = (entry) => file.slice(entry.at + localHeader(entry).length, contentsEnd(entry), 'application/octet-stream');
  const whole = entries.filter((entry) => entry.whole);
  if (whole.length === 1 && whole[0].kind === Kind.FILE) {
    return { name: whole[0].path.split('/').at(-1), blob: contents(whole[0]), entries: whole, contents };
  }
  const end = farthest(whole, contentsEnd);
  const tops = new Set(whole.map((entry) => entry.path.split('/', 1)[0]));
  const name = tops.size === 1 ? `${[...tops][0]}.zip` : 'p2p-copy.zip';
  const blob = new Blob([file.slice(0, end), ...centralDirectory(whole, end)], { type: 'application/zip' });
  return { name, blob, entries: whole, contents };
}

const contentsEnd = (entry) => entry.at + localHeader(entry).length + entry.size;

/** The greatest of the entries' numbers, at least 0. There may be more entries than a call takes arguments. */
export const farthest = (entries, number) => entries.reduce((most, entry) => Math.max(most, number(entry)), 0);

/** The contents of one file on their way into a transfer's file. */
class Part {
  constructor(arena, entry) {
    this.arena = arena;
    this.entry = entry;
    this.crc = arena.checksums.pop().init();
    this.start = entry.at + localHeader(entry).length;
    this.received = 0;
    this.digest = new FileDigest(entry.size);
  }

  write(data) {
    this.arena.write(data, this.start + this.received);
    this.digest.update(data);
    this.crc.update(data);
    this.received += data.length;
  }

  /** Give back the hash functions, of which there are few. */
  end() {
    this.digest.discard();
    this.arena.checksums.push(this.crc);
  }

  writeZeros(size) {
    const zeros = new Uint8Array(Math.min(size, READ));
    for (; size > 0; size -= zeros.length) this.write(zeros.subarray(0, Math.min(size, zeros.length)));
  }
}

/** The file of one transfer while it is received. One tab has it at a time: the browser locks it. */
export class Arena {
  #handle;
  #closed = false;
  #read = 0; // bytes read again since something else had a turn
  #erased = []; // where headers stand that do not count any more
  #kept = null; // a file of which the beginning is here, until the sender has decided whether to go on behind it

  constructor(store, id, handle, checksums, entries) {
    this.store = store;
    this.id = id;
    this.#handle = handle;
    this.checksums = checksums;
    this.end = farthest(entries, contentsEnd);
    this.number = farthest(entries, (entry) => entry.number + 1);
    this.byPath = new Map(entries.map((entry) => [entry.path, entry]));
    this.part = null; // the file under way
    this.changed = new Set(); // entries to save
    this.dropped = []; // entries to forget
  }

  static async open(store, id) {
    await prepare();
    const handle = await store.open(id);
    return new Arena(store, id, handle, await Promise.all(HASHED.map(() => createCRC32())), await store.entries(id));
  }

  write(data, at) {
    for (let written = 0; written < data.length; ) {
      written += this.#handle.write(data.subarray(written), { at: at + written });
    }
  }

  #enter(path, { kind, size, mtime, mode }) {
    const entry = { path, kind, size, mtime, mode, number: this.number++, at: this.end, crc: 0 };
    Object.assign(entry, { whole: false, segments: 0 });
    this.end = contentsEnd(entry);
    this.byPath.set(path, entry);
    this.changed.add(entry);
    return entry;
  }

  /** Enter a directory. A file that was here under its name before is dropped. */
  directory(path, announced) {
    if (this.byPath.get(path)?.kind === Kind.DIRECTORY) return;
    this.drop(path);
    const entry = this.#enter(path, { ...announced, size: 0 });
    this.write(localHeader(entry), entry.at);
    entry.whole = true;
  }

  /** Begin a file from its first byte; what was here of it is dropped. */
  begin(path, announced) {
    this.drop(path);
    this.part = new Part(this, this.#enter(path, announced));
    return this.part;
  }

  /**
   * What is here of a file of this size: `{size, digest}`, or null. What an earlier page or connection has written is
   * read again: the sender is told of what is certainly here.
   */
  async held(path, size) {
    const entry = this.byPath.get(path);
    if (!entry || entry.kind !== Kind.FILE || entry.size !== size) return null;
    if (entry.whole) {
      if (!entry.digest) {
        const read = await this.#reread(entry, size);
        entry.digest = read.digest.digest();
        read.end();
      }
      return { size, digest: entry.digest };
    }
    if (!entry.segments || this.#kept) return null;
    this.#kept = await this.#reread(entry, entry.segments * SEGMENT);
    return { size: this.#kept.received, digest: prefixDigest(this.#kept.digest.leaves) };
  }

  /** Continue the file of which `held` has told the beginning. */
  resume() {
    this.part = this.#kept;
    this.#kept = null;
    return this.part;
  }

  async #reread(entry, size) {
    const part = new Part(this, entry);
    const buffer = new Uint8Array(Math.min(READ, size));
    while (part.received < size) {
      const wanted = buffer.subarray(0, Math.min(buffer.length, size - part.received));
      const count = this.#handle.read(wanted, { at: part.start + part.received });
      if (count === 0) break; // it was lost, so the digest is another, and the sender begins again
      part.digest.update(wanted.subarray(0, count));
      part.crc.update(wanted.subarray(0, count));
      part.received += count;
      this.#read += count;
      if (this.#read >= PAUSE) {
        this.#read = 0;
        await new Promise((resolve) => setTimeout(resolve));
      }
    }
    part.received = size;
    return part;
  }

  /** A connection was lost, or a new one begins: what is under way is kept as far as its last whole segment. */
  suspend() {
    this.progress();
    this.part?.end();
    this.#kept?.end();
    this.part = this.#kept = null;
  }

  /** Note how many segments of the file under way are here. */
  progress() {
    if (!this.part) return;
    const segments = Math.floor(this.part.received / SEGMENT);
    if (segments === this.part.entry.segments) return;
    this.#handle.flush();
    this.part.entry.segments = segments;
    this.changed.add(this.part.entry);
  }

  /** The file under way is whole, and its digest was compared. */
  publish(digest) {
    const { entry, crc } = this.part;
    entry.crc = parseInt(crc.digest('hex'), 16);
    this.part.end();
    this.write(localHeader(entry), entry.at);
    Object.assign(entry, { whole: true, digest });
    this.changed.add(entry);
    this.part = null;
  }

  /** Drop what is here of an entry. */
  drop(path) {
    const entry = this.byPath.get(path);
    if (!entry) return;
    if (this.part?.entry === entry) {
      this.part.end();
      this.part = null;
    }
    if (this.#kept?.entry === entry) {
      this.#kept.end();
      this.#kept = null;
    }
    this.byPath.delete(path);
    this.changed.delete(entry);
    this.dropped.push(entry);
    if (contentsEnd(entry) === this.end) {
      this.end = entry.at;
      this.#handle.truncate(entry.at);
    } else if (entry.whole) {
      this.#erased.push(entry.at);
    }
  }

  /** Drop what the sender has not named this time. */
  keepOnly(paths) {
    for (const path of [...this.byPath.keys()]) if (!paths.has(path)) this.drop(path);
  }

  /**
   * Save what has changed since the last call.
   *
   * The headers of what was dropped inside of the file are erased only then: an entry that is known has its header.
   * Programs that read a zip file from its beginning would find them.
   */
  async save(durability = 'default') {
    const changed = [...this.changed];
    const dropped = this.dropped;
    this.changed.clear();
    this.dropped = [];
    if (dropped.length) await this.store.forgetEntries(this.id, dropped.map(({ number }) => number), durability);
    if (changed.length) await this.store.saveEntries(this.id, changed, durability);
    for (const at of this.#erased.splice(0)) this.write(new Uint8Array(SIGNATURE), at);
  }

  /** Save everything for good: the contents before the list that says that they are whole. */
  async saveAll() {
    this.#handle.flush();
    await this.save('strict');
  }

  /** Let the browser have the file again. Closing twice is once. */
  close() {
    if (this.#closed) return;
    this.#closed = true;
    this.suspend();
    this.#handle.flush();
    this.#handle.close();
  }
}
