// The errors of a transfer, by whose side failed. Their messages are sentences for the person at the page.

export class TransferError extends Error {
  static kind = 'TransferError';

  /**
   * @param {string} sentence what happened, on whose side, what to try
   * @param {{transient?: boolean}} [options] transient: trying again may help
   */
  constructor(sentence, { transient = false } = {}) {
    super(sentence);
    this.name = new.target.kind; // not that of the class, which is shortened in the built page
    this.transient = transient;
  }
}

/** What was typed cannot be used. */
export class UsageError extends TransferError {
  static kind = 'UsageError';
}

/** The code has a typo; `suggestion` is the code that was probably meant, or null. */
export class CodeTypo extends UsageError {
  static kind = 'CodeTypo';

  constructor(sentence, suggestion = null) {
    super(sentence);
    this.suggestion = suggestion;
  }
}

/** The relay refuses, or cannot be reached. `code` is its own word for why. */
export class RelayError extends TransferError {
  static kind = 'RelayError';

  constructor(sentence, { transient = false, code = '', retryAfter = null } = {}) {
    super(sentence, { transient });
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/** The relay cannot be reached, or refuses before it says anything: a browser does not tell which. */
export class NotReached extends TransferError {
  static kind = 'NotReached';
}

/** The link was lost, or the other side left and may come back. */
export class Lost extends TransferError {
  static kind = 'Lost';

  constructor(sentence = 'The connection was lost.') {
    super(sentence, { transient: true });
  }
}

/** The two secrets differ, or somebody guesses: the code is used up. */
export class WrongCode extends TransferError {
  static kind = 'WrongCode';

  constructor(
    sentence = 'The codes differ, or someone else tried to guess yours. This code is used up: start both sides again with a new code.',
  ) {
    super(sentence);
  }
}

/** The other side speaks another version. */
export class IncompatiblePeer extends TransferError {
  static kind = 'IncompatiblePeer';
}

/** The other side broke the protocol. */
export class PeerMisbehaved extends TransferError {
  static kind = 'PeerMisbehaved';
}

/** The other side gave up and said why. */
export class PeerFailed extends TransferError {
  static kind = 'PeerFailed';
}

/** This side's user said no. */
export class Declined extends TransferError {
  static kind = 'Declined';
}

/** The page was closed or is loaded again. A receiver goes on later, a sender cannot. */
export class Left extends TransferError {
  static kind = 'Left';

  constructor({ transient }) {
    super('The page was closed.', { transient });
  }
}

/** There is more than a browser takes. */
export class TooMany extends TransferError {
  static kind = 'TooMany';

  constructor(most) {
    const number = most.toLocaleString('en');
    super(`A browser takes ${number} files and folders, and there are more. Receive them with the program, or as one archive.`);
    this.most = number;
  }
}

/** There is no room for what comes. */
export class NoSpace extends TransferError {
  static kind = 'NoSpace';
}
