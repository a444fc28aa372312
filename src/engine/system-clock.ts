/** The clock of a real process. */
import type { Clock } from './ports.ts';

/** The longest delay that a timer of the platform takes, ms; a longer sleep lasts until it is woken. */
const TIMER_MS_MAX = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => performance.now(),
  random: () => Math.random(),
  after: (ms, call) => {
    if (ms === Infinity) return () => undefined;
    const timer = setTimeout(call, Math.min(ms, TIMER_MS_MAX));
    return () => clearTimeout(timer);
  },
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const end = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', end);
        resolve();
      };
      const timer = setTimeout(end, Math.min(ms, TIMER_MS_MAX));
      signal?.addEventListener('abort', end, { once: true });
    }),
};
