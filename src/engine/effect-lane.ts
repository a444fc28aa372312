/**
 * One executor's deliveries: in order per actor, actors beside one another, failures tried again later.
 *
 * 1. Per actor one delivery runs at a time; the next starts when it is delivered or given up. (I5)
 * 2. When a delivery fails, it and all later ones of its actor become retries: they keep their order there.
 * 3. A try ends at `effectTimeoutMs` even if its executor does not: it is told by its signal, and is tried again. (I8)
 * 4. At most `laneRetriesMax` actors' heads have a next try scheduled; those beyond are parked and come up as heads conclude. (I8)
 */
import type { Delivery, Executor } from '../protocol/command.ts';
import type { ActorKey } from '../protocol/ids.ts';
import type { Meter } from './meter.ts';
import type { Clock } from './ports.ts';
import type { EngineSettings } from './settings.ts';

/** What the retry set holds of a delivery. */
export interface RetryState {
  readonly delivery: Delivery;
  readonly attempts: number;
  readonly lastError: string;
}

export type LaneEvent =
  | { readonly kind: 'delivered'; readonly delivery: Delivery; readonly wasRetry: boolean }
  /** Not delivered now; `first` when it was not a retry before. */
  | { readonly kind: 'retry'; readonly delivery: Delivery; readonly state: RetryState; readonly first: boolean }
  | { readonly kind: 'exhausted'; readonly delivery: Delivery; readonly error: string; readonly wasRetry: boolean };

export interface LanePorts {
  readonly name: string;
  /** Undefined when the type or effect is no longer registered: every try fails with that reason. */
  readonly executor: Executor | undefined;
  readonly clock: Clock;
  readonly settings: EngineSettings;
  readonly meter: Meter;
}

interface Job {
  readonly delivery: Delivery;
  readonly signal: AbortSignal;
  readonly tell: (event: LaneEvent) => void;
  attempts: number;
  isRetry: boolean;
  lastError: string;
}

interface ActorQueue {
  readonly jobs: Job[];
  /** Its head waits for its next try, is parked for one, runs, or stands ready. */
  state: 'ready' | 'running' | 'scheduled' | 'parked';
}

export class EffectLane {
  readonly #ports: LanePorts;
  readonly #actors = new Map<ActorKey, ActorQueue>();
  readonly #ready: ActorKey[] = [];
  readonly #parked: ActorKey[] = [];
  #running = 0;
  #scheduled = 0;
  readonly #idleWaiters: (() => void)[] = [];

  constructor(ports: LanePorts) {
    this.#ports = ports;
  }

  add(delivery: Delivery, signal: AbortSignal, tell: (event: LaneEvent) => void): void {
    const job: Job = { delivery, signal, tell, attempts: 0, isRetry: false, lastError: '' };
    const actor = this.#actors.get(delivery.actor);
    if (actor !== undefined && (actor.state === 'scheduled' || actor.state === 'parked')) {
      actor.jobs.push(job);
      this.#becomeRetry(job, `waits for an earlier ${this.#ports.name} of this actor`);
      return;
    }
    this.#enqueue(job, actor);
  }

  /** A delivery that its last owner left in the retry set. */
  resume({ delivery, attempts, lastError }: RetryState, signal: AbortSignal, tell: (event: LaneEvent) => void): void {
    this.#enqueue({ delivery, signal, tell, attempts, isRetry: true, lastError }, this.#actors.get(delivery.actor));
  }

  /** Resolves when nothing runs. */
  async idle(): Promise<void> {
    if (this.#running > 0) await new Promise<void>((resolve) => this.#idleWaiters.push(resolve));
  }

  #enqueue(job: Job, actor: ActorQueue | undefined): void {
    if (actor !== undefined) {
      actor.jobs.push(job);
      return;
    }
    this.#actors.set(job.delivery.actor, { jobs: [job], state: 'ready' });
    this.#ready.push(job.delivery.actor);
    this.#startReady();
  }

  #startReady(): void {
    while (this.#running < this.#ports.settings.laneConcurrency) {
      const key = this.#ready.shift();
      if (key === undefined) return;
      const actor = this.#actors.get(key);
      const job = actor?.jobs[0];
      if (actor === undefined || job === undefined) continue;
      actor.state = 'running';
      this.#running++;
      void this.#run(key, actor, job);
    }
  }

  async #run(key: ActorKey, actor: ActorQueue, job: Job): Promise<void> {
    const failure = await this.#attempt(job);
    this.#running--;
    if (job.signal.aborted || failure === undefined) {
      actor.jobs.shift();
      if (failure === undefined) job.tell({ kind: 'delivered', delivery: job.delivery, wasRetry: job.isRetry });
      this.#goOn(key, actor);
    } else {
      this.#failed(key, actor, job, failure);
    }
    this.#startReady();
    if (this.#running === 0) for (const resolve of this.#idleWaiters.splice(0)) resolve();
  }

  /** The reason why it failed; undefined when it was delivered. */
  async #attempt(job: Job): Promise<string | undefined> {
    const { executor, meter, name } = this.#ports;
    if (job.signal.aborted) return 'stopped';
    try {
      if (executor === undefined) throw new Error(`No executor is registered for ${name}.`);
      await this.#execute(executor, job);
      meter.count('deliveries');
      return undefined;
    } catch (error) {
      meter.count('delivery_failures');
      return error instanceof Error ? error.message : String(error);
    }
  }

  /**
   * Invariant 3. The timeout is the injected clock's. The partition's signal lives as long as its ownership, so what listens
   * to it is taken off again: a signal made of it with `AbortSignal.any` would stay known to it after every delivery.
   */
  async #execute(executor: Executor, job: Job): Promise<void> {
    const { clock, settings } = this.#ports;
    const attempt = new AbortController();
    const ended = new AbortController();
    const stop = (): void => attempt.abort(job.signal.reason);
    job.signal.addEventListener('abort', stop, { once: true });
    void clock.sleep(settings.effectTimeoutMs, ended.signal).then(() => {
      if (!ended.signal.aborted) attempt.abort(new Error(`It did not end within ${settings.effectTimeoutMs} ms.`));
    });
    try {
      await Promise.race([executor(job.delivery, attempt.signal), aborted(attempt.signal)]);
    } finally {
      job.signal.removeEventListener('abort', stop);
      ended.abort();
    }
  }

  #failed(key: ActorKey, actor: ActorQueue, job: Job, failure: string): void {
    const { settings, clock } = this.#ports;
    job.attempts++;
    if (job.attempts >= settings.effectAttemptsMax) {
      actor.jobs.shift();
      job.tell({ kind: 'exhausted', delivery: job.delivery, error: failure, wasRetry: job.isRetry });
      this.#goOn(key, actor);
      return;
    }
    this.#becomeRetry(job, failure);
    for (const later of actor.jobs.slice(1)) if (!later.isRetry) this.#becomeRetry(later, `waits for an earlier ${this.#ports.name} of this actor`);
    if (this.#scheduled >= settings.laneRetriesMax) {
      actor.state = 'parked';
      this.#parked.push(key);
      return;
    }
    actor.state = 'scheduled';
    this.#scheduled++;
    const delayMs = Math.min(settings.retryDelayMsMax, settings.retryDelayMs * 2 ** (job.attempts - 1));
    // The spread lies outside the cap, or all retries of a long outage would come at once.
    void clock.sleep(delayMs * (0.75 + clock.random() / 2), job.signal).then(() => {
      this.#scheduled--;
      this.#makeReady(key, actor);
      this.#unpark();
      this.#startReady();
    });
  }

  #becomeRetry(job: Job, lastError: string): void {
    const first = !job.isRetry;
    job.isRetry = true;
    job.lastError = lastError;
    job.tell({ kind: 'retry', delivery: job.delivery, state: { delivery: job.delivery, attempts: job.attempts, lastError }, first });
  }

  /** The head concluded: the actor's next one, or none. */
  #goOn(key: ActorKey, actor: ActorQueue): void {
    if (actor.jobs.length === 0) this.#actors.delete(key);
    else this.#makeReady(key, actor);
    this.#unpark();
  }

  #makeReady(key: ActorKey, actor: ActorQueue): void {
    actor.state = 'ready';
    this.#ready.push(key);
  }

  #unpark(): void {
    if (this.#scheduled >= this.#ports.settings.laneRetriesMax) return;
    const key = this.#parked.shift();
    const actor = key === undefined ? undefined : this.#actors.get(key);
    if (key !== undefined && actor !== undefined) this.#makeReady(key, actor);
  }
}

async function aborted(signal: AbortSignal): Promise<never> {
  return await new Promise((_, reject) => {
    const end = (): void => reject(signal.reason as Error);
    if (signal.aborted) end();
    else signal.addEventListener('abort', end, { once: true });
  });
}
