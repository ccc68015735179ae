// Sentences for people: why an entry does not arrive, and why a side gave up.

import { Left, Lost, NoSpace, PeerFailed, PeerMisbehaved, TooMany, TransferError } from '../protocol/errors.js';
import { Reason } from '../protocol/messages.js';
import { shown } from '../protocol/names.js';

const SENTENCES = {
  [Reason.OTHER]: 'was not delivered',
  [Reason.VANISHED]: 'does not exist any more at the sender',
  [Reason.UNREADABLE]: 'cannot be read at the sender',
  [Reason.CHANGED]: 'changed while it was being sent',
  [Reason.SPECIAL]: 'is not a regular file, directory or symlink',
  [Reason.SYMLINK_OUTSIDE]: 'is a symlink that leads out of its tree',
  [Reason.NAME]: 'has a name that not all systems can store, or the same one as another',
  [Reason.TOO_DEEP]: 'lies too deep, or its path is too long',
  [Reason.EXISTS]: 'already exists at the receiver',
  [Reason.SKIPPED]: 'already exists at the receiver and was left as it is',
  [Reason.NOT_WRITABLE]: 'cannot be written at the receiver',
  [Reason.UNSUPPORTED]: 'is of a kind that the receiver cannot make, such as a symlink in a browser',
  [Reason.NOT_WANTED]: 'was not wanted by the receiver',
  [Reason.NO_SPACE]: "does not fit into the receiver's storage",
  [Reason.INTERRUPTED]: 'was interrupted',
  [Reason.TOO_MUCH]: 'is larger than the receiver takes',
  [Reason.EXCLUDED]: 'was left out, as asked',
  [Reason.ORIGINAL]: 'is another name of a file that was not delivered',
  [Reason.ITSELF]: 'is where the receiver writes',
  [Reason.OWN]: 'belongs to p2p-copy itself',
};

const AS_ASKED = new Set([Reason.SKIPPED, Reason.EXCLUDED, Reason.UNMADE]);

/** Whether something is missing that should be there. */
export const isFailure = (reason) => !AS_ASKED.has(reason);

const sentenceOf = (reason) => SENTENCES[reason] ?? SENTENCES[Reason.OTHER];

/** Entries that do not arrive and are told by name: the page shows no more. */
const MOST_PROBLEMS = 200;

/** Entries that do not arrive, as the person sees them. */
export class Problems {
  list = [];

  constructor(tell) {
    this.tell = tell;
  }

  add(path, reason) {
    const problem = { path: shown(path), why: sentenceOf(reason) };
    if (this.list.length < MOST_PROBLEMS) this.list.push(problem);
    this.tell({ step: 'problem', ...problem });
  }
}

/** The error that the other side's Abort is here. `who` is 'sender' or 'receiver'. */
export function givenUp({ reason, sentence }, who) {
  if (reason === Reason.INTERRUPTED) return new Lost(`The ${who} was stopped before the transfer was complete.`);
  if (reason === Reason.DECLINED) return new PeerFailed(`The ${who} was asked, and declined.`);
  if (reason === Reason.NOT_VERIFIED) {
    return new PeerFailed(`The ${who} did not confirm that both sides show the same words. Nothing was transferred.`);
  }
  return new PeerFailed(`The ${who} gave up: ${shown(sentence)}`);
}

/** What this side tells the other one about its own end: reason and sentence. */
export function farewell(error) {
  if (error instanceof NoSpace) return [Reason.NO_SPACE, 'its browser does not have enough space.'];
  if (error instanceof TooMany) {
    return [Reason.TOO_MUCH, `it is a browser, takes ${error.most} files and folders, and there are more.`];
  }
  if (error instanceof PeerMisbehaved) return [Reason.MISBEHAVED, `it refuses what it was sent. ${error.message}`];
  if (error instanceof TransferError && error.transient) return [Reason.INTERRUPTED, 'it comes back.'];
  if (error instanceof Left) return [Reason.OTHER, 'its page was closed, and a browser cannot go on then.'];
  if (error instanceof TransferError) return [Reason.OTHER, 'it cannot go on. Its own page says why.'];
  return [Reason.OTHER, 'it met an unexpected error.'];
}
