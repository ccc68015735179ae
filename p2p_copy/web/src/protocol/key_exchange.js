// The key exchange, as two state machines that know no network: docs/protocol.md section 4.
//
//   M1  receiver -> sender  0x81 | version | nR[32] | capabilities
//   M2  sender -> receiver  0x82 | version | nS[32] | Ya[32] | commitment[32] | capabilities
//   M3  receiver -> sender  0x83 | Yb[32] | Tb[32]
//   M4  sender -> receiver  0x84 | Ta[32] | opening[32]
//   MX  either way          0x8F | reason: 1 wrong code, 2 unknown version, 3 malformed
//
// The first mistake ends a run. MX is sent only to a side that has not confirmed.

import { concat, equal, random, u16, u8, utf8 } from './bytes.js';
import * as cpace from './cpace.js';
import { IncompatiblePeer, PeerMisbehaved, WrongCode } from './errors.js';
import * as keys from './keys.js';
import * as limits from './limits.js';

const M1 = 0x81;
const M2 = 0x82;
const M3 = 0x83;
const M4 = 0x84;
const MX = 0x8f;
const REASONS = { WrongCode: 1, IncompatiblePeer: 2, PeerMisbehaved: 3 };
const NAMES = /^(?:[a-z0-9-]+(?:,[a-z0-9-]+)*)?$/;

/** The message that refuses an exchange by a code that is used up. */
export const codeSpent = () => u8(MX, REASONS.WrongCode);

/** The exchange has failed: `error` is for the person, `farewell` the last message to send, or null. */
export class HandshakeFailed extends Error {
  constructor(error, farewell) {
    super(error.message);
    this.error = error;
    this.farewell = farewell;
  }
}

export function encodeCapabilities(names) {
  return utf8([...new Set(names)].sort().join(','));
}

function decodeCapabilities(bytes) {
  const joined = String.fromCharCode(...bytes);
  const names = joined ? joined.split(',') : [];
  const sorted = [...new Set(names)].sort();
  if (bytes.length > limits.MAX_CAPABILITIES || !NAMES.test(joined) || sorted.join() !== joined) {
    throw new PeerMisbehaved('The other side sent a malformed list of what it can do.');
  }
  return new Set(names);
}

function checkVersion(theirs) {
  const ours = limits.PROTOCOL_VERSION;
  if (theirs === ours) return;
  throw new IncompatiblePeer(
    theirs < ours
      ? "The other side's p2p-copy is too old. Upgrade it over there."
      : 'This page is too old for the other side. Reload it, or ask whoever runs the relay to upgrade it.',
  );
}

function checkLength(message, length) {
  if (message.length !== length) {
    throw new PeerMisbehaved('The other side sent a message of the wrong length during the key exchange.');
  }
}

function checkKind(message, kind) {
  if (message[0] !== kind) {
    throw new PeerMisbehaved('The other side sent a message out of order during the key exchange.');
  }
}

/** Return the fixed fields behind the version, and the capabilities. */
function openHello(message, kind, fixed) {
  checkKind(message, kind);
  if (message.length > 1) checkVersion(message[1]); // another version may look different behind it
  if (message.length > limits.MAX_HANDSHAKE_MESSAGE) {
    throw new PeerMisbehaved('The other side sent a message that is too long during the key exchange.');
  }
  const head = 2 + fixed;
  if (message.length < head + 2) checkLength(message, head + 2);
  const length = (message[head] << 8) | message[head + 1];
  checkLength(message, head + 2 + length);
  const capabilities = message.slice(head + 2);
  decodeCapabilities(capabilities);
  return [message.slice(2, head), capabilities];
}

function meaning(farewell) {
  if (farewell.length === 2 && farewell[1] === REASONS.WrongCode) return new WrongCode();
  if (farewell.length === 2 && farewell[1] === REASONS.IncompatiblePeer) {
    return new IncompatiblePeer('The other side and this page speak different versions. Upgrade the older one.');
  }
  return new PeerMisbehaved('The two sides did not understand each other during the key exchange.');
}

class Handshake {
  /**
   * @param {string} secret the code's secret part, or a ticket's digits
   * @param {string} room the room id, 64 hexadecimal digits
   * @param {string[]} capabilities what this side can do
   * @param {{nonce?: Uint8Array, scalar?: CryptoKey, opening?: Uint8Array}} [fixed] for tests only
   */
  constructor(secret, room, capabilities, { nonce = random(32), scalar = null, opening = random(32) } = {}) {
    this.prs = utf8(secret);
    this.ci = cpace.lvCat(utf8('p2p-copy/1 sender'), utf8('p2p-copy/1 receiver'), utf8(room));
    this.nonce = nonce;
    this.scalar = scalar;
    this.opening = opening;
    this.capabilities = encodeCapabilities(capabilities);
    this.proofSent = false;
    this.keys = null;
    this.step = null;
  }

  /** Handle the other side's next message; return the answer to send, or null. Throws `HandshakeFailed`. */
  async receive(message) {
    const step = this.step;
    this.step = null;
    try {
      if (message[0] === MX) throw new HandshakeFailed(meaning(message), null);
      return await step(message);
    } catch (error) {
      // The other side has this side's proof, and may have tried a secret on it.
      if (this.proofSent) throw new HandshakeFailed(new WrongCode(), null);
      if (error instanceof HandshakeFailed) throw error;
      const reason = REASONS[error.name];
      if (!reason) throw error;
      throw new HandshakeFailed(error, u8(MX, reason));
    }
  }

  /** Whether a link that is lost now means that a secret may have been tried. */
  get atRisk() {
    return this.proofSent && this.keys === null;
  }

  async ready() {
    this.scalar ??= await cpace.newScalar();
  }

  async session(prk, send, receive, opening, theirs) {
    return {
      send: await send(prk),
      receive: await receive(prk),
      resume: await keys.resume(prk),
      links: await keys.links(prk),
      verify: await keys.verify(prk, opening),
      peerCapabilities: decodeCapabilities(theirs),
    };
  }
}

const transcript = (m1, m2, yb) => keys.sha256(cpace.lvCat(m1, m2, concat(u8(M3), yb)));

export class SenderHandshake extends Handshake {
  /** The sender has no first message. */
  async start() {
    await this.ready();
    this.step = (m1) => this.#answer(m1);
    return null;
  }

  async #answer(m1) {
    const [theirNonce, adb] = openHello(m1, M1, 32);
    const sid = concat(theirNonce, this.nonce);
    const ya = await cpace.scalarMult(this.scalar, await cpace.calculateGenerator(this.prs, this.ci, sid));
    const size = u16(this.capabilities.length);
    const commitment = await keys.commitment(this.opening);
    const version = limits.PROTOCOL_VERSION;
    const m2 = concat(u8(M2, version), this.nonce, ya, commitment, size, this.capabilities);
    this.step = (m3) => this.#check(m1, m2, sid, ya, adb, m3);
    return m2;
  }

  async #check(m1, m2, sid, ya, adb, m3) {
    checkKind(m3, M3);
    checkLength(m3, 65);
    const [yb, tb] = [m3.slice(1, 33), m3.slice(33)];
    const k = await cpace.scalarMult(this.scalar, yb);
    const th = await transcript(m1, m2, yb);
    const prk = await keys.extract(th, await cpace.isk(sid, k, ya, this.capabilities, yb, adb));
    if (!equal(tb, await keys.hmac(await keys.confirmReceiver(prk), th))) throw new WrongCode();
    this.keys = await this.session(prk, keys.senderToReceiver, keys.receiverToSender, this.opening, adb);
    return concat(u8(M4), await keys.hmac(await keys.confirmSender(prk), th), this.opening);
  }
}

export class ReceiverHandshake extends Handshake {
  /** Return the first message. */
  async start() {
    await this.ready();
    const size = u16(this.capabilities.length);
    const m1 = concat(u8(M1, limits.PROTOCOL_VERSION), this.nonce, size, this.capabilities);
    this.step = (m2) => this.#answer(m1, m2);
    return m1;
  }

  async #answer(m1, m2) {
    const [fixed, ada] = openHello(m2, M2, 96);
    const ya = fixed.slice(32, 64);
    const commitment = fixed.slice(64);
    const sid = concat(this.nonce, fixed.slice(0, 32));
    const yb = await cpace.scalarMult(this.scalar, await cpace.calculateGenerator(this.prs, this.ci, sid));
    const k = await cpace.scalarMult(this.scalar, ya);
    const th = await transcript(m1, m2, yb);
    const prk = await keys.extract(th, await cpace.isk(sid, k, ya, ada, yb, this.capabilities));
    const tag = await keys.hmac(await keys.confirmReceiver(prk), th);
    this.step = (m4) => this.#check(prk, th, commitment, ada, m4);
    this.proofSent = true;
    return concat(u8(M3), yb, tag);
  }

  async #check(prk, th, commitment, ada, m4) {
    checkKind(m4, M4);
    checkLength(m4, 65);
    const [ta, opening] = [m4.slice(1, 33), m4.slice(33)];
    if (!equal(ta, await keys.hmac(await keys.confirmSender(prk), th))) throw new WrongCode();
    if (!equal(commitment, await keys.commitment(opening))) throw new WrongCode();
    this.keys = await this.session(prk, keys.receiverToSender, keys.senderToReceiver, opening, ada);
    return null;
  }
}
