/**
 * A worker of the library: jobs of your own, taken from queues over Redis.
 *
 * 1. Creating checks and connects nothing; `start` connects, `stop` closes all that `start` opened. Both may be called again, in any order.
 * 2. Each start is a new consumer of the group: what an earlier one left pending is handed out anew by the job's machine, never taken up here.
 */
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { StoppedError } from '../protocol/errors.ts';
import type { AnyJobDefinition } from '../protocol/job-handler.ts';
import { DEFAULT_QUEUE, tagQueue } from '../protocol/job-progress.ts';
import { createJobTransport, workerConsumer } from '../redis/job-transport.ts';
import { describeTarget, parseRedisUrl, type RedisTarget } from '../redis/target.ts';
import { checkSettings, definitionsByType } from '../worker/entries.ts';
import { DEFAULT_CONCURRENCY } from '../worker/settings.ts';
import { Worker, type WorkerCounts } from '../worker/worker.ts';
import type { Log } from './castellan.ts';

export interface CreateWorkerOptions {
  /** `redis://user:password@host:6379/0` (`rediss://` for TLS), or the same in parts; `port` 6379, `db` 0, `tls` false unless said. */
  readonly redis: string | (Pick<RedisTarget, 'host'> & Partial<RedisTarget>);
  /** What this worker can do, each made by `defineJob` or `handleJob`; one for each type. */
  readonly jobs: readonly AnyJobDefinition[];
  /** Streams to take jobs from. Default: the queues that the jobs name, else `jobs:v1:gpu-general`. */
  readonly queues?: readonly string[];
  /** For each also the queue `jobs:v1:tag:{tag}`. */
  readonly tags?: readonly string[];
  /** Jobs at once. Default 10. */
  readonly concurrency?: number;
  /** The node that this worker belongs to: it then takes what is meant for that node, and takes nothing while that node is unwell. */
  readonly nodeId?: string;
  /** As of the control plane; default `castellan`. */
  readonly prefix?: string;
  /** How long `stop` waits for running jobs, ms. Default 20,000. */
  readonly graceMs?: number;
  /** Default: Node's process warnings. */
  readonly log?: Log;
}

type Lifecycle =
  | { readonly state: 'stopped' }
  | { readonly state: 'starting'; readonly started: Promise<Worker> }
  | { readonly state: 'running'; readonly worker: Worker }
  | { readonly state: 'stopping'; readonly stopped: Promise<void> };

export class JobWorker {
  readonly #options: CreateWorkerOptions;
  readonly #queues: readonly string[];
  #lifecycle: Lifecycle = { state: 'stopped' };

  /** Throws InvalidSettingError. */
  constructor(options: CreateWorkerOptions) {
    this.#options = options;
    this.#queues = queuesOf(options);
    checkSettings(this.#queues, options.concurrency ?? DEFAULT_CONCURRENCY);
    definitionsByType(options.jobs);
  }

  get state(): Lifecycle['state'] {
    return this.#lifecycle.state;
  }

  get queues(): readonly string[] {
    return this.#queues;
  }

  /** Of the present start; undefined unless running. */
  get counts(): WorkerCounts | undefined {
    return this.#lifecycle.state === 'running' ? this.#lifecycle.worker.counts : undefined;
  }

  /** Resolves when jobs are being taken. Throws RedisUnusableError with the way out, and StoppedError when `stop` came first; may be called again then. */
  async start(): Promise<this> {
    const lifecycle = this.#lifecycle;
    if (lifecycle.state === 'running') return this;
    if (lifecycle.state === 'stopping') {
      await lifecycle.stopped;
      return await this.start();
    }
    if (lifecycle.state === 'starting') {
      await lifecycle.started;
      return this;
    }
    const starting: Lifecycle = { state: 'starting', started: this.#open() };
    this.#lifecycle = starting;
    try {
      const worker = await starting.started;
      if (this.#lifecycle !== starting) throw new StoppedError('The start ended because stop() was called.');
      this.#lifecycle = { state: 'running', worker };
      return this;
    } catch (error) {
      if (this.#lifecycle === starting) this.#lifecycle = { state: 'stopped' };
      throw error;
    }
  }

  /** Takes no more jobs, waits for the running ones up to the grace, gives back what is left, and closes its connections. Safe at any time. */
  async stop(): Promise<void> {
    const lifecycle = this.#lifecycle;
    if (lifecycle.state === 'stopped') return;
    if (lifecycle.state === 'stopping') return await lifecycle.stopped;
    const stopped = lifecycle.state === 'running' ? lifecycle.worker.stop() : abandon(lifecycle.started);
    const stopping: Lifecycle = { state: 'stopping', stopped };
    this.#lifecycle = stopping;
    try {
      await stopped;
    } finally {
      if (this.#lifecycle === stopping) this.#lifecycle = { state: 'stopped' };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #open(): Promise<Worker> {
    const { redis, jobs, concurrency, nodeId, prefix, graceMs } = this.#options;
    const log = this.#options.log ?? { warn: (message: string) => process.emitWarning(message, 'CastellanWarning') };
    const target = typeof redis === 'string' ? parseRedisUrl(redis, 'redis') : { port: 6379, db: 0, tls: false, ...redis };
    const node = nodeId === undefined ? {} : { nodeId };
    const transport = createJobTransport(target, {
      consumer: workerConsumer(nodeId ?? hostname(), `${process.pid}-${randomBytes(4).toString('hex')}`), // (2)
      ...node,
      ...(prefix === undefined ? {} : { prefix }),
      onError: (error, client) => log.warn(`The worker's Redis link "${client}" to ${describeTarget(target)} failed: ${error.message}`),
    });
    await transport.connect();
    const worker = new Worker({
      transport,
      queues: this.#queues,
      jobs,
      ...node,
      ...(concurrency === undefined ? {} : { concurrency }),
      ...(graceMs === undefined ? {} : { graceMs }),
      log,
    });
    worker.start();
    return worker;
  }
}

function queuesOf({ queues, tags = [], jobs }: CreateWorkerOptions): readonly string[] {
  const named = queues ?? [...new Set(jobs.flatMap(({ queue }) => queue ?? []))];
  const all = [...(named.length === 0 && queues === undefined && tags.length === 0 ? [DEFAULT_QUEUE] : named), ...tags.map(tagQueue)];
  return [...new Set(all)];
}

async function abandon(started: Promise<Worker>): Promise<void> {
  const worker = await started.catch(() => undefined);
  await worker?.stop();
}
