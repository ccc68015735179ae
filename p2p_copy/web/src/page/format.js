// Numbers as people read them.

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

export function size(bytes) {
  let unit = 0;
  while (bytes >= 1024 && unit < UNITS.length - 1) {
    bytes /= 1024;
    unit++;
  }
  return `${unit && bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${UNITS[unit]}`;
}

export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

export const count = (number, what) => `${number.toLocaleString('en')} ${what}${number === 1 ? '' : 's'}`;

/** Measures the rate of a transfer over its last seconds. */
export class Rate {
  #seen = [];

  static WINDOW = 8; // seconds

  add(bytes, now = performance.now()) {
    this.#seen.push([now, bytes]);
    while (this.#seen.length > 2 && now - this.#seen[0][0] > Rate.WINDOW * 1000) this.#seen.shift();
  }

  /** Bytes per second; 0 while there is too little to tell. */
  get value() {
    const [first, last] = [this.#seen[0], this.#seen.at(-1)];
    if (!first || last[0] - first[0] < 500) return 0;
    return ((last[1] - first[1]) / (last[0] - first[0])) * 1000;
  }
}
