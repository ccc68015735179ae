// Builds the page into `static/`, in two forms of the same sources: a few files that a relay serves, and one file that is
// opened from a disk. Neither refers to another server. The same sources give the same bytes: nothing here depends on the
// machine or the time, so that anybody can compare a file with one of their own.
//
// They are made in a folder of their own, so that a build that fails leaves the page as it was.
//
// The list of words and the version are those of the Python package, so that there is one of each.

import { build } from 'esbuild';
import { createHash } from 'node:crypto';
import { chmod, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';

const ONE_FILE = 'p2p-copy.html';

const here = new URL('.', import.meta.url);
const at = (path) => new URL(path, here).pathname;

/** The text of a source, with the line ends of a clone that has not changed them. */
const read = async (path) => (await readFile(at(path), 'utf8')).replaceAll('\r\n', '\n');

const hash = (text, encoding) => createHash('sha256').update(text).digest(encoding);

/** Modules that the build makes: `contents` returns the value that each exports. */
const made = (name, contents) => ({
  name,
  setup({ onResolve, onLoad }) {
    onResolve({ filter: new RegExp(`^${name}$`) }, () => ({ path: name, namespace: name }));
    onLoad({ filter: /.*/, namespace: name }, async () => ({ contents: `export default ${await contents()};` }));
  },
});

const words = made('p2p-copy-words', async () => {
  const [, list] = /_TEXT: Final = """([^"]*)"""/.exec(await read('../protocol/wordlist.py'));
  return `${JSON.stringify(list.trim().replace(/\s+/g, ' '))}.split(' ')`;
});

/** The worker as text, for a page that cannot load it from anywhere; null for one that can. */
const worker = (text) => made('p2p-copy-worker', () => JSON.stringify(text));

async function script(path, ...plugins) {
  const { outputFiles } = await build({
    entryPoints: [at(path)],
    bundle: true,
    format: 'iife',
    minify: true,
    target: ['chrome120', 'firefox121', 'safari17.4'],
    charset: 'utf8',
    legalComments: 'none',
    plugins,
    write: false,
  });
  return outputFiles[0].text;
}

async function style(path) {
  const { outputFiles } = await build({ entryPoints: [at(path)], minify: true, write: false });
  return outputFiles[0].text;
}

/** The page as `served` by a relay, or as a `file`: each part is for one of them, or for both. */
const htmlFor = (form, html) =>
  html.replace(/^ *<!-- (served|file) -->\n(.*?)^ *<!-- end -->\n/gms, (_, of, part) => (of === form ? part : ''));

/**
 * What the file may do. It comes without headers, so it says that itself, before anything else.
 *
 * The headers of the served page say the same of the relay's own files: p2p_copy/relay/entry/page.py.
 */
const policyOf = (code, css) =>
  Object.entries({
    'default-src': "'none'", // what is not named below is forbidden
    'script-src': `'sha256-${hash(code, 'base64')}' 'wasm-unsafe-eval'`, // the one script; and WebAssembly, which hashes
    'style-src': `'sha256-${hash(css, 'base64')}'`,
    'img-src': 'data:', // the icon
    'worker-src': 'blob:', // made by the script of the text that it has
    // The relay is not known before a person names it, so it may be any, but by TLS: a network that listens would see the
    // access token and the room. A relay on this machine needs none; browsers take no IPv6 address here.
    'connect-src': 'wss: ws://localhost:* ws://127.0.0.1:*',
    'base-uri': "'none'",
    'form-action': "'none'",
  })
    .map(([name, value]) => `${name} ${value}`)
    .join('; ');

/** Put `text` in place of `mark`, which is there once. */
function replaced(html, mark, text) {
  if (html.split(mark).length !== 2) throw new Error(`${mark} is not there once`);
  return html.replace(mark, () => text);
}

/** An element with this text, in which nothing may look like a tag: the browser would take it for the end. */
function inline(name, text, attributes = '') {
  if (/<\/(script|style)|<!--/i.test(text)) throw new Error(`what goes into <${name}> has something like a tag inside`);
  return `<${name}${attributes}>${text}</${name}>`;
}

async function oneFile(html, css, icon, workerCode) {
  const [, version] = /^VERSION: Final = "([^"]+)"$/m.exec(await read('../version.py'));
  const code = await script('src/page/page.js', worker(workerCode));
  let file = htmlFor('file', html);
  // A module runs when the page is there, as the served script does, which is deferred.
  file = replaced(file, '<script src="page.js" defer></script>', inline('script', code, ' type="module"'));
  file = replaced(file, '<link rel="stylesheet" href="page.css" />', inline('style', css));
  file = replaced(file, 'href="icon.svg"', `href="data:image/svg+xml;base64,${Buffer.from(icon).toString('base64')}"`);
  file = replaced(file, '{version}', version);
  return replaced(
    file,
    '<meta charset="utf-8" />',
    `<meta charset="utf-8" />\n    <meta http-equiv="Content-Security-Policy" content="${policyOf(code, css)}" />`,
  );
}

async function buildInto(folder) {
  const html = await read('src/page/index.html');
  const css = await style('src/page/page.css');
  const icon = await read('src/page/icon.svg');
  const workerCode = await script('src/worker.js', words);
  const files = {
    'index.html': ['text/html; charset=utf-8', htmlFor('served', html)],
    'page.css': ['text/css; charset=utf-8', css],
    'page.js': ['text/javascript; charset=utf-8', await script('src/page/page.js', worker(null))],
    'worker.js': ['text/javascript; charset=utf-8', workerCode],
    'icon.svg': ['image/svg+xml', icon],
    [ONE_FILE]: ['text/html; charset=utf-8', await oneFile(html, css, icon, workerCode)],
  };
  const manifest = {};
  for (const [name, [type, text]] of Object.entries(files)) {
    await writeFile(`${folder}${name}`, text);
    manifest[name] = { type, sha256: hash(text, 'hex'), ...(name === ONE_FILE && { download: true }) };
  }
  await writeFile(`${folder}manifest.json`, `${JSON.stringify({ files: manifest }, null, 2)}\n`);
  return manifest[ONE_FILE].sha256;
}

const folder = `${await mkdtemp(at('.static-'))}/`;
try {
  const digest = await buildInto(folder);
  await chmod(folder, 0o755); // a folder for a short time only is private
  await rm(at('static'), { recursive: true, force: true });
  await rename(folder, at('static'));
  console.log(`${digest}  ${ONE_FILE}`); // as sha256sum prints it
} finally {
  await rm(folder, { recursive: true, force: true });
}
