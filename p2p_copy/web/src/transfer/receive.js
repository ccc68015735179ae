// Receives files and directories into this browser's storage: one transfer, in one conversation after another.

import { equal, hex } from '../protocol/bytes.js';
import { Declined, NoSpace, PeerFailed, PeerMisbehaved, TooMany, TransferError } from '../protocol/errors.js';
import { Manifest } from '../protocol/manifest.js';
import { Kind, Reason } from '../protocol/messages.js';
import { shown } from '../protocol/names.js';
import { pauseAfterLoss } from '../peer/meet.js';
import { farewell, givenUp, isFailure, Problems } from './reasons.js';
import { HEARTBEAT, OFFER_TIMEOUT, Side, WAIT } from './side.js';
import { Arena } from './store.js';

/** Seconds between two reports to the sender. */
const PROGRESS_INTERVAL = 0.5;

/** Seconds to wait for the sender's goodbye. */
const GOODBYE_TIMEOUT = 30;

/** Seconds for which a side that has given its receipt comes back for the sender's goodbye. */
const LINGER = 180;

/**
 * Bytes per second, for a sender whose user wants one link only: then nothing else bounds what comes, and the browser
 * stores without limit what its disk does not take in time.
 */
const RATE_WITHOUT_ACKS = 16 * 1024 * 1024;

/**
 * Entries of a transfer. The browser has about 1 KB in memory for each, and the list of the zip file is made at once.
 * The documentation gives this number, too.
 */
export const MOST_ENTRIES = 500_000;

/** Messages after which something is not here any more that was. */
const REPLACING = new Set(['Data', 'Hole', 'FileFail']);

/**
 * One transfer.
 *
 * `kept` is what the store has of it, null for a new one. `ask` is shown `{files, size, counted, entries, space}` and
 * returns whether to receive that. `hold` keeps other tabs from a transfer.
 */
export class Receiver extends Side {
  #started = null;
  #told = null; // when all was here, compared and noted; since then only the sender's goodbye is missing
  #confirmed = false; // that has been so once: what this side has belongs to its user

  constructor({ store, kept = null, ask, hold, ...common }) {
    super('receiver', common, kept);
    this.store = store;
    this.record = kept;
    this.ask = ask;
    this.hold = hold;
  }

  /** Receive everything; return `{id, files, size, failures, problems, root}`. */
  async run() {
    let seconds = WAIT;
    if (this.record?.outcome) {
      this.#complete();
      seconds = LINGER;
    }
    for (let losses = 0; ; losses++) {
      let conversation = null;
      try {
        conversation = await this.meet(seconds);
        await this.#meeting(conversation);
        await conversation.close();
        return await this.#done();
      } catch (error) {
        const failure = this.signal.aborted ? this.signal.reason : mended(error);
        await this.#part(conversation, failure);
        if (this.#told) {
          // Only the sender's goodbye is missing, and perhaps its receipt.
          seconds = LINGER - (Date.now() - this.#told) / 1000;
          if (seconds <= 0 || !failure.transient) return await this.#done();
          if (this.signal.aborted) return this.#outcome; // a page that is loaded again gives the receipt
          await pauseAfterLoss(losses, this.signal).catch(() => {}); // the next try says why
          continue;
        }
        const again = failure instanceof TransferError && failure.transient && this.record;
        if (!again) {
          const forget = conversation?.told || this.signal.aborted;
          if (!failure.transient && this.record && forget && !this.#confirmed) await this.#forget();
          throw failure;
        }
        if (conversation?.heard > 1) losses = 0;
        seconds = await this.pause(failure, losses);
      }
    }
  }

  async #part(conversation, failure) {
    if (!conversation) return;
    const [reason, sentence] =
      failure instanceof Declined ? [Reason.DECLINED, 'it was asked, and declined.'] : farewell(failure);
    conversation.told = await conversation.part(reason, sentence);
  }

  /** The sender knows that this transfer is over. */
  async #forget() {
    await this.store.remove(this.record.id);
  }

  get #outcome() {
    return { id: this.record.id, ...this.record.outcome };
  }

  /** All is here, and was compared; perhaps the sender does not know that. */
  #complete() {
    if (this.#told) return;
    this.#told = Date.now();
    this.#confirmed = true;
    this.tell({ step: 'received', ...this.#outcome });
  }

  /** The sender knows that all is here, or does not come back for it. */
  async #done() {
    Object.assign(this.record, { state: 'done', ticket: null });
    await this.store.save(this.record);
    return this.#outcome;
  }

  /** The sender has not got the receipt, and sends other contents now: what was whole is about to be replaced. */
  async #reopen() {
    this.#told = null;
    Object.assign(this.record, { state: 'active', outcome: null });
    await this.store.save(this.record);
  }

  async #meeting(conversation) {
    const seconds = this.greet(conversation);
    if (conversation.anew && this.record) this.tell({ step: 'forgotten' });
    const [offer, ...others] = await conversation.hear(seconds);
    if (!offer || others.length) throw new PeerMisbehaved('The other side began with something else than an offer.');
    if (offer.type === 'Abort') throw givenUp(offer, 'sender');
    if (offer.type === 'Goodbye' && this.#told) return;
    if (offer.type === 'Goodbye') throw new PeerMisbehaved('The sender says that all is complete, but it is not.');
    if (offer.pipe) {
      throw new PeerFailed('The sender sends the output of a pipe, which needs the program: a browser takes files.');
    }
    if (!this.record) await this.#question(conversation, offer);
    this.record.ticket = conversation.ticket;
    this.known.tickets = [conversation.ticket];
    await this.store.save(this.record); // before anything of the transfer is sent
    const arena = await Arena.open(this.store, this.record.id);
    try {
      await this.#receive(conversation, offer, arena);
    } finally {
      arena.close();
    }
    const [message] = await conversation.hear(GOODBYE_TIMEOUT); // nothing here depends on it
    conversation.consumed();
    if (message?.type !== 'Goodbye') throw new PeerFailed('The sender did not say goodbye.');
  }

  /** Let the person decide. */
  async #question(conversation, offer) {
    await conversation.tell({ type: 'Ask' });
    const [preview] = await conversation.hear(OFFER_TIMEOUT);
    if (preview?.type === 'Abort') throw givenUp(preview, 'sender');
    const entries = preview.entries.map(({ kind, depth, name, size }) => ({ kind, depth, name: shown(name), size }));
    const { files, size, counted, names } = preview;
    if (files > MOST_ENTRIES) throw new TooMany(MOST_ENTRIES);
    this.store.checkSize(size);
    const space = await this.store.space();
    const question = { files, size, counted, names, entries, space, program: shown(offer.program) };
    const answer = this.ask(question).then((yes) => ({ yes }));
    for (;;) {
      const hearing = conversation.hear(); // the sender may have a better count, or give up
      conversation.unread(hearing);
      const first = await Promise.race([answer, hearing]);
      if (first.yes === false) throw new Declined('You declined.');
      if (first.yes) break;
      conversation.hear().catch(() => {}); // this is the one that came
      for (const message of first) {
        if (message.type === 'Abort') throw givenUp(message, 'sender');
        if (message.type !== 'Total') continue;
        this.store.checkSize(message.size);
        this.tell({ step: 'counted', files: message.files, size: message.size });
      }
    }
    const id = crypto.randomUUID();
    await this.hold(id); // before another tab can see it
    this.record = { id, claim: this.known.claim, relay: this.place.relay, state: 'active', began: Date.now() };
  }

  async #receive(conversation, offer, arena) {
    const links = offer.links === 1 ? 1 : 2;
    const rate = links === 1 ? RATE_WITHOUT_ACKS : 0;
    const holds = arena.byPath.size > 0;
    const acks = await conversation.acks();
    await conversation.tell({ type: 'Accept', program: this.place.program, holds, links, rate });
    conversation.spread(links, acks);
    this.#started ??= performance.now();
    this.tell({ step: 'accepted', id: this.record.id });
    const consumer = new Consumer(conversation, arena, holds, this.tell);
    const beat = setInterval(() => consumer.heartbeat(), HEARTBEAT * 1000);
    try {
      while (!consumer.finish) {
        const messages = await conversation.hear();
        if (this.record.outcome && messages.some(({ type }) => REPLACING.has(type))) await this.#reopen();
        for (const message of messages) await consumer.act(message);
        conversation.consumed();
        await consumer.answer();
        if (arena.changed.size || arena.dropped.length) await arena.save();
      }
      const { receipt, outcome } = consumer.verify();
      await arena.saveAll();
      arena.close();
      outcome.seconds = (performance.now() - this.#started) / 1000;
      // After the receipt the sender forgets the transfer, so this side must know before that it has all.
      Object.assign(this.record, { state: 'whole', outcome });
      await this.store.save(this.record);
      this.#complete();
      await conversation.tell(receipt);
    } finally {
      clearInterval(beat);
    }
  }

}

/** An error of the browser's storage as one for people. */
function mended(error) {
  if (error instanceof DOMException && error.name === 'QuotaExceededError') {
    return new NoSpace('This browser has no more space for what is sent. Free some, or receive with the program.');
  }
  return error;
}

/** Acts on the messages of one conversation, in order, and makes the answers. */
class Consumer {
  #manifest = new Manifest();
  #answers = [];
  #told = 0;
  #named = new Set();
  #held = new Map(); // by entry number, until the sender has decided

  constructor(conversation, arena, holds, tell) {
    this.conversation = conversation;
    this.arena = arena;
    this.holds = holds;
    this.tell = tell;
    this.finish = null;
    this.files = 0;
    this.delivered = 0; // their bytes
    this.size = 0; // bytes that are here so far
    this.spared = 0; // of those, what was here before
    this.rejected = 0;
    this.failures = 0;
    this.problems = new Problems(tell);
    this.path = '';
  }

  act(message) {
    switch (message.type) {
      case 'Page':
        return this.#page(message.entries);
      case 'Data':
        return this.#data(message, message.data.length, (part) => part.write(message.data));
      case 'Hole':
        return this.#data(message, message.size, (part) => part.writeZeros(message.size));
      case 'FileEnd':
        return this.#end(message);
      case 'FileFail':
        return this.#fail(message);
      case 'Omitted':
        return this.#problem(message.path, message.reason);
      case 'Total':
        return this.tell({ step: 'total', files: message.files, size: message.size });
      case 'Finish':
        this.finish = message;
        return undefined;
      case 'Abort':
        throw givenUp(message, 'sender');
      default: // SegmentDigests and Kept: this side has not asked for any
        throw new PeerMisbehaved(`The other side sent ${message.type}, for which nobody asked.`);
    }
  }

  async #page(entries) {
    if (this.#named.size + entries.length > MOST_ENTRIES) throw new TooMany(MOST_ENTRIES);
    const items = this.#manifest.page(entries);
    const files = [];
    for (const item of items) {
      const { entry } = item;
      const path = item.path;
      this.#named.add(path);
      if (entry.kind === Kind.DIRECTORY) {
        this.arena.directory(path, entry);
      } else if (entry.kind === Kind.SYMLINK) {
        this.#reject(item, Reason.UNSUPPORTED);
      } else if (this.holds) {
        const held = await this.arena.held(path, entry.size);
        if (held) {
          this.#held.set(item.index, held);
          this.#manifest.countHeld(item, held.size);
          files.push({ index: item.index, ...held });
        }
      }
    }
    if (this.holds) this.#answers.push({ type: 'Holds', end: items.at(-1).index + 1, files, same: [], compare: [] });
  }

  #data({ index, offset }, size, write) {
    const item = this.#manifest.data(index, offset, size);
    let { part } = this.arena;
    if (offset === 0 || !part) part = this.#begin(item, offset);
    write(part);
    this.size += size;
  }

  #begin(item, offset) {
    this.path = item.path;
    this.#held.delete(item.index);
    if (offset === 0) return this.arena.begin(item.path, item.entry);
    this.size += offset;
    this.spared += offset;
    return this.arena.resume();
  }

  #end({ index, digest }) {
    const item = this.#manifest.end(index, digest);
    const held = this.#held.get(index);
    const { size } = item.entry;
    if (held && held.size === size) {
      this.#held.delete(index);
      this.#compare(item, held.digest, digest);
      // A part may be whole: its connection was lost before its end came.
      if (!this.arena.byPath.get(item.path).whole) this.arena.resume();
      this.size += size;
      this.spared += size;
    } else if (size === 0) {
      this.arena.begin(item.path, item.entry);
    }
    if (this.arena.part) {
      this.#compare(item, this.arena.part.digest.digest(), digest);
      this.arena.publish(digest);
    }
    this.files++;
    this.delivered += size;
    this.#manifest.done(item);
  }

  #compare(item, ours, theirs) {
    if (equal(ours, theirs)) return;
    throw new PeerMisbehaved(`'${shown(item.path)}' arrived with another digest than the sender computed.`);
  }

  #fail({ index, reason }) {
    const item = this.#manifest.fail(index);
    this.#held.delete(index);
    this.arena.drop(item.path);
    this.#problem(item.path, reason);
    this.#manifest.done(item);
  }

  #reject(item, reason) {
    this.rejected++;
    this.arena.drop(item.path); // there may be a file of an earlier conversation
    this.#manifest.skip(item);
    this.#problem(item.path, reason);
    this.#answers.push({ type: 'Reject', index: item.index, reason, path: item.path });
  }

  #problem(path, reason) {
    if (!isFailure(reason)) return;
    this.failures++;
    this.problems.add(path, reason);
  }

  /** Send what there is to answer, and now and then how much is here. */
  async answer() {
    this.arena.progress();
    const now = performance.now();
    if (now - this.#told > PROGRESS_INTERVAL * 1000 || this.finish) {
      this.#told = now;
      this.#answers.push(this.#progress());
      const { files, size, spared, path } = this;
      this.tell({ step: 'progress', files, size, spared, path: this.finish ? '' : shown(path) });
    }
    const answers = this.#answers;
    this.#answers = [];
    await this.conversation.tellAll(answers);
  }

  #progress() {
    return { type: 'Progress', files: this.files, size: this.size, records: this.conversation.heard };
  }

  /** Show the sender that this side is there, while nothing comes. */
  heartbeat() {
    if (!this.conversation.may('Progress')) return;
    if (performance.now() - this.#told >= HEARTBEAT * 1000) {
      this.conversation.tell(this.#progress()).catch(() => {}); // the next receive says why
    }
    this.conversation.endIfDead();
  }

  /** Compare what is here with the sender's sums; return the receipt, and what the person is told. */
  verify() {
    const root = this.#manifest.finish(this.finish);
    this.arena.keepOnly(this.#named);
    const { files, delivered: size, rejected, failures, problems } = this;
    return {
      receipt: { type: 'Receipt', files, size, rejected, skipped: 0, root },
      outcome: { files, size, failures, problems: problems.list, root: hex(root) },
    };
  }
}

