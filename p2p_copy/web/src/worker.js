// The worker: it does all the work of a transfer, and tells the page what happens. The page only shows.

import WORDS from 'p2p-copy-words';
import { Codes } from './protocol/code.js';
import { CodeTypo, TransferError } from './protocol/errors.js';
import { verificationNumbers } from './protocol/keys.js';
import { Receiver } from './transfer/receive.js';
import { Sender } from './transfer/send.js';
import { Store } from './transfer/store.js';

const PROGRAM = 'p2p-copy web page';

const codes = new Codes(WORDS);
let store = null;
let running = null; // the transfer of this tab
let answer = null; // resolves the question that is open

/** The person has ended the transfer. */
class Stopped extends TransferError {
  static kind = 'Stopped';
}

const tell = (event) => postMessage(event);
const words = (key) => verificationNumbers(key, WORDS.length).map((number) => WORDS[number]);

function failed(error) {
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

/** Let no other tab have a transfer until `over`. */
function hold(id, over) {
  return new Promise((resolve, reject) => {
    const keep = () => {
      resolve();
      return over;
    };
    const signal = AbortSignal.timeout(LOCK_TIMEOUT);
    navigator.locks
      .request(`p2p-copy ${id}`, { signal }, keep)
      .catch(() => reject(new Busy('Another tab of this browser has this transfer.')));
  });
}

/** Run one transfer. `make` is given what ends it, and a function by which this tab gets hold of it. */
async function run(make) {
  const stop = new AbortController();
  let release;
  const over = new Promise((resolve) => (release = resolve));
  running = { stop };
  try {
    tell({ step: 'done', ...(await make(stop.signal, (id) => hold(id, over))) });
  } catch (error) {
    if (!(error instanceof Stopped)) failed(error);
    else tell({ step: 'stopped' });
  } finally {
    running = null;
    release();
  }
}

const ask = (question) =>
  new Promise((resolve) => {
    answer = resolve;
    tell({ step: 'question', ...question });
  });

const shared = (relay, token, signal) => ({ store, relay, token, signal, tell, ask, words, program: PROGRAM });

const COMMANDS = {
  /** What this browser has of earlier transfers. */
  async list() {
    const transfers = await store.transfers();
    await store.removeOrphans(transfers.map(({ id }) => id));
    tell({ step: 'kept', transfers: transfers.map(({ id, state, outcome, began }) => ({ id, state, outcome, began })) });
  },

  async receive({ relay, token, code }) {
    const parsed = await codes.parse(code);
    await run((signal, claim) => new Receiver({ ...shared(relay, token, signal), code: parsed, hold: claim }).run());
  },

  async resume({ id, token }) {
    await run(async (signal, claim) => {
      await claim(id);
      const kept = await store.transfer(id);
      if (kept?.state !== 'active') throw new Busy('Another tab of this browser had this transfer.');
      return new Receiver({ ...shared(kept.relay, token, signal), code: null, kept }).run();
    });
  },

  async send({ relay, token, code, files }) {
    const text = code || (await codes.generate());
    const parsed = await codes.parse(text);
    tell({ step: 'code', code: text });
    await run((signal) => new Sender({ ...shared(relay, token, signal), code: parsed, files }).run());
  },

  answer({ yes }) {
    answer?.(yes);
    answer = null;
  },

  /** End the transfer for good; nothing of it is kept. */
  stop() {
    running?.stop.abort(new Stopped('The transfer was stopped.'));
  },

  /** The page goes away: the other side should know at once, and may wait for this side to come back. */
  leave() {
    running?.stop.abort(new Left());
  },

  async check({ code }) {
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

  complete({ typed }) {
    tell({ step: 'completions', typed, words: codes.completions(typed).slice(0, 8) });
  },

  async result({ id }) {
    const { name, blob } = await store.result(id);
    tell({ step: 'result', id, name, blob });
  },

  async save({ id, directory }) {
    await saveInto(id, directory);
  },

  async remove({ id }) {
    await store.remove(id);
    tell({ step: 'removed', id });
  },
};

/** The page is closed or loaded again; the transfer goes on later. */
class Left extends TransferError {
  static kind = 'Left';

  constructor() {
    super('The page was closed.', { transient: true });
  }
}

/** Write what was received into a directory that the person has chosen. Nothing there is replaced. */
async function saveInto(id, directory) {
  const { entries, contents } = await store.result(id);
  const tops = new Map();
  let count = 0;
  for (const entry of entries) {
    const [top, ...rest] = entry.path.split('/');
    if (!tops.has(top)) tops.set(top, await freeName(directory, top));
    const parts = [tops.get(top), ...rest];
    let place = directory;
    const last = parts.pop();
    for (const part of parts) place = await place.getDirectoryHandle(part, { create: true });
    if (entry.kind === 1) {
      await place.getDirectoryHandle(last, { create: true });
    } else {
      const file = await place.getFileHandle(last, { create: true });
      await contents(entry).stream().pipeTo(await file.createWritable());
    }
    tell({ step: 'saving', count: ++count, of: entries.length });
  }
  tell({ step: 'saved', id, names: [...tops.values()] });
}

/** A name that nothing has in a directory: the name itself, or with a number. */
async function freeName(directory, name) {
  const dot = name.lastIndexOf('.');
  const [stem, end] = dot > 0 ? [name.slice(0, dot), name.slice(dot)] : [name, ''];
  for (let number = 1; ; number++) {
    const found = number === 1 ? name : `${stem} (${number})${end}`;
    const taken = [directory.getFileHandle(found), directory.getDirectoryHandle(found)];
    const outcomes = await Promise.allSettled(taken);
    if (outcomes.every(({ status, reason }) => status === 'rejected' && reason.name === 'NotFoundError')) return found;
  }
}

onmessage = async ({ data }) => {
  try {
    store ??= await Store.open();
    await COMMANDS[data.do](data);
  } catch (error) {
    failed(error);
  }
};
