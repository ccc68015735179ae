// The page: it shows what the worker says, and passes on what the person wants. It does no work of a transfer itself.

import WORKER from 'p2p-copy-worker';
import { ofDrop, ofInput } from './choose.js';
import { count, duration, Rate, size } from './format.js';
import { qrCode } from './qr.js';
import { decoded, isLink, parseRelay } from './relay.js';
import { waitsFor } from './stall.js';

/** Milliseconds without movement after which the page says on whom it waits. */
const STALL = 10_000;

/** Milliseconds between two changes of the figures: more often they cannot be read. */
const REDRAW = 500;

const by = (id) => document.getElementById(id);
const show = (id, shown = true) => (by(id).hidden = !shown);
const put = (id, text) => {
  if (by(id).textContent !== text) by(id).textContent = text;
};

/** The page as one file has the worker inside. A relay serves both, and so the page knows where the relay is. */
const served = WORKER === null;
const worker = new Worker(served ? 'worker.js' : URL.createObjectURL(new Blob([WORKER], { type: 'text/javascript' })));
let relay = served ? new URL('.', location.href).href.replace(/^http/, 'ws').replace(/\/$/, '') : null;

let view = 0; // a number for each time that the page begins to show something else; the worker answers with it
let role = null; // of the transfer under way
let chosen = [];
let total = null;
let here = { files: 0, size: 0, spared: 0, path: '' };
let rate = new Rate();
let moved = 0; // when something moved last
let flow = null;
let resultId = null; // the transfer whose result is shown; at most the sender's goodbye is missing
let url = null; // of the result, while it can be downloaded
let drawn = 0;
let lasting = true; // what was received is still here when the page is loaded again
const unsaved = new Set(); // transfers that were received, and will be gone with the page

const command = (what, fields = {}) =>
  worker.postMessage({ do: what, view, relay, typed: !served, token: by('token').value || null, ...fields });

// What the person does

by('receive-form').addEventListener('submit', (event) => {
  event.preventDefault();
  takeLink('code');
  receive(by('code').value);
});

function receive(code) {
  if (!relayKnown()) return;
  begin('receiver', 'Connecting');
  command('receive', { code });
}

/** Whether it is known where the relay is, which only a served page knows by itself. */
function relayKnown() {
  if (served) return true;
  try {
    takeRelay(by('relay').value);
    return true;
  } catch ({ message }) {
    askForRelay(message);
    return false;
  }
}

function askForRelay(why) {
  put('relay-help', why);
  by('relay').focus();
}

/** Take the relay of what was typed, or of a link; return the code that came along, or an empty string. */
function takeRelay(text) {
  const found = parseRelay(text);
  relay = found.relay;
  by('relay').value = relay;
  put('relay-help', '');
  return found.code;
}

/** Let a link stand in the field of the relay or in that of the code. */
function takeLink(id) {
  const { value } = by(id);
  if (served || !isLink(value)) return;
  try {
    const code = takeRelay(value);
    if (code || id === 'code') by('code').value = code;
  } catch ({ message }) {
    put('relay-help', message);
  }
}

if (!served) {
  by('relay-form').addEventListener('submit', (event) => {
    event.preventDefault();
    if (relayKnown()) by('code').focus();
  });
  for (const id of ['relay', 'code']) by(id).addEventListener('change', () => takeLink(id));
}

by('code').addEventListener('input', () => {
  const { value } = by('code');
  const typed = /[A-Za-z]*$/.exec(value)[0];
  show('suggestion', false);
  put('code-help', '');
  if (typed) command('complete', { typed });
  else by('completions').replaceChildren();
});

by('code').addEventListener('change', () => {
  if (by('code').value.trim()) command('check', { code: by('code').value });
});

by('suggestion').addEventListener('click', () => {
  by('code').value = by('suggestion').dataset.code;
  show('suggestion', false);
  put('code-help', '');
  by('code').focus();
});

for (const id of ['files', 'folder']) {
  by(id).addEventListener('change', () => choose(ofInput(by(id))));
}

const drop = by('drop');
for (const type of ['dragover', 'dragenter']) {
  drop.addEventListener(type, (event) => {
    event.preventDefault();
    drop.classList.add('over');
  });
}
drop.addEventListener('dragleave', () => drop.classList.remove('over'));
drop.addEventListener('drop', async (event) => {
  event.preventDefault();
  drop.classList.remove('over');
  try {
    choose(await ofDrop(event.dataTransfer));
  } catch {
    put('chosen', 'The browser cannot read what was dropped.');
  }
});

function choose(files) {
  chosen = files;
  const real = files.filter(({ file }) => file);
  const bytes = real.reduce((sum, { file }) => sum + file.size, 0);
  put('chosen', files.length ? `${count(real.length, 'file')}, ${size(bytes)}` : 'Nothing was chosen.');
  by('send').disabled = !files.length;
}

by('send-form').addEventListener('submit', (event) => {
  event.preventDefault();
  if (!chosen.length || !relayKnown()) return;
  begin('sender', 'Connecting');
  command('send', { files: chosen, code: null });
});

by('accept').addEventListener('click', () => {
  navigator.storage.persist?.(); // so that the browser does not drop a part of what came
  answer(true);
});
by('decline').addEventListener('click', () => answer(false));

function answer(yes) {
  show('question', false);
  show('stop', yes);
  status(yes ? 'Receiving' : 'Declined');
  command('answer', { yes });
}

by('stop').addEventListener('click', () => {
  command('stop');
  put('detail', 'Stopping.');
});

by('again').addEventListener('click', () => {
  chosen = [];
  by('send-form').reset();
  by('receive-form').reset();
  choose([]);
  put('chosen', '');
  home();
});

by('token-form').addEventListener('submit', (event) => event.preventDefault());

by('copy-code').addEventListener('click', () => copy(by('code-shown').textContent, 'copy-code'));
by('copy-link').addEventListener('click', () => copy(by('copy-link').dataset.link, 'copy-link'));

async function copy(text, id) {
  const before = by(id).textContent;
  try {
    await navigator.clipboard.writeText(text);
    put(id, 'Copied');
  } catch {
    put(id, 'The browser does not let this page copy');
  }
  setTimeout(() => put(id, before), 2000);
}

by('save').addEventListener('click', async () => {
  let directory;
  try {
    directory = await window.showDirectoryPicker({ mode: 'readwrite' });
  } catch {
    return; // the person has chosen none
  }
  by('save').disabled = true;
  command('save', { id: resultId, directory });
});

by('download').addEventListener('click', () => unsaved.delete(resultId));

by('remove').addEventListener('click', () => command('remove', { id: resultId }));

addEventListener('pagehide', ({ persisted }) => {
  const sends = role === 'sender';
  if (!(sends && persisted)) command('leave', { sends }); // a page that is put aside may come back with its files
});
addEventListener('beforeunload', (event) => {
  if (role === 'sender' || (!lasting && role === 'receiver') || unsaved.size) event.preventDefault();
});

// What the page shows

function status(text, detail = '') {
  put('status', text);
  put('detail', detail);
  document.title = `${text} · p2p-copy`;
}

function home() {
  view++;
  role = null;
  resultId = null;
  put('kept-help', '');
  document.title = 'p2p-copy';
  show('transfer', false);
  show('start');
  command('list');
}

const PARTS = ['invitation', 'question', 'moving', 'words', 'stall', 'problems', 'result', 'again'];

function begin(side, text) {
  view++;
  role = side;
  resultId = null;
  total = null;
  here = { files: 0, size: 0, spared: 0, path: '' };
  rate = new Rate();
  flow = null;
  moved = performance.now();
  by('problem-list').replaceChildren();
  show('start', false);
  show('transfer');
  for (const part of PARTS) show(part, false);
  show('stop');
  status(text);
  by('status').focus();
}

function finish(text, detail) {
  role = null;
  for (const part of ['invitation', 'question', 'moving', 'stall', 'stop']) show(part, false);
  show('again');
  status(text, detail);
  by('status').focus();
}

function item(text) {
  const element = document.createElement('li');
  element.textContent = text;
  return element;
}

function draw(always = false) {
  const now = performance.now();
  if (!always && now - drawn < REDRAW) return;
  drawn = now;
  const bar = by('bar');
  const figures = [`${count(here.files, 'file')}, ${size(here.size)}`];
  if (total) {
    figures[0] = `${here.files.toLocaleString('en')} of ${count(total.files, 'file')}, ${size(here.size)} of ${size(total.size)}`;
    bar.value = total.size ? here.size / total.size : here.files / Math.max(total.files, 1);
  } else {
    bar.removeAttribute('value');
  }
  const speed = rate.value;
  if (speed > 0) {
    figures.push(`${size(speed)}/s`);
    if (total && total.size > here.size) figures.push(`${duration((total.size - here.size) / speed)} left`);
  }
  if (here.spared) figures.push(`${size(here.spared)} were here already`);
  put('figures', figures.join(' · '));
  put('file', here.path);
}

function stalled() {
  if (by('moving').hidden || performance.now() - moved < STALL) {
    show('stall', false);
    return;
  }
  put('stall', waitsFor(role, flow));
  show('stall');
}
setInterval(stalled, 1000);

const failures = (number) => (number ? ` ${count(number, 'thing')} did not arrive.` : '');

const EVENTS = {
  kept({ transfers, lasting: lasts, most }) {
    lasting = lasts;
    put(
      'limit',
      `The browser gives this page no storage here. It keeps what it receives in memory, ${size(most)} at most, until the ` +
        'page is closed or loaded again.',
    );
    show('limit', !lasting);
    const list = transfers.map((transfer) => keptItem(transfer));
    by('kept-list').replaceChildren(...list);
    show('kept', list.length > 0);
    const open = transfers.filter(({ state }) => state !== 'done');
    const unfinished = open.find(({ state }) => state === 'active') ?? open[0];
    if (unfinished && role === null) resume(unfinished.id, false);
  },

  completions({ typed, words }) {
    const { value } = by('code');
    if (!value.endsWith(typed)) return;
    const head = value.slice(0, value.length - typed.length);
    by('completions').replaceChildren(
      ...words.map((word) => Object.assign(document.createElement('option'), { value: head + word })),
    );
  },

  checked({ code, why, suggestion }) {
    if (by('code').value === code) hint(why, suggestion);
  },

  connecting() {
    if (!moving()) status('Connecting to the relay');
  },

  waiting({ notice }) {
    const whom = role === 'sender' ? 'the receiver' : 'the sender';
    status(`Waiting for ${whom}`, notice ? `The relay says: ${notice}` : '');
  },

  retrying({ why, seconds }) {
    status('Trying again', `${why} Next try in ${duration(seconds)}.`);
  },

  code({ code }) {
    const link = `${relay.replace(/^ws/, 'http')}/#${encodeURIComponent(code)}`;
    const parts = code.split(/(?<=[.-])/).flatMap((part) => [part, document.createElement('wbr')]);
    by('code-shown').replaceChildren(...parts); // so that a narrow screen breaks it between words
    by('copy-link').dataset.link = link;
    by('qr').replaceChildren(qrCode(link));
    put('command-relay', relay); // without the code: on a command line others on that machine could read it
    show('invitation');
  },

  paired({ words, verifies }) {
    show('invitation', false);
    put('words', `Both sides show the words: ${words.join(' ')}`);
    show('words');
    const other = role === 'sender' ? 'receiver' : 'sender';
    status('Connected', verifies ? `The ${other} compares the two words below with yours. Tell it what you see.` : '');
  },

  asked() {
    status('Connected', 'The receiver is looking at what you send.');
  },

  declined() {
    status('Declined', 'The receiver declined. It can try again with the same code.');
    show('invitation');
  },

  forgotten() {
    put('detail', 'The sender knows nothing of what was done before. What is here is not sent again.');
  },

  question({ files, size: bytes, counted, names, entries, space, program }) {
    const about = `${counted ? '' : 'At least '}${count(files, 'file')}, ${size(bytes)}`;
    status(`Receive ${about}?`, `The sender uses ${program}.`);
    const tops = entries.filter(({ depth }) => depth === 0);
    const above = [];
    const list = entries.map(({ name, kind, depth, size: each }) => {
      above.length = depth;
      above.push(name);
      const path = above.join('/');
      return item(kind === 2 ? `${path}, ${size(each)}` : `${path}${kind === 1 ? '/' : ''}`);
    });
    if (names > tops.length) list.push(item(`and ${names - tops.length} more`));
    else if (entries.filter(({ kind }) => kind === 2).length < files) list.push(item('and more in these folders'));
    by('preview').replaceChildren(...list);
    put('space', `This browser has space for about ${size(space)}: not all of it may fit.`);
    show('space', bytes > space);
    show('question');
    show('moving', false);
    show('stop', false);
    by('accept').focus();
  },

  counted({ files, size: bytes }) {
    if (!by('question').hidden) put('status', `Receive ${count(files, 'file')}, ${size(bytes)}?`);
  },

  accepted() {
    status(role === 'sender' ? 'Sending' : 'Receiving');
    moved = performance.now();
    show('moving');
    draw(true);
  },

  total(sums) {
    total = sums;
    draw(true);
  },

  progress(progress) {
    if (progress.size !== here.size || progress.files !== here.files) moved = performance.now();
    here = progress;
    rate.add(here.size);
    draw(Boolean(total) && here.size === total.size);
  },

  flow({ flow: report }) {
    flow = report;
  },

  problem({ path, why }) {
    show('problems');
    if (by('problem-list').childElementCount < 200) by('problem-list').append(item(`${path} ${why}.`));
  },

  sent() {
    status('All was sent', 'The receiver compares it and confirms.');
  },

  received,

  lost({ why }) {
    rate = new Rate();
    status('Coming back', `${why} What is here already is not sent again.`);
  },

  done({ id, files, size: bytes, failures: missing, seconds }) {
    if (id) return; // `received` came before
    const took = `${count(files, 'file')}, ${size(bytes)} in ${duration(seconds)}.`;
    finish(missing ? 'Sent, but not all' : 'Sent', `${took} The receiver has compared and confirmed them.${failures(missing)}`);
  },

  result({ name, blob }) {
    if (url) URL.revokeObjectURL(url);
    url = URL.createObjectURL(blob);
    Object.assign(by('download'), { href: url, download: name });
    put('download', `Download ${name}`);
    show('save', 'showDirectoryPicker' in window);
    by('save').disabled = false;
    show('result');
  },

  saving({ count: number, of }) {
    put('detail', `Saving ${number} of ${of}.`);
  },

  saved({ id, names, refused }) {
    if (!refused.length) unsaved.delete(id);
    by('save').disabled = false;
    put('detail', [names.length ? `Saved as ${names.join(', ')}.` : 'Nothing was saved.', notSaved(refused)].join(' ').trim());
  },

  removed({ id }) {
    unsaved.delete(id);
    home();
  },

  stopped() {
    finish('Stopped', 'Nothing of it is kept here.');
  },

  failed({ why, suggestion, kind }) {
    if (kind === 'CodeTypo' || kind === 'UsageError') {
      home();
      hint(why, suggestion);
      by('code').focus();
      return;
    }
    if (kind === 'NotReached') {
      home();
      askForRelay(why);
      return;
    }
    if (kind === 'Busy') {
      home(); // it goes on over there
      put('kept-help', why);
      return;
    }
    by('save').disabled = false; // it may have been that
    if (role === null) put('detail', why);
    else finish(kind === 'Declined' ? 'Declined' : 'It did not work', why);
  },
};

/** Paths that are named in a sentence at most. */
const NAMED = 10;

function notSaved(paths) {
  if (!paths.length) return '';
  const more = paths.length > NAMED ? ` and ${paths.length - NAMED} more` : '';
  return `The browser refuses to save ${paths.slice(0, NAMED).join(', ')}${more}. Download it instead.`;
}

function hint(why, suggestion) {
  put('code-help', why);
  put('suggestion', suggestion ? `Use ${suggestion}` : '');
  by('suggestion').dataset.code = suggestion ?? '';
  show('suggestion', Boolean(suggestion));
}

const moving = () => !by('moving').hidden;

function received({ id, files, size: bytes, failures: missing, problems }) {
  resultId = id;
  role = null;
  tried.add(id); // it is shown
  for (const part of ['question', 'moving', 'stall']) show(part, false);
  show('again');
  show('stop', false);
  const about = `${count(files, 'file')}, ${size(bytes)}, compared with what the sender has.${failures(missing)}`;
  status(missing ? 'Received, but not all' : 'Received', about);
  by('status').focus();
  by('problem-list').replaceChildren(...problems.map(({ path, why }) => item(`${path} ${why}.`)));
  show('problems', problems.length > 0);
  if (!lasting && files) unsaved.add(id);
  if (files || !missing) command('result', { id });
}

function keptItem({ id, outcome, began }) {
  const element = item(
    outcome
      ? `Received ${new Date(began).toLocaleString()}: ${count(outcome.files, 'file')}, ${size(outcome.size)} `
      : `Not complete, begun ${new Date(began).toLocaleString()} `,
  );
  const button = (text, action) => {
    const made = Object.assign(document.createElement('button'), { type: 'button', textContent: text });
    made.addEventListener('click', action);
    element.append(made, ' ');
  };
  if (outcome) {
    button('Open', () => {
      begin(null, 'Received');
      received({ id, ...outcome });
    });
  } else {
    button('Go on', () => resume(id));
  }
  button('Remove', () => command('remove', { id }));
  return element;
}

const tried = new Set(); // transfers that this page went on with by itself

function resume(id, asked = true) {
  if (!asked && tried.has(id)) return;
  tried.add(id);
  begin('receiver', 'Connecting');
  command('resume', { id });
}

/** What still counts when a result is shown: the rest is about the sender's goodbye. */
const AFTER_RESULT = new Set(['received', 'done', 'result', 'saving', 'saved', 'removed', 'failed']);

worker.onmessage = ({ data }) => {
  if (data.view === view && (resultId === null || AFTER_RESULT.has(data.step))) EVENTS[data.step]?.(data);
};
worker.onerror = (event) => finish('It did not work', `This page met an unexpected error: ${event.message}`);

/** Whether the browser has what the worker needs, above all the curve of the key exchange. */
async function able() {
  if (!globalThis.isSecureContext || !navigator.locks) return false;
  try {
    await crypto.subtle.generateKey({ name: 'X25519' }, false, ['deriveBits']);
    return true;
  } catch {
    return false;
  }
}

/**
 * The code that a link brought along, which leaves the address; or an empty string.
 *
 * Behind the `#` of the page as a file there may be the whole link, or a relay, which stays: so a bookmark can have it.
 */
function takeCode() {
  const text = location.hash.slice(1);
  const link = !served && isLink(text);
  const address = location.pathname + location.search;
  if (text && !link) history.replaceState(null, '', address);
  if (!link) return decoded(text);
  try {
    return takeRelay(text);
  } catch ({ message }) {
    put('relay-help', message);
    return '';
  } finally {
    history.replaceState(null, '', relay ? `${address}#${relay}` : address);
  }
}

async function main() {
  let ready = false;
  let code = takeCode();
  addEventListener('hashchange', () => {
    const found = takeCode();
    if (!ready) code = found || code;
    else if (found && role === null) receive(found);
  });
  if (!(await able())) {
    begin(null, 'This browser cannot do it');
    finish(
      'This browser cannot do it',
      'The page needs https and a current version of Chromium, Firefox or Safari.',
    );
    show('again', false);
    return;
  }
  ready = true;
  home();
  if (code) receive(code);
}

main();
