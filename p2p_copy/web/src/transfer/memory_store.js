// What a page keeps that has no storage: in a private window, or opened from a disk in some browsers. It is gone with the
// page. The same calls as those of `Store`.

import { NoSpace } from '../protocol/errors.js';
import { stored } from './store.js';

const MIB = 1024 * 1024;

/**
 * Bytes that are received and kept at most, all transfers together. A tab with 500 MiB of them had 1.2 GB at its peak in
 * Chromium, and a browser ends one that takes some gigabytes on a machine with little memory. The documentation gives this
 * number, too.
 */
const MOST = 512 * MIB;

/** Bytes that are added at once. */
const BLOCK = 4 * MIB;

export class MemoryStore {
  lasting = false;
  most = MOST;
  #transfers = new Map();
  #entries = new Map(); // by transfer, then by number
  #files = new Map();

  async transfers() {
    return [...this.#transfers.values()];
  }

  async transfer(id) {
    return this.#transfers.get(id);
  }

  async save(transfer) {
    this.#transfers.set(transfer.id, { ...transfer });
  }

  async saveEntries(id, entries) {
    if (!this.#entries.has(id)) this.#entries.set(id, new Map());
    for (const entry of entries) this.#entries.get(id).set(entry.number, stored(id, entry));
  }

  async forgetEntries(id, numbers) {
    for (const number of numbers) this.#entries.get(id)?.delete(number);
  }

  async entries(id) {
    const entries = [...(this.#entries.get(id)?.values() ?? [])];
    return entries.sort((one, other) => one.number - other.number).map((entry) => ({ ...entry }));
  }

  async remove(id) {
    for (const map of [this.#transfers, this.#entries, this.#files]) map.delete(id);
  }

  async removeOrphans() {}

  async open(id) {
    if (!this.#files.has(id)) this.#files.set(id, new MemoryFile(() => this.#left()));
    return this.#files.get(id);
  }

  async file(id) {
    return this.#files.get(id).blob();
  }

  #left() {
    return [...this.#files.values()].reduce((left, { allocated }) => left - allocated, MOST);
  }

  async space() {
    return this.#left();
  }

  /** Throws `NoSpace` if contents of this size do not fit. */
  checkSize(size) {
    if (size > this.#left()) throw full();
  }
}

const full = () =>
  new NoSpace(
    `This page has no storage in this browser, and keeps at most ${MOST / MIB} MiB in memory. Remove what is here, or ` +
      'receive with the page that the relay serves, or with the program.',
  );

/** A file in memory, with the calls of a `FileSystemSyncAccessHandle`. */
class MemoryFile {
  #blocks = [];
  #size = 0;
  #left;

  constructor(left) {
    this.#left = left;
  }

  get allocated() {
    return this.#blocks.length * BLOCK;
  }

  /** Each stretch of the blocks between two places: the block, and where the stretch begins and ends there. */
  *#stretches(start, end) {
    for (let at = start; at < end; ) {
      const from = at % BLOCK;
      const to = Math.min(BLOCK, from + end - at);
      yield this.#blocks[Math.floor(at / BLOCK)].subarray(from, to);
      at += to - from;
    }
  }

  write(data, { at }) {
    const end = at + data.length;
    while (this.allocated < end) {
      if (this.#left() < BLOCK) throw full();
      this.#blocks.push(new Uint8Array(BLOCK));
    }
    let taken = 0;
    for (const stretch of this.#stretches(at, end)) {
      stretch.set(data.subarray(taken, taken + stretch.length));
      taken += stretch.length;
    }
    this.#size = Math.max(this.#size, end);
    return data.length;
  }

  read(into, { at }) {
    let read = 0;
    for (const stretch of this.#stretches(at, Math.min(at + into.length, this.#size))) {
      into.set(stretch, read);
      read += stretch.length;
    }
    return read;
  }

  truncate(size) {
    const kept = Math.ceil(size / BLOCK);
    this.#blocks.length = Math.min(this.#blocks.length, kept);
    if (size < this.#size) for (const stretch of this.#stretches(size, Math.min(this.#size, this.allocated))) stretch.fill(0);
    this.#size = size;
  }

  blob() {
    return new Blob([...this.#stretches(0, this.#size)]);
  }

  flush() {}

  close() {}
}
