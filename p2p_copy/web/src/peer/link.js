// One WebSocket to the relay, and what a relay says before two clients are paired: docs/protocol.md section 3.

import { Lost, NotReached, PeerFailed, RelayError } from '../protocol/errors.js';
import { LEAST_REDIAL, MAX_HELLO, MAX_TEXT, PROTOCOL_VERSION, REDIAL_AFTER } from '../protocol/limits.js';
import { shown } from '../protocol/names.js';
import { utf8 } from '../protocol/bytes.js';
import { sleep } from './sleep.js';

/** Seconds to reach the relay: a browser itself may try for minutes. */
const CONNECT_TIMEOUT = 20;

/** Seconds for which a side that has dialled again keeps both connections: a relay refuses a new one sooner. */
const REDIAL_SETTLED = 5;

/** Bytes that the browser may still hold of what was sent before more is made: it takes any amount. */
const MOST_BUFFERED = 4 * 1024 * 1024;

/**
 * Bytes that have come and were not taken yet, without acks: a relay or a sender that does not keep to the rules must
 * not fill the memory. With acks the window bounds it, and the conversation sets a lower limit.
 */
const MOST_QUEUED = 256 * 1024 * 1024;

/** Bytes that a message in the queue takes at least. */
const OVERHEAD = 128;

/** Milliseconds between two looks at how much the browser still holds: there is no event for it. */
const DRAIN_INTERVAL = 5;

/** Close codes. Browsers may send 1000, and 3000 to 4999. */
export const Close = { DONE: 1000, GIVEN_UP: 4010, WRONG_CODE: 4011 };

const TRANSIENT_REFUSALS = new Set(['busy', 'wait-over', 'stopping']);

/** The error that a close code means. */
export function lost(code) {
  switch (code) {
    case 1000:
      return new Lost('The other side ended the connection before the transfer was complete.');
    case 4001:
      return new Lost('The connection of the other side was lost.');
    case 1012:
      return new Lost('The relay is being stopped or restarted.');
    case 4003:
      return new RelayError('The relay ended the transfer: the quota of an access token is used up.');
    case 4004:
      return new RelayError("The relay's operator ended the transfer.");
    case 4006:
      return new Lost('The relay ended the transfer: it stood still, and the relay needed the memory that it took.');
    default:
      return new Lost('The connection to the relay was lost.');
  }
}

export class Link {
  #socket;
  #queue = [];
  #queued = 0; // the bytes of that
  #wake = null;
  #closed = null;
  #stopped = null; // why this side hears nothing more, while it may still say why it goes

  /** Bytes that may be in the queue. */
  most = MOST_QUEUED;

  /** Called with each report of what the relay sees move. */
  onFlow = () => {};

  /** The last of these reports since something came of the other side, or null. */
  flow = null;

  constructor(socket, signal) {
    this.#socket = socket;
    socket.onmessage = ({ data }) => {
      if (this.#closed) return;
      const message = typeof data === 'string' ? data : new Uint8Array(data);
      this.#queue.push(message);
      this.#queued += weight(message);
      if (this.#queued > this.most) this.#overflow();
      this.#wake?.();
    };
    const stop = () => {
      this.#stopped = signal.reason;
      this.#wake?.();
    };
    signal?.addEventListener('abort', stop);
    socket.onclose = ({ code }) => {
      signal?.removeEventListener('abort', stop);
      this.#fail(lost(code));
    };
  }

  #overflow() {
    this.#queue = [];
    this.#queued = 0;
    this.#fail(new Lost('More came at once than this browser can take.'));
    this.#socket.close(Close.GIVEN_UP);
  }

  #fail(error) {
    this.#closed ??= error;
    this.#wake?.();
  }

  /** Connect. Throws `NotReached` if that fails: a browser does not say why. */
  static async open(url, signal) {
    signal?.throwIfAborted();
    const socket = new WebSocket(url);
    socket.binaryType = 'arraybuffer';
    const link = new Link(socket, signal);
    const timer = setTimeout(() => link.#fail(new Lost()), CONNECT_TIMEOUT * 1000);
    socket.onopen = () => link.#wake?.();
    while (socket.readyState !== WebSocket.OPEN && !link.#closed && !link.#stopped) await link.#moved();
    clearTimeout(timer);
    if (link.#closed || link.#stopped) {
      socket.close();
      signal?.throwIfAborted();
      throw new NotReached('The relay cannot be reached.', { transient: true });
    }
    return link;
  }

  async #moved() {
    await new Promise((resolve) => (this.#wake = resolve));
    this.#wake = null;
  }

  /**
   * The next message, text or bytes, within so many seconds (0: no limit). Throws `late`, or why the link is lost once
   * all that came before was taken.
   */
  async next(seconds = 0, late = new Lost('The other side is connected but does not answer.')) {
    let over = false;
    const timer = seconds && setTimeout(() => ((over = true), this.#wake?.()), seconds * 1000);
    while (!this.#queue.length && !this.#closed && !this.#stopped && !over) await this.#moved();
    clearTimeout(timer);
    if (this.#stopped) throw this.#stopped;
    if (this.#queue.length) {
      const message = this.#queue.shift();
      this.#queued -= weight(message);
      return message;
    }
    throw this.#closed ?? late;
  }

  /** The next bytes of the other side, within so many seconds. */
  async receive(seconds = 0) {
    for (;;) {
      const message = await this.next(seconds);
      if (typeof message !== 'string') {
        this.flow = null;
        return message;
      }
      const flow = parse(message);
      if (flow?.type !== 'movement') throw new Lost('The relay said something that makes no sense here.');
      this.flow = flow;
      this.onFlow(flow);
    }
  }

  /** Whether another message has come already. */
  get waiting() {
    return this.#queue.length > 0;
  }

  send(message) {
    if (this.#closed) throw this.#closed;
    this.#socket.send(message);
  }

  /** Wait until the browser holds little of what was sent. */
  async drain(most = MOST_BUFFERED) {
    while (this.#socket.bufferedAmount > most && !this.#closed) {
      await new Promise((resolve) => setTimeout(resolve, DRAIN_INTERVAL));
    }
    if (this.#closed) throw this.#closed;
  }

  close(code = Close.DONE) {
    this.#socket.close(code);
    this.#fail(lost(0));
  }
}

const weight = (message) => message.length + OVERHEAD;

function parse(text) {
  try {
    if (utf8(text).length > MAX_HELLO) return null;
    const fields = JSON.parse(text);
    return fields !== null && typeof fields === 'object' && !Array.isArray(fields) ? fields : null;
  } catch {
    return null;
  }
}

const sentence = (text) => (typeof text === 'string' ? shown(text.slice(0, MAX_TEXT)) : '');

function refused(fields) {
  const code = typeof fields.code === 'string' ? fields.code : '';
  if (code === 'wait-over') return new PeerFailed('The other side did not come. Start again when it is ready.');
  return new RelayError(`The relay refuses: ${sentence(fields.reason) || 'it does not say why.'}`, {
    transient: TRANSIENT_REFUSALS.has(code),
    code,
    retryAfter: Number.isSafeInteger(fields.retry_after) ? fields.retry_after : null,
  });
}

const NOT_A_RELAY = 'The server there is not a p2p-copy relay.';

/** One connection that waits in a room. */
class Seat {
  #link = null;
  #left = false;

  /** `features`: what this side says of itself. */
  constructor(place, until, signal, ...features) {
    /** What the relay says when it has accepted this side. */
    this.welcome = this.#join(place, until, signal, features);
    /** The link, when the other side has come. */
    this.paired = this.welcome.then(() => this.#expect('paired', until)).then(() => this.#link);
    for (const promise of [this.welcome, this.paired]) promise.catch(() => {}); // some are not waited for
  }

  async #join({ relay, room, role, program, token = null, claim }, until, signal, features) {
    this.#link = await Link.open(`${relay}/v1/${room}`, signal);
    if (this.#left) this.leave();
    this.#link.send(JSON.stringify({ type: 'hello', version: PROTOCOL_VERSION, role, program, token, features, claim }));
    return this.#expect('welcome', until);
  }

  async #expect(type, until) {
    const left = Math.max((until - Date.now()) / 1000, 0.001);
    const message = await this.#link.next(left, new PeerFailed('The other side did not come in time.'));
    const fields = typeof message === 'string' ? parse(message) : null;
    if (fields?.type === 'refused') throw refused(fields);
    if (fields?.type !== type) throw new RelayError(NOT_A_RELAY);
    return fields;
  }

  leave() {
    this.#left = true;
    this.#link?.close();
  }
}

/** Seconds until this side dials again: at another time than others that came with it. */
function redialAfter({ again }) {
  const asked = Number.isSafeInteger(again) ? again : REDIAL_AFTER;
  return Math.max(asked, LEAST_REDIAL) * (0.5 + Math.random());
}

/** Which of this side's two connections goes on: the one that is paired first, or the new one once it is settled. */
function better(old, spare) {
  const settled = () => sleep(REDIAL_SETTLED).then(() => spare);
  return Promise.race([
    old.paired.then(() => old, () => spare.welcome.then(() => spare, () => old)),
    spare.paired.then(() => spare, () => old), // one that fails changes nothing
    spare.welcome.then(settled, () => old),
  ]);
}

/**
 * Take a place in a room, and wait there until the other side has come; return the link.
 *
 * A side that waits for long dials again now and then: by now the other one may come to another relay at that address,
 * or the connection may be dead, which a browser does not see (docs/protocol.md section 3).
 *
 * @param {{relay: string, room: string, role: string, claim: string, program: string, token?: string|null}} place
 * @param {{seconds: number, signal?: AbortSignal, welcomed?: (notice: string) => void}} options `seconds` to wait
 */
export async function pair(place, { seconds: wait, signal, welcomed = () => {} }) {
  const until = Date.now() + wait * 1000;
  let seat = new Seat(place, until, signal, 'movement');
  let spare = null;
  try {
    const welcome = await seat.welcome;
    welcomed(sentence(welcome.notice));
    for (;;) {
      const link = await Promise.race([seat.paired, sleep(redialAfter(welcome))]);
      if (link) return link;
      spare = new Seat(place, until, signal, 'movement', 'still-waiting');
      const chosen = await better(seat, spare);
      (chosen === seat ? spare : seat).leave();
      seat = chosen;
      spare = null;
    }
  } catch (error) {
    seat.leave();
    spare?.leave();
    throw error;
  }
}
