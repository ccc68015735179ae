// Builds the page into `static/`: a few files without any reference to another server.
//
// The list of words is that of the Python package, so that there is one.

import { build } from 'esbuild';
import { createHash } from 'node:crypto';
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';

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

await rm(at('static'), { recursive: true, force: true });
await mkdir(at('static'), { recursive: true });
await build({
  entryPoints: [at('src/page/page.js'), at('src/worker.js')],
  outdir: at('static'),
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
await writeFile(at('static/page.css'), css.outputFiles[0].text);
for (const name of ['index.html', 'icon.svg']) await copyFile(at(`src/page/${name}`), at(`static/${name}`));

const TYPES = {
  'index.html': 'text/html; charset=utf-8',
  'page.css': 'text/css; charset=utf-8',
  'page.js': 'text/javascript; charset=utf-8',
  'worker.js': 'text/javascript; charset=utf-8',
  'icon.svg': 'image/svg+xml',
};
const files = {};
for (const [name, type] of Object.entries(TYPES)) {
  files[name] = { type, sha256: createHash('sha256').update(await readFile(at(`static/${name}`))).digest('hex') };
}
await writeFile(at('static/manifest.json'), `${JSON.stringify({ files }, null, 2)}\n`);
