// The table of which message each side may send when. Each side keeps both states, to check the other.
// docs/protocol.md section 6, "Order"; p2p_copy/protocol/state_machine.py is the reference.

const CONTENTS = ['Total', 'Page', 'SegmentDigests', 'Data', 'Hole', 'Kept', 'FileEnd', 'FileFail', 'Omitted'];
const ANSWERS = ['Reject', 'Unwanted', 'Holds', 'SameSegments', 'Progress'];

const each = (types, state) => Object.fromEntries(types.map((type) => [type, state]));

const SAYS = {
  sender: {
    new: { Offer: 'offered', Goodbye: 'closed', Abort: 'closed' },
    offered: { Abort: 'closed' },
    asked: { Preview: 'shown', Abort: 'closed' },
    shown: { Total: 'counted', Abort: 'closed' },
    counted: { Abort: 'closed' },
    sending: { ...each(CONTENTS, 'sending'), Finish: 'finished', Abort: 'closed' },
    finished: { Abort: 'closed' },
    receipted: { Goodbye: 'closed', Abort: 'closed' },
    closed: {},
  },
  receiver: {
    new: { Abort: 'closed' },
    offered: { Ask: 'looking', Accept: 'receiving', Abort: 'closed' },
    looking: { Abort: 'closed' },
    deciding: { Accept: 'receiving', Abort: 'closed' },
    receiving: { ...each(ANSWERS, 'receiving'), Abort: 'closed' },
    checking: { ...each(ANSWERS, 'checking'), Receipt: 'closed', Abort: 'closed' },
    closed: {},
  },
};

const HEARS = {
  sender: {
    offered: { Ask: 'asked', Accept: 'sending' },
    shown: { Accept: 'sending' },
    counted: { Accept: 'sending' },
    finished: { Receipt: 'receipted' },
  },
  receiver: {
    new: { Offer: 'offered' },
    looking: { Preview: 'deciding' },
    receiving: { Finish: 'checking' },
  },
};

const LAST = new Set(['Goodbye', 'Receipt', 'Abort']);

/** Whether its sender says nothing after this message: it ends a final record. */
export const isLast = (type) => LAST.has(type);

/** Both states of one conversation. */
export class States {
  constructor() {
    this.sender = 'new';
    this.receiver = 'new';
  }

  /** Whether `role` may say this now. */
  may(role, type) {
    return type in SAYS[role][this[role]];
  }

  /** Let `role` say something; return false, and change nothing, if it may not. */
  say(role, type) {
    const after = SAYS[role][this[role]][type];
    if (after === undefined) return false;
    const listener = role === 'sender' ? 'receiver' : 'sender';
    this[role] = after;
    this[listener] = HEARS[listener][this[listener]]?.[type] ?? this[listener];
    return true;
  }
}
