// The protocol in the page against the vectors, and against what the reference implementation in Python says of the
// same cases, which test_protocol.py writes into the file that P2P_COPY_CASES names.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

const source = '../../p2p_copy/web/src/protocol';
const { hex, Reader, unhex, utf8 } = await import(`${source}/bytes.js`);
const cpace = await import(`${source}/cpace.js`);
const keys = await import(`${source}/keys.js`);
const limits = await import(`${source}/limits.js`);
const names = await import(`${source}/names.js`);
const { Codes, edits } = await import(`${source}/code.js`);
const { CodeTypo, PeerMisbehaved, UsageError, WrongCode } = await import(`${source}/errors.js`);
const { HandshakeFailed, ReceiverHandshake, SenderHandshake } = await import(`${source}/key_exchange.js`);
const { Opener, Sealer } = await import(`${source}/records.js`);
const { AckCodec } = await import(`${source}/acks.js`);
const { decode, encode } = await import(`${source}/messages.js`);
const { States } = await import(`${source}/state_machine.js`);

const vectors = (name) => JSON.parse(readFileSync(new URL(`../vectors/${name}.json`, import.meta.url), 'utf8'));
const cases = JSON.parse(readFileSync(process.env.P2P_COPY_CASES, 'utf8'));
const codes = new Codes(cases.words);

test('the numbers are those of the reference', () => {
  for (const [name, number] of Object.entries(limits)) assert.equal(number, cases.limits[name], name);
});

test('CPace gives the published vectors', async () => {
  const given = vectors('cpace_x25519');
  for (const { data, result } of given.prepend_len) assert.equal(hex(cpace.prependLength(unhex(data))), result);
  for (const { parts, result } of given.lv_cat) assert.equal(hex(cpace.lvCat(...parts.map(unhex))), result);
  const run = Object.fromEntries(Object.entries(given.run).map(([name, digits]) => [name, unhex(digits)]));
  assert.deepEqual(cpace.generatorString(run.PRS, run.CI, run.sid), run.generator_string);
  assert.deepEqual(await cpace.calculateGenerator(run.PRS, run.CI, run.sid), run.g);
  assert.deepEqual(await cpace.scalarMult(await cpace.scalarOf(run.ya), run.g), run.Ya);
  assert.deepEqual(await cpace.scalarMult(await cpace.scalarOf(run.yb), run.Ya), run.K);
  assert.deepEqual(await cpace.isk(run.sid, run.K, run.Ya, run.ADa, run.Yb, run.ADb), run.ISK_IR);
  const scalar = await cpace.scalarOf(unhex(given.scalar_mult_vfy.s));
  for (const { name, u, q, must_abort: mustAbort } of given.scalar_mult_vfy.points) {
    const product = cpace.scalarMult(scalar, unhex(u));
    if (mustAbort) await assert.rejects(product, WrongCode, name);
    else assert.equal(hex(await product), q, name);
  }
});

async function exchange(given, secret = given.secret, receiverSecret = secret) {
  const room = await keys.roomId(given.room);
  const side = async (Side, fixed, text) =>
    new Side(text, room, fixed.capabilities, {
      nonce: unhex(fixed.nonce),
      scalar: await cpace.scalarOf(unhex(fixed.scalar)),
      opening: await keys.opening(unhex(fixed.scalar)),
    });
  const sender = await side(SenderHandshake, given.sender, secret);
  const receiver = await side(ReceiverHandshake, given.receiver, receiverSecret);
  await sender.start();
  const said = [await receiver.start()];
  said.push(await sender.receive(said[0]));
  said.push(await receiver.receive(said[1]));
  return { sender, receiver, said };
}

test('a whole key exchange is that of the vectors', async () => {
  const { given, expected } = vectors('handshake');
  const { sender, receiver, said } = await exchange(given);
  said.push(await sender.receive(said[2]));
  assert.equal(await receiver.receive(said[3]), null);
  assert.deepEqual(
    said.map(hex),
    ['M1', 'M2', 'M3', 'M4'].map((name) => expected[name]),
  );
  assert.deepEqual(sender.keys.send, receiver.keys.receive);
  assert.deepEqual(sender.keys.receive, receiver.keys.send);
  const ours = { ...receiver.keys, s2r: sender.keys.send, r2s: sender.keys.receive };
  for (const [name, value] of Object.entries(expected.keys)) assert.equal(hex(ours[name]), value, name);
  const words = keys.verificationNumbers(receiver.keys.verify, cases.words.length);
  assert.deepEqual(
    words.map((number) => cases.words[number]),
    expected.words,
  );
});

test('another secret ends the exchange, and costs the code on both sides', async () => {
  const { given } = vectors('handshake');
  const { sender, receiver, said } = await exchange(given, 'one secret here', 'another secret');
  const wrong = await sender.receive(said[2]).catch((error) => error);
  assert.ok(wrong instanceof HandshakeFailed && wrong.error instanceof WrongCode);
  assert.deepEqual([...wrong.farewell], [0x8f, 1]);
  assert.ok(receiver.atRisk);
  const heard = await receiver.receive(wrong.farewell).catch((error) => error);
  assert.ok(heard.error instanceof WrongCode);
  assert.equal(heard.farewell, null);
});

test('records are those of the vectors, and open once and in order', async () => {
  const { key, rekey_records: rekeyRecords, rekey_bytes: rekeyBytes, records } = vectors('records');
  const opener = new Opener(unhex(key), { rekeyRecords, rekeyBytes });
  const sealer = new Sealer(unhex(key), { rekeyRecords, rekeyBytes });
  let plain = 0;
  for (const { content, final, record, zstd } of records) {
    const sealed = await sealer.seal(unhex(content), final);
    if (zstd) {
      await assert.rejects(opener.open(unhex(record)), PeerMisbehaved); // this side never said that it opens these
    } else {
      assert.equal(hex(sealed), record);
      plain++;
    }
    assert.equal(hex((await opener.open(sealed)).content), content);
    await assert.rejects(opener.open(sealed), PeerMisbehaved);
  }
  assert.ok(plain > 1);
});

test('a record that was changed anywhere does not open', async () => {
  const key = new Uint8Array(32).fill(7);
  const record = await new Sealer(key).seal(utf8('content'));
  for (let at = 0; at < record.length; at++) {
    const changed = record.slice();
    changed[at] ^= 1;
    await assert.rejects(new Opener(key).open(changed), PeerMisbehaved, `byte ${at}`);
  }
});

test('acks are those of the reference', async () => {
  const { links, ack, received, consumed } = cases.acks;
  const ours = await AckCodec.of('receiver', unhex(links));
  const theirs = await AckCodec.of('sender', unhex(links));
  assert.equal(hex(await ours.write(received, consumed)), ack);
  assert.deepEqual(await theirs.read(unhex(ack)), { received, consumed });
  await assert.rejects(ours.read(unhex(ack)), PeerMisbehaved);
});

test('messages are read as the reference writes them', () => {
  const plain = (message) =>
    JSON.parse(
      JSON.stringify(message, (name, value) => {
        if (name === 'raw') return undefined;
        if (value instanceof Uint8Array) return hex(value);
        return typeof value === 'bigint' ? Number(value) : value;
      }),
    );
  for (const { content, message } of cases.messages) assert.deepEqual(plain(decode(unhex(content))), [message]);
});

test('messages that this side sends are those of the reference', () => {
  for (const { content, encodes } of cases.messages) {
    const [message] = decode(unhex(content));
    if (encodes) assert.equal(hex(encode(message)), content, message.type);
  }
});

test('what is no message is refused, as the reference does', () => {
  for (const content of cases.malformed) assert.throws(() => decode(unhex(content)), PeerMisbehaved, content);
});

test('the table of who may say what is that of the reference', () => {
  for (const { role, sender, receiver, type, after } of cases.table) {
    const states = Object.assign(new States(), { sender, receiver });
    assert.equal(states.may(role, type), after !== null);
    assert.equal(states.say(role, type), after !== null, `${role} ${type} ${sender} ${receiver}`);
    assert.deepEqual([states.sender, states.receiver], after ?? [sender, receiver]);
  }
});

test('names are refused where the reference refuses them', () => {
  for (const [name, refused] of cases.names) assert.equal(names.refusal(name) !== null, refused, JSON.stringify(name));
  for (const [target, depth, refused] of cases.targets) {
    assert.equal(names.symlinkTargetRefusal(target, depth) !== null, refused, `${target} ${depth}`);
  }
});

test('names are the same for this side where they are for the reference', () => {
  for (const [one, other, same] of cases.collisions) {
    const found = names.collisionKey(one) === names.collisionKey(other);
    assert.equal(found, same, JSON.stringify([one, other]));
  }
});

test('what is shown has nothing that cannot be seen', () => {
  assert.equal(names.shown('plain näme'), 'plain näme');
  assert.equal(names.shown('a\x1b[31m\u202eb\u00a0'), 'a\\x1b[31m\\u{202e}b\\xa0');
});

test('codes are read as the reference reads them', async () => {
  for (const { typed, room, secret, kind, suggestion } of cases.codes) {
    if (kind === 'code') {
      const found = await codes.parse(typed);
      assert.deepEqual([found.room, found.secret], [room, secret], typed);
      continue;
    }
    const error = await codes.parse(typed).catch((caught) => caught);
    assert.ok(error instanceof UsageError, `${typed}: ${error}`);
    assert.equal(error instanceof CodeTypo, kind === 'typo', typed);
    if (kind === 'typo') assert.equal(error.suggestion, suggestion, typed);
    for (const word of typed.split(/[^a-z]+/i)) {
      if (word.length > 7) assert.ok(!error.message.includes(word), 'a sentence repeats a part of a code');
    }
  }
});

test('a new code is one that the reference reads, and a wrong word is noticed', async () => {
  const code = await codes.generate();
  const { room, secret } = await codes.parse(code.toUpperCase().replaceAll(/[.-]/g, ' '));
  assert.equal(`${room}-${secret}`, code);
  assert.deepEqual(await codes.parse(cases.generated.code), cases.generated.parsed);
  assert.equal(await codes.generate(5, () => 3), cases.generated.fixed);
  assert.equal(edits('lemno', 'lemon'), 1);
});

test('words are completed', () => {
  assert.deepEqual(codes.completions('abdom'), ['abdomen', 'abdominal']);
  assert.deepEqual(codes.completions(''), []);
});

test('a number that this language cannot count with is refused', () => {
  assert.throws(() => new Reader(new Uint8Array(8).fill(255)).u64(), PeerMisbehaved);
});

test('digests are those of the reference', { skip: cases.modules ? false : 'npm packages are missing' }, async () => {
  const { FileDigest, prefixDigest, prepare, RootDigest } = await import(`${source}/digest.js`);
  await prepare();
  for (const { size, digest, byte, prefix } of cases.digests) {
    const found = new FileDigest(size);
    let left = size;
    for (; left > 70_000; left -= 70_000) found.update(new Uint8Array(70_000).fill(byte));
    if (byte) found.update(new Uint8Array(left).fill(byte));
    else found.addZeros(left);
    assert.equal(hex(found.digest()), digest, size);
    if (size && size % limits.SEGMENT === 0) assert.equal(hex(prefixDigest(found.leaves)), prefix);
  }
  const root = new RootDigest();
  for (const { content, digest } of cases.root.entries) {
    const [{ entries }] = decode(unhex(content));
    root.add(entries[0], digest === null ? null : unhex(digest));
  }
  assert.equal(hex(root.digest()), cases.root.digest);
});
