// Which names a receiver accepts: those that Linux, macOS, Windows and a zip file all store, and show, as the same name.
// docs/protocol.md section 6, "Names"; p2p_copy/protocol/names.py is the reference.

import { utf8 } from './bytes.js';
import * as limits from './limits.js';

const PARTIAL_PREFIX = '.p2p-copy-';
const PLAIN = /^(?!(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$))[A-Za-z0-9_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*$/i;
const UNSEEN = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/u;
const NOT_PORTABLE = /[<>:"|?*\\]/;
const DEVICE = /^(?:CON|PRN|AUX|NUL|CLOCK\$|CONIN\$|CONOUT\$|(?:COM|LPT)[1-9¹²³])$/;

/** Return why a name is refused, or null. The sentence never repeats the name. */
export function refusal(name) {
  if (name.length <= limits.MAX_NAME && PLAIN.test(name)) return null;
  if (!name) return 'it is empty';
  if (name === '.' || name === '..') return `it is '${name}'`;
  if (name.includes('/')) return "it contains '/'";
  if (!name.isWellFormed()) return 'it is not valid Unicode text';
  if (utf8(name).length > limits.MAX_NAME) return `it is longer than ${limits.MAX_NAME} bytes`;
  if (UNSEEN.test(name)) return 'it contains a control or invisible character';
  if (collisionKey(name).startsWith(PARTIAL_PREFIX)) return 'it is reserved for unfinished files of p2p-copy';
  if (NOT_PORTABLE.test(name)) return 'it contains a character that not all systems store';
  if (/[. ]$/.test(name)) return 'it ends with a dot or a space';
  if (DEVICE.test(name.split('.', 1)[0].replace(/ +$/, '').toUpperCase())) return 'Windows reserves it';
  return null;
}

/** Why a symlink of this depth may not have this target, or null: it must stay in the tree of its top entry. */
export function symlinkTargetRefusal(target, depth) {
  if (depth === 0) return 'it is a symlink outside any directory';
  if (!target) return 'its target is empty';
  if (target.startsWith('/')) return 'its target is an absolute path';
  let climbs = 0;
  let named = false;
  for (const part of target.split('/')) {
    if (part === '' || part === '.') continue;
    if (part !== '..') {
      named = true;
      const reason = refusal(part);
      if (reason) return `a name in its target is refused: ${reason}`;
    } else if (named) {
      return "its target has '..' after a name";
    } else {
      climbs++;
    }
  }
  return climbs >= depth ? 'its target is outside' : null;
}

/**
 * A key that is the same for two names that some system may take for one file (Unicode, D145). The language has no case
 * folding. To upper case and back, character by character, tells the same names apart, but for the dotless i.
 */
export function collisionKey(name) {
  if (/^[\0-\x7f]*$/.test(name)) return name.toLowerCase().replace(/[. ]+$/, '');
  let folded = '';
  for (const character of name.normalize('NFD')) {
    folded += character === 'ı' ? character : character.toUpperCase().toLowerCase();
  }
  return folded.normalize('NFD').replace(/[. ]+$/, '');
}

/** A name or path in a form that is safe to show: what cannot be seen, or reorders text, becomes an escape. */
export function shown(path) {
  return path.replace(/[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu, (character) => {
    const number = character.codePointAt(0).toString(16);
    return number.length <= 2 ? `\\x${number.padStart(2, '0')}` : `\\u{${number}}`;
  });
}
