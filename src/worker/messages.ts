/**
 * What a worker tells of its jobs, as messages of the contract (3).
 *
 * 1. An entry without `attempt` was enqueued by somebody who knows only the contract: its reports carry what the job is, so that they
 *    may come before the job was adopted.
 */
import { PROGRESS_BYTES_MAX, type JobEntry, type ProgressMessage, type ProgressType } from '../protocol/job-progress.ts';
import type { Json, JsonObject } from '../protocol/json.ts';
import type { WorkerClock } from './clock.ts';
import { CODE_MAX, ENVELOPE_BYTES, MESSAGE_MAX } from './settings.ts';

/** A longer payload of a foreign entry is not repeated in reports. */
const ORIGIN_PAYLOAD_MAX = PROGRESS_BYTES_MAX / 4;

export class Messages {
  readonly #clock: WorkerClock;
  readonly #worker: string;
  readonly #nodeId: string | undefined;
  #timestampOf = Number.NaN;
  #timestamp = '';

  constructor(clock: WorkerClock, worker: string, nodeId: string | undefined) {
    this.#clock = clock;
    this.#worker = worker;
    this.#nodeId = nodeId;
  }

  /** `more` is added to what every report says of itself. */
  of(entry: JobEntry, type: ProgressType, more?: JsonObject): ProgressMessage {
    const data: { [name: string]: Json } = { worker: this.#worker, entry: entry.entryId };
    if (entry.attempt !== undefined) data['attempt'] = entry.attempt;
    else if (type !== 'chunk' && type !== 'start') data['origin'] = originOf(entry); // (1)
    if (this.#nodeId !== undefined) data['nodeId'] = this.#nodeId;
    if (more !== undefined) Object.assign(data, more);
    const timestamp = this.#now();
    return entry.rayId === undefined
      ? { version: '1.0', type, jobId: entry.jobId, timestamp, data }
      : { version: '1.0', type, jobId: entry.jobId, rayId: entry.rayId, timestamp, data };
  }

  /** Thousands are made in one millisecond. */
  #now(): string {
    const at = this.#clock.wallTime();
    if (at !== this.#timestampOf) {
      this.#timestampOf = at;
      this.#timestamp = new Date(at).toISOString();
    }
    return this.#timestamp;
  }
}

function originOf({ type, queue, payload, rayId, timeoutMs }: JobEntry): JsonObject {
  let value: Json | undefined;
  try {
    value = payload.length > ORIGIN_PAYLOAD_MAX ? undefined : (JSON.parse(payload) as Json);
  } catch {
    value = payload;
  }
  return {
    type,
    via: 'queue',
    queue,
    source: queue,
    ...(value === undefined ? {} : { payload: value }),
    ...(rayId === undefined ? {} : { rayId }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  };
}

/** What a thrown value says: an error of ours says by itself whether trying again helps; of any other it is not known, so it is tried. */
export function faultOf(thrown: unknown): JsonObject {
  const { code, retryable, message, field } = (thrown instanceof Error ? thrown : { message: String(thrown) }) as {
    readonly code?: unknown;
    readonly retryable?: unknown;
    readonly message: string;
    readonly field?: unknown;
  };
  const known = typeof retryable === 'boolean' && typeof code === 'string';
  return {
    code: (known ? code : 'handler_failed').slice(0, CODE_MAX),
    message: message.slice(0, MESSAGE_MAX),
    retryable: known ? retryable : true,
    ...(known && typeof field === 'string' ? { field } : {}),
  };
}

/** Characters that the value takes as JSON, about; a fault when it cannot be told. */
export type Measured = { readonly ok: true; readonly size: number } | { readonly ok: false; readonly code: string; readonly message: string };

const SHORT_TEXT = 1_024;
const SMALL: Measured = { ok: true, size: 2 * SHORT_TEXT };

export function measure(value: unknown): Measured {
  if (value === undefined || value === null || typeof value === 'boolean' || typeof value === 'number') return SMALL;
  if (typeof value === 'string' && value.length <= SHORT_TEXT) return SMALL;
  try {
    const text = JSON.stringify(value) as string | undefined;
    const size = text === undefined ? 0 : text.length > PROGRESS_BYTES_MAX / 4 ? new TextEncoder().encode(text).length : text.length;
    if (size + ENVELOPE_BYTES <= PROGRESS_BYTES_MAX) return { ok: true, size };
    return {
      ok: false,
      code: 'result_too_large',
      message: `The value has ${size} bytes as JSON; ${PROGRESS_BYTES_MAX - ENVELOPE_BYTES} fit. Store it elsewhere and return its address.`,
    };
  } catch (error) {
    return { ok: false, code: 'invalid_result', message: `The value is no JSON: ${error instanceof Error ? error.message : String(error)}` };
  }
}
