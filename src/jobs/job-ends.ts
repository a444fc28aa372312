/**
 * Tells those who wait for jobs that theirs may have ended: one listener for all of them, while there are any.
 *
 * 1. Whoever watches hears of each end that is told after `watch` resolved. Being told is no promise: a message may be lost, so who
 *    waits also looks now and then.
 * 2. The commit that ends a job tells it, whole: nobody need read it.
 * 3. Who waits for one job after another does not begin and end to listen for each: the last one to leave is outlasted a little.
 */

import type { Clock } from '../engine/ports.ts';
import type { ArrivedView, Arrivals } from '../engine/read-ports.ts';
import { idOf } from '../protocol/ids.ts';

/** Called when the job has ended: with it, or with undefined when it must be read. */
type Waiter = (view: ArrivedView | undefined) => void;

/** Upholds (3). */
const LINGER_MS = 1_000;

export class JobEnds {
  readonly #arrivals: Arrivals;
  readonly #clock: Pick<Clock, 'after'>;
  readonly #waiting = new Map<string, Set<Waiter>>();
  #hearing: Promise<() => Promise<void>> | undefined;
  #stay: (() => void) | undefined;

  constructor(arrivals: Arrivals, clock: Pick<Clock, 'after'>) {
    this.#arrivals = arrivals;
    this.#clock = clock;
  }

  /** Resolves with how to end it. */
  async watch(jobId: string, told: Waiter): Promise<() => void> {
    const waiters = this.#waiting.get(jobId) ?? new Set();
    this.#waiting.set(jobId, waiters.add(told));
    const end = (): void => this.#forget(jobId, told);
    this.#stay?.();
    this.#stay = undefined;
    const hearing = (this.#hearing ??= this.#arrivals.hear('job', (key, view) => this.#tell(idOf(key), view)));
    try {
      await hearing;
    } catch (error) {
      if (this.#hearing === hearing) this.#hearing = undefined;
      end();
      throw error;
    }
    return end;
  }

  #tell(jobId: string, view: ArrivedView | undefined): void {
    for (const told of this.#waiting.get(jobId) ?? []) told(view);
  }

  #forget(jobId: string, told: Waiter): void {
    const waiters = this.#waiting.get(jobId);
    waiters?.delete(told);
    if (waiters?.size === 0) this.#waiting.delete(jobId);
    if (this.#waiting.size === 0 && this.#hearing !== undefined) this.#stay ??= this.#clock.after(LINGER_MS, () => this.close());
  }

  /** Ends listening; the next one to watch begins it anew. */
  close(): void {
    this.#stay?.();
    this.#stay = undefined;
    const hearing = this.#hearing;
    this.#hearing = undefined;
    // One that could not be begun is nobody's to stop; one that cannot be stopped has lost its link.
    hearing?.then((stop) => stop()).catch(() => undefined);
  }
}
