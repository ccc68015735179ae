// The digests of files and of whole transfers: docs/protocol.md section 6, "Digests and the end".
//
// Segments, which are all the bytes of the files, go through BLAKE3 in WebAssembly. The two digests over those have a
// context, which that library lacks; they are short, so one in plain JavaScript does.

import { blake3 } from '@noble/hashes/blake3.js';
import { createBLAKE3 } from 'hash-wasm';
import { concat, u64, u8, utf8 } from './bytes.js';
import { Kind } from './messages.js';
import * as limits from './limits.js';

const FILE = blake3.create({ context: utf8('p2p-copy/1 file digest') });
const ROOT = blake3.create({ context: utf8('p2p-copy/1 root digest') });
const ZEROS = new Uint8Array(64 * 1024);

const idle = []; // hashers, each of which has a memory of its own

/** Files that are hashed at the same time, at most. */
const AT_ONCE = 4;

/** Load the hash function. Call this once before anything else here. */
export async function prepare() {
  while (idle.length < AT_ONCE) idle.push(await createBLAKE3());
}

function digestOfLeaves(size, leaves) {
  const tree = FILE.clone();
  tree.update(u64(size));
  for (const leaf of leaves) tree.update(leaf);
  return tree.digest();
}

/** The digest of a file of `size` bytes that are added in order. */
export class FileDigest {
  #hasher = null;
  #at = 0;

  /** `leaves`: the digests of the segments that are there already. */
  constructor(size, leaves = []) {
    this.size = size;
    this.leaves = [...leaves];
  }

  update(data) {
    while (data.length) {
      if (!this.#hasher) {
        this.#hasher = idle.pop();
        if (!this.#hasher) throw new Error('too many files are hashed at once');
        this.#hasher.init();
      }
      const piece = data.subarray(0, limits.SEGMENT - this.#at);
      this.#hasher.update(piece);
      this.#at += piece.length;
      data = data.subarray(piece.length);
      if (this.#at === limits.SEGMENT) this.#endSegment();
    }
  }

  #endSegment() {
    if (!this.#hasher) return;
    this.leaves.push(this.#hasher.digest('binary'));
    this.discard();
  }

  /** Give back what a file uses whose digest is not wanted any more. */
  discard() {
    if (this.#hasher) idle.push(this.#hasher);
    this.#hasher = null;
    this.#at = 0;
  }

  addZeros(count) {
    for (; count > 0; count -= ZEROS.length) this.update(ZEROS.subarray(0, Math.min(count, ZEROS.length)));
  }

  /** The digest, once all bytes were added. */
  digest() {
    this.#endSegment();
    return digestOfLeaves(this.size, this.leaves);
  }
}

/** The digest of a file that consists of the whole segments with these leaves. */
export const prefixDigest = (leaves) => digestOfLeaves(leaves.length * limits.SEGMENT, leaves);

/** In place of the digest of a file that was up to date at the receiver: no side has read it. */
export const UNREAD = Symbol('unread');

/** The digest of a transfer, whose entries are added in order. */
export class RootDigest {
  #hash = ROOT.clone();

  /** `digest` is null for directories, symlinks, and files that were not sent whole, `UNREAD` for one up to date. */
  add(entry, digest) {
    let outcome = u8(2);
    if (digest === UNREAD) outcome = u8(3);
    else if (entry.kind === Kind.FILE) outcome = digest ? concat(u8(1), digest) : u8(0);
    this.#hash.update(entry.raw);
    this.#hash.update(outcome);
  }

  digest() {
    return this.#hash.clone().digest();
  }
}
