/**
 * Entries of `shield:ingestion_queue` and `shield:events`: their fields, both ways (contracts 6).
 *
 * 1. A chunk is a job of its own: its id is `<job_id>@<chunk_id>`, and neither part holds an `@`, so no two chunks share one.
 * 2. Read liberally (empty is absent, both codecs), written strictly: every field of the contract, empty when it is not known.
 * 3. Read fields have one character a byte; see shield-codec.ts.
 */
import { InvalidJobError } from '../protocol/errors.ts';
import type { Json } from '../protocol/json.ts';
import type { EntryFields } from '../protocol/source.ts';
import { decodeField, encodeField, textOf, type ShieldCodec } from './shield-codec.ts';
import type { MessageFault } from './task-message.ts';
import { isJobId } from './worker-entry.ts';

export const INGESTION_STREAM = 'shield:ingestion_queue';
export const EVENTS_STREAM = 'shield:events';
/** Whose acknowledgement says that a chunk was taken in. */
export const INGESTION_GROUP = 'lightrag-workers';
/** Created at the start of whoever uses the streams. */
export const SHIELD_STREAMS: readonly { readonly stream: string; readonly groups: readonly string[] }[] = [
  { stream: INGESTION_STREAM, groups: [INGESTION_GROUP, 'metrics-collector'] },
  { stream: EVENTS_STREAM, groups: ['ag-ui-frontend', 'dashboard-frontend', 'metrics-collector', 'power-ui-frontend'] },
];
/** Approximate length of both. */
export const SHIELD_LENGTH = 10_000;

/** A chunk of a document that is to be taken in. */
export interface ShieldTask {
  readonly job_id: string;
  readonly chunk_id?: string;
  readonly content: string;
  readonly source_uri?: string;
  readonly source_type?: string;
  readonly metadata?: Json;
  /** How often it was tried before; absent: 0. */
  readonly retry_count?: number;
  /** RFC 3339. */
  readonly timestamp?: string;
}

export interface ShieldEvent {
  readonly event_id: string;
  readonly type: string;
  readonly timestamp?: string;
  readonly job_id?: string;
  /** Beside the contract's fields: the chunk of the job that it is about. */
  readonly chunk_id?: string;
  readonly data?: Json;
  readonly metadata?: Json;
}

export type ReadFields<Value> = ({ readonly ok: true } & Value) | MessageFault;

/** Both parts of a chunk's id, and the id itself is at most 128 characters, as ids of actors are. */
const PART = /^[A-Za-z0-9._:-]{1,126}$/;
const ID_MAX = 128;
/** Characters. With its envelope an entry must fit into a commit. */
const CONTENT_MAX = 524_288;
const TEXT_MAX = 2_048;
const NAME_MAX = 256;
const RETRIES_MAX = 1_000_000;
/** Fields that a dead letter may quote. */
export const SHIELD_FIELDS: ReadonlySet<string> = new Set([
  ...['job_id', 'chunk_id', 'content', 'source_uri', 'source_type', 'metadata', 'retry_count', 'timestamp'],
  ...['event_id', 'type', 'data'],
]);

/** The job's id of a chunk, or of an event; undefined when there is none, or it cannot be one. (1) */
export function shieldJobId(fields: EntryFields): string | undefined {
  const jobId = valueOf(fields, 'job_id');
  const chunkId = valueOf(fields, 'chunk_id');
  if (jobId === undefined) return undefined;
  if (chunkId === undefined) return (PART.test(jobId) || isWhole(jobId)) && isJobId(jobId) ? jobId : undefined;
  const id = `${jobId}@${chunkId}`;
  return PART.test(jobId) && PART.test(chunkId) && isJobId(id) ? id : undefined;
}

export function readTask(fields: EntryFields): ReadFields<{ readonly task: ShieldTask; readonly jobId: string }> {
  const jobId = valueOf(fields, 'job_id');
  const chunkId = valueOf(fields, 'chunk_id');
  if (jobId === undefined) return missing('job_id');
  if (!PART.test(jobId) || !isJobId(jobId)) return fault('invalid_job_id', 'job_id', `must match ${PART.source}`);
  if (chunkId !== undefined && !PART.test(chunkId)) return fault('invalid_job_id', 'chunk_id', `must match ${PART.source}`);
  const id = shieldJobId(fields);
  if (id === undefined) return fault('invalid_job_id', 'chunk_id', `and job_id must have at most ${ID_MAX - 1} characters together`);
  const content = valueOf(fields, 'content');
  const source = valueOf(fields, 'source_uri');
  if (content === undefined && source === undefined) return missing('content');
  if (content !== undefined && content.length > CONTENT_MAX)
    return fault('too_large', 'content', `has ${content.length} bytes; at most ${CONTENT_MAX} are taken`);
  const retries = valueOf(fields, 'retry_count');
  if (retries !== undefined && !isCount(retries)) return fault('invalid_field', 'retry_count', `must be a whole number from 0 to ${RETRIES_MAX}`);
  const metadata = jsonOf(fields, 'metadata');
  if (metadata === 'bad') return fault('invalid_json', 'metadata', 'is neither JSON nor MessagePack');
  const task: ShieldTask = {
    job_id: jobId,
    ...(chunkId === undefined ? {} : { chunk_id: chunkId }),
    content: content === undefined ? '' : textOf(content),
    ...texts(fields, { source_uri: TEXT_MAX, source_type: NAME_MAX, timestamp: NAME_MAX }),
    ...(metadata === undefined ? {} : { metadata: metadata.value }),
    retry_count: retries === undefined ? 0 : Number(retries),
  };
  return { ok: true, task, jobId: id };
}

export function readEvent(fields: EntryFields): ReadFields<{ readonly event: ShieldEvent }> {
  const type = valueOf(fields, 'type');
  if (type === undefined) return missing('type');
  const [data, metadata] = [jsonOf(fields, 'data'), jsonOf(fields, 'metadata')];
  if (data === 'bad') return fault('invalid_json', 'data', 'is neither JSON nor MessagePack');
  if (metadata === 'bad') return fault('invalid_json', 'metadata', 'is neither JSON nor MessagePack');
  const event: ShieldEvent = {
    event_id: '',
    type: textOf(type).slice(0, NAME_MAX),
    ...texts(fields, { event_id: NAME_MAX, timestamp: NAME_MAX, job_id: NAME_MAX, chunk_id: NAME_MAX }),
    ...(data === undefined ? {} : { data: data.value }),
    ...(metadata === undefined ? {} : { metadata: metadata.value }),
  };
  return { ok: true, event };
}

/** Every field, as the contract lists them. (2) Throws InvalidJobError naming the field. */
export function writeTask(task: ShieldTask & { readonly timestamp: string }, codec: ShieldCodec): (string | Uint8Array)[] {
  const { job_id, chunk_id = '', content, source_uri = '', source_type = '', metadata = {}, retry_count = 0, timestamp } = task;
  const written = [
    ...['job_id', job_id, 'chunk_id', chunk_id, 'content', content, 'source_uri', source_uri, 'source_type', source_type],
    ...['metadata', encodeField(metadata, codec), 'retry_count', String(retry_count), 'timestamp', timestamp],
  ];
  const read = readTask(written.map(bytesOf));
  if (!read.ok) throw new InvalidJobError(read.field, read.reason.replace(/^The field \S+ /, ''));
  return written;
}

/** Throws InvalidJobError naming the field. */
export function writeEvent(event: ShieldEvent & { readonly timestamp: string }, codec: ShieldCodec): (string | Uint8Array)[] {
  const { event_id, type, timestamp, job_id = '', chunk_id, data = {}, metadata = {} } = event;
  if (type === '' || type.length > NAME_MAX) throw new InvalidJobError('type', `must be a text of 1 to ${NAME_MAX} characters.`);
  return [
    ...['event_id', event_id, 'type', type, 'timestamp', timestamp, 'job_id', job_id],
    ...['data', encodeField(data, codec), 'metadata', encodeField(metadata, codec)],
    ...(chunk_id === undefined ? [] : ['chunk_id', chunk_id]),
  ];
}

/** The field's value with one character a byte; undefined when it is missing or empty. (2) */
export function valueOf(fields: EntryFields, name: string): string | undefined {
  for (let index = 0; index + 1 < fields.length; index += 2) if (fields[index] === name) return fields[index + 1] === '' ? undefined : fields[index + 1];
  return undefined;
}

/** An event may name a chunk's job by its whole id. */
function isWhole(id: string): boolean {
  const [job = '', chunk = '', ...more] = id.split('@');
  return more.length === 0 && PART.test(job) && PART.test(chunk);
}

function isCount(text: string): boolean {
  return /^\d{1,7}$/.test(text) && Number(text) <= RETRIES_MAX;
}

function jsonOf(fields: EntryFields, name: string): { readonly value: Json } | 'bad' | undefined {
  const field = valueOf(fields, name);
  if (field === undefined) return undefined;
  const value = decodeField(field);
  return value === undefined ? 'bad' : { value };
}

/** What is there of these fields, each cut to its length. */
function texts(fields: EntryFields, lengths: { readonly [name: string]: number }): { readonly [name: string]: string } {
  const found: { [name: string]: string } = {};
  for (const [name, length] of Object.entries(lengths)) {
    const value = valueOf(fields, name);
    if (value !== undefined) found[name] = textOf(value).slice(0, length);
  }
  return found;
}

function bytesOf(value: string | Uint8Array): string {
  return Buffer.from(value as string).toString('latin1');
}

function missing(field: string): MessageFault {
  return fault('missing_field', field, 'is missing');
}

function fault(code: string, field: string, why: string): MessageFault {
  return { ok: false, code, field, reason: `The field ${field} ${why}.` };
}
