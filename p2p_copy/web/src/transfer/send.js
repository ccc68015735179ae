// Sends files and directories that a person has chosen: one transfer, in one conversation after another.

import { equal, hex } from '../protocol/bytes.js';
import { FileDigest, prefixDigest, prepare, RootDigest, UNREAD } from '../protocol/digest.js';
import { Lost, PeerFailed, PeerMisbehaved, TransferError } from '../protocol/errors.js';
import * as limits from '../protocol/limits.js';
import { encodeEntry, Kind, Reason } from '../protocol/messages.js';
import { shown } from '../protocol/names.js';
import { Close } from '../peer/link.js';
import { arrange } from './outgoing.js';
import { farewell, givenUp, isFailure, Problems } from './reasons.js';
import { HEARTBEAT, Side, USER_TIMEOUT, WAIT } from './side.js';

/** Bytes of a file that are read and sent at once. */
const CHUNK = 960 * 1024;

/** Content bytes up to which small files share a record. */
const RECORD_TARGET = 256 * 1024;

/** Seconds to wait for the receiver when only it has something to do. */
const RECEIPT_TIMEOUT = 600;

/** One transfer. */
export class Sender extends Side {
  #sure = []; // the ticket that both sides certainly have
  #began = null;

  constructor({ files, ...common }) {
    super('sender', common);
    this.chosen = arrange(files);
  }

  /** Send everything; return `{files, size, failures, problems, root}`. */
  async run() {
    await prepare();
    let seconds = WAIT;
    for (let losses = 0; ; losses++) {
      let conversation = null;
      try {
        conversation = await this.meet(seconds);
        const outcome = await this.#meeting(conversation);
        await conversation.close();
        return outcome;
      } catch (error) {
        const failure = this.signal.aborted ? this.signal.reason : error;
        if (conversation) {
          const [reason, sentence] = farewell(failure);
          await conversation.part(reason, sentence);
        }
        if (failure.declined) {
          // The receiver keeps nothing of this meeting; the code is good for another try.
          this.known.tickets = this.#sure;
          this.tell({ step: 'declined' });
          continue;
        }
        if (!(failure instanceof TransferError && failure.transient)) throw failure;
        if (conversation?.heard > 1) losses = 0;
        seconds = await this.pause(failure, losses);
      }
    }
  }

  async #meeting(conversation) {
    const { ticket } = conversation;
    const seconds = this.greet(conversation);
    if (!this.known.tickets.includes(ticket)) this.known.tickets = [ticket, ...this.#sure];
    // No number of links: a receiver that is a browser asks for acks then, and the program has no reason to.
    await conversation.tell({ type: 'Offer', program: this.place.program, links: 0, partial: false });
    const acks = await conversation.acks();
    const accept = await this.#answer(conversation, seconds);
    conversation.spread(accept.links, acks);
    this.#sure = this.known.tickets = [ticket];
    if (accept.pipe) {
      await conversation.part(Reason.PIPE, 'it is a browser, and sends files only.');
      throw new PeerFailed('The receiver wants one stream for a pipe. A browser sends files to a directory only.');
    }
    this.tell({ step: 'accepted' });
    this.#began ??= performance.now();
    const sending = new Sending(conversation, accept, this.chosen, this.tell);
    const outcome = await sending.run();
    return { ...outcome, seconds: (performance.now() - this.#began) / 1000 };
  }

  /** The receiver's answer to the offer, after it was shown a preview if it has asked for one. */
  async #answer(conversation, seconds) {
    for (; ; seconds = USER_TIMEOUT) {
      const messages = await conversation.hear(seconds);
      const [message] = messages;
      if (message?.type === 'Accept' && messages.length === 1) return message;
      if (message?.type === 'Abort') {
        throw Object.assign(givenUp(message, 'receiver'), { declined: message.reason === Reason.DECLINED });
      }
      if (message?.type !== 'Ask') throw new PeerMisbehaved('The receiver answered with something else.');
      const { entries } = this.chosen;
      const names = entries.filter(({ depth }) => depth === 0).length;
      const first = entries.slice(0, limits.MAX_PREVIEW_ENTRIES);
      this.tell({ step: 'asked' });
      await conversation.tell({ type: 'Preview', ...sums(entries), counted: true, names, entries: first });
    }
  }
}

function sums(entries) {
  const files = entries.filter(({ kind }) => kind === Kind.FILE);
  return { files: files.length, size: files.reduce((sum, { size }) => sum + size, 0) };
}

/** The contents of one conversation: pages and files go out while the receiver's answers are heard. */
class Sending {
  #trouble = null;
  #wake = null;
  #receipt = null;
  #heldUpTo = 0;
  #held = new Map(); // by entry number
  #same = new Set();
  #rejected = new Map(); // reasons by entry number
  #batch = [];
  #batched = 0;
  #root = new RootDigest();
  #files = 0;
  #size = 0;
  #failures = 0;
  #unwanted = 0;
  #sentBytes = 0;
  #began = performance.now();

  constructor(conversation, accept, { entries, omitted }, tell) {
    this.conversation = conversation;
    this.accept = accept;
    this.entries = entries;
    this.omitted = omitted;
    this.tell = tell;
    this.problems = new Problems(tell);
  }

  async run() {
    const hearing = this.#hear();
    const beat = setInterval(() => this.conversation.endIfDead(), HEARTBEAT * 1000);
    try {
      await this.#say();
      while (!this.#receipt) await this.#news(RECEIPT_TIMEOUT);
      this.#check(this.#receipt);
      await this.conversation.tell({ type: 'Goodbye' });
    } catch (error) {
      throw this.#trouble ?? error;
    } finally {
      clearInterval(beat);
      hearing.catch(() => {});
    }
    const { files, size, rejected, root } = this.#receipt;
    return { files, size, failures: this.#failures - this.#unwanted + rejected, problems: this.problems.list, root: hex(root) };
  }

  async #hear() {
    try {
      while (!this.#receipt) {
        for (const message of await this.conversation.hear()) this.#act(message);
        this.conversation.consumed();
        this.#wake?.();
      }
    } catch (error) {
      this.#trouble = error;
      this.#wake?.();
      // What waits for room ends now; this side may still say why it goes.
      if (error instanceof Lost) this.conversation.end(Close.GIVEN_UP);
    }
  }

  /** Wait for something of the receiver. */
  async #news(seconds) {
    let late = false;
    const timer = setTimeout(() => ((late = true), this.#wake?.()), seconds * 1000);
    if (!this.#trouble) await new Promise((resolve) => (this.#wake = resolve));
    clearTimeout(timer);
    this.#wake = null;
    if (this.#trouble) throw this.#trouble;
    if (late) throw new PeerFailed('All was sent, but the receiver gives no receipt.');
  }

  #act(message) {
    switch (message.type) {
      case 'Reject': {
        const { index, reason, path } = message;
        if (index >= this.entries.length || this.#rejected.has(index)) {
          throw new PeerMisbehaved('The receiver rejects something that it was not sent.');
        }
        this.#rejected.set(index, reason);
        if (isFailure(reason)) this.problems.add(path || this.entries[index].path, reason);
        break;
      }
      case 'Holds':
        if (message.end > this.entries.length) throw new PeerMisbehaved('The receiver has what was never named.');
        for (const file of message.files) this.#held.set(file.index, file);
        for (const [first, count] of message.same) {
          for (let at = first; at < Math.min(first + count, message.end); at++) this.#same.add(at);
        }
        this.#heldUpTo = message.end;
        break;
      case 'Progress':
        this.tell({ step: 'progress', files: message.files, size: message.size, spared: 0, path: this.path ?? '' });
        break;
      case 'Receipt':
        this.#receipt = message;
        break;
      case 'Abort':
        throw givenUp(message, 'receiver');
      case 'Unwanted':
        if (message.number >= this.omitted.length) throw new PeerMisbehaved('The receiver names what was not omitted.');
        this.#unwanted++;
        break;
      default: // SameSegments belong to what this side never says
        throw new PeerMisbehaved(`The receiver sent ${message.type}, for which nobody asked.`);
    }
  }

  async #say() {
    const { entries } = this;
    const total = sums(entries);
    this.tell({ step: 'total', ...total });
    await this.conversation.tell({ type: 'Total', ...total });
    for (const message of this.omitted) {
      this.#failures++;
      this.problems.add(message.path, message.reason);
      await this.#put(message, message.path.length + 20);
    }
    await this.#flush();
    for (let first = 0; first < entries.length; first += limits.MAX_PAGE_ENTRIES) {
      const page = entries.slice(first, first + limits.MAX_PAGE_ENTRIES);
      for (const entry of page) entry.raw ??= encodeEntry(entry);
      await this.conversation.tell({ type: 'Page', entries: page });
      while (this.accept.holds && this.#heldUpTo < first + page.length) await this.#news(RECEIPT_TIMEOUT);
      for (let at = 0; at < page.length; at++) await this.#entry(first + at, page[at]);
      await this.#flush();
    }
    const root = this.#root.digest();
    this.root = root;
    const sent = { files: this.#files, size: this.#size, failures: this.#failures };
    await this.conversation.tell({ type: 'Finish', entries: entries.length, ...sent, root });
    this.path = '';
    this.tell({ step: 'sent' });
  }

  async #entry(index, entry) {
    if (entry.kind !== Kind.FILE) {
      this.#root.add(entry, null);
      return;
    }
    this.path = shown(entry.path);
    const digest = await this.#file(index, entry);
    this.#root.add(entry, digest);
    if (digest) {
      this.#files++;
      this.#size += entry.size;
    }
  }

  /** Send one file; return its digest, or null if it cannot be sent whole. */
  async #file(index, entry) {
    if (this.#same.has(index)) return UNREAD;
    const digest = new FileDigest(entry.size);
    try {
      let at = await this.#begin(index, entry, digest);
      while (at < entry.size) {
        if (this.#trouble) throw this.#trouble;
        if (this.#isRejected(index)) return await this.#giveUp(index, Reason.NOT_WANTED);
        const data = await read(entry.file, at, Math.min(at + CHUNK, entry.size));
        digest.update(data);
        await this.#put({ type: 'Data', index, offset: at, data }, data.length);
        at += data.length;
      }
      const found = digest.digest();
      await this.#put({ type: 'FileEnd', index, digest: found }, 41);
      return found;
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
      this.#failures++;
      this.problems.add(entry.path, error.reason);
      return await this.#giveUp(index, error.reason);
    } finally {
      digest.discard();
    }
  }

  /** Return where to begin: behind what the receiver has, if that is the beginning of the same file. */
  async #begin(index, entry, digest) {
    const held = this.#held.get(index);
    if (!held || held.size > entry.size) return 0;
    if (held.size % limits.SEGMENT && held.size !== entry.size) {
      throw new PeerMisbehaved('The receiver has a part of a file that is not a whole number of segments.');
    }
    for (let at = 0; at < held.size; at += CHUNK) {
      digest.update(await read(entry.file, at, Math.min(at + CHUNK, held.size)));
    }
    const whole = held.size === entry.size;
    const ours = whole ? digest.digest() : prefixDigest(digest.leaves);
    if (equal(ours, held.digest)) return held.size;
    digest.discard();
    digest.leaves.length = 0;
    return 0;
  }

  /** Whether the receiver does not take an entry, or a directory that it lies in. */
  #isRejected(index) {
    for (let at = index; at !== null; at = this.entries[at].parent) if (this.#rejected.has(at)) return true;
    return false;
  }

  async #giveUp(index, reason) {
    await this.#put({ type: 'FileFail', index, reason }, 10);
    return null;
  }

  /** Add a message to the record that fills; send that when it is full. */
  async #put(message, size) {
    if (this.#batch.length && (this.#batched + size > RECORD_TARGET || this.#batch.length >= 500)) await this.#flush();
    this.#batch.push(message);
    this.#batched += size;
    if (this.#batched >= RECORD_TARGET) await this.#flush();
  }

  async #flush() {
    if (!this.#batch.length) return;
    const messages = this.#batch;
    this.#sentBytes += this.#batched;
    this.#batch = [];
    this.#batched = 0;
    await this.conversation.tell(...messages);
    if (!this.accept.rate) return;
    const due = (this.#sentBytes / this.accept.rate) * 1000 - (performance.now() - this.#began);
    if (due > 0) await new Promise((resolve) => setTimeout(resolve, due));
  }

  /** A receiver that lost something must not look like success. */
  #check({ files, size, rejected, skipped, root }) {
    const reasons = [...this.#rejected.values()];
    const refused = reasons.filter(isFailure).length;
    const agrees = equal(root, this.root) && rejected === refused && skipped === reasons.length - refused;
    const all = !reasons.length && files === this.#files && size === this.#size;
    const some = reasons.length > 0 && files <= this.#files && size <= this.#size;
    if (!agrees || !(all || some)) {
      throw new PeerMisbehaved("The receiver's receipt is not for what was sent.");
    }
  }
}

class Unreadable extends Error {
  constructor(reason) {
    super('a file cannot be read');
    this.reason = reason;
  }
}

async function read(file, from, to) {
  let bytes;
  try {
    bytes = new Uint8Array(await file.slice(from, to).arrayBuffer());
  } catch (error) {
    // The browser noted size and time when the file was chosen, and refuses one that has changed since.
    throw new Unreadable(error.name === 'NotReadableError' ? Reason.CHANGED : Reason.UNREADABLE);
  }
  if (bytes.length !== to - from) throw new Unreadable(Reason.CHANGED);
  return bytes;
}
