// A pause on the way to the other side, which ends early if there is something to do.

/** Sleep; wake up early when the network is there again, or when this is stopped. */
export async function sleep(seconds, signal) {
  const woken = new AbortController();
  await new Promise((resolve) => {
    const timer = setTimeout(resolve, seconds * 1000);
    const once = { once: true, signal: woken.signal };
    globalThis.addEventListener?.('online', resolve, once);
    signal?.addEventListener('abort', resolve, once);
    woken.signal.addEventListener('abort', () => clearTimeout(timer));
  });
  woken.abort();
  signal?.throwIfAborted();
}
