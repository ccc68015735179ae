// What both sides of a transfer have: whom they look for, where, and for how long.

import { Conversation } from '../peer/conversation.js';
import { Acquaintance, meet, newClaim, pauseAfterLoss } from '../peer/meet.js';

/** Seconds for which a side looks for the other one: the first time, and after a loss. */
export const WAIT = 3600;
const PATIENCE = 3600;

/** Seconds for what the other side says first, and for what its user has to decide before, or looks at. */
export const OFFER_TIMEOUT = 60;
export const USER_TIMEOUT = 3660;

/** Seconds between two looks at whether the link still carries anything. */
export const HEARTBEAT = 3;

/**
 * `tell` hears what happens, as objects with a `step`; `words` makes the two words to compare of a session's key; `typed`
 * says that a person has typed where the relay is.
 */
export class Side {
  constructor(role, { relay, code, program, words, tell, signal, token = null, typed = false }, kept = null) {
    this.known = new Acquaintance(code, kept?.ticket ?? null, kept?.claim ?? newClaim());
    this.place = { relay, role, program, token, typed };
    this.words = words;
    this.tell = tell;
    this.signal = signal;
  }

  /** Meet the other side within so many seconds; return the conversation with it. */
  async meet(seconds) {
    const met = await meet(this.known, this.place, { seconds, signal: this.signal, tell: this.tell });
    const conversation = new Conversation(met);
    conversation.link.onFlow = (flow) => this.tell({ step: 'flow', flow });
    return conversation;
  }

  /** Tell the person that both sides have met. Returns the seconds for the other side's first word. */
  greet({ session }) {
    const verifies = session.peerCapabilities.has('verify');
    this.tell({ step: 'paired', words: this.words(session.verify), verifies });
    return verifies ? USER_TIMEOUT : OFFER_TIMEOUT;
  }

  /** A connection was lost, `losses` times in a row before: pause. Returns the seconds for which to look for the other side. */
  async pause(failure, losses) {
    this.tell({ step: 'lost', why: failure.message });
    await pauseAfterLoss(losses, this.signal);
    return PATIENCE;
  }
}
