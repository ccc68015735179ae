// The key schedule: HKDF with SHA-256 (RFC 5869), one label for each purpose. docs/protocol.md section 4.

import { concat, hex, u8, utf8 } from './bytes.js';

const digest = async (algorithm, data) => new Uint8Array(await crypto.subtle.digest(algorithm, data));

export const sha256 = (data) => digest('SHA-256', data);
export const sha512 = (data) => digest('SHA-512', data);

export async function hmac(key, data) {
  const handle = await crypto.subtle.importKey('raw', key, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
  return new Uint8Array(await crypto.subtle.sign('HMAC', handle, data));
}

/** HKDF-Extract. */
export const extract = (salt, material) => hmac(salt, material);

/** HKDF-Expand to at most 32 bytes, which is one block. */
export async function expand(key, info, length = 32) {
  return (await hmac(key, concat(info, u8(1)))).slice(0, length);
}

const labelled = (label) => (key) => expand(key, utf8(`p2p-copy/1 ${label}`));

export const confirmSender = labelled('confirm S');
export const confirmReceiver = labelled('confirm R');
export const senderToReceiver = labelled('s2r\0\0');
export const receiverToSender = labelled('r2s\0\0');
export const resume = labelled('resume');
export const links = labelled('links');
export const nextKey = labelled('rekey');
export const ackSender = labelled('note S');
export const ackReceiver = labelled('note R');
export const opening = labelled('opening');

export const verify = (key, opened) => expand(key, concat(utf8('p2p-copy/1 verify'), opened));
export const commitment = (opened) => sha256(concat(utf8('p2p-copy/1 commitment'), opened));

/** The room that the relay sees for the public part of a code. */
export const roomId = async (room) => hex(await sha256(utf8(`p2p-copy/1 room${room}`)));

/** The room in which two sides with this ticket meet again. */
export const resumeRoom = async (ticket) => hex(await expand(ticket, utf8('p2p-copy/1 resume room')));

/** The capability of a side that has this ticket. */
export const ticketCapability = async (ticket) =>
  `has-${hex(await expand(ticket, utf8('p2p-copy/1 resume mark'), 8))}`;

/** The two words that people compare, as numbers of the list of words. */
export function verificationNumbers(key, count) {
  const number = new DataView(key.buffer, key.byteOffset).getBigUint64(0);
  const most = BigInt(count);
  return [Number(number % most), Number((number / most) % most)];
}
