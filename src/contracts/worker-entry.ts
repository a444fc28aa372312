/**
 * Entries that another producer put into a worker queue, as the event with which the job's actor adopts them.
 *
 * 1. An entry with `attempt` is one of ours: its job exists.
 * 2. The dedupe id is `<queue>:<entry id>`: however often an entry is seen, it is adopted once.
 * 3. Both spellings are read; a field that is given twice with different values is refused.
 */
import { JOB_TYPE, type JobSpec } from '../../machines/job/events.ts';
import type { Json } from '../protocol/json.ts';
import type { EntryFields, ReadMessage, RejectedEntry } from '../protocol/source.ts';
import { excerptOf } from './citadel-excerpt.ts';
import { isObject } from './worker-progress.ts';

/** Ids of actors, for a job is one. */
export const JOB_ID = /^[A-Za-z0-9._:@-]{1,128}$/;
/** It fits the pattern, but is no name to be used as a key anywhere. */
const FORBIDDEN_ID = '__proto__';
const NODE_NAME = /^[A-Za-z0-9._-]{1,64}$/;
/** Characters. With its envelope a payload must fit into an inbox (1 MiB). */
const PAYLOAD_MAX = 524_288;
const TIMEOUT_MS_MAX = 604_800_000;
const RAY_ID_MAX = 256;
export const JOB_ENTRY_FIELDS: ReadonlySet<string> = new Set([
  'jobId',
  'job_id',
  'type',
  'payload',
  'enqueuedAt',
  'enqueued_at',
  'rayId',
  'ray_id',
  'target_node',
  'targetNode',
  'timeout_ms',
  'timeoutMs',
  'attempt',
  'progress',
]);

const SPELLINGS: { readonly [field: string]: readonly string[] } = {
  jobId: ['jobId', 'job_id'],
  type: ['type'],
  payload: ['payload'],
  rayId: ['rayId', 'ray_id'],
  target_node: ['target_node', 'targetNode'],
  timeout_ms: ['timeout_ms', 'timeoutMs'],
};

export function isJobId(value: string): boolean {
  return JOB_ID.test(value) && value !== FORBIDDEN_ID;
}

/** `ignored`: an entry of ours. */
export function readJobEntry(queue: string, entryId: string, fields: EntryFields): ReadMessage {
  if (fieldOf(fields, 'attempt') !== undefined) return { ok: 'ignored' }; // (1)
  const reject = (code: string, field: string, why: string): RejectedEntry => ({
    ok: false,
    code,
    field,
    reason: `The field ${field} ${why}.`,
    excerpt: excerptOf(fields, JOB_ENTRY_FIELDS),
  });
  const found: { [field: string]: string } = {};
  for (const [field, spellings] of Object.entries(SPELLINGS)) {
    const values = new Set(valuesOf(fields, spellings));
    if (values.size > 1) return reject('conflicting_field', field, 'is given twice, with different values'); // (3)
    for (const value of values) found[field] = value;
  }
  const { jobId, type, payload: text = '{}', rayId } = found;
  if (jobId === undefined) return reject('missing_field', 'jobId', 'is missing');
  if (!isJobId(jobId)) return reject('invalid_job_id', 'jobId', `must match ${JOB_ID.source}`);
  if (type === undefined) return reject('missing_field', 'type', 'is missing');
  if (!JOB_TYPE.test(type)) return reject('invalid_field', 'type', `must match ${JOB_TYPE.source}`);
  if (rayId !== undefined && rayId.length > RAY_ID_MAX) return reject('invalid_field', 'rayId', `must have at most ${RAY_ID_MAX} characters`);
  if (text.length > PAYLOAD_MAX) return reject('too_large', 'payload', `has ${text.length} characters; at most ${PAYLOAD_MAX} are taken`);
  const payload = parsed(text);
  if (payload === undefined) return reject('invalid_json', 'payload', 'is not JSON');
  const keys = isObject(payload) ? payload : {};
  const target = found['target_node'] ?? given(keys['target_node'] ?? keys['targetNode']);
  const targetField = found['target_node'] === undefined ? 'payload.target_node' : 'target_node';
  if (target !== undefined && (typeof target !== 'string' || !NODE_NAME.test(target)))
    return reject('invalid_field', targetField, `must match ${NODE_NAME.source}`);
  const timeout = found['timeout_ms'] ?? given(keys['timeout_ms'] ?? keys['timeoutMs']);
  const timeoutMs = timeout === undefined ? undefined : milliseconds(timeout);
  const timeoutField = found['timeout_ms'] === undefined ? 'payload.timeout_ms' : 'timeout_ms';
  if (timeoutMs === null) return reject('invalid_field', timeoutField, `must be a whole number from 1 to ${TIMEOUT_MS_MAX}`);
  const spec: JobSpec = {
    type,
    via: 'queue',
    queue,
    source: queue,
    payload,
    ...(rayId === undefined ? {} : { rayId }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(target === undefined ? {} : { requires: { node: target } }),
  };
  return { ok: true, actor: `job/${jobId}`, event: { type: 'adopt', spec: spec as unknown as Json, entry: entryId }, dedupeId: `${queue}:${entryId}` }; // (2)
}

function fieldOf(fields: EntryFields, name: string): string | undefined {
  for (let index = 0; index + 1 < fields.length; index += 2) if (fields[index] === name) return fields[index + 1];
  return undefined;
}

function valuesOf(fields: EntryFields, names: readonly string[]): string[] {
  const values: string[] = [];
  for (let index = 0; index + 1 < fields.length; index += 2) if (names.includes(fields[index] as string)) values.push(fields[index + 1] as string);
  return values;
}

function parsed(text: string): Json | undefined {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return undefined;
  }
}

/** Null and an empty text say nothing. */
function given(value: Json | undefined): Json | undefined {
  return value === null || value === '' ? undefined : value;
}

/** Null: it is none. Producers write it as a number or as a text. */
function milliseconds(value: Json): number | null {
  const number = typeof value === 'string' && /^\d{1,12}$/.test(value) ? Number(value) : value;
  return typeof number === 'number' && Number.isInteger(number) && number >= 1 && number <= TIMEOUT_MS_MAX ? number : null;
}
