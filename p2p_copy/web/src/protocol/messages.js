// The messages inside records, as plain objects with a `type`: docs/protocol.md section 6. No state.
//
// `decode` returns every message of a content or throws `PeerMisbehaved`, so a side acts on whole, well-formed records.

import { concat, Reader, text, u16, u32, u64, u8, utf8 } from './bytes.js';
import { PeerMisbehaved } from './errors.js';
import * as limits from './limits.js';

export const Kind = { DIRECTORY: 1, FILE: 2, SYMLINK: 3 };

export const Reason = {
  OTHER: 0, VANISHED: 1, UNREADABLE: 2, CHANGED: 3, SPECIAL: 4, SYMLINK_OUTSIDE: 5, NAME: 6, TOO_DEEP: 7, EXISTS: 8,
  SKIPPED: 9, NOT_WRITABLE: 10, UNSUPPORTED: 11, NOT_WANTED: 12, NO_SPACE: 13, INTERRUPTED: 14, MISBEHAVED: 15,
  TOO_MUCH: 16, EXCLUDED: 17, DECLINED: 18, ORIGINAL: 19, PIPE: 20, ITSELF: 23, OWN: 24, UNMADE: 25,
  NOT_VERIFIED: 26,
};

const KNOWN = new Set(Object.values(Reason));
const MAX_TEXT_BYTES = 4 * limits.MAX_TEXT;
const HAS_EXTRA = 0x80;

const reasonOf = (number) => (KNOWN.has(number) ? number : Reason.OTHER); // a newer program may know more

/** The bytes of one entry in a page. `mtime` is a BigInt of nanoseconds since 1970. */
export function encodeEntry(entry) {
  const head = new Uint8Array(20);
  const view = new DataView(head.buffer);
  head[0] = entry.kind;
  head[1] = entry.depth;
  view.setUint16(2, entry.mode);
  view.setBigInt64(4, entry.mtime);
  view.setBigUint64(12, BigInt(entry.size));
  const name = utf8(entry.name);
  return concat(head, u16(name.length), name, u16(0));
}

/** `raw` is the entry as it stood in its page, which the root digest covers. */
function decodeEntry(reader) {
  const start = reader.at;
  const kind = reader.u8();
  if (kind & HAS_EXTRA) throw new PeerMisbehaved('The other side sent attributes of a file that nobody asked for.');
  if (kind < Kind.DIRECTORY || kind > Kind.SYMLINK) {
    throw new PeerMisbehaved('The other side named something that is neither file, directory nor symlink.');
  }
  const depth = reader.u8();
  const mode = reader.u16();
  const mtime = reader.i64();
  const size = reader.u64();
  const name = reader.text(2 * limits.MAX_PATH);
  const target = reader.text(limits.MAX_PATH);
  return { kind, depth, mode, mtime, size, name, target, raw: reader.bytes.slice(start, reader.at) };
}

function decodeEntries(reader, most) {
  const entries = [];
  while (reader.left) {
    entries.push(decodeEntry(reader));
    if (entries.length > most) throw new PeerMisbehaved('The other side sent a list with too many entries.');
  }
  return entries;
}

function some(bytes) {
  if (!bytes.length) throw new PeerMisbehaved('The other side sent an empty piece of a file.');
  return bytes;
}

function whole(digests) {
  if (digests.length % limits.DIGEST) throw new PeerMisbehaved('The other side sent digests that are cut.');
  return digests;
}

function flags(bytes) {
  if (bytes.some((byte) => byte > 1)) {
    throw new PeerMisbehaved('The other side sent something that is neither yes nor no.');
  }
  return bytes;
}

function positive(size) {
  if (!size) throw new PeerMisbehaved('The other side sent an empty piece of a file.');
  return size;
}

function decodeHolds(reader) {
  const end = reader.u32();
  const runs = reader.u16();
  const compare = reader.u16();
  if (Math.max(runs, compare) > limits.MAX_RECORD_MESSAGES) {
    throw new PeerMisbehaved('The other side sent a list of what it has that is too long.');
  }
  const same = Array.from({ length: runs }, () => [reader.u32(), reader.u32()]);
  const old = Array.from({ length: compare }, () => reader.u32());
  const each = 12 + limits.DIGEST;
  if (reader.left % each || reader.left > limits.MAX_RECORD_MESSAGES * each) {
    throw new PeerMisbehaved('The other side sent a list of what it has that is cut or too long.');
  }
  const files = [];
  while (reader.left) {
    files.push({ index: reader.u32(), size: reader.u64(), digest: reader.take(limits.DIGEST).slice() });
  }
  return { end, same, compare: old, files };
}

function decodeAccept(r) {
  const program = r.text(MAX_TEXT_BYTES);
  const portable = r.flag();
  const holds = r.flag();
  const links = r.u8();
  const preserve = r.u8();
  if (links < 1 || links > limits.MAX_LINKS || preserve & ~7) {
    throw new PeerMisbehaved('The other side sent an answer that makes no sense.');
  }
  return { program, portable, holds, links, preserve, pipe: r.flag(), rate: r.u64(), marker: r.text(limits.MAX_NAME) };
}

function decodeOffer(r) {
  const program = r.text(MAX_TEXT_BYTES);
  const links = r.u8();
  if (links > limits.MAX_LINKS) throw new PeerMisbehaved('The other side asks for too many links.');
  return { program, links, preserve: r.u8(), pipe: r.flag(), partial: r.flag() };
}

function decodePage(r) {
  const entries = decodeEntries(r, limits.MAX_PAGE_ENTRIES);
  if (!entries.length) throw new PeerMisbehaved('The other side sent an empty manifest page.');
  return { entries };
}

const digest = (r) => r.take(limits.DIGEST).slice();
const path = (r) => r.text(2 * limits.MAX_PATH);

const DECODERS = {
  0x01: ['Offer', decodeOffer],
  0x02: ['Total', (r) => ({ files: r.u64(), size: r.u64() })],
  0x03: ['Page', decodePage],
  0x04: ['Data', (r) => ({ index: r.u32(), offset: r.u64(), data: some(r.rest()) })],
  0x05: ['FileEnd', (r) => ({ index: r.u32(), digest: digest(r) })],
  0x06: ['FileFail', (r) => ({ index: r.u32(), reason: reasonOf(r.u8()) })],
  0x07: ['Omitted', (r) => ({ path: path(r), reason: reasonOf(r.u8()), directory: r.flag() })],
  0x08: ['Finish', (r) => ({ entries: r.u64(), files: r.u64(), size: r.u64(), failures: r.u64(), root: digest(r) })],
  0x09: ['Goodbye', () => ({})],
  0x0a: ['Hole', (r) => ({ index: r.u32(), offset: r.u64(), size: positive(r.u64()) })],
  0x0b: [
    'Preview',
    (r) => ({
      files: r.u64(),
      size: r.u64(),
      counted: r.flag(),
      names: r.u32(),
      entries: decodeEntries(r, limits.MAX_PREVIEW_ENTRIES),
    }),
  ],
  0x0c: ['SegmentDigests', (r) => ({ index: r.u32(), first: r.u32(), digests: whole(some(r.rest())) })],
  0x0d: ['Kept', (r) => ({ index: r.u32(), offset: r.u64(), size: positive(r.u64()) })],
  0x11: ['Accept', decodeAccept],
  0x12: ['Reject', (r) => ({ index: r.u32(), reason: reasonOf(r.u8()), path: path(r) })],
  0x13: ['Progress', (r) => ({ files: r.u64(), size: r.u64(), records: r.u64() })],
  0x14: [
    'Receipt',
    (r) => ({ files: r.u64(), size: r.u64(), rejected: r.u64(), skipped: r.u64(), root: digest(r) }),
  ],
  0x15: ['Holds', decodeHolds],
  0x16: ['Ask', (r) => ({ portable: r.flag() })],
  0x17: ['Unwanted', (r) => ({ number: r.u32() })],
  0x18: ['SameSegments', (r) => ({ index: r.u32(), first: r.u32(), whole: r.flag(), same: flags(r.rest()) })],
  0x1f: ['Abort', (r) => ({ reason: reasonOf(r.u8()), sentence: r.text(MAX_TEXT_BYTES) })],
};

/** For how many messages one counts towards `MAX_RECORD_MESSAGES`. */
export function weight(message) {
  if (message.entries instanceof Array) return 1 + message.entries.length;
  if (message.type === 'Holds') return 1 + message.files.length + message.same.length + message.compare.length;
  return 1;
}

/** Return all messages of a record's content; data in them lies in `content`. */
export function decode(content) {
  const reader = new Reader(content);
  const messages = [];
  let count = 0;
  let holes = 0;
  while (reader.left) {
    const number = reader.u8();
    const length = reader.u32();
    if (length > reader.left) throw new PeerMisbehaved('The other side sent a message longer than its record.');
    const body = new Reader(reader.take(length));
    const decoder = DECODERS[number];
    if (!decoder) throw new PeerMisbehaved(`The other side sent a message of unknown type ${number}.`);
    const [type, fields] = decoder;
    const message = { type, ...fields(body) };
    if (body.left) throw new PeerMisbehaved('The other side sent a message that is too long.');
    count += weight(message);
    if (type === 'Hole' || type === 'Kept') holes += message.size;
    if (count > limits.MAX_RECORD_MESSAGES) {
      throw new PeerMisbehaved('The other side sent more messages than a record may have.');
    }
    if (holes > limits.MAX_RECORD_HOLES) {
      throw new PeerMisbehaved('The other side sent larger holes than a record may have.');
    }
    messages.push(message);
  }
  return messages;
}

const entriesOf = (entries) => concat(...entries.map((entry) => entry.raw ?? encodeEntry(entry)));

const ENCODERS = {
  Offer: [0x01, (m) => [text(m.program, MAX_TEXT_BYTES), u8(m.links, 0, 0, m.partial ? 1 : 0)]],
  Total: [0x02, (m) => [u64(m.files, m.size)]],
  Page: [0x03, (m) => [entriesOf(m.entries)]],
  Data: [0x04, (m) => [u32(m.index), u64(m.offset), m.data]],
  FileEnd: [0x05, (m) => [u32(m.index), m.digest]],
  FileFail: [0x06, (m) => [u32(m.index), u8(m.reason)]],
  Omitted: [0x07, (m) => [text(m.path, 2 * limits.MAX_PATH), u8(m.reason, m.directory ? 1 : 0)]],
  Finish: [0x08, (m) => [u64(m.entries, m.files, m.size, m.failures), m.root]],
  Goodbye: [0x09, () => []],
  Preview: [0x0b, (m) => [u64(m.files, m.size), u8(m.counted ? 1 : 0), u32(m.names), entriesOf(m.entries)]],
  Accept: [
    0x11,
    (m) => [text(m.program, MAX_TEXT_BYTES), u8(1, m.holds ? 1 : 0, m.links, 0, 0), u64(m.rate), text('', 0)],
  ],
  Reject: [0x12, (m) => [u32(m.index), u8(m.reason), text(m.path, 2 * limits.MAX_PATH)]],
  Progress: [0x13, (m) => [u64(m.files, m.size, m.records)]],
  Receipt: [0x14, (m) => [u64(m.files, m.size, m.rejected, m.skipped), m.root]],
  Holds: [
    0x15,
    (m) => [
      u32(m.end),
      u16(0),
      u16(0),
      ...m.files.flatMap((file) => [u32(file.index), u64(file.size), file.digest]),
    ],
  ],
  Ask: [0x16, () => [u8(1)]],
  Abort: [0x1f, (m) => [u8(m.reason), text(m.sentence, MAX_TEXT_BYTES)]],
};

/** The bytes of one message that this side sends. */
export function encode(message) {
  const [number, fields] = ENCODERS[message.type];
  const parts = fields(message);
  const size = parts.reduce((sum, part) => sum + part.length, 0);
  return concat(u8(number), u32(size), ...parts);
}
