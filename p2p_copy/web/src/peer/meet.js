// How two sides meet: a room at the relay, and keys. And meeting again, by the ticket of the first meeting.

import { hex, random } from '../protocol/bytes.js';
import { Lost, NotReached, PeerFailed, TransferError, WrongCode } from '../protocol/errors.js';
import { codeSpent, HandshakeFailed, ReceiverHandshake, SenderHandshake } from '../protocol/key_exchange.js';
import * as keys from '../protocol/keys.js';
import { Close, pair } from './link.js';
import { sleep } from './sleep.js';

/** Seconds for each message of the key exchange: both ends are there. */
const STEP_TIMEOUT = 15;

/** Seconds in the room of the code for a side that looks into the room of its ticket, too, at first and at most. */
const TURN = [5, 20];

/** Times as long as that in the room of the ticket. */
const TICKET_TURNS = 3;

/** Seconds between two tries to come back, at first and at most. */
const PAUSE = [0.5, 20];

export const newClaim = () => hex(random(16));

/** What one side knows by which it can meet the other: the code, until it is spent, and a ticket. */
export class Acquaintance {
  /**
   * @param {{room: string, secret: string}|null} code null in a page that was loaded again: it knows the ticket alone
   * @param {Uint8Array|null} ticket
   * @param {string} claim by which the relay knows this side's next connection
   */
  constructor(code, ticket, claim) {
    this.code = code;
    this.tickets = ticket ? [ticket] : [];
    this.claim = claim;
    this.spent = false;
    this.welcome = false; // a relay was reached at the address
  }

  /** The rooms to look into, in turn: tickets, and null for the code. */
  get rooms() {
    return this.code && (!this.spent || this.tickets.length) ? [...this.tickets, null] : this.tickets;
  }
}

/** Run the key exchange over a link. */
async function agree(link, role, room, secret, capabilities, known, byCode) {
  const Side = role === 'sender' ? SenderHandshake : ReceiverHandshake;
  const machine = new Side(secret, room, capabilities);
  try {
    const first = await machine.start();
    if (first) link.send(first);
    while (!machine.keys) {
      const reply = await machine.receive(await link.receive(STEP_TIMEOUT));
      if (byCode && machine.proofSent) known.spent = true; // the other side can try one guess on the proof
      if (reply) link.send(reply);
    }
    if (byCode) known.spent = false;
    return machine.keys;
  } catch (error) {
    if (!(error instanceof HandshakeFailed)) {
      if (machine.atRisk && byCode) throw new WrongCode();
      throw error;
    }
    if (error.farewell) link.send(error.farewell);
    const wrong = error.error instanceof WrongCode;
    link.close(wrong ? Close.WRONG_CODE : Close.GIVEN_UP);
    if (!byCode && wrong) throw new Lost('Another client is in the room in which both sides meet again.');
    if (byCode && wrong) known.spent = true;
    throw error.error;
  }
}

/**
 * Meet the other side once, in the room of a ticket or of the code (null).
 *
 * Return the link, the session's keys, and the ticket by which both sides meet again.
 */
async function meetIn(ticket, known, place, { seconds, signal, welcomed }) {
  const byCode = ticket === null;
  const room = byCode ? await keys.roomId(known.code.room) : await keys.resumeRoom(ticket);
  const secret = byCode ? known.code.secret : hex(ticket);
  const link = await pair({ ...place, room, claim: known.claim }, { seconds, signal, welcomed });
  try {
    if (byCode && known.spent) {
      link.send(codeSpent());
      link.close(Close.WRONG_CODE);
      throw new Lost('Another client came with the code, which is used up.');
    }
    const marks = byCode ? await Promise.all(known.tickets.map(keys.ticketCapability)) : [];
    const session = await agree(link, place.role, room, secret, marks, known, byCode);
    const shared = known.tickets.find((_, at) => session.peerCapabilities.has(marks[at]));
    return { link, session, role: place.role, ticket: ticket ?? shared ?? session.resume, anew: byCode && !shared };
  } catch (error) {
    link.close(Close.GIVEN_UP);
    throw error;
  }
}

/** Seconds to pause before try number `count` of a search, about: many clients must not come back at once. */
const pauseBefore = (count) => Math.min(PAUSE[0] * 2 ** Math.min(count, 16), PAUSE[1]) * (0.5 + Math.random());

/** Of an address that a person has typed, for which no relay has answered yet. */
const ASK_THE_OPERATOR =
  'No relay can be reached at this address, and the browser does not say why. Check the address. If it is right, the ' +
  "relay's operator has to allow pages that are opened from a disk: p2p-copy run-relay-server ... --web-origin null.";

/**
 * Meet the other side, looking into all rooms in turn, for at most `seconds`.
 *
 * `tell` hears `{step: 'connecting'|'waiting'|'retrying', ...}`.
 */
export async function meet(known, place, { seconds, signal, tell }) {
  const until = Date.now() + seconds * 1000;
  let failures = 0;
  for (let round = 0; ; round++) {
    const { rooms } = known;
    if (!rooms.length) throw new WrongCode();
    for (const room of rooms) {
      const left = (until - Date.now()) / 1000;
      if (left <= 0) throw new PeerFailed('The other side did not come back in time.');
      const base = Math.min(TURN[0] * 2 ** Math.min(round, 8), TURN[1]);
      const turn = rooms.length === 1 ? left : Math.min(left, room ? TICKET_TURNS * base : base);
      tell({ step: 'connecting' });
      const welcomed = (notice) => {
        known.welcome = true;
        tell({ step: 'waiting', notice });
      };
      try {
        return await meetIn(room, known, place, { seconds: turn, signal, welcomed });
      } catch (error) {
        signal?.throwIfAborted();
        if (error instanceof NotReached && place.typed && !known.welcome) throw new NotReached(ASK_THE_OPERATOR);
        const absent = error instanceof PeerFailed && rooms.length > 1;
        const again = error instanceof TransferError && (error.transient || absent);
        if (!again) throw error;
        if (absent) continue;
        const pause = Math.max(error.retryAfter ?? 0, pauseBefore(failures++));
        if (Date.now() + pause * 1000 > until) throw error;
        tell({ step: 'retrying', why: error.message, seconds: Math.round(pause) });
        await sleep(pause, signal);
      }
    }
  }
}

/** Sleep before coming back after a loss. */
export const pauseAfterLoss = (losses, signal) => sleep(pauseBefore(losses), signal);

