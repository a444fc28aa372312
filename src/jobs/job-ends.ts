/**
 * Tells those who wait for jobs that theirs may have ended: one listener for all of them, while there are any.
 *
 * 1. Whoever watches is told of each end that is announced after `watch` resolved. Being told is a reason to look, not a promise: an
 *    announcement may be lost, so who waits also looks now and then.
 * 2. Announcements come with the commit; the feed would tell of it three round trips later.
 * 3. Who waits for one job after another does not begin and end to listen for each: the last one to leave is outlasted a little.
 */

import type { Clock } from '../engine/ports.ts';

/** Listens to the ends of all jobs. Resolves, when they are heard, with how to stop. */
export type HearEnds = (told: (jobId: string) => void) => Promise<() => Promise<void>>;

export interface Watch {
  /** Resolves when the job may have ended. */
  readonly told: Promise<void>;
  end(): void;
}

/** A reason of our own: without one each abort would make an error, with its stack. */
const STAYS = 'somebody watches';
/** Upholds (3). */
const LINGER_MS = 1_000;

export class JobEnds {
  readonly #hear: HearEnds;
  readonly #clock: Pick<Clock, 'sleep'>;
  #lingering: AbortController | undefined;
  readonly #waiting = new Map<string, Set<() => void>>();
  #hearing: Promise<() => Promise<void>> | undefined;

  constructor(hear: HearEnds, clock: Pick<Clock, 'sleep'>) {
    this.#hear = hear;
    this.#clock = clock;
  }

  async watch(jobId: string): Promise<Watch> {
    const { promise: told, resolve } = Promise.withResolvers<void>();
    const waiters = this.#waiting.get(jobId) ?? new Set();
    this.#waiting.set(jobId, waiters.add(resolve));
    const end = (): void => this.#forget(jobId, resolve);
    this.#lingering?.abort(STAYS);
    this.#lingering = undefined;
    const hearing = (this.#hearing ??= this.#hear((ended) => this.#tell(ended)));
    try {
      await hearing;
    } catch (error) {
      if (this.#hearing === hearing) this.#hearing = undefined;
      end();
      throw error;
    }
    return { told, end };
  }

  #tell(jobId: string): void {
    for (const resolve of this.#waiting.get(jobId) ?? []) resolve();
  }

  #forget(jobId: string, resolve: () => void): void {
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
