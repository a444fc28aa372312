/**
 * Tells those who wait for jobs that theirs may have ended: one follower of the feed for all of them, while there are any.
 *
 * 1. Whoever watches is told of each end that is committed after `watch` resolved. Being told is a reason to look, not a promise.
 * 2. When the feed is lost (a gap, an outage, a stop) all are told: they look, and watch again.
 */
import type { Client } from '../engine/client.ts';
import type { Clock } from '../engine/ports.ts';
import { idOf } from '../protocol/ids.ts';
import { isEnd } from './states.ts';

export interface Watch {
  /** Resolves when the job may have ended. */
  readonly told: Promise<void>;
  end(): void;
}

interface Following {
  readonly abort: AbortController;
  /** Resolves when the feed is followed. */
  readonly started: Promise<void>;
}

/** Between two tries to follow a feed that cannot be read. */
const RETRY_MS = 200;

export class JobEnds {
  readonly #client: Pick<Client, 'transitions'>;
  readonly #clock: Pick<Clock, 'sleep'>;
  readonly #waiting = new Map<string, Set<() => void>>();
  #following: Following | undefined;

  constructor(client: Pick<Client, 'transitions'>, clock: Pick<Clock, 'sleep'>) {
    this.#client = client;
    this.#clock = clock;
  }

  async watch(jobId: string): Promise<Watch> {
    const { promise: told, resolve } = Promise.withResolvers<void>();
    const waiters = this.#waiting.get(jobId) ?? new Set();
    this.#waiting.set(jobId, waiters.add(resolve));
    const end = (): void => this.#forget(jobId, resolve);
    try {
      await this.#follow();
    } catch (error) {
      end();
      throw error;
    }
    return { told, end };
  }

  /** Resolves when the feed is followed. */
  #follow(): Promise<void> {
    if (this.#following !== undefined) return this.#following.started;
    const abort = new AbortController();
    const started = this.#client.transitions('new', { types: ['job'], signal: abort.signal }).then((transitions) => void this.#read(transitions, abort));
    const following: Following = { abort, started };
    this.#following = following;
    started.catch(() => this.#lost(following));
    return started;
  }

  async #read(transitions: Awaited<ReturnType<Client['transitions']>>, abort: AbortController): Promise<void> {
    try {
      for await (const { transition } of transitions) if (isEnd(transition.to)) this.#tell(idOf(transition.key));
    } catch {
      // Whatever it was, they look for themselves. (2)
    }
    const following = this.#following;
    if (following?.abort !== abort) return;
    await this.#clock.sleep(RETRY_MS, abort.signal);
    this.#lost(following);
  }

  #lost(following: Following): void {
    if (this.#following === following) this.#following = undefined;
    for (const jobId of this.#waiting.keys()) this.#tell(jobId);
  }

  #tell(jobId: string): void {
    for (const resolve of this.#waiting.get(jobId) ?? []) resolve();
  }

  #forget(jobId: string, resolve: () => void): void {
    const waiters = this.#waiting.get(jobId);
    waiters?.delete(resolve);
    if (waiters?.size === 0) this.#waiting.delete(jobId);
    if (this.#waiting.size > 0) return;
    this.#following?.abort.abort();
    this.#following = undefined;
  }
}
