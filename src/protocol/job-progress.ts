/**
 * How workers and the control plane speak of a job: the queue's entry and the progress message (contracts 3).
 *
 * A progress message is JSON `{version, type, jobId, rayId?, timestamp, data}`. It is told on the channel `stream:v1:{jobId}`, and stands
 * in the stream of that name when a worker keeps a log. Workers of Castellan also append it to {@link JOB_REPORTS}, which the engine reads
 * in place as `jobId <id> progress <JSON>`: that entry is the report that counts. `data` then carries `attempt`, `worker`, `nodeId`, `entry`.
 */
import type { Json, JsonObject } from './json.ts';

/** Stream of the reports that count. Trimmed behind the engine's positions, never by length. */
export const JOB_REPORTS = 'job:reports';
export const DEFAULT_QUEUE = 'jobs:v1:gpu-general';
export const QUEUE_PREFIX = 'jobs:v1:';
export const WORKER_GROUP = 'citadel-workers';
/** Of queue names; the part after `jobs:v1:` also names the queue's dead letters, `dlq:v1:…`. */
export const QUEUE_NAME = /^jobs:v1:[A-Za-z0-9._:-]{1,100}$/;
/** The queue of the workers that have a tag. */
export function tagQueue(tag: string): string {
  return `${QUEUE_PREFIX}tag:${tag}`;
}

/** Consumers of ours are named so: those who observe a queue need not guess for them. */
export const CONSUMER_PREFIX = 'castellan:';

/** Channel and stream of a job's progress. */
export function progressKey(jobId: string): string {
  return `stream:v1:${jobId}`;
}

export function cancelKey(jobId: string): string {
  return `job:cancelled:${jobId}`;
}

export function statusKey(jobId: string): string {
  return `job:${jobId}:status`;
}

/** What happened to a job, as its worker tells it. `alive` is ours: nothing new, but the worker lives. */
export const PROGRESS_TYPES = ['claimed', 'start', 'chunk', 'end', 'error', 'cancelled', 'alive', 'released'] as const;
export type ProgressType = (typeof PROGRESS_TYPES)[number];

export interface ProgressMessage {
  readonly version: '1.0';
  readonly type: ProgressType;
  readonly jobId: string;
  readonly rayId?: string;
  /** RFC 3339. */
  readonly timestamp: string;
  readonly data: ProgressData;
}

export interface ProgressData extends JsonObject {
  /** The attempt that the entry carried. Absent from workers that do not know of attempts. */
  readonly attempt?: number;
  readonly worker?: string;
  readonly nodeId?: string;
  /** The queue's entry id. */
  readonly entry?: string;
  /** `end`: what the handler returned. */
  readonly result?: Json;
  /** `error`: what went wrong; `retryable: false` spends no further tries. */
  readonly code?: string;
  readonly message?: string;
  readonly retryable?: boolean;
  /** `chunk`: a number 0 to 100 or anything; a `log` line. */
  readonly progress?: Json;
  readonly log?: string;
}

/** Bytes of a progress message's JSON. A result beyond it belongs into a store of its own, with its address as the result. */
export const PROGRESS_BYTES_MAX = 262_144;

/** An entry of a queue, as a worker reads it. `attempt`, `requeue` and `timeoutMs` are absent from what others enqueued. */
export interface JobEntry {
  readonly queue: string;
  readonly entryId: string;
  readonly jobId: string;
  readonly type: string;
  /** JSON as it lies there. */
  readonly payload: string;
  readonly enqueuedAt?: string;
  readonly rayId?: string;
  readonly attempt?: number;
  readonly requeue?: string;
  readonly timeoutMs?: number;
  readonly targetNode?: string;
}

/** The fields of an entry that Castellan enqueues, beside those of the contract: `attempt`, `requeue`, `timeout_ms`, `target_node`. */
export function encodeJobEntry(entry: Omit<JobEntry, 'queue' | 'entryId'>): string[] {
  const fields = ['jobId', entry.jobId, 'type', entry.type, 'payload', entry.payload];
  if (entry.enqueuedAt !== undefined) fields.push('enqueuedAt', entry.enqueuedAt);
  if (entry.rayId !== undefined) fields.push('rayId', entry.rayId);
  if (entry.attempt !== undefined) fields.push('attempt', String(entry.attempt));
  if (entry.requeue !== undefined) fields.push('requeue', entry.requeue);
  if (entry.timeoutMs !== undefined) fields.push('timeout_ms', String(entry.timeoutMs));
  if (entry.targetNode !== undefined) fields.push('target_node', entry.targetNode);
  return fields;
}

/** Never throws: what is missing is empty, and refused by who needs it. Names of the payload (`target_node`, `timeout_ms`) are the reader's to look up. */
export function decodeJobEntry(queue: string, entryId: string, fields: readonly string[]): JobEntry {
  const found: { [name: string]: string } = Object.create(null) as { [name: string]: string };
  for (let index = 0; index + 1 < fields.length; index += 2) found[fields[index] as string] = fields[index + 1] as string;
  const attempt = wholeNumber(found['attempt']);
  const timeoutMs = wholeNumber(found['timeout_ms']);
  const targetNode = found['target_node'] ?? found['targetNode'];
  return {
    queue,
    entryId,
    jobId: found['jobId'] ?? found['job_id'] ?? '',
    type: found['type'] ?? '',
    payload: found['payload'] ?? '{}',
    ...(found['enqueuedAt'] === undefined ? {} : { enqueuedAt: found['enqueuedAt'] }),
    ...(found['rayId'] === undefined ? {} : { rayId: found['rayId'] }),
    ...(attempt === undefined ? {} : { attempt }),
    ...(found['requeue'] === undefined ? {} : { requeue: found['requeue'] }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(targetNode === undefined ? {} : { targetNode }),
  };
}

function wholeNumber(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,12}$/.test(text) ? Number(text) : undefined;
}
