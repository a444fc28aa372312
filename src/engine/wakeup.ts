/** A sleep that ends early when someone wakes it. A wake between two sleeps ends the next one at once. */
import type { Clock } from './ports.ts';

/** A reason of our own: without one each wake would make an error, with its stack. */
const WOKEN = 'woken';

export class Wakeup {
  readonly #clock: Clock;
  #woken = false;
  #end: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  wake(): void {
    this.#woken = true;
    this.#end?.();
  }

  /** Resolves after `ms`, at a wake, or when the signal aborts. */
  async sleep(ms: number, signal: AbortSignal): Promise<void> {
    if (!this.#woken && !signal.aborted) {
      const early = new AbortController();
      const end = (): void => early.abort(WOKEN);
      this.#end = end;
      signal.addEventListener('abort', end, { once: true });
      await this.#clock.sleep(ms, early.signal);
      signal.removeEventListener('abort', end);
      this.#end = undefined;
    }
    this.#woken = false;
  }
}
