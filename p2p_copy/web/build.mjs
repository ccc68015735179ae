// Builds the page into `static/`: a few files without any reference to another server.
//
// They are made in a folder of their own, so that a build that fails leaves the page as it was.
//
// The list of words is that of the Python package, so that there is one.

import { build } from 'esbuild';
import { createHash } from 'node:crypto';
import { chmod, copyFile, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';

const here = new URL('.', import.meta.url);
const at = (path) => new URL(path, here).pathname;

const words = {
  name: 'words',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^p2p-copy-words$/ }, () => ({ path: 'words', namespace: 'words' }));
    onLoad({ filter: /.*/, namespace: 'words' }, async () => {
      const source = await readFile(at('../protocol/wordlist.py'), 'utf8');
      const [, list] = /_TEXT: Final = """([^"]*)"""/.exec(source);
      return { contents: `export default ${JSON.stringify(list.trim().replace(/\s+/g, ' '))}.split(' ');` };
    });
  },
};

const made = `${await mkdtemp(at('.static-'))}/`;
try {
  await buildInto(made);
  await chmod(made, 0o755); // a folder for a short time only is private
  await rm(at('static'), { recursive: true, force: true });
  await rename(made, at('static'));
} finally {
  await rm(made, { recursive: true, force: true });
}

async function buildInto(folder) {
  await build({
    entryPoints: [at('src/page/page.js'), at('src/worker.js')],
    outdir: folder,
    entryNames: '[name]',
    bundle: true,
    format: 'iife',
    minify: true,
    target: ['chrome120', 'firefox121', 'safari17.4'],
    charset: 'utf8',
    legalComments: 'none',
    plugins: [words],
  });
  const css = await build({ entryPoints: [at('src/page/page.css')], minify: true, write: false });
  await writeFile(`${folder}page.css`, css.outputFiles[0].text);
  for (const name of ['index.html', 'icon.svg']) await copyFile(at(`src/page/${name}`), `${folder}${name}`);

  const TYPES = {
    'index.html': 'text/html; charset=utf-8',
    'page.css': 'text/css; charset=utf-8',
    'page.js': 'text/javascript; charset=utf-8',
    'worker.js': 'text/javascript; charset=utf-8',
    'icon.svg': 'image/svg+xml',
  };
  const files = {};
  for (const [name, type] of Object.entries(TYPES)) {
    files[name] = { type, sha256: createHash('sha256').update(await readFile(`${folder}${name}`)).digest('hex') };
  }
  await writeFile(`${folder}manifest.json`, `${JSON.stringify({ files }, null, 2)}\n`);
}
