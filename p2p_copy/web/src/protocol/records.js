// Seals records and opens them, each once and in order: docs/protocol.md section 5.
//
//   type 1 | flags | reserved u16 | content size u32 | number u64 | ciphertext | tag[16]
//
// This side never compresses, and does not say that it opens compressed records.

import { concat } from './bytes.js';
import { PeerMisbehaved } from './errors.js';
import * as keys from './keys.js';
import * as limits from './limits.js';

const RECORD = 1;
const FINAL = 1;
const OVERHEAD = limits.RECORD_HEADER + limits.RECORD_TAG;

/** The number in a record's header, which is authentic only once the record is opened. */
export function numberOf(record) {
  if (record.length < OVERHEAD || record.length > OVERHEAD + limits.MAX_RECORD_CONTENT || record[0] !== RECORD) {
    throw new PeerMisbehaved('The other side sent something that is not a record.');
  }
  return Number(new DataView(record.buffer, record.byteOffset).getBigUint64(8));
}

class Cipher {
  constructor(key, { rekeyRecords = limits.REKEY_RECORDS, rekeyBytes = limits.REKEY_BYTES } = {}) {
    this.rekeyRecords = rekeyRecords;
    this.rekeyBytes = rekeyBytes;
    this.number = 0;
    this.#use(key);
  }

  #use(key) {
    this.key = key;
    this.handle = crypto.subtle.importKey('raw', key, 'AES-GCM', false, ['encrypt', 'decrypt']);
    this.records = 0;
    this.bytes = 0;
  }

  parameters(header) {
    const iv = new Uint8Array(12);
    new DataView(iv.buffer).setBigUint64(4, BigInt(this.number));
    return { name: 'AES-GCM', iv, additionalData: header, tagLength: 128 };
  }

  async advance(size) {
    this.number++;
    this.records++;
    this.bytes += size;
    if (this.records >= this.rekeyRecords || this.bytes >= this.rekeyBytes) {
      this.#use(await keys.nextKey(this.key));
    }
  }
}

/** Makes one side's records. Calls must not overlap. */
export class Sealer {
  constructor(key, options) {
    this.cipher = new Cipher(key, options);
  }

  /** How many records were made. */
  get made() {
    return this.cipher.number;
  }

  async seal(content, final = false) {
    const header = new Uint8Array(limits.RECORD_HEADER);
    const view = new DataView(header.buffer);
    header[0] = RECORD;
    header[1] = final ? FINAL : 0;
    view.setUint32(4, content.length);
    view.setBigUint64(8, BigInt(this.cipher.number));
    const parameters = this.cipher.parameters(header);
    const sealed = await crypto.subtle.encrypt(parameters, await this.cipher.handle, content);
    await this.cipher.advance(content.length);
    return concat(header, new Uint8Array(sealed));
  }
}

/** Opens the other side's records. Calls must not overlap. Throws `PeerMisbehaved` at the first bad one. */
export class Opener {
  constructor(key, options) {
    this.cipher = new Cipher(key, options);
    this.over = false;
  }

  /** How many records were opened. */
  get heard() {
    return this.cipher.number;
  }

  async open(record) {
    const number = numberOf(record);
    const view = new DataView(record.buffer, record.byteOffset);
    const flags = record[1];
    const size = view.getUint32(4);
    if (this.over) throw new PeerMisbehaved('The other side sent a record after its last one.');
    if (flags > FINAL || view.getUint16(2) || size !== record.length - OVERHEAD) {
      throw new PeerMisbehaved('The other side sent a record that is not well formed.');
    }
    if (number !== this.cipher.number) {
      throw new PeerMisbehaved('A record was lost, repeated or put in another order on its way.');
    }
    const header = record.slice(0, limits.RECORD_HEADER);
    let content;
    try {
      content = await crypto.subtle.decrypt(
        this.cipher.parameters(header),
        await this.cipher.handle,
        record.subarray(limits.RECORD_HEADER),
      );
    } catch {
      throw new PeerMisbehaved('A record was changed on its way, or is not from the other side.');
    }
    await this.cipher.advance(size);
    this.over = flags === FINAL;
    return { content: new Uint8Array(content), final: this.over };
  }
}
