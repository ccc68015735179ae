// CPACE-X25519-SHA512 of draft-irtf-cfrg-cpace, initiator-responder form. X25519 is the browser's own, in constant
// time; the map to the curve is arithmetic with BigInt, which is not. It runs once for each secret.

import { concat, u8, utf8 } from './bytes.js';
import { WrongCode } from './errors.js';
import { sha512 } from './keys.js';

const DSI = utf8('CPace255');
const DSI_ISK = utf8('CPace255_ISK');
const BLOCK = 128; // bytes of a block of SHA-512
const Q = 2n ** 255n - 19n; // order of the field (RFC 7748 section 4.1)
const A = 486662n; // v^2 = u^3 + A u^2 + u
const Z = 2n; // the non-square of RFC 9380 section 6.7.1

/** `data` behind its length in LEB128. */
export function prependLength(data) {
  const prefix = [];
  let length = data.length;
  for (; length >= 0x80; length >>>= 7) prefix.push((length & 0x7f) | 0x80);
  return concat(u8(...prefix, length), data);
}

export const lvCat = (...parts) => concat(...parts.map(prependLength));

/** The input of the hash that gives the generator; the padding fills the first block. */
export function generatorString(prs, ci, sid) {
  const padding = Math.max(0, BLOCK - 1 - prependLength(prs).length - prependLength(DSI).length);
  return lvCat(DSI, prs, new Uint8Array(padding), ci, sid);
}

export async function calculateGenerator(prs, ci, sid) {
  const hash = await sha512(generatorString(prs, ci, sid));
  return encodeU(elligator2(decodeU(hash.subarray(0, 32))));
}

export const decodeU = (bytes) =>
  bytes.reduceRight((number, byte) => (number << 8n) | BigInt(byte), 0n) & (2n ** 255n - 1n);

export function encodeU(u) {
  const bytes = new Uint8Array(32);
  for (let at = 0; at < 32; at++, u >>= 8n) bytes[at] = Number(u & 0xffn);
  return bytes;
}

const mod = (number) => ((number % Q) + Q) % Q;

function power(base, exponent) {
  let result = 1n;
  for (base = mod(base); exponent; exponent >>= 1n, base = (base * base) % Q) {
    if (exponent & 1n) result = (result * base) % Q;
  }
  return result;
}

/** The u coordinate of the curve's point for a field element (RFC 9380 section 6.7.1). */
export function elligator2(r) {
  const v = mod(-A * power(1n + Z * r * r, Q - 2n));
  const onCurve = power(v * (v * v + A * v + 1n), (Q - 1n) / 2n) === 1n;
  return onCurve ? v : mod(-v - A);
}

const X25519 = { name: 'X25519' };

/** A secret scalar for one run. */
export async function newScalar() {
  const { privateKey } = await crypto.subtle.generateKey(X25519, false, ['deriveBits']);
  return privateKey;
}

/** The scalar with these 32 bytes, for tests with fixed inputs (RFC 8410 section 7). */
export function scalarOf(bytes) {
  const head = u8(0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6e, 4, 0x22, 4, 0x20);
  return crypto.subtle.importKey('pkcs8', concat(head, bytes), X25519, false, ['deriveBits']);
}

/**
 * X25519(scalar, point): this side's share if `point` is the generator, the shared point if it is the other's share.
 * Throws `WrongCode` where that is the neutral element: no correct program sends such a share.
 */
export async function scalarMult(scalar, point) {
  const theirs = await crypto.subtle.importKey('raw', point, X25519, true, []);
  let product;
  try {
    product = new Uint8Array(await crypto.subtle.deriveBits({ name: 'X25519', public: theirs }, scalar, 256));
  } catch {
    throw new WrongCode(); // some browsers refuse the neutral element, others return it
  }
  if (product.every((byte) => byte === 0)) throw new WrongCode();
  return product;
}

/** The intermediate session key, 64 bytes. A is the initiator. */
export function isk(sid, k, ya, ada, yb, adb) {
  return sha512(concat(lvCat(DSI_ISK, sid, k), lvCat(ya, ada, yb, adb)));
}
