// The errors of a transfer, by whose side failed. Their messages are sentences for the person at the page.

export class TransferError extends Error {
  /**
   * @param {string} sentence what happened, on whose side, what to try
   * @param {{transient?: boolean}} [options] transient: trying again may help
   */
  constructor(sentence, { transient = false } = {}) {
    super(sentence);
    this.name = new.target.name;
    this.transient = transient;
  }
}

/** What was typed cannot be used. */
export class UsageError extends TransferError {}

/** The code has a typo; `suggestion` is the code that was probably meant, or null. */
export class CodeTypo extends UsageError {
  constructor(sentence, suggestion = null) {
    super(sentence);
    this.suggestion = suggestion;
  }
}

/** The relay refuses, or cannot be reached. `code` is its own word for why. */
export class RelayError extends TransferError {
  constructor(sentence, { transient = false, code = '', retryAfter = null } = {}) {
    super(sentence, { transient });
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/** The link was lost, or the other side left and may come back. */
export class Lost extends TransferError {
  constructor(sentence = 'The connection was lost.') {
    super(sentence, { transient: true });
  }
}

/** The two secrets differ, or somebody guesses: the code is used up. */
export class WrongCode extends TransferError {
  constructor(
    sentence = 'The codes differ, or someone else tried to guess yours. This code is used up: start both sides again with a new code.',
  ) {
    super(sentence);
  }
}

/** The other side speaks another version. */
export class IncompatiblePeer extends TransferError {}

/** The other side broke the protocol. */
export class PeerMisbehaved extends TransferError {}

/** The other side gave up and said why. */
export class PeerFailed extends TransferError {}

/** This side's user said no. */
export class Declined extends TransferError {}

/** There is no room for what comes. */
export class NoSpace extends TransferError {}
