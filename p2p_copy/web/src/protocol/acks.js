// The acks of a conversation that may have several links: docs/protocol.md section 5. This side has one link, and asks
// for a second only because acks bound what the other side sends ahead: a browser stores without limit otherwise.
//
//   type 2 | link | links | received u64 | consumed u64 | HMAC-SHA-256 of all before

import { concat, equal, Reader, u64, u8 } from './bytes.js';
import { PeerMisbehaved } from './errors.js';
import * as keys from './keys.js';

const ACK = 2;
const FIELDS = 19;

export const isAck = (message) => message[0] === ACK;

export class AckCodec {
  constructor(ours, theirs) {
    this.ours = ours;
    this.theirs = theirs;
  }

  static async of(role, links) {
    const sender = await keys.ackSender(links);
    const receiver = await keys.ackReceiver(links);
    return role === 'sender' ? new AckCodec(sender, receiver) : new AckCodec(receiver, sender);
  }

  /** An ack over link 0. Everything that has come was acted upon, as far as `consumed`. */
  async write(received, consumed) {
    const fields = concat(u8(ACK, 0, 1), u64(received, consumed));
    return concat(fields, await keys.hmac(this.ours, fields));
  }

  async read(message) {
    const fields = message.subarray(0, FIELDS);
    const reader = new Reader(fields);
    const genuine = equal(message.subarray(FIELDS), await keys.hmac(this.theirs, fields));
    reader.u8();
    if (!genuine || reader.u8() !== 0) {
      throw new PeerMisbehaved('An ack was changed on its way, or is not from the other side.');
    }
    reader.u8();
    const received = reader.u64();
    const consumed = reader.u64();
    if (consumed > received) throw new PeerMisbehaved('The other side acknowledges what it has not received.');
    return { received, consumed };
  }
}
