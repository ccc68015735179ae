// Which party a transfer waits for when nothing moves, as a sentence.

/**
 * @param {'sender'|'receiver'} role of this side
 * @param {{there: string, back: string, answers: boolean}|null} flow the relay's last report (docs/protocol.md section 3),
 * null if there is none since a record came
 */
export function waitsFor(role, flow) {
  return `Nothing moves. ${role === 'receiver' ? sender(flow) : receiver(flow)}`;
}

/** A relay can report only between two records, and a browser does not tell that it has a part of one. */
function sender(flow) {
  if (flow === null) return 'The sender, its connection to the relay, or yours delivers nothing.';
  if (!flow.answers) return "The sender's machine does not answer.";
  return REPORTED[flow.back]?.receiver ?? 'The relay, or your connection to it, delivers nothing.';
}

function receiver(flow) {
  if (flow === null) return 'The relay reports nothing: your own connection may be slow or gone.';
  if (!flow.answers) return "The receiver's machine does not answer.";
  return REPORTED[flow.there]?.sender ?? 'The relay, or your connection to it, takes nothing.';
}

/** What the relay says of the direction of the contents, for each side. */
const REPORTED = {
  silent: { receiver: 'Nothing comes from the sender.', sender: 'Nothing of yours comes to the relay.' },
  untaken: {
    receiver: 'The relay has data for you that your connection does not take.',
    sender: 'The receiver does not read what is there for it.',
  },
  limited: {
    receiver: "A limit of the relay's delays it.",
    sender: "A limit of the relay's delays it.",
  },
};
