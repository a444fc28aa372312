/**
 * Tells those who wait for jobs that theirs may have ended: one listener for all of them, while there are any.
 *
 * 1. Whoever watches is told of each end that is told after `watch` resolved. Being told is no promise: a message may be lost, so who
 *    waits also looks now and then.
 * 2. The commit that ends a job tells it, whole: nobody need read it.
 * 3. Who waits for one job after another does not begin and end to listen for each: the last one to leave is outlasted a little.
 */

import type { Clock } from '../engine/ports.ts';
import type { ArrivedView, Arrivals } from '../engine/read-ports.ts';
import { idOf } from '../protocol/ids.ts';

export interface Watch {
  /** Resolves when the job has ended: with it, or with undefined when it must be read. */
  readonly told: Promise<ArrivedView | undefined>;
  end(): void;
}

type Waiter = (view: ArrivedView | undefined) => void;

/** A reason of our own: without one each abort would make an error, with its stack. */
const STAYS = 'somebody watches';
/** Upholds (3). */
const LINGER_MS = 1_000;

export class JobEnds {
  readonly #arrivals: Arrivals;
  readonly #clock: Pick<Clock, 'sleep'>;
  #lingering: AbortController | undefined;
  readonly #waiting = new Map<string, Set<Waiter>>();
  #hearing: Promise<() => Promise<void>> | undefined;

  constructor(arrivals: Arrivals, clock: Pick<Clock, 'sleep'>) {
    this.#arrivals = arrivals;
    this.#clock = clock;
  }

  async watch(jobId: string): Promise<Watch> {
    const { promise: told, resolve } = Promise.withResolvers<ArrivedView | undefined>();
    const waiters = this.#waiting.get(jobId) ?? new Set();
    this.#waiting.set(jobId, waiters.add(resolve));
    const end = (): void => this.#forget(jobId, resolve);
    this.#lingering?.abort(STAYS);
    this.#lingering = undefined;
    const hearing = (this.#hearing ??= this.#arrivals.hear('job', (key, view) => this.#tell(idOf(key), view)));
    try {
      await hearing;
    } catch (error) {
      if (this.#hearing === hearing) this.#hearing = undefined;
      end();
      throw error;
    }
    return { told, end };
  }

  #tell(jobId: string, view: ArrivedView | undefined): void {
    for (const resolve of this.#waiting.get(jobId) ?? []) resolve(view);
  }

  #forget(jobId: string, resolve: Waiter): void {
    const waiters = this.#waiting.get(jobId);
    waiters?.delete(resolve);
    if (waiters?.size === 0) this.#waiting.delete(jobId);
    if (this.#waiting.size > 0) return;
    const lingering = new AbortController();
    this.#lingering = lingering;
    void this.#clock.sleep(LINGER_MS, lingering.signal).then(() => {
      if (!lingering.signal.aborted) this.close();
    });
  }

  /** Ends listening; the next one to watch begins it anew. */
  close(): void {
    this.#lingering?.abort(STAYS);
    this.#lingering = undefined;
    const hearing = this.#hearing;
    this.#hearing = undefined;
    // One that could not be begun is nobody's to stop; one that cannot be stopped has lost its link.
    hearing?.then((stop) => stop()).catch(() => undefined);
  }
}
