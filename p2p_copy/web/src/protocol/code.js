// The code that two people share: docs/protocol.md section 1; p2p_copy/protocol/code.py is the reference.
//
// No sentence thrown here contains any part of a code.

import { randomBelow } from './bytes.js';
import { CodeTypo, UsageError } from './errors.js';
import { sha256 } from './keys.js';
import * as limits from './limits.js';
import { concat, u8, utf8 } from './bytes.js';

const SPACE = '\\p{White_Space}\\x1c-\\x1f';
const SEPARATORS = new RegExp(`[${SPACE}.,_\\-\\u2010-\\u2015\\u2212]+`, 'u');
const TRIM = new RegExp(`^[${SPACE}]+|[${SPACE}]+$`, 'gu');
const GAP = `[${SPACE}]*`;
const WRITTEN = new RegExp(
  `^[a-z]+${GAP}\\.${GAP}[a-z]+${GAP}-${GAP}[a-z]+(?:${GAP}\\.${GAP}[a-z]+)*$`,
  'iu',
);
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u;
const CHECK_BITS = 5;
const ROOM_WORDS = 2;
const MOST_UNKNOWN = 3; // misspelt words up to which a code is suggested
const FORM =
  "A code is ROOM-SECRET, for example: lab7-a long passphrase (the first '-' ends the room; the secret has at least " +
  `${limits.MIN_OWN_SECRET} characters).`;
const COMPARE = 'Compare it with the one that the other side shows.';
const ORDINALS = ['1st', '2nd', '3rd', '4th', '5th', '6th', '7th', '8th', '9th', '10th', '11th', '12th'];

const trim = (text) => text.replace(TRIM, '');
const isCount = (count) => count >= limits.MIN_CODE_WORDS && count <= limits.MAX_CODE_WORDS;

/** The words of a text that has nothing but words and what may stand between them; else none. */
function split(text) {
  const words = text.split(SEPARATORS).filter(Boolean);
  return words.every((word) => /^[A-Za-z]+$/.test(word)) ? words.map((word) => word.toLowerCase()) : [];
}

const joined = (words) => `${words.slice(0, ROOM_WORDS).join('.')}-${words.slice(ROOM_WORDS).join('.')}`;

/** Letters to add, drop, replace or swap with their neighbour (optimal string alignment). */
export function edits(typed, word) {
  let above = [];
  let row = Array.from({ length: word.length + 1 }, (_, at) => at);
  for (let i = 1; i <= typed.length; i++) {
    const last = above;
    above = row;
    row = [i];
    for (let j = 1; j <= word.length; j++) {
      const replaced = above[j - 1] + (typed[i - 1] === word[j - 1] ? 0 : 1);
      let least = Math.min(above[j] + 1, row[j - 1] + 1, replaced);
      if (i > 1 && j > 1 && typed[i - 1] === word[j - 2] && typed[i - 2] === word[j - 1]) {
        least = Math.min(least, last[j - 2] + 1);
      }
      row.push(least);
    }
  }
  return row[word.length];
}

/** Reads and makes codes by one list of words. */
export class Codes {
  /** @param {string[]} words the list, sorted */
  constructor(words) {
    this.words = words;
    this.numbers = new Map(words.map((word, number) => [word, number]));
    this.modulus = words.length >> CHECK_BITS;
  }

  /** Return a new code. */
  async generate(count = limits.CODE_WORDS, below = randomBelow) {
    const chosen = Array.from({ length: count - 1 }, () => this.words[below(this.words.length)]);
    const extra = below(1 << CHECK_BITS);
    const check = await this.#checksum(chosen, extra);
    return joined([...chosen, this.words[extra * this.modulus + check]]);
  }

  /** Return `{room, secret}` of what a person has typed or pasted. Throws `CodeTypo` or `UsageError`. */
  async parse(typed) {
    const text = trim(trim(typed).normalize('NFC'));
    if ([...text].length > limits.MAX_CODE) {
      throw new UsageError(`The code is longer than ${limits.MAX_CODE} characters. ${FORM}`);
    }
    const words = split(text);
    if (await this.#isCode(words)) return this.#parts(joined(words));
    const known = words.filter((word) => this.numbers.has(word)).length;
    const mostlyKnown = 2 * known > words.length;
    const written = WRITTEN.test(text);
    if (written && words.length && (mostlyKnown || words.length === limits.CODE_WORDS)) throw await this.#typo(words);
    if (!text.includes('-') && mostlyKnown && known > 1) throw await this.#typo(words);
    const { room, secret, dashed } = this.#parts(text);
    if (UNSEEN.test(room + secret)) {
      throw new UsageError('The code contains a control or invisible character. Type it instead of pasting it.');
    }
    if (!dashed) {
      const meant = await this.#respaced(text);
      if (meant) throw new CodeTypo(`The code has a typo: what stands between its words. ${COMPARE}`, meant);
      throw new UsageError(`The code has no '-'. ${FORM}`);
    }
    if (!room) throw new UsageError(`The code has no room before its '-'. ${FORM}`);
    if ([...secret].length < limits.MIN_OWN_SECRET) {
      throw new UsageError(`The secret part of the code is too short. ${FORM}`);
    }
    return { room, secret, dashed };
  }

  /** The words that begin with these letters, in order; none for no letters. */
  completions(typed) {
    const begin = typed.toLowerCase();
    return begin ? this.words.filter((word) => word.startsWith(begin)) : [];
  }

  #parts(text) {
    const at = text.indexOf('-');
    if (at < 0) return { room: text, secret: '', dashed: false };
    return { room: trim(text.slice(0, at)), secret: trim(text.slice(at + 1)), dashed: true };
  }

  async #checksum(words, extra) {
    const hash = await sha256(concat(utf8(`p2p-copy/1 code check${joined(words)}`), u8(extra)));
    return hash.reduce((rest, byte) => (rest * 256 + byte) % this.modulus, 0);
  }

  async #isCode(words) {
    return isCount(words.length) && words.every((word) => this.numbers.has(word)) && (await this.#isValid(words));
  }

  async #isValid(words) {
    const number = this.numbers.get(words.at(-1));
    if (number === undefined) return false;
    const extra = Math.floor(number / this.modulus);
    if (extra >= 1 << CHECK_BITS) return false;
    return number % this.modulus === (await this.#checksum(words.slice(0, -1), extra));
  }

  async #typo(words) {
    if (!isCount(words.length)) {
      const least = limits.MIN_CODE_WORDS;
      return new CodeTypo(
        `The code is cut or too long: it has from ${least} to ${limits.MAX_CODE_WORDS} words. ${COMPARE}`,
        await this.#respaced(words.join(' ')),
      );
    }
    const unknown = words.flatMap((word, at) => (this.numbers.has(word) ? [] : [ORDINALS[at]]));
    let what = 'its words do not belong together, so one is wrong or missing, or two are swapped';
    if (unknown.length === 1) what = `the ${unknown[0]} word is misspelt`;
    if (unknown.length > 1) what = `the ${unknown.slice(0, -1).join(', ')} and ${unknown.at(-1)} words are misspelt`;
    const meant = (await this.#meant(words)) ?? (await this.#respaced(words.join(' ')));
    return new CodeTypo(`The code has a typo: ${what}. ${COMPARE}`, meant);
  }

  /** The valid code that takes the fewest edits, if there is exactly one. */
  async #meant(words) {
    let fewest = Infinity;
    let nearest = new Set();
    for (const [count, repaired] of this.#repairs(words)) {
      if (count > fewest || !(await this.#isValid(repaired))) continue;
      if (count < fewest) nearest = new Set();
      fewest = count;
      nearest.add(joined(repaired));
    }
    return nearest.size === 1 ? [...nearest][0] : null;
  }

  *#repairs(words) {
    const unknown = words.flatMap((word, at) => (this.numbers.has(word) ? [] : [at]));
    if (unknown.length > MOST_UNKNOWN) return;
    if (unknown.length) {
      const reach = unknown.length === 1 ? 2 : 1;
      const choices = words.map((word, at) => (unknown.includes(at) ? this.#near(word, reach) : [[0, word]]));
      yield* product(choices);
      return;
    }
    for (let at = 0; at < words.length; at++) {
      for (const [count, other] of this.#near(words[at], 1)) yield [count, words.with(at, other)];
    }
    for (let at = 0; at + 1 < words.length; at++) {
      yield [1, words.with(at, words[at + 1]).with(at + 1, words[at])];
    }
  }

  #near(typed, most) {
    return this.words.flatMap((word) => {
      if (Math.abs(word.length - typed.length) > most) return [];
      const count = edits(typed, word);
      return count <= most ? [[count, word]] : [];
    });
  }

  /** The code whose words a text has, but with something else, or nothing, between two of them. */
  async #respaced(text) {
    const words = text.toLowerCase().match(/[a-z]+/g) ?? [];
    const fitting = new Set();
    if (await this.#isCode(words)) fitting.add(joined(words));
    for (let at = 0; at < words.length && isCount(words.length + 1); at++) {
      const word = words[at];
      if (this.numbers.has(word) || word.length > 30) continue;
      for (let cut = 1; cut < word.length; cut++) {
        for (const skipped of [0, 1]) {
          const divided = words.toSpliced(at, 1, word.slice(0, cut), word.slice(cut + skipped));
          if (await this.#isCode(divided)) fitting.add(joined(divided));
        }
      }
    }
    return fitting.size === 1 ? [...fitting][0] : null;
  }
}

function* product(choices, count = 0, chosen = []) {
  if (chosen.length === choices.length) {
    yield [count, chosen];
    return;
  }
  for (const [more, word] of choices[chosen.length]) yield* product(choices, count + more, [...chosen, word]);
}
