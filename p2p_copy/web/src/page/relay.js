// Where a relay is, and the code that came along, of what a person typed or of a link: `send --link` prints one.

/** Names of this machine, to which a connection needs no TLS. The policy of the page as a file has the same two. */
const HERE = new Set(['localhost', '127.0.0.1']);

const SCHEMES = { 'https:': 'wss:', 'wss:': 'wss:', 'http:': 'ws:', 'ws:': 'ws:' };

/** What a fragment says; as it stands if somebody has written it by hand. */
export function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export const isLink = (text) => text.includes('://');

/**
 * `{relay, code}` of `relay.example`, `wss://relay.example:8443` or `https://relay.example/#CODE`; the code may be empty.
 *
 * Throws an `Error` with a sentence for the person.
 */
export function parseRelay(text) {
  const trimmed = text.trim();
  let url = null;
  try {
    url = new URL(isLink(trimmed) ? trimmed : `wss://${trimmed}`);
  } catch {
    // It is none.
  }
  if (!trimmed || !url || !(url.protocol in SCHEMES) || url.username || url.password || url.search) {
    throw new Error('This is not the address of a relay. It looks like relay.example or wss://relay.example:8443.');
  }
  const scheme = SCHEMES[url.protocol];
  if (scheme === 'ws:' && !HERE.has(url.hostname)) {
    throw new Error('A relay on another machine needs TLS: its address begins with wss:// or https://.');
  }
  return { relay: `${scheme}//${url.host}${url.pathname}`.replace(/\/+$/, ''), code: decoded(url.hash.slice(1)) };
}
