/**
 * The contract of the ingestion streams: chunks of documents that others enqueue and take in, and what they tell of them.
 *
 * In: entries of `shield:ingestion_queue` and `shield:events`, both read in place, without a group of ours.
 * Out: nothing; the library's RedisStreamsClient writes both streams for those who produce and consume.
 *
 * 1. Each entry of the queue is an attempt of its chunk's job: the first adopts the job, one with a higher `retry_count` puts it back into the queue.
 * 2. Whoever acknowledges in the group `lightrag-workers` has done the chunk; see {@link ingestionQueue}.
 * 3. An event drives the job that it names when its type says how the job goes, and creates it when nobody enqueued it here: whole documents
 *    are told of so. Any other event is somebody else's and left alone.
 */
import type { JobEvent, JobSpec } from '../../machines/job/events.ts';
import type { MachineEvent } from '../protocol/envelope.ts';
import type { Json } from '../protocol/json.ts';
import type { QueueContract } from '../protocol/queues.ts';
import type { DecodedEntry, EntryFields, RejectedEntry, StreamSource } from '../protocol/source.ts';
import { excerptOf } from './citadel-excerpt.ts';
import {
  EVENTS_STREAM,
  INGESTION_GROUP,
  INGESTION_STREAM,
  readEvent,
  readTask,
  SHIELD_FIELDS,
  shieldJobId,
  valueOf,
  type ShieldEvent,
  type ShieldTask,
} from './shield-entry.ts';
import type { MessageFault } from './task-message.ts';
import { isObject } from './worker-progress.ts';

/** As the job's events bound it. Characters. */
const MESSAGE_MAX = 4_096;
/** Of a chunk's text kept with its job, for people; the whole of it is the stream's. Characters. */
const CONTENT_SHOWN = 1_024;

/** Whoever takes a chunk in tries it again; one of which nothing is known after a day in processing has failed. */
const TIMEOUT_MS = 86_400_000;

/** How it is observed who takes and acknowledges chunks. (2) Their jobs come to be by {@link ingestionSource}. */
export const ingestionQueue: { readonly stream: string; readonly contract: QueueContract } = {
  stream: INGESTION_STREAM,
  contract: {
    group: INGESTION_GROUP,
    fields: ['job_id', 'chunk_id'],
    jobOf(fields) {
      const jobId = shieldJobId(fields);
      return jobId === undefined ? undefined : { jobId };
    },
  },
};

export const ingestionSource: StreamSource = {
  stream: INGESTION_STREAM,
  binary: true,
  keyOf(fields) {
    const id = shieldJobId(fields);
    return id === undefined ? undefined : `job/${id}`;
  },
  decode(entryId, fields) {
    const read = readTask(fields);
    return read.ok ? { ok: true, event: taskEvent(read.task, entryId) as unknown as MachineEvent } : rejected(read, fields);
  },
};

function taskEvent(task: ShieldTask, entry: string): JobEvent {
  const { content, ...rest } = task;
  const payload = {
    ...rest,
    ...(content === '' ? {} : { content: content.slice(0, CONTENT_SHOWN) }),
    ...(content.length > CONTENT_SHOWN ? { content_length: content.length } : {}),
  };
  const spec: JobSpec = { type: 'ingestion', via: 'none', source: INGESTION_STREAM, timeoutMs: TIMEOUT_MS, payload };
  return { type: 'adopt', spec, entry };
}

/** Words that end an event's type, and what they say of the job. (3) */
const REPORTS: { readonly [word: string]: 'claimed' | 'end' | 'error' | undefined } = {
  processing: 'claimed',
  started: 'claimed',
  progress: 'claimed',
  completed: 'end',
  failed: 'error',
};
/** What the type may begin with: `job.completed`, `ingestion_failed`, or nothing. */
const REPORT_TYPE = /^(?:(?:job|task|chunk|ingestion)[._:-])?([a-z]+)$/;

export const shieldEventsSource: StreamSource = {
  stream: EVENTS_STREAM,
  binary: true,
  keyOf(fields) {
    if (reportOf(valueOf(fields, 'type')) === undefined) return null;
    const id = shieldJobId(fields);
    return id === undefined ? null : `job/${id}`;
  },
  decode: decodeEvent,
};

function decodeEvent(_id: string, fields: EntryFields): DecodedEntry | RejectedEntry {
  const read = readEvent(fields);
  if (!read.ok) return rejected(read, fields);
  const event = jobEvent(read.event);
  if (event !== undefined) return { ok: true, event: event as unknown as MachineEvent };
  return rejected({ ok: false, code: 'invalid_field', field: 'type', reason: 'The field type says nothing of a job.' }, fields);
}

/** A job that is known by its events alone. */
const ORIGIN: JobSpec = { type: 'ingestion', via: 'none', source: EVENTS_STREAM, timeoutMs: TIMEOUT_MS };

function jobEvent({ type, data }: ShieldEvent): JobEvent | undefined {
  const said = isObject(data) ? data : {};
  const message = textOf(said['message'] ?? said['error'] ?? said['reason']);
  const spoken = { origin: ORIGIN, ...(message === undefined ? {} : { message }) };
  switch (reportOf(type)) {
    case 'claimed': {
      const progress = said['progress'] ?? said['percent'];
      return { type: 'claimed', ...spoken, ...(progress === undefined || progress === null ? {} : { progress }) };
    }
    case 'end':
      return { type: 'end', ...spoken, ...(data === undefined || isEmpty(data) ? {} : { result: said['result'] ?? data }) };
    case 'error':
      return { type: 'error', ...spoken };
    case undefined:
      return undefined;
  }
}

function reportOf(type: string | undefined): 'claimed' | 'end' | 'error' | undefined {
  const word = type === undefined ? undefined : REPORT_TYPE.exec(type.toLowerCase())?.[1];
  return word !== undefined && Object.hasOwn(REPORTS, word) ? REPORTS[word] : undefined;
}

function isEmpty(data: Json): boolean {
  return data === null || (isObject(data) && Object.keys(data).length === 0);
}

function textOf(value: Json | undefined): string | undefined {
  if (value === undefined || value === null || value === '') return undefined;
  return (typeof value === 'string' ? value : JSON.stringify(value)).slice(0, MESSAGE_MAX);
}

function rejected(fault: MessageFault, fields: EntryFields): RejectedEntry {
  return { ...fault, excerpt: excerptOf(fields, SHIELD_FIELDS) };
}
