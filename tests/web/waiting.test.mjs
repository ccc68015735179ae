// How the page finds out that a connection is dead, which a browser does not tell: a socket and a clock that do as told.

import assert from 'node:assert/strict';
import { mock, test } from 'node:test';

const peer = '../../p2p_copy/web/src/peer';
const { Conversation } = await import(`${peer}/conversation.js`);
const { Link, pair } = await import(`${peer}/link.js`);

/** Let all promises that can go on do so. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

class Socket {
  static OPEN = 1;
  static made = [];
  readyState = 0;
  said = [];
  closed = null;

  constructor() {
    Socket.made.push(this);
  }

  async open() {
    this.readyState = 1;
    this.onopen?.();
    await settle();
  }

  async hear(fields) {
    this.onmessage({ data: JSON.stringify(fields) });
    await settle();
  }

  send(text) {
    this.said.push(JSON.parse(text));
  }

  close(code) {
    this.closed = code;
  }

  async lose(code) {
    this.onclose({ code });
    await settle();
  }
}

globalThis.WebSocket = Socket;

const WELCOME = { type: 'welcome', notice: '', again: 60 };

/** A side that waits at a relay, and its first connection. */
async function waiting(t) {
  mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  mock.method(Math, 'random', () => 0.5);
  t.after(() => (mock.timers.reset(), mock.restoreAll()));
  Socket.made = [];
  const place = { relay: 'wss://relay.example', room: 'room', role: 'sender', claim: 'c', program: 'p' };
  const outcome = { link: null, error: null };
  pair(place, { seconds: 3600 }).then((link) => (outcome.link = link), (error) => (outcome.error = error));
  await settle();
  const [first] = Socket.made;
  await first.open();
  await first.hear(WELCOME);
  return { first, outcome };
}

async function pass(seconds) {
  mock.timers.tick(seconds * 1000);
  await settle();
}

test('who waits dials again, and takes the new connection when it has settled', async (t) => {
  const { first, outcome } = await waiting(t);
  await pass(59);
  assert.equal(Socket.made.length, 1);
  await pass(1);
  const second = Socket.made[1];
  await second.open();
  assert.deepEqual(first.said[0].features, ['movement']);
  assert.deepEqual(second.said[0].features, ['movement', 'still-waiting']);
  assert.equal(second.said[0].claim, first.said[0].claim);
  await second.hear(WELCOME);
  await pass(4);
  assert.equal(first.closed, null);
  await pass(1);
  assert.equal(first.closed, 1000);
  await second.hear({ type: 'paired' });
  assert.ok(outcome.link);
});

test('a new connection that fails changes nothing, and another one is tried', async (t) => {
  const { first, outcome } = await waiting(t);
  await pass(60);
  await Socket.made[1].open();
  await Socket.made[1].hear({ type: 'refused', code: 'room-taken', reason: 'no' });
  await pass(60);
  await Socket.made[2].lose(1006);
  assert.equal(first.closed, null);
  await first.hear({ type: 'paired' });
  assert.ok(outcome.link);
});

test('the old connection may be closed by the relay, or paired, before the new one has settled', async (t) => {
  const { first, outcome } = await waiting(t);
  await pass(60);
  const second = Socket.made[1];
  await second.open();
  await second.hear(WELCOME);
  await first.lose(4005);
  await pass(60);
  const third = Socket.made[2];
  await third.open();
  await third.hear(WELCOME);
  await second.hear({ type: 'paired' });
  assert.equal(third.closed, 1000);
  assert.ok(outcome.link);
});

test('both connections may be lost', async (t) => {
  const { first, outcome } = await waiting(t);
  await pass(60);
  await first.lose(1006);
  assert.equal(outcome.error, null);
  await Socket.made[1].lose(1006);
  assert.ok(outcome.error.transient);
});

const SILENT = { type: 'movement', there: 'untaken', back: 'silent', answers: true };

test('a sender without acks ends a link of which nothing comes, unless the relay says that this is so', (t) => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  t.after(() => mock.timers.reset());
  for (const [reports, role, ends] of [[[], 'sender', true], [[SILENT], 'sender', false], [[], 'receiver', false]]) {
    const socket = new Socket();
    const link = new Link(socket);
    const conversation = new Conversation({ link, session: { send: new Uint8Array(32), receive: new Uint8Array(32) }, role });
    conversation.spread(1, null);
    link.flow = reports.at(-1) ?? null;
    mock.timers.tick(59_000);
    conversation.endIfDead();
    assert.equal(socket.closed, null);
    mock.timers.tick(2_000);
    conversation.endIfDead();
    assert.equal(socket.closed, ends ? 4010 : null);
  }
});
