// Repeats something while its page is open and seen.

/**
 * Run now and then every so often, never twice at once, not while the tab is hidden.
 * @param {number} ms
 * @param {() => Promise<void> | void} work catches its own errors
 * @param {AbortSignal} signal
 */
export function every(ms, work, signal) {
  let busy = false;
  const run = async () => {
    if (busy || document.hidden || signal.aborted) return;
    busy = true;
    try {
      await work();
    } finally {
      busy = false;
    }
  };
  const timer = setInterval(() => void run(), ms);
  document.addEventListener("visibilitychange", () => void run(), { signal });
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
  void run();
}

/**
 * Wrap something so that many wishes for it become one run at least `ms` after the last, the last
 * wish never lost.
 * @param {number} ms
 * @param {() => Promise<void>} work catches its own errors
 * @param {AbortSignal} signal
 * @returns {() => void}
 */
export function throttled(ms, work, signal) {
  let waiting = false;
  let again = false;
  let last = -Infinity;
  const run = async () => {
    if (signal.aborted) return;
    last = performance.now();
    again = false;
    try {
      await work();
    } finally {
      waiting = false;
      if (again) ask();
    }
  };
  const ask = () => {
    if (waiting) {
      again = true;
      return;
    }
    waiting = true;
    setTimeout(() => void run(), Math.max(0, last + ms - performance.now()));
  };
  return ask;
}
