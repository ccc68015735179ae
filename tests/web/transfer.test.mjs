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
