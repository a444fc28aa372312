/** A sleep that ends early when someone wakes it. A wake between two sleeps ends the next one at once. */
import type { Clock } from './ports.ts';

export class Wakeup {
  readonly #clock: Pick<Clock, 'after'>;
  #woken = false;
  #end: (() => void) | undefined;

  constructor(clock: Pick<Clock, 'after'>) {
    this.#clock = clock;
  }

  wake(): void {
    this.#woken = true;
    this.#end?.();
  }

  /** Resolves after `ms`, at a wake, or when the signal aborts. */
  async sleep(ms: number, signal: AbortSignal): Promise<void> {
    if (!this.#woken && !signal.aborted) await this.#ended(ms, signal);
    this.#woken = false;
  }

  #ended(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        cancel();
        signal.removeEventListener('abort', end);
        this.#end = undefined;
        resolve();
      };
      const cancel = this.#clock.after(ms, end);
      signal.addEventListener('abort', end);
      this.#end = end;
    });
  }
}
