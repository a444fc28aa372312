/**
 * A kind of job, and what does it: the value that those who submit jobs and the workers that do them have in common.
 *
 * 1. Types follow from the schemas; without one a payload is JSON and a result is what the handler returns.
 * 2. A handler throws to fail. A {@link JobError} with `retryable: false` spends no further tries; any other error is tried again.
 * 3. All of a job may be taken apart (`({ payload, progress }) => …`): nothing needs its `this`.
 */
import type { JobRequest } from './job.ts';
import type { Json } from './json.ts';
import type { Schema } from './schema.ts';

/** What a handler is given. */
export interface Job<Payload = Json> {
  readonly id: string;
  readonly type: string;
  /** As the schema gives it; without a schema, as it was submitted. */
  readonly payload: Payload;
  /** The fence: it grows each time the job is handed out again. Pass it on to whatever must refuse an older try. */
  readonly attempt: number;
  readonly rayId: string | undefined;
  /** Aborts when the job is cancelled, is over its time, or this worker stops; `signal.reason` is a {@link JobError} with that code. */
  readonly signal: AbortSignal;
  /** The newest value is kept with the job, and every one is told on the job's channel. A number is understood as percent. */
  progress(value: Json, message?: string): void;
  /** A part of an answer that comes in parts: told in order on the job's channel and kept in its stream, not with the job. */
  chunk(value: Json): void;
  /** A line for people, kept in the job's stream. */
  log(line: string): void;
}

/** How jobs of a kind are handed out, unless the request says otherwise. */
export type JobDefaults = Pick<JobRequest, 'queue' | 'priority' | 'timeoutMs' | 'requeue' | 'attempts' | 'backoff' | 'requires'>;

/** What is known of a kind of job without doing it: all that a submitter needs. */
export interface JobKind<Type extends string = string, Input = unknown, Payload = unknown, Result = unknown> extends JobDefaults {
  readonly type: Type;
  /** Any Standard Schema: zod, valibot, arktype, … A payload that does not fit fails its job for good. */
  readonly payload?: Schema<Payload>;
  /** What does not fit fails its job for good. */
  readonly result?: Schema<Result>;
  /** Types alone; never there. */
  readonly types?: { readonly input: Input; readonly payload: Payload; readonly result: Result };
}

export interface JobDefinition<Type extends string = string, Input = unknown, Payload = unknown, Result = unknown> extends JobKind<
  Type,
  Input,
  Payload,
  Result
> {
  readonly handler: JobHandler<Payload, Result>;
}

/** The result must be JSON of at most PROGRESS_BYTES_MAX with its envelope; nothing counts as null. */
export type JobHandler<Payload, Result> = (job: Job<Payload>) => Result | Promise<Result>;

/** Any definition, as a worker takes them. */
export interface AnyJobDefinition extends JobDefaults {
  readonly type: string;
  readonly payload?: Schema;
  readonly result?: Schema;
  readonly handler: (job: Job<never>) => unknown;
}
