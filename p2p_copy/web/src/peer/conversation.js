// One conversation after the key exchange: messages in records over a link, and acks that bound what is under way.

import { concat } from '../protocol/bytes.js';
import { AckCodec, isAck } from '../protocol/acks.js';
import { Lost, PeerMisbehaved } from '../protocol/errors.js';
import * as limits from '../protocol/limits.js';
import { decode, encode, weight } from '../protocol/messages.js';
import { numberOf, Opener, Sealer } from '../protocol/records.js';
import { isLast, States } from '../protocol/state_machine.js';
import { Close } from './link.js';

/** Records that were acted upon after which an ack is due at once, and milliseconds after which it is due anyway. */
const ACK_RECORDS = 4;
const ACK_AFTER = 20;

/** Seconds in which something comes of the other side after a record, if its machine and both connections still live. */
const SILENCE = 60;

export class Conversation {
  #sealer;
  #opener;
  #states = new States();
  #line = Promise.resolve(); // records are sealed and sent one after the other
  #codec = null;
  #acked = 0; // how many of the other side's records were acknowledged
  #ackTimer = null;
  #sizes = []; // of this side's records that are not consumed over there
  #ahead = 0; // their sum
  #consumed = 0;
  #room = null; // wakes a sender that waits for room
  #unanswered = 0; // when the oldest record was sent that was not acknowledged, or something came since
  #over = false;
  #unread = null;

  /**
   * @param {{link: import('./link.js').Link, session: object, role: string, ticket: Uint8Array, anew: boolean}} met
   * ticket: by which both sides meet again; anew: the other side knew nothing of an earlier meeting
   */
  constructor({ link, session, role, ticket = null, anew = false }) {
    this.ticket = ticket;
    this.anew = anew;
    this.link = link;
    this.role = role;
    this.peer = role === 'sender' ? 'receiver' : 'sender';
    this.session = session;
    this.#sealer = new Sealer(session.send);
    this.#opener = new Opener(session.receive);
    this.abandoned = false; // the other side has said that it gives up
  }

  /** How many records of the other side were opened. */
  get heard() {
    return this.#opener.heard;
  }

  /** Prepare for acks. */
  acks() {
    return AckCodec.of(this.role, this.session.links);
  }

  /** Use acks from now on: `links` of the Accept is more than one. */
  spread(links, codec) {
    this.#unanswered = Date.now();
    if (links === 1) return;
    this.#codec = codec;
    this.link.most = 2 * limits.MULTIPATH_BYTES;
    this.#consumed = this.#sealer.made;
    this.#acked = this.#opener.heard;
  }

  /** Say messages in one record, which goes out in turn. Resolves when the browser has taken it. */
  tell(...messages) {
    for (const message of messages) {
      if (!this.#states.say(this.role, message.type)) throw new Error(`${message.type} may not be said now`);
    }
    const content = concat(...messages.map(encode));
    const final = isLast(messages.at(-1).type);
    this.#line = this.#line.then(() => this.#send(content, final));
    return this.#line;
  }

  async #send(content, final) {
    const record = await this.#sealer.seal(content, final);
    if (this.#codec) {
      while (
        this.#sizes.length >= limits.MULTIPATH_RECORDS ||
        this.#ahead + record.length > limits.MULTIPATH_BYTES
      ) {
        await new Promise((resolve, reject) => (this.#room = { resolve, reject }));
      }
      if (!this.#sizes.length) this.#unanswered = Date.now();
      this.#sizes.push(record.length);
      this.#ahead += record.length;
    }
    this.link.send(record);
    await this.link.drain();
  }

  /** Say several messages in as few records as may hold them. */
  async tellAll(messages) {
    let some = [];
    let count = 0;
    for (const message of messages) {
      count += weight(message);
      if (some.length && count > limits.MAX_RECORD_MESSAGES) {
        await this.tell(...some);
        some = [];
        count = weight(message);
      }
      some.push(message);
    }
    if (some.length) await this.tell(...some);
  }

  may(type) {
    return !this.#over && this.#states.may(this.role, type);
  }

  /** The messages of the other side's next record. Throws `PeerMisbehaved` at the first that may not come. */
  hear(seconds = 0) {
    const unread = this.#unread;
    this.#unread = null;
    return unread ?? this.#hear(seconds);
  }

  /** Give back what `hear` has promised, for the next call. */
  unread(promise) {
    promise.catch(() => {});
    this.#unread = promise;
  }

  async #hear(seconds) {
    for (;;) {
      const message = await this.link.receive(seconds);
      this.#unanswered = Date.now();
      if (isAck(message) && this.#codec) {
        await this.#acknowledged(message);
        continue;
      }
      // A record that comes again over another link was acted upon before.
      if (this.#codec && numberOf(message) < this.#opener.heard) continue;
      const { content, final } = await this.#opener.open(message);
      const messages = decode(content);
      for (const each of messages) {
        if (!this.#states.say(this.peer, each.type)) {
          throw new PeerMisbehaved(`The other side sent ${each.type} when it may not.`);
        }
        this.abandoned ||= each.type === 'Abort';
      }
      if (final !== (messages.length > 0 && isLast(messages.at(-1).type))) {
        throw new PeerMisbehaved('The other side marked its last record wrongly.');
      }
      return messages;
    }
  }

  async #acknowledged(message) {
    const { consumed } = await this.#codec.read(message);
    if (consumed > this.#sealer.made) throw new PeerMisbehaved('The other side acknowledges what was never sent.');
    for (; this.#consumed < consumed; this.#consumed++) this.#ahead -= this.#sizes.shift();
    this.#room?.resolve();
    this.#room = null;
  }

  /** All that was heard was acted upon: acknowledge it soon. */
  consumed() {
    if (!this.#codec) return;
    if (this.#opener.heard - this.#acked >= ACK_RECORDS) this.#acknowledge();
    else this.#ackTimer ??= setTimeout(() => this.#acknowledge(), ACK_AFTER);
  }

  #acknowledge() {
    clearTimeout(this.#ackTimer);
    this.#ackTimer = null;
    const heard = (this.#acked = this.#opener.heard);
    this.#line = this.#line.then(async () => {
      if (!this.#over) this.link.send(await this.#codec.write(heard, heard));
    });
    this.#line.catch(() => {}); // the next receive says why
  }

  /**
   * End a link over which nothing comes any more: the receive that waits fails, and this side comes back. A browser itself
   * takes many minutes to see that, and with nothing to send it sees it never.
   */
  endIfDead() {
    if (Date.now() - this.#unanswered > SILENCE * 1000 && this.#expects) this.end(Close.GIVEN_UP);
  }

  /**
   * Whether something of the other side is due. With acks that is one for each record. Without them a receiver, which is
   * the program then, says every few seconds how far it is. It may be busy instead, with a slow disk or a question to
   * its user, but then a relay that can reach this side has said that nothing comes.
   */
  get #expects() {
    if (this.#codec) return this.#sizes.length > 0;
    return this.role === 'sender' && this.link.flow === null;
  }

  /** Tell the other side why this side ends, if that is still possible, and close. Returns whether it was told. */
  async part(reason, sentence) {
    let told = this.abandoned;
    try {
      if (this.may('Abort')) {
        await Promise.race([
          this.tell({ type: 'Abort', reason, sentence }).then(() => this.link.drain(0)),
          new Promise((resolve, reject) => setTimeout(() => reject(new Lost()), 5000)),
        ]);
        told = true;
      }
    } catch {
      // It is lost: the other side sees that.
    }
    this.end(Close.GIVEN_UP);
    return told;
  }

  /** Let what was sent go out, then close. */
  async close() {
    if (this.#codec) this.#acknowledge();
    try {
      await this.#line;
      await this.link.drain(0);
    } catch {
      // The link is lost already.
    }
    this.end(Close.DONE);
  }

  end(code) {
    this.#over = true;
    clearTimeout(this.#ackTimer);
    this.#room?.reject(new Lost());
    this.#room = null;
    this.link.close(code);
  }
}
