/**
 * What a worker tells of a job, as an event of the job: the JSON that stands in `job:reports`, in the stream and on the channel
 * `stream:v1:{jobId}`, and the two forms of `job:{jobId}:status`.
 *
 * 1. Exact about what decides (type, job, attempt, worker), liberal about the rest: a long message is cut, an unknown field is left out.
 * 2. A worker that knows only the contract writes what it likes into `data`: its result is `data.result`, else all of `data`.
 */
import { jobEvents, type JobEvent, type WorkerReport } from '../../machines/job/events.ts';
import { PROGRESS_BYTES_MAX } from '../protocol/job-progress.ts';
import type { Json, JsonObject } from '../protocol/json.ts';
import type { ForeignReport, LeftBehind } from '../protocol/queues.ts';

/** As the job's events bound them (machines/job/events.ts). Characters. */
const MESSAGE_MAX = 4_096;
const CODE_MAX = 64;
const NAME_MAX = 256;
const ATTEMPT_MAX = 1_000_000;

const EVENT_TYPES = {
  claimed: 'claimed',
  start: 'alive',
  alive: 'alive',
  chunk: 'alive',
  end: 'end',
  error: 'error',
  cancelled: 'aborted',
  released: 'released',
} as const;
type ReportType = (typeof EVENT_TYPES)[keyof typeof EVENT_TYPES];

/** A job's event, or why the message is none: the field at fault and a sentence about it. */
export type ReadProgress = { readonly ok: true; readonly event: JobEvent } | ProgressFault;
export interface ProgressFault {
  readonly ok: false;
  readonly code: string;
  readonly field: string;
  readonly reason: string;
}

/** Reads a progress message of this job. `path`: how the message is called in a fault, such as `progress`. */
export function readProgress(jobId: string, text: string, path: string): ReadProgress {
  if (text.length > PROGRESS_BYTES_MAX) return fault('too_large', path, `has ${text.length} characters; at most ${PROGRESS_BYTES_MAX} are taken`);
  const message = parsedObject(text);
  if (message === undefined) return fault('invalid_json', path, 'is not a JSON object');
  const { type, data = {} } = message;
  if (typeof type !== 'string' || !Object.hasOwn(EVENT_TYPES, type))
    return fault('invalid_field', `${path}.type`, `must be one of ${Object.keys(EVENT_TYPES).join(', ')}`);
  if (message['jobId'] !== jobId) return fault('conflicting_field', `${path}.jobId`, 'names another job than the entry');
  if (data !== null && !isObject(data)) return fault('invalid_field', `${path}.data`, 'must be an object');
  return reportOf(EVENT_TYPES[type as keyof typeof EVENT_TYPES], data ?? {}, `${path}.data`);
}

function reportOf(type: ReportType, data: JsonObject, path: string): ReadProgress {
  const event: { [field: string]: Json } = { type };
  const { attempt } = data;
  if (attempt !== undefined && attempt !== null) {
    if (!isWholeNumber(attempt)) return fault('invalid_field', `${path}.attempt`, `must be a whole number from 0 to ${ATTEMPT_MAX}`);
    event['attempt'] = attempt;
  }
  for (const name of ['worker', 'nodeId', 'entry'] as const) {
    const value = data[name];
    if (value === undefined || value === null) continue;
    if (typeof value !== 'string' || value.length > NAME_MAX)
      return fault('invalid_field', `${path}.${name}`, `must be a text of at most ${NAME_MAX} characters`);
    event[name] = value;
  }
  const { retryable, origin } = data;
  if (origin !== undefined && origin !== null) {
    const checked = jobEvents.submit.safeParse({ type: 'submit', spec: origin });
    if (!checked.success) return fault('invalid_field', [path, 'origin', ...(checked.error.issues[0]?.path.slice(1) ?? [])].join('.'), 'does not fit a job');
    event['origin'] = origin;
  }
  if (type === 'error') {
    if (retryable !== undefined && typeof retryable !== 'boolean') return fault('invalid_field', `${path}.retryable`, 'must be true or false');
    if (retryable !== undefined) event['retryable'] = retryable;
    const code = data['code'];
    if (code !== undefined && code !== null) event['code'] = shown(code).slice(0, CODE_MAX);
  }
  if (type === 'end' && data['result'] !== undefined) event['result'] = data['result'];
  if (type === 'alive') {
    const progress = data['progress'] ?? data['percent'];
    if (progress !== undefined) event['progress'] = progress;
  }
  const message = data['message'] ?? (type === 'error' ? data['error'] : undefined);
  if (message !== undefined && message !== null && type !== 'claimed' && type !== 'released' && type !== 'aborted')
    event['message'] = shown(message).slice(0, MESSAGE_MAX);
  return { ok: true, event: event as unknown as JobEvent };
}

export type Outcome = Extract<JobEvent, { type: 'end' | 'error' | 'aborted' }>;
type Stalled = Extract<JobEvent, { type: 'stalled' }>;

/** How the job ended according to its foreign worker; a plain `end` when that left nothing but the acknowledgement. `report` names whose report it is. */
export function foreignOutcome(jobId: string, left: LeftBehind, report: WorkerReport): Outcome {
  return { ...(outcomeLeft(jobId, left) ?? { type: 'end' }), ...report };
}

/** The same of a worker whose consumer was removed: that drops what it holds, as an acknowledgement does, and only what it left says that it was done. */
export function removedOutcome(jobId: string, left: LeftBehind, { entry, worker, attempt }: ForeignReport): Outcome | Stalled {
  const report = { entry, ...(worker === undefined ? {} : { worker }), ...(attempt === undefined ? {} : { attempt }) };
  const outcome = outcomeLeft(jobId, left);
  return outcome === undefined ? { type: 'stalled', ...report } : { ...outcome, ...report };
}

function outcomeLeft(jobId: string, { progress, status }: LeftBehind): Outcome | undefined {
  for (const text of progress.toReversed()) {
    const outcome = outcomeOfMessage(jobId, text);
    if (outcome !== undefined) return outcome;
  }
  return outcomeOfStatus(status);
}

/** A message that a foreign worker published: a sign of life, its outcome, or undefined when it is neither, or a report of ours. */
export function foreignProgress(jobId: string, text: string): Extract<JobEvent, { type: 'alive' }> | Outcome | undefined {
  const read = readProgress(jobId, text, 'message');
  if (!read.ok || (read.event as WorkerReport).attempt !== undefined) return undefined;
  if (read.event.type === 'alive') return read.event;
  return outcomeOfMessage(jobId, text);
}

function outcomeOfMessage(jobId: string, text: string): Outcome | undefined {
  const read = readProgress(jobId, text, 'message');
  if (!read.ok) return undefined;
  const { event } = read;
  if (event.type === 'error' || event.type === 'aborted') return event;
  if (event.type !== 'end') return undefined;
  const data = parsedObject(text)?.['data'];
  if (event.result !== undefined || !isObject(data) || Object.keys(data).length === 0) return event;
  return { ...event, result: data }; // (2)
}

const STATUS_OUTCOMES: { readonly [status: string]: Outcome['type'] | undefined } = {
  done: 'end',
  end: 'end',
  ended: 'end',
  complete: 'end',
  completed: 'end',
  success: 'end',
  succeeded: 'end',
  error: 'error',
  errored: 'error',
  failed: 'error',
  failure: 'error',
  cancelled: 'aborted',
  canceled: 'aborted',
};

function outcomeOfStatus(status: LeftBehind['status']): Outcome | undefined {
  const fields = status === null ? undefined : typeof status === 'string' ? statusText(status) : statusHash(status);
  const name = fields?.['status'] ?? fields?.['state'];
  if (fields === undefined || typeof name !== 'string') return undefined;
  const type = Object.hasOwn(STATUS_OUTCOMES, name.toLowerCase()) ? STATUS_OUTCOMES[name.toLowerCase()] : undefined;
  if (type === undefined) return undefined;
  const said = fields['error'] ?? fields['message'];
  const message = said === undefined || said === null || said === '' ? {} : { message: shown(said).slice(0, MESSAGE_MAX) };
  if (type === 'aborted') return { type };
  if (type === 'error') return { type, ...message };
  const result = fields['result'] ?? fields['output'];
  return { type, ...(result === undefined || result === null ? {} : { result: typeof result === 'string' ? jsonOrText(result) : result }) };
}

/** The key's text is an object, or the bare name of the status. */
function statusText(text: string): JsonObject | undefined {
  return parsedObject(text) ?? { status: text };
}

function statusHash(pairs: readonly string[]): JsonObject {
  const found: { [field: string]: Json } = Object.create(null) as { [field: string]: Json };
  for (let index = 0; index + 1 < pairs.length; index += 2) found[pairs[index] as string] = pairs[index + 1] as string;
  return found;
}

function jsonOrText(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return text;
  }
}

/** Such a number may be read as Infinity, which no JSON can say again: a step and its repetition from the journal would differ. */
const HUGE_NUMBER = /\d[eE]\+?\d{3}/;

/** The object that the text holds, or undefined. */
export function parsedObject(text: string): JsonObject | undefined {
  try {
    let value: unknown = JSON.parse(text);
    if (HUGE_NUMBER.test(text)) value = JSON.parse(JSON.stringify(value));
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isWholeNumber(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= ATTEMPT_MAX;
}

function shown(value: Json): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function fault(code: string, field: string, why: string): ProgressFault {
  return { ok: false, code, field, reason: `The field ${field} ${why}.` };
}
