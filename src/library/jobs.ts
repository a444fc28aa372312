/**
 * Jobs as a user of the library submits them, from any process: the engine and the workers may run elsewhere.
 *
 * 1. Creating checks and connects nothing; `start` connects, `stop` closes all that `start` opened. Both may be called again, one after
 *    the other.
 * 2. A payload is checked against its kind's schema before it is submitted, and stored as it was given: the worker's check is the one
 *    that counts.
 */
import { HostedTypes } from '../engine/actor-types.ts';
import { Client } from '../engine/client.ts';
import { Hub, type FollowedTransition } from '../engine/hub.ts';
import { systemClock } from '../engine/system-clock.ts';
import { clientJobTypes } from '../jobs/hosted-types.ts';
import type { Page } from '../protocol/control-plane.ts';
import { ActorNotFoundError, InvalidJobError, JobError, StoppedError, WaitTimeoutError } from '../protocol/errors.ts';
import type { JobDefaults } from '../protocol/job-handler.ts';
import {
  JOB_END_STATES,
  type JobCommandResult,
  type JobLogLine,
  type JobQuery,
  type JobRequest,
  type Jobs,
  type JobView,
  type QueueLimits,
  type QueueView,
  type ScheduleRequest,
  type ScheduleView,
  type SubmittedJob,
} from '../protocol/job.ts';
import type { Json } from '../protocol/json.ts';
import type { Schema, SchemaIssue } from '../protocol/schema.ts';
import { connectRedis, type RedisConnections } from '../redis/connect.ts';
import type { StoreSettings } from '../redis/store.ts';
import { describeTarget } from '../redis/target.ts';
import { openJobs } from './job-host.ts';
import type { Log, WaitOptions } from './castellan.ts';
import { redisTargetOf, type RedisOption } from './redis-option.ts';

export interface JobClientOptions {
  readonly redis: RedisOption;
  /** As the control plane's; default `castellan`. */
  readonly prefix?: string;
  readonly store?: Partial<StoreSettings>;
  /** Default: Node's process warnings. */
  readonly log?: Log;
}

/** How a job is handed out, over what its kind says. */
export type AddOptions = Omit<JobRequest, 'type' | 'payload'>;
type PageOptions = { readonly cursor?: string; readonly limit?: number };

/** A kind made by `defineJob`, with or without its handler. */
export interface AnyJobKind<Input, Result> extends JobDefaults {
  readonly type: string;
  readonly payload?: Schema;
  readonly result?: Schema;
  readonly types?: { readonly input: Input; readonly payload: unknown; readonly result: Result };
}

/** A submitted job; `result` waits for it. */
export interface AddedJob<Result> extends SubmittedJob {
  /** As {@link JobClient.result}, but that it also waits for an engine that is away. */
  result(options?: WaitOptions): Promise<Result>;
}

interface Parts {
  readonly redis: RedisConnections;
  readonly client: Client;
  readonly jobs: Jobs;
  readonly stopped: AbortController;
}

const PAGE_LIMIT = 100;
const WAIT_MS = 10_000;

/** What a kind and its payload are as a request: for `addAll`, for children, for schedules. Throws InvalidJobError when the payload does not fit. */
export async function jobRequest<Input, Result>(kind: AnyJobKind<Input, Result>, payload: Input, options: AddOptions = {}): Promise<JobRequest> {
  const { type, payload: schema, queue, priority, timeoutMs, requeue, attempts, backoff, requires } = kind;
  const checked = await schema?.['~standard'].validate(payload);
  if (checked?.issues !== undefined) throw new InvalidJobError(...faultOf(checked.issues));
  const defaults = { queue, priority, timeoutMs, requeue, attempts, backoff, requires };
  const given = Object.fromEntries(Object.entries({ ...defaults, ...options }).filter(([, value]) => value !== undefined)) as AddOptions;
  return { ...given, type, ...(payload === undefined ? {} : { payload: payload as Json }) };
}

export class JobClient {
  readonly #options: JobClientOptions;
  #started: Promise<Parts> | undefined;
  #parts: Parts | undefined;

  constructor(options: JobClientOptions) {
    this.#options = options;
  }

  /** Connects. Throws RedisUnusableError and InvalidSettingError with the way out; may be called again then. */
  async start(): Promise<this> {
    const started = (this.#started ??= this.#open());
    try {
      const parts = await started;
      if (this.#started === started) this.#parts = parts;
      return this;
    } catch (error) {
      if (this.#started === started) this.#started = undefined;
      throw error;
    }
  }

  /** Closes every connection. Waits get StoppedError. What was submitted goes on. */
  async stop(): Promise<void> {
    const started = this.#started;
    this.#started = this.#parts = undefined;
    const parts = await started?.catch(() => undefined);
    if (parts === undefined) return;
    parts.stopped.abort();
    try {
      await parts.client.stop();
    } finally {
      await parts.redis.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /**
   * Submits a job of a kind made by `defineJob`, or of a type by its name. Resolves when it is stored: from then on it is done, or ends in
   * error, whatever happens. Throws InvalidJobError (with `field`) before anything is stored. Any other error leaves open whether it was
   * stored: with a `jobId` or `dedupeKey` the same call may be repeated.
   */
  async add<Input, Result>(kind: AnyJobKind<Input, Result>, payload: Input, options?: AddOptions): Promise<AddedJob<Result>>;
  async add(type: string, payload?: Json, options?: AddOptions): Promise<AddedJob<Json>>;
  async add(kind: string | AnyJobKind<unknown, unknown>, payload?: unknown, options: AddOptions = {}): Promise<AddedJob<unknown>> {
    const request = await jobRequest(typeof kind === 'string' ? { type: kind } : kind, payload, options);
    const submitted = await this.#jobs.submit(request);
    return { ...submitted, result: async (wait) => await this.#resultOf(submitted.jobId, wait, true) };
  }

  /** Submits many with one append; in order. One bad request refuses all, before anything is stored. */
  async addAll(requests: readonly JobRequest[]): Promise<readonly SubmittedJob[]> {
    return await this.#jobs.submitAll(requests);
  }

  /** Undefined when there is none, or none any more. */
  async get(jobId: string): Promise<JobView | undefined> {
    return await this.#jobs.get(jobId);
  }

  /** `next` is the cursor of the next page, null at the end; a page may hold fewer than asked for. */
  async list(query: Omit<JobQuery, 'limit'> & { readonly limit?: number } = {}): Promise<Page<JobView>> {
    return await this.#jobs.list({ limit: PAGE_LIMIT, ...query });
  }

  async cancel(jobId: string, reason?: string): Promise<JobCommandResult> {
    return await this.#jobs.cancel(jobId, reason);
  }

  /** Hands a job in error or cancelled out again, with all its tries. */
  async retry(jobId: string): Promise<JobCommandResult> {
    return await this.#jobs.retry(jobId);
  }

  /**
   * What the job's handler returned, once it is done. Throws JobError with the job's code when it ended otherwise, WaitTimeoutError when it
   * has not ended in time (it goes on), StoppedError when this client stops, ActorNotFoundError when no such job was heard of for 2 s. A
   * Redis that is away for a moment does not end the wait; one that is away until the time is over does, by RedisUnusableError.
   */
  async result(jobId: string, options?: WaitOptions): Promise<Json> {
    return await this.#resultOf(jobId, options, false);
  }

  /** `accepted`: it was submitted here, so that it is waited for while no engine runs. */
  async #resultOf(jobId: string, { timeoutMs = WAIT_MS }: WaitOptions = {}, accepted: boolean): Promise<Json> {
    const job = await this.#jobs.waitForEnd(jobId, timeoutMs, accepted);
    if (job === undefined && accepted)
      throw new WaitTimeoutError(`Nothing was heard of the job ${jobId} within ${timeoutMs} ms; it goes on when an engine runs.`);
    if (job === undefined) throw new ActorNotFoundError(`job/${jobId}`);
    if (job.state === 'done') return job.result;
    if (!JOB_END_STATES.includes(job.state)) throw new WaitTimeoutError(`The job ${jobId} is ${job.state} after ${timeoutMs} ms; it goes on.`);
    const { code, message } = job.error ?? { code: job.state, message: job.reason ?? `The job is ${job.state}.` };
    throw new JobError(code, message, { retryable: false });
  }

  /** What the job's workers wrote, oldest first. The cursor is the id of the last line that was seen. */
  async log(jobId: string, { cursor, limit = PAGE_LIMIT }: PageOptions = {}): Promise<Page<JobLogLine>> {
    return await this.#jobs.log(jobId, { limit, ...(cursor === undefined ? {} : { cursor }) });
  }

  /**
   * Every committed transition of every job, in order, after a cursor or from now on; each comes with the cursor behind it. Throws
   * CursorGoneError when the cursor is not held any more, also from the iteration.
   */
  async transitions(cursor: string | 'new', { signal }: { readonly signal?: AbortSignal } = {}): Promise<AsyncIterable<FollowedTransition>> {
    return await this.#running.client.transitions(cursor, { types: ['job'], signal: signal ?? new AbortController().signal });
  }

  async listQueues(): Promise<readonly QueueView[]> {
    return await this.#jobs.listQueues();
  }

  /** Hands out no more jobs of this queue; those at work go on. */
  async pause(queue: string): Promise<QueueView> {
    return await this.#jobs.pause(queue);
  }

  async resume(queue: string): Promise<QueueView> {
    return await this.#jobs.resume(queue);
  }

  /** Replaces the queue's limits; an absent bound is none. */
  async setLimits(queue: string, limits: QueueLimits): Promise<QueueView> {
    return await this.#jobs.setLimits(queue, limits);
  }

  /** Makes or changes the schedule of that name. */
  async putSchedule(request: ScheduleRequest): Promise<ScheduleView> {
    return await this.#jobs.putSchedule(request);
  }

  async listSchedules({ cursor, limit = PAGE_LIMIT }: PageOptions = {}): Promise<Page<ScheduleView>> {
    return await this.#jobs.listSchedules({ limit, ...(cursor === undefined ? {} : { cursor }) });
  }

  /** False when there was none. Its jobs stay. */
  async removeSchedule(name: string): Promise<boolean> {
    return await this.#jobs.removeSchedule(name);
  }

  get #jobs(): Jobs {
    return this.#running.jobs;
  }

  get #running(): Parts {
    if (this.#parts === undefined) throw new StoppedError('The job client does not run: call start() and wait for it first.');
    return this.#parts;
  }

  async #open(): Promise<Parts> {
    const { redis: given, prefix, store } = this.#options;
    const log: Log = this.#options.log ?? { warn: (message) => process.emitWarning(message, 'CastellanWarning') };
    const target = redisTargetOf(given);
    const redis = await connectRedis(target, {
      onError: (error, client) => log.warn(`The Redis link "${client}" to ${describeTarget(target)} failed: ${error.message}`),
      ...(prefix === undefined ? {} : { prefix }),
      ...(store === undefined ? {} : { settings: store }),
    });
    const types = new HostedTypes(clientJobTypes());
    const hub = new Hub(redis.reader, systemClock);
    const client = new Client({ store: redis.store, reader: redis.reader, replies: redis.replies, hub, types, clock: systemClock });
    try {
      await client.start();
    } catch (error) {
      await redis.close();
      throw error;
    }
    const stopped = new AbortController();
    const jobs = openJobs({ redis, client, source: 'library', confirmMs: 0, stopped: stopped.signal });
    return { redis, client, jobs, stopped };
  }
}

/** The field's path and what is wrong there. */
function faultOf(issues: readonly SchemaIssue[]): [field: string, why: string] {
  const [issue] = issues;
  const path = (issue?.path ?? []).map((part) => String(typeof part === 'object' ? part.key : part));
  return [['payload', ...path].join('.'), `does not fit its schema: ${issue?.message ?? 'no reason was given'}.`];
}
