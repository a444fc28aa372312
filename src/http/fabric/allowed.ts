/**
 * What a node's token may do in Redis: everything that is not named here is refused, with a reason. Pure.
 *
 * 1. Node and organisation come from the token. A body that names another node is refused; the organisation that it names is not read.
 * 2. Only fields that are named here reach a stream: a field that gains a meaning later cannot be written beforehand.
 * 3. What is said of a job is said of the attempt that the node was given: attempt, worker, node and entry are written over, and what
 *    the job is (`origin`) is told from the entry, never from the node's words.
 * 4. A device code is passed on only in the node's own status, and only the code of that device.
 */
import { CONFIG_GROUP, CONFIG_STREAM, DEVICE_REPORTS } from '../../protocol/device-config.ts';
import type { HeldEntryOfNode } from '../../protocol/fabric-redis.ts';
import {
  DEFAULT_QUEUE,
  JOB_REPORTS,
  PROGRESS_BYTES_MAX,
  PROGRESS_TYPES,
  WORKER_GROUP,
  decodeJobEntry,
  progressKey,
  tagQueue,
} from '../../protocol/job-progress.ts';
import type { Json, JsonObject } from '../../protocol/json.ts';

export const STATUS_STREAM = 'node:status:stream';
const CPU_QUEUE = 'jobs:v1:cpu-general';
/** As the agents with credentials bound the stream (contracts 1). */
export const STATUS_STREAM_LENGTH = 10_000;
/** A status of the largest node has some 20 KB. */
export const STATUS_BYTES_MAX = 131_072;
/** 32 services with a container's last lines of 4 KB. */
const REPORT_BYTES_MAX = 262_144;
const KV_BYTES_MAX = 65_536;
const KV_KEY_MAX = 256;
/** What is kept for nodes ends by itself: a day (contracts 3), and a month for what is the node's own. */
const STATUS_TTL_S = 86_400;
const OWN_TTL_S_MAX = 30 * 86_400;
const TAGS_MAX = 64;
/** A longer payload is not repeated in what the job is. */
const ORIGIN_PAYLOAD_MAX = 65_536;
const JOB_ID = /^[A-Za-z0-9._:@-]{1,128}$/;
const OWN_KEY = /^[A-Za-z0-9._:@/-]+$/;

export interface Node {
  readonly nodeId: string;
  readonly orgId: string;
  readonly deviceId: string;
}

export type Refusal = {
  readonly ok: false;
  readonly code: 'not_for_this_node' | 'job_not_held' | 'invalid_request';
  readonly detail: string;
  readonly field: string;
};
export type Allowed<T> = { readonly ok: true; readonly value: T } | Refusal;

const allow = <T>(value: T): Allowed<T> => ({ ok: true, value });
const forbid = (field: string, detail: string): Refusal => ({ ok: false, code: 'not_for_this_node', field, detail });
const invalid = (field: string, why: string): Refusal => ({ ok: false, code: 'invalid_request', field, detail: `The field ${field} ${why}.` });

/** The queues that a node takes jobs from. `tags`: those that a person gave it, not those that it reports of itself. */
export function queuesOf(tags: readonly string[]): readonly string[] {
  return [DEFAULT_QUEUE, CPU_QUEUE, ...tags.slice(0, TAGS_MAX).map(tagQueue)];
}

export function checkQueue(queue: string, group: string, tags: readonly string[]): Allowed<undefined> {
  const expected = queue === CONFIG_STREAM ? CONFIG_GROUP : queuesOf(tags).includes(queue) ? WORKER_GROUP : undefined;
  if (expected === undefined) return forbid('queue', 'This is none of the node’s queues: those of all nodes, those of its own tags, and its configurations.');
  return group === expected ? allow(undefined) : forbid('group', `The group of this queue is ${expected}.`);
}

export type Channel = { readonly kind: 'status' } | { readonly kind: 'job'; readonly jobId: string };

export function readChannel({ nodeId }: Node, channel: string): Allowed<Channel> {
  if (channel === `node:status:${nodeId}`) return allow({ kind: 'status' });
  const jobId = jobIn(channel);
  return jobId === undefined
    ? forbid('channel', `A node publishes on node:status:${nodeId}, and on stream:v1:{jobId} for a job that it has.`)
    : allow({ kind: 'job', jobId });
}

/** `stream:v1:{jobId}`. */
function jobIn(name: string): string | undefined {
  const prefix = progressKey('');
  const jobId = name.startsWith(prefix) ? name.slice(prefix.length) : '';
  return isJobId(jobId) ? jobId : undefined;
}

function isJobId(jobId: string): boolean {
  return JOB_ID.test(jobId) && jobId !== '__proto__';
}

/** The status as it may be told on the node's channel: without the device code, which is for the control plane alone. */
export function readStatusMessage(node: Node, message: string): Allowed<string> {
  const read = readStatus(node, message, 'message');
  if (!read.ok) return read;
  return allow(JSON.stringify(without(read.value, ['deviceCode', 'device_code'])));
}

function readStatus({ nodeId }: Node, text: string, field: string): Allowed<JsonObject> {
  if (text.length > STATUS_BYTES_MAX) return invalid(field, `has ${text.length} characters; at most ${STATUS_BYTES_MAX} are taken`);
  const status = objectIn(text);
  if (status === undefined) return invalid(field, 'must be the JSON of an object');
  for (const name of ['nodeId', 'node_id']) {
    if (status[name] !== undefined && status[name] !== nodeId) return forbid(`${field}.${name}`, 'The status is another node’s.'); // (1)
  }
  return allow(status);
}

export interface StatusEntry {
  readonly fields: readonly string[];
  readonly code?: string;
}

/** An entry of the stream of statuses. `idOf`: the device that a code belongs to. */
export function readStatusEntry(node: Node, values: { readonly [field: string]: string }, idOf: (code: string) => string, at: string): Allowed<StatusEntry> {
  for (const name of ['nodeId', 'node_id']) {
    const named = valueOf(values, name);
    if (named !== undefined && named !== node.nodeId) return forbid(`values.${name}`, 'The status is another node’s.'); // (1)
  }
  const payload = valueOf(values, 'payload');
  if (payload === undefined) return invalid('values.payload', 'is missing');
  const status = readStatus(node, payload, 'values.payload');
  if (!status.ok) return status;
  const inPayload = status.value['deviceCode'] ?? status.value['device_code'];
  const code = valueOf(values, 'deviceCode') ?? valueOf(values, 'device_code');
  for (const each of [code, typeof inPayload === 'string' ? inPayload : undefined]) {
    if (each !== undefined && each !== '' && idOf(each) !== node.deviceId) return forbid('values.deviceCode', 'The code is another device’s.'); // (4)
  }
  const fields = ['nodeId', node.nodeId, 'orgId', node.orgId, 'timestamp', valueOf(values, 'timestamp') ?? at, 'payload', payload]; // (2)
  return allow(code === undefined || code === '' ? { fields } : { fields: [...fields, 'deviceCode', code], code });
}

/** An entry of the stream of configurations' reports. */
export function readDeviceReport({ nodeId, deviceId }: Node, values: { readonly [field: string]: string }): Allowed<readonly string[]> {
  const own = { nodeId, deviceId };
  for (const name of ['nodeId', 'deviceId'] as const) {
    const named = valueOf(values, name);
    if (named !== undefined && named !== own[name]) return forbid(`values.${name}`, 'The report is another node’s.'); // (1)
  }
  const report = valueOf(values, 'report');
  if (report === undefined) return invalid('values.report', 'is missing');
  if (report.length > REPORT_BYTES_MAX) return invalid('values.report', `has ${report.length} characters; at most ${REPORT_BYTES_MAX} are taken`);
  if (objectIn(report) === undefined) return invalid('values.report', 'must be the JSON of an object');
  return allow(['nodeId', nodeId, 'deviceId', deviceId, 'report', report]);
}

export type AddTarget =
  { readonly kind: 'status' } | { readonly kind: 'device-report' } | { readonly kind: 'job'; readonly jobId: string; readonly to: 'report' | 'log' };

export function readStream(stream: string, values: { readonly [field: string]: string }): Allowed<AddTarget> {
  switch (stream) {
    case STATUS_STREAM:
      return allow({ kind: 'status' });
    case DEVICE_REPORTS:
      return allow({ kind: 'device-report' });
    case JOB_REPORTS: {
      const jobId = valueOf(values, 'jobId');
      if (jobId === undefined || !isJobId(jobId)) return invalid('values.jobId', 'must be the id of a job');
      return allow({ kind: 'job', jobId, to: 'report' });
    }
    default: {
      const jobId = jobIn(stream);
      if (jobId !== undefined) return allow({ kind: 'job', jobId, to: 'log' });
      return forbid('stream', `A node appends to ${STATUS_STREAM}, ${DEVICE_REPORTS}, ${JOB_REPORTS}, and to stream:v1:{jobId} for a job that it has.`);
    }
  }
}

/** The text of a progress message among the values: under `progress`, else the only value, else a message's own fields. */
export function progressIn(values: { readonly [field: string]: string }): string {
  const progress = valueOf(values, 'progress');
  if (progress !== undefined) return progress;
  const [first, ...more] = Object.values(values);
  if (first !== undefined && more.length === 0) return first;
  const data = valueOf(values, 'data');
  return JSON.stringify({ ...values, ...(data === undefined ? {} : { data: objectIn(data) ?? data }) });
}

/** A progress message of a job in hand, written over where the node has no say. (3) */
export function readProgress({ nodeId, orgId }: Node, held: HeldEntryOfNode, text: string, field: string): Allowed<string> {
  if (text.length > PROGRESS_BYTES_MAX) return invalid(field, `has ${text.length} characters; at most ${PROGRESS_BYTES_MAX} are taken`);
  const message = objectIn(text);
  if (message === undefined) return invalid(field, 'must be the JSON of an object');
  const { type, jobId, data } = message;
  if (!PROGRESS_TYPES.some((each) => each === type)) return forbid(`${field}.type`, `A worker tells ${PROGRESS_TYPES.join(', ')}, and nothing else.`);
  if (jobId !== held.jobId) return forbid(`${field}.jobId`, 'The message is about another job.');
  if (data !== undefined && data !== null && !isObject(data)) return invalid(`${field}.data`, 'must be an object');
  const said = without(data ?? {}, ['attempt', 'origin', 'userId', 'extra']);
  const entry = decodeJobEntry(held.queue, held.entryId, held.fields);
  const known = { ...said, nodeId, worker: held.consumer, entry: held.entryId };
  const written = entry.attempt === undefined ? { ...known, origin: originOf(entry, orgId) } : { ...known, attempt: entry.attempt };
  return allow(JSON.stringify({ ...message, data: written }));
}

function originOf({ queue, type, payload, rayId, timeoutMs }: ReturnType<typeof decodeJobEntry>, orgId: string): JsonObject {
  const shown = payload.length > ORIGIN_PAYLOAD_MAX ? undefined : jsonIn(payload);
  return {
    type,
    via: 'queue',
    queue,
    source: queue,
    // A configuration was made for this node; what others put into a queue of all nodes belongs to nobody here.
    ...(queue === CONFIG_STREAM ? { orgId } : {}),
    ...(shown === undefined ? {} : { payload: shown }),
    ...(rayId === undefined ? {} : { rayId }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  };
}

export interface KeyUse {
  /** The job that the node must have for it. */
  readonly jobId?: string;
  readonly ttlS: number;
  readonly ttlSMax: number;
}

export function readKey({ nodeId }: Node, key: string, use: 'read' | 'write'): Allowed<KeyUse> {
  if (key.length > KV_KEY_MAX) return invalid('key', `may have at most ${KV_KEY_MAX} characters`);
  const own = `node:${nodeId}:`;
  if (key.startsWith(own) && OWN_KEY.test(key.slice(own.length))) return allow({ ttlS: OWN_TTL_S_MAX, ttlSMax: OWN_TTL_S_MAX });
  const status = /^job:(.+):status$/.exec(key)?.[1];
  if (status !== undefined && isJobId(status)) return allow({ jobId: status, ttlS: STATUS_TTL_S, ttlSMax: STATUS_TTL_S });
  const cancelled = /^job:cancelled:(.+)$/.exec(key)?.[1];
  if (cancelled !== undefined && isJobId(cancelled)) {
    return use === 'read' ? allow({ jobId: cancelled, ttlS: 0, ttlSMax: 0 }) : forbid('key', 'Whether a job is cancelled is not the node’s to say.');
  }
  return forbid('key', `A node has the keys ${own}*, and of a job that it has job:{jobId}:status and job:cancelled:{jobId}.`);
}

/** As text: anything but a text is stored as its JSON. */
export function readValue(value: Json): Allowed<string> {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text.length > KV_BYTES_MAX ? invalid('value', `has ${text.length} characters; at most ${KV_BYTES_MAX} are taken`) : allow(text);
}

export function notHeld(jobId: string): Refusal {
  return {
    ok: false,
    code: 'job_not_held',
    field: 'jobId',
    detail: `The node does not have the job ${jobId} now: it never had it, is done with it, or the job was taken away.`,
  };
}

function valueOf(values: { readonly [field: string]: string }, name: string): string | undefined {
  return Object.hasOwn(values, name) ? values[name] : undefined;
}

function without(object: JsonObject, names: readonly string[]): JsonObject {
  return Object.fromEntries(Object.entries(object).filter(([name]) => !names.includes(name)));
}

function objectIn(text: string): JsonObject | undefined {
  const value = jsonIn(text);
  return isObject(value) ? value : undefined;
}

function jsonIn(text: string): Json | undefined {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return undefined;
  }
}

function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
