// The worker: it does all the work of a transfer, and tells the page what happens. The page only shows.

import WORDS from 'p2p-copy-words';
import { Codes } from './protocol/code.js';
import { CodeTypo, Left, TransferError } from './protocol/errors.js';
import { verificationNumbers } from './protocol/keys.js';
import { shown } from './protocol/names.js';
import { Receiver } from './transfer/receive.js';
import { Sender } from './transfer/send.js';
import { MemoryStore } from './transfer/memory_store.js';
import { saveInto } from './transfer/save.js';
import { resultOf, Store } from './transfer/store.js';

const PROGRAM = 'p2p-copy web page';

const codes = new Codes(WORDS);
let opening = null;
let store = null;
let running = null; // the transfer of this tab: what ends it, when it is over, and its id if it has one
let answer = null; // resolves the question that is open

/** The person has ended the transfer. */
class Stopped extends TransferError {
  static kind = 'Stopped';
}

const words = (key) => verificationNumbers(key, WORDS.length).map((number) => WORDS[number]);

function failed(error, tell) {
  const known = error instanceof TransferError;
  if (!known) console.error(error);
  const why = known ? error.message : `This page met an unexpected error: ${error?.message ?? error}`;
  tell({ step: 'failed', why, suggestion: error instanceof CodeTypo ? error.suggestion : null, kind: error?.name });
}

/** Milliseconds to wait for a tab that is just being closed to give back its transfer. */
const LOCK_TIMEOUT = 5000;

/** Another tab has the transfer. */
class Busy extends TransferError {
  static kind = 'Busy';
}

const ELSEWHERE = 'Another tab of this browser has this transfer.';
const lockOf = (id) => `p2p-copy ${id}`;

/** Let no other tab have a transfer until `over`. */
function hold(id, over) {
  return new Promise((resolve, reject) => {
    const keep = () => {
      resolve();
      return over;
    };
    const signal = AbortSignal.timeout(LOCK_TIMEOUT);
    navigator.locks.request(lockOf(id), { signal }, keep).catch(() => reject(new Busy(ELSEWHERE)));
  });
}

/**
 * Run one transfer, once an earlier one that waits for its sender's goodbye has ended.
 *
 * `make` is given what ends it, and a function by which this tab gets hold of it.
 */
async function run(tell, make) {
  const mine = { stop: new AbortController(), id: null };
  let release;
  mine.over = new Promise((resolve) => (release = resolve));
  const earlier = running;
  running = mine;
  const claim = async (id) => {
    await hold(id, mine.over);
    mine.id = id;
  };
  try {
    earlier?.stop.abort(new Left({ transient: true }));
    await earlier?.over;
    tell({ step: 'done', ...(await make(mine.stop.signal, claim)) });
  } catch (error) {
    if (!(error instanceof Stopped)) failed(error, tell);
    else tell({ step: 'stopped' });
  } finally {
    if (running === mine) running = null;
    release();
  }
}

function shared({ relay, typed, token }, signal, tell) {
  const ask = (question) =>
    new Promise((resolve) => {
      answer = resolve;
      tell({ step: 'question', ...question });
    });
  return { store, relay, typed, token, signal, tell, ask, words, program: PROGRAM };
}

/** Each is given the fields of a command, and a function by which it tells the page what happens. */
const COMMANDS = {
  /** What this browser has of earlier transfers. */
  async list(_, tell) {
    const transfers = await store.transfers();
    await store.removeOrphans(transfers.map(({ id }) => id));
    const listed = transfers.map(({ id, state, outcome, began }) => ({ id, state, outcome, began }));
    tell({ step: 'kept', transfers: listed, lasting: store.lasting, most: store.most });
  },

  async receive(given, tell) {
    const code = await codes.parse(given.code);
    await run(tell, (signal, hold) => new Receiver({ ...shared(given, signal, tell), code, hold }).run());
  },

  async resume({ id, token }, tell) {
    await run(tell, async (signal, claim) => {
      await claim(id);
      const kept = await store.transfer(id);
      if (!kept || kept.state === 'done') throw new Busy('Another tab of this browser had this transfer.');
      return new Receiver({ ...shared({ relay: kept.relay, token }, signal, tell), code: null, kept }).run();
    });
  },

  async send(given, tell) {
    const text = await codes.generate();
    const code = await codes.parse(text);
    tell({ step: 'code', code: text });
    await run(tell, (signal) => new Sender({ ...shared(given, signal, tell), code, files: given.files }).run());
  },

  answer({ yes }) {
    answer?.(yes);
    answer = null;
  },

  /** End the transfer for good; nothing of it is kept. */
  stop() {
    running?.stop.abort(new Stopped('The transfer was stopped.'));
  },

  /** The page goes away, and the other side should know at once. Files to send cannot be opened again, nor memory. */
  leave({ sends }) {
    running?.stop.abort(new Left({ transient: !sends && store.lasting }));
  },

  async check({ code }, tell) {
    let suggestion = null;
    let why = '';
    try {
      await codes.parse(code);
    } catch (error) {
      why = error.message;
      suggestion = error.suggestion ?? null;
    }
    tell({ step: 'checked', code, why, suggestion });
  },

  complete({ typed }, tell) {
    tell({ step: 'completions', typed, words: codes.completions(typed).slice(0, 8) });
  },

  async result({ id }, tell) {
    const { name, blob } = await resultOf(store, id);
    tell({ step: 'result', id, name, blob });
  },

  async save({ id, directory }, tell) {
    const result = await resultOf(store, id);
    const of = result.entries.length;
    const { names, refused } = await saveInto(directory, result, (count) => tell({ step: 'saving', count, of }));
    tell({ step: 'saved', id, names, refused: refused.map(shown) });
  },

  /** Remove what is here of a transfer, unless another tab is at it. */
  async remove({ id }, tell) {
    if (running?.id === id) {
      running.stop.abort(new Stopped('It was removed.')); // only the sender's goodbye is missing
      await running.over;
    }
    await navigator.locks.request(lockOf(id), { ifAvailable: true }, async (lock) => {
      if (!lock) throw new Busy(ELSEWHERE);
      await store.remove(id);
    });
    tell({ step: 'removed', id });
  },
};

/** Where this page may keep what it receives. Some browsers give no storage to a page from a disk or in private windows. */
async function opened() {
  try {
    return await Store.begin();
  } catch {
    return new MemoryStore();
  }
}

onmessage = async ({ data }) => {
  const tell = (event) => postMessage({ ...event, view: data.view }); // the page may show something else by then
  try {
    store ??= await (opening ??= opened());
    await COMMANDS[data.do](data, tell);
  } catch (error) {
    failed(error, tell);
  }
};
