// Bytes: joining, comparing, and reading and writing big-endian fields.

import { PeerMisbehaved } from './errors.js';

const encoder = new TextEncoder();
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export const utf8 = (text) => encoder.encode(text);

export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

/** @param {string} digits an even number of hexadecimal digits */
export const unhex = (digits) => Uint8Array.from(digits.match(/../g) ?? [], (two) => parseInt(two, 16));

/** Join byte arrays into a new one. */
export function concat(...parts) {
  const joined = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/** Compare without revealing by the time it takes where two byte arrays differ. */
export function equal(one, other) {
  if (one.length !== other.length) return false;
  let difference = 0;
  for (let at = 0; at < one.length; at++) difference |= one[at] ^ other[at];
  return difference === 0;
}

export const random = (size) => crypto.getRandomValues(new Uint8Array(size));

/** An unpredictable, uniform whole number from 0 up to, not including, `most`, which is below 2^32. */
export function randomBelow(most) {
  const fair = 2 ** 32 - (2 ** 32 % most);
  for (;;) {
    const [number] = crypto.getRandomValues(new Uint32Array(1));
    if (number < fair) return number % most;
  }
}

export const u8 = (...numbers) => Uint8Array.from(numbers);

export function u16(number) {
  return u8(number >> 8, number & 0xff);
}

export function u32(...numbers) {
  const bytes = new Uint8Array(4 * numbers.length);
  const view = new DataView(bytes.buffer);
  numbers.forEach((number, at) => view.setUint32(4 * at, number));
  return bytes;
}

export function u64(...numbers) {
  const bytes = new Uint8Array(8 * numbers.length);
  const view = new DataView(bytes.buffer);
  numbers.forEach((number, at) => view.setBigUint64(8 * at, BigInt(number)));
  return bytes;
}

/** A text behind its length, cut to at most `most` bytes at the end of a character. */
export function text(string, most) {
  let bytes = utf8(string);
  if (bytes.length > most) {
    let end = most;
    while ((bytes[end] & 0xc0) === 0x80) end--;
    bytes = bytes.subarray(0, end);
  }
  return concat(u16(bytes.length), bytes);
}

/** Reads the fields of one message, from its beginning to its end. Throws `PeerMisbehaved` where it is too short. */
export class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get left() {
    return this.bytes.length - this.at;
  }

  skip(size) {
    if (size > this.left) throw new PeerMisbehaved('The other side sent a message that is too short.');
    this.at += size;
    return this.at - size;
  }

  u8() {
    return this.view.getUint8(this.skip(1));
  }

  u16() {
    return this.view.getUint16(this.skip(2));
  }

  u32() {
    return this.view.getUint32(this.skip(4));
  }

  /** A number that this language can count with; a larger one is more than any browser stores. */
  u64() {
    const number = this.view.getBigUint64(this.skip(8));
    if (number > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw new PeerMisbehaved('The other side has a number that is too large for a browser.');
    }
    return Number(number);
  }

  i64() {
    return this.view.getBigInt64(this.skip(8));
  }

  flag() {
    const number = this.u8();
    if (number > 1) throw new PeerMisbehaved('The other side sent something that is neither yes nor no.');
    return number === 1;
  }

  take(size) {
    const at = this.skip(size);
    return this.bytes.subarray(at, at + size);
  }

  rest() {
    return this.take(this.left);
  }

  text(most) {
    const size = this.u16();
    if (size > most) throw new PeerMisbehaved('The other side sent a text that is too long.');
    try {
      return strict.decode(this.take(size));
    } catch (error) {
      if (error instanceof PeerMisbehaved) throw error;
      throw new PeerMisbehaved('The other side sent a text that is not UTF-8.');
    }
  }
}
