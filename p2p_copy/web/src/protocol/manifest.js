// Checks what a sender says of a tree: its entries, their contents in order, and the sums at the end.
//
// A page is checked whole before anything in it is acted upon. Memory is bounded: entries from the first one on that is
// not done (`MAX_OPEN_ENTRIES`), and the names in the directories from the top to the last entry.

import { equal, utf8 } from './bytes.js';
import { RootDigest } from './digest.js';
import { PeerMisbehaved } from './errors.js';
import * as limits from './limits.js';
import { Kind } from './messages.js';
import * as names from './names.js';

/** Names in open directories, all together. A browser keeps them whole, so it takes fewer than the protocol allows. */
const MAX_OPEN_NAMES = 1_000_000;

/** One announced entry. `refused`: this side does not take it, nor anything in it. */
class Item {
  constructor(index, parent, entry) {
    this.index = index;
    this.parent = parent;
    this.entry = entry;
    this.refused = parent?.refused ?? false;
    this.done = entry.kind !== Kind.FILE;
    this.digest = null;
    this.received = 0;
    this.held = 0; // bytes that are here already, after which the sender may go on
  }

  get path() {
    return this.parent ? `${this.parent.path}/${this.entry.name}` : this.entry.name;
  }
}

export class Manifest {
  #top = new Set();
  #levels = [];
  #openNames = 0;
  #underWay = [];
  #first = 0;
  #count = 0;
  #current = null;
  #root = new RootDigest();
  #failed = 0;

  constructor() {
    this.files = 0; // that ended whole
    this.size = 0; // of those
    this.owed = 0; // bytes announced that have not come
  }

  /** Check a page and return its items. */
  page(entries) {
    this.#advance();
    if (this.#underWay.length + entries.length > limits.MAX_OPEN_ENTRIES) {
      throw new PeerMisbehaved('The other side announces more files than it sends.');
    }
    const items = entries.map((entry) => this.#enter(entry));
    this.#underWay.push(...items);
    return items;
  }

  #enter(entry) {
    const levels = this.#levels;
    if (entry.depth > levels.length || entry.depth >= limits.MAX_DEPTH) {
      throw new PeerMisbehaved('The other side names something in a directory that it never named.');
    }
    while (levels.length > entry.depth) this.#openNames -= levels.pop().seen.size;
    const above = levels.at(-1) ?? null;
    const pathBytes = this.#check(entry, above);
    const item = new Item(this.#count++, above?.item ?? null, entry);
    if (entry.kind === Kind.DIRECTORY) levels.push({ item, pathBytes, seen: new Set() });
    if (entry.kind === Kind.FILE) this.owed += entry.size;
    if (!Number.isSafeInteger(this.owed)) {
      throw new PeerMisbehaved('The other side announces more bytes than any file system takes.');
    }
    return item;
  }

  #check(entry, above) {
    const name = names.shown(entry.name).slice(0, limits.MAX_NAME);
    let refusal = names.refusal(entry.name);
    if (refusal === null && entry.kind === Kind.SYMLINK) {
      refusal = names.symlinkTargetRefusal(entry.target, entry.depth);
    }
    if (refusal !== null) throw new PeerMisbehaved(`The other side names '${name}', which is refused: ${refusal}.`);
    if (entry.target && entry.kind !== Kind.SYMLINK) {
      throw new PeerMisbehaved(`The other side gives '${name}' a target, but it is not a symlink.`);
    }
    if (entry.size && entry.kind !== Kind.FILE) {
      throw new PeerMisbehaved(`The other side gives '${name}' a size that it cannot have.`);
    }
    const seen = above ? above.seen : this.#top;
    const key = names.collisionKey(entry.name);
    if (seen.has(key)) {
      throw new PeerMisbehaved(`The other side names '${name}' twice, or two names that some systems take for one.`);
    }
    seen.add(key);
    if (++this.#openNames > MAX_OPEN_NAMES) {
      throw new PeerMisbehaved('The other side names more things in one directory than a browser takes.');
    }
    const pathBytes = utf8(entry.name).length + (above ? above.pathBytes + 1 : 0);
    if (pathBytes > limits.MAX_PATH) throw new PeerMisbehaved('The other side names a path that is too long.');
    return pathBytes;
  }

  /** Record that the first `size` bytes of a file are here already. */
  countHeld(item, size) {
    item.held = size;
    this.owed -= size;
  }

  /** Record that nothing of a refused entry is wanted. */
  skip(item) {
    item.refused = true;
    if (item.entry.kind === Kind.FILE) this.countHeld(item, item.entry.size);
  }

  #begin(item, at) {
    if (item.held && !item.received) {
      if (at === item.held && !item.refused) item.received = at;
      else this.owed += item.held;
      item.held = 0;
    }
  }

  /** Check the next `size` bytes of a file and return its item. */
  data(index, offset, size) {
    const item = this.file(index);
    this.#begin(item, offset);
    if (offset !== item.received || size > item.entry.size - item.received) {
      throw new PeerMisbehaved('The other side sent bytes that do not fit into their file.');
    }
    this.#current = item;
    item.received += size;
    this.owed -= size;
    return item;
  }

  /** Check the end of a file, set its digest, and return its item. */
  end(index, digest) {
    const item = this.file(index);
    this.#begin(item, item.entry.size);
    if (item.received !== item.entry.size) {
      throw new PeerMisbehaved('The other side ended a file before all of it was sent.');
    }
    item.digest = digest;
    this.files++;
    this.size += item.entry.size;
    return item;
  }

  /** Return the item of a file that the sender could not send. */
  fail(index) {
    const item = this.file(index);
    this.#begin(item, 0);
    this.owed -= item.entry.size - item.received;
    if (!item.refused) this.#failed++;
    return item;
  }

  /** Return the file of which a message may speak now. */
  file(index) {
    const item = this.#underWay[index - this.#first];
    if (!item || item.done || item.digest) {
      throw new PeerMisbehaved('The other side sent something about a file that is not under way.');
    }
    if (this.#current && this.#current !== item) {
      throw new PeerMisbehaved('The other side mixes the contents of two files.');
    }
    return item;
  }

  /** Record that this side has finished with a file. */
  done(item) {
    item.done = true;
    if (this.#current === item) this.#current = null;
    this.#advance();
  }

  #advance() {
    let done = 0;
    for (; done < this.#underWay.length && this.#underWay[done].done; done++) {
      this.#root.add(this.#underWay[done].entry, this.#underWay[done].digest);
    }
    this.#underWay.splice(0, done);
    this.#first += done;
  }

  /** Check that all that was announced is complete and the sums agree; return the root digest. */
  finish(message) {
    this.#advance();
    const root = this.#root.digest();
    const agree =
      !this.#underWay.length &&
      message.entries === this.#count &&
      message.files === this.files &&
      message.size === this.size &&
      equal(message.root, root);
    if (!agree) throw new PeerMisbehaved('The other side says that everything was sent, but the sums differ.');
    if (message.failures < this.#failed) {
      throw new PeerMisbehaved('The other side counts fewer failures than it has reported.');
    }
    return root;
  }
}
