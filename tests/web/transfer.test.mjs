// The page's own parts of a transfer that need no browser.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';

const web = '../../p2p_copy/web';
const { Left, Lost, TooMany } = await import(`${web}/src/protocol/errors.js`);
const { Reason } = await import(`${web}/src/protocol/messages.js`);
const { Link } = await import(`${web}/src/peer/link.js`);
const { arrange } = await import(`${web}/src/transfer/outgoing.js`);
const { farewell } = await import(`${web}/src/transfer/reasons.js`);
const { saveInto } = await import(`${web}/src/transfer/save.js`);
const { duration } = await import(`${web}/src/page/format.js`);
const { waitsFor } = await import(`${web}/src/page/stall.js`);

const modules = existsSync(new URL(`${web}/node_modules`, import.meta.url)) ? false : 'npm packages are missing';
const chosen = (...paths) => paths.map((path) => ({ path: path.split('/'), file: new File([path], path) }));
const omitted = (found) => found.omitted.map(({ path, reason, directory }) => [path, reason, directory]);

test('of two files with one name the first is sent, and the other one is told', async () => {
  const found = arrange(chosen('a/one', 'a/two', 'a/one'));
  assert.deepEqual(found.entries.map(({ path }) => path), ['a', 'a/one', 'a/two']);
  assert.deepEqual(omitted(found), [['a/one', Reason.NAME, false]]);
});

test('a folder is sent rather than a file of its name, which is told', () => {
  for (const paths of [['a', 'a/b'], ['a/b', 'a']]) {
    const found = arrange(chosen(...paths));
    assert.deepEqual(found.entries.map(({ path }) => path), ['a', 'a/b']);
    assert.deepEqual(omitted(found), [['a', Reason.NAME, false]]);
  }
});

test('a receiver that leaves comes back, and a sender does not', () => {
  assert.equal(farewell(new Left({ transient: true }))[0], Reason.INTERRUPTED);
  assert.equal(farewell(new Left({ transient: false }))[0], Reason.OTHER);
  assert.equal(farewell(new TooMany(500_000))[0], Reason.TOO_MUCH);
});

test('a link ends before what nobody takes fills the memory', async () => {
  const closed = [];
  const socket = { close: (code) => closed.push(code) };
  const link = new Link(socket);
  link.most = 3000;
  const come = () => socket.onmessage({ data: new ArrayBuffer(1000) });
  for (let count = 0; count < 100; count++) {
    come();
    assert.equal((await link.receive()).length, 1000); // what is taken does not count
  }
  come();
  come();
  assert.deepEqual(closed, []);
  come();
  assert.equal(closed.length, 1);
  come();
  assert.equal(link.waiting, false);
  await assert.rejects(link.receive(), Lost);
});

test('empty messages fill the memory, too', () => {
  let closed = false;
  const socket = { close: () => (closed = true) };
  const link = new Link(socket);
  link.most = 10_000;
  for (let count = 0; count < 100; count++) socket.onmessage({ data: '' });
  assert.ok(closed);
});

test('there may be more entries than a call takes arguments', { skip: modules }, async () => {
  const { farthest } = await import(`${web}/src/transfer/store.js`);
  const entries = Array.from({ length: 500_000 }, (_, number) => ({ number }));
  assert.equal(farthest(entries, ({ number }) => number), 499_999);
  assert.equal(farthest([], ({ number }) => number), 0);
});

/** An error as a browser gives it. */
const error = (name) => Object.assign(new Error('no'), { name });

/**
 * A folder that a person has chosen. No program can choose one without a person, and folders that a page makes itself take
 * every name; so this one refuses what Chromium refuses in a chosen one.
 */
class Folder {
  constructor(children = {}) {
    this.children = new Map(Object.entries(children));
  }

  async #child(name, create, Type) {
    if (name.endsWith('.lnk')) throw error('TypeError');
    if (!this.children.has(name) && !create) throw error('NotFoundError');
    if (!this.children.has(name)) this.children.set(name, new Type());
    const child = this.children.get(name);
    if (!(child instanceof Type)) throw error('TypeMismatchError');
    return child;
  }

  getDirectoryHandle(name, { create = false } = {}) {
    return this.#child(name, create, Folder);
  }

  getFileHandle(name, { create = false } = {}) {
    return this.#child(name, create, Saved);
  }

  async removeEntry(name) {
    this.children.delete(name);
  }

  /** What is in it, by paths. */
  get all() {
    return Object.fromEntries(
      [...this.children].flatMap(([name, child]) =>
        child instanceof Saved ? [[name, child.text]] : [[`${name}/`, ''], ...Object.entries(child.all).map(([path, text]) => [`${name}/${path}`, text])],
      ),
    );
  }
}

class Saved {
  text = '';

  async createWritable() {
    let text = '';
    const close = () => {
      if (text === 'dangerous') throw error('AbortError'); // found when it is whole
      if (text === 'too large') throw error('QuotaExceededError');
      this.text = text;
    };
    return new WritableStream({ write: (data) => void (text += new TextDecoder().decode(data)), close });
  }
}

const received = (texts) => ({
  entries: Object.keys(texts).map((path) => ({ path: path.replace(/\/$/, ''), kind: path.endsWith('/') ? 1 : 2 })),
  contents: ({ path }) => new Blob([texts[path]]),
});

test('what is saved replaces nothing, and gets a number', async () => {
  const folder = new Folder({ tree: new Folder(), 'a.txt': new Saved() });
  const told = [];
  const outcome = await saveInto(folder, received({ 'tree/': '', 'tree/b': 'B', 'a.txt': 'A' }), (count) => told.push(count));
  assert.deepEqual(outcome, { names: ['tree (2)', 'a (2).txt'], refused: [] });
  assert.deepEqual(folder.all, { 'tree/': '', 'a.txt': '', 'tree (2)/': '', 'tree (2)/b': 'B', 'a (2).txt': 'A' });
  assert.deepEqual(told, [1, 2, 3]);
});

test('what the browser refuses to save is told, and all else is saved', async () => {
  const folder = new Folder();
  const texts = { 'tree/': '', 'tree/x.lnk': '1', 'tree/tool': 'dangerous', 'tree/d.lnk/': '', 'tree/d.lnk/in': '2', 'tree/z': 'Z', 'top.lnk': '3' };
  const { names, refused } = await saveInto(folder, received(texts), () => {});
  assert.deepEqual(names, ['tree']);
  assert.deepEqual(refused, ['tree/x.lnk', 'tree/tool', 'tree/d.lnk', 'top.lnk']);
  assert.deepEqual(folder.all, { 'tree/': '', 'tree/z': 'Z' });
});

test('a folder that takes no more ends the saving with a sentence', async () => {
  const saving = saveInto(new Folder(), received({ a: 'A', b: 'too large', c: 'C' }), () => {});
  await assert.rejects(saving, { name: 'NotSaved', message: /folder cannot be written/ });
});

test('a time never has sixty minutes', () => {
  assert.equal(duration(59), '59 s');
  assert.equal(duration(3599), '59 min 59 s');
  assert.equal(duration(2 * 3600 - 1), '1 h 59 min');
});

test('a stall names the party that the relay reports, and blames nobody without a report', () => {
  const flow = (there, back, answers = true) => ({ there, back, answers });
  const cases = [
    ['receiver', null, /sender, its connection to the relay, or yours/],
    ['receiver', flow('moves', 'silent'), /comes from the sender/],
    ['receiver', flow('moves', 'silent', false), /sender's machine does not answer/],
    ['receiver', flow('silent', 'untaken'), /your connection does not take/],
    ['receiver', flow('silent', 'limited'), /limit of the relay/],
    ['receiver', flow('silent', 'moves'), /your connection to it, delivers nothing/],
    ['sender', null, /your own connection/],
    ['sender', flow('silent', 'moves'), /yours comes to the relay/],
    ['sender', flow('untaken', 'moves'), /receiver does not read/],
    ['sender', flow('untaken', 'moves', false), /receiver's machine does not answer/],
    ['sender', flow('moves', 'silent'), /your connection to it, takes nothing/],
  ];
  for (const [role, report, expected] of cases) assert.match(waitsFor(role, report), expected);
});
