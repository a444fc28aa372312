/** A clock that a test moves by hand. */
import type { Clock } from '../../src/engine/ports.ts';

export class ManualClock implements Clock {
  #now = 0;
  #sleepers: { readonly at: number; readonly end: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  random(): number {
    return 0.5;
  }

  /** How many sleeps with an end are under way. */
  get sleeping(): number {
    return this.#sleepers.length;
  }

  after(ms: number, call: () => void): () => void {
    const stop = new AbortController();
    void this.sleep(ms, stop.signal).then(() => {
      if (!stop.signal.aborted) call();
    });
    return () => stop.abort();
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const sleeper = {
        at: this.#now + ms,
        end: (): void => {
          this.#sleepers = this.#sleepers.filter((each) => each !== sleeper);
          signal?.removeEventListener('abort', sleeper.end);
          resolve();
        },
      };
      signal?.addEventListener('abort', sleeper.end, { once: true });
      if (ms !== Infinity) this.#sleepers.push(sleeper);
    });
  }

  /** Moves time on; what a sleep set off has come to rest before the next one ends. */
  async advance(ms: number): Promise<void> {
    const until = this.#now + ms;
    for (;;) {
      await settled();
      const [next] = this.#sleepers.filter(({ at }) => at <= until).sort((left, right) => left.at - right.at);
      if (next === undefined) break;
      this.#now = Math.max(this.#now, next.at);
      next.end();
    }
    this.#now = until;
    await settled();
  }
}

/** All promise callbacks have run. */
export function settled(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}
