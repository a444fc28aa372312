/**
 * A worker in a test's hand: takes entries and reports as workers of ours do, but only when the test says so.
 *
 * It keeps the lease of what it holds until the test makes it dumb, as a worker that died is.
 */
import type { Redis } from 'ioredis';
import {
  CONSUMER_PREFIX,
  DEFAULT_QUEUE,
  decodeJobEntry,
  JOB_REPORTS,
  WORKER_GROUP,
  type JobEntry,
  type ProgressType,
} from '../../src/protocol/job-progress.ts';
import type { JsonObject } from '../../src/protocol/json.ts';

export interface HandWorkerOptions {
  readonly name: string;
  readonly nodeId?: string;
  readonly queue?: string;
  /** How often it says that it is alive. */
  readonly aliveMs: number;
}

export class HandWorker {
  readonly consumer: string;
  readonly #redis: Redis;
  readonly #options: HandWorkerOptions;
  readonly #queue: string;
  readonly #held = new Map<string, JobEntry>();
  readonly #timer: NodeJS.Timeout;
  #silent = false;

  private constructor(redis: Redis, options: HandWorkerOptions) {
    this.#redis = redis;
    this.#options = options;
    this.#queue = options.queue ?? DEFAULT_QUEUE;
    this.consumer = CONSUMER_PREFIX + options.name;
    this.#timer = setInterval(() => {
      if (this.#silent) return;
      for (const entry of this.#held.values()) this.#tell('alive', entry, {}).catch(() => undefined);
    }, options.aliveMs);
  }

  static async start(redis: Redis, options: HandWorkerOptions): Promise<HandWorker> {
    const worker = new HandWorker(redis, options);
    await redis.xgroup('CREATE', worker.#queue, WORKER_GROUP, '0', 'MKSTREAM').catch(() => undefined);
    return worker;
  }

  /** The next entry, claimed; undefined when there is none. */
  async take(): Promise<JobEntry | undefined> {
    const read = (await this.#redis.xreadgroup('GROUP', WORKER_GROUP, this.consumer, 'COUNT', 1, 'STREAMS', this.#queue, '>')) as
      [string, [string, string[]][]][] | null;
    const [id, fields] = read?.[0]?.[1][0] ?? [];
    if (id === undefined || fields === undefined) return undefined;
    const entry = decodeJobEntry(this.#queue, id, fields);
    this.#held.set(entry.jobId, entry);
    await this.#tell('claimed', entry, {});
    return entry;
  }

  async finish(entry: JobEntry, result: string): Promise<void> {
    this.#held.delete(entry.jobId);
    await this.#tell('end', entry, { result });
    await this.#redis.xack(entry.queue, WORKER_GROUP, entry.entryId);
  }

  /** Speaks again, and at once, of what it holds. */
  async speak(): Promise<void> {
    this.#silent = false;
    for (const entry of this.#held.values()) await this.#tell('alive', entry, {});
  }

  /** Says nothing any more, as one that died; `finish` still works, as one that was only cut off. */
  dumb(): void {
    this.#silent = true;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #tell(type: ProgressType, entry: JobEntry, more: JsonObject): Promise<void> {
    const { attempt } = entry;
    const { nodeId } = this.#options;
    const data = {
      ...(attempt === undefined ? {} : { attempt }),
      worker: this.consumer,
      ...(nodeId === undefined ? {} : { nodeId }),
      entry: entry.entryId,
      ...more,
    };
    const progress = JSON.stringify({ version: '1.0', type, jobId: entry.jobId, timestamp: new Date().toISOString(), data });
    await this.#redis.xadd(JOB_REPORTS, '*', 'jobId', entry.jobId, 'progress', progress);
  }
}
