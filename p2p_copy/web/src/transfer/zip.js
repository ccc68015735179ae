// The headers of a zip file whose members are stored as they are (APPNOTE.TXT 6.3.10), with zip64 where needed.
//
// Received files are written into one such file at once, each behind its local header, so nothing is copied when they
// are all there: only the central directory is put behind them.

import { concat, utf8 } from '../protocol/bytes.js';
import { Kind } from '../protocol/messages.js';

/** Bytes by which readers recognize a local header. */
export const SIGNATURE = 4;

const MOST = 0xffffffff;
const UTF8_NAMES = 0x800;
const MADE_BY_UNIX = 3 << 8;

class Writer {
  constructor() {
    this.parts = [];
  }

  #number(size, write) {
    const bytes = new Uint8Array(size);
    write(new DataView(bytes.buffer));
    this.parts.push(bytes);
    return this;
  }

  u16(...numbers) {
    for (const number of numbers) this.#number(2, (view) => view.setUint16(0, number, true));
    return this;
  }

  u32(...numbers) {
    for (const number of numbers) this.#number(4, (view) => view.setUint32(0, number, true));
    return this;
  }

  u64(...numbers) {
    for (const number of numbers) this.#number(8, (view) => view.setBigUint64(0, BigInt(number), true));
    return this;
  }

  bytes(...parts) {
    this.parts.push(...parts);
    return this;
  }

  get all() {
    return concat(...this.parts);
  }
}

/** Time and date of MS-DOS, in this machine's time zone; the years are 1980 to 2107. */
function dosTime(mtime) {
  const date = new Date(Number(mtime / 1_000_000n));
  const year = Math.min(Math.max(date.getFullYear(), 1980), 2107);
  return [
    (date.getHours() << 11) | (date.getMinutes() << 5) | (date.getSeconds() >> 1),
    ((year - 1980) << 9) | ((date.getMonth() + 1) << 5) | date.getDate(),
  ];
}

const nameOf = (entry) => utf8(entry.kind === Kind.DIRECTORY ? `${entry.path}/` : entry.path);

/** The extra field with the time in seconds since 1970, where it fits. */
function timeExtra(mtime) {
  const seconds = Number(mtime / 1_000_000_000n);
  if (seconds < 0 || seconds > 0x7fffffff) return new Uint8Array();
  return new Writer().u16(0x5455, 5).bytes(Uint8Array.of(1)).u32(seconds).all;
}

/** What stands before the contents of a file or directory. Its length does not depend on the checksum. */
export function localHeader(entry) {
  const name = nameOf(entry);
  const large = entry.size >= MOST;
  const extra = new Writer().bytes(timeExtra(entry.mtime));
  if (large) extra.u16(1, 16).u64(entry.size, entry.size);
  const size = large ? MOST : entry.size;
  return new Writer()
    .u32(0x04034b50)
    .u16(large ? 45 : 20, UTF8_NAMES, 0, ...dosTime(entry.mtime))
    .u32(entry.crc ?? 0, size, size)
    .u16(name.length, extra.all.length)
    .bytes(name, extra.all).all;
}

function centralHeader(entry) {
  const name = nameOf(entry);
  const directory = entry.kind === Kind.DIRECTORY;
  const large = entry.size >= MOST;
  const far = entry.at >= MOST;
  const numbers = [...(large ? [entry.size, entry.size] : []), ...(far ? [entry.at] : [])];
  const extra = new Writer().bytes(timeExtra(entry.mtime));
  if (numbers.length) extra.u16(1, 8 * numbers.length).u64(...numbers);
  const size = large ? MOST : entry.size;
  const mode = ((directory ? 0o040000 : 0o100000) | (entry.mode & 0o777)) * 0x10000 + (directory ? 0x10 : 0);
  const version = numbers.length ? 45 : 20;
  return new Writer()
    .u32(0x02014b50)
    .u16(MADE_BY_UNIX | version, version, UTF8_NAMES, 0, ...dosTime(entry.mtime))
    .u32(entry.crc ?? 0, size, size)
    .u16(name.length, extra.all.length, 0, 0, 0)
    .u32(mode, far ? MOST : entry.at)
    .bytes(name, extra.all).all;
}

/** What stands behind all contents. `at` is where it begins. */
export function centralDirectory(entries, at) {
  const headers = entries.map(centralHeader);
  const size = headers.reduce((sum, header) => sum + header.length, 0);
  const end = new Writer();
  const many = entries.length >= 0xffff;
  if (many || at >= MOST || size >= MOST) {
    end
      .u32(0x06064b50)
      .u64(44)
      .u16(MADE_BY_UNIX | 45, 45)
      .u32(0, 0)
      .u64(entries.length, entries.length, size, at);
    end.u32(0x07064b50, 0).u64(at + size).u32(1);
  }
  const count = many ? 0xffff : entries.length;
  end
    .u32(0x06054b50)
    .u16(0, 0, count, count)
    .u32(Math.min(size, MOST), Math.min(at, MOST))
    .u16(0);
  return [...headers, end.all];
}
