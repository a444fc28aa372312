/**
 * Messages of the channels `task_updates` and `general_updates`: read liberally, written strictly.
 *
 * Written: `{type:"task_update", task_id, data:{status, message?, progress?}, timestamp, source}` and `{type:"general_update", data, timestamp, source}`.
 * Read as well: the flat `{task_id, status, …}` and any other object as a general update.
 *
 * 1. What decides (task_id, status) is exact; a long text is cut, an unknown field is kept.
 * 2. A refusal names the field as it stands in the message: `data.status` in the wrapped form, `status` in the flat one.
 */
import type { Json, JsonObject } from '../protocol/json.ts';
import { isJobId, JOB_ID } from './worker-entry.ts';
import { isObject, parsedObject } from './worker-progress.ts';

export const TASK_UPDATES = 'task_updates';
export const GENERAL_UPDATES = 'general_updates';

export const TASK_STATUSES = ['pending', 'in_progress', 'completed', 'failed'] as const;
export type TaskStatus = (typeof TASK_STATUSES)[number];

/** What a service says of a task. Further fields travel with it. */
export interface TaskUpdate {
  readonly status: TaskStatus;
  readonly message?: string;
  /** Usually a number from 0 to 100. */
  readonly progress?: Json;
  readonly [field: string]: Json | undefined;
}

export interface TaskUpdateMessage {
  readonly type: 'task_update';
  readonly task_id: string;
  readonly data: TaskUpdate;
  /** As its sender wrote it: RFC 3339 from us. */
  readonly timestamp?: string;
  readonly source?: string;
}

export interface GeneralUpdateMessage {
  readonly type: 'general_update';
  readonly data: JsonObject;
  readonly timestamp?: string;
  readonly source?: string;
}

/** The field at fault and a sentence about it. */
export interface MessageFault {
  readonly ok: false;
  readonly code: string;
  readonly field: string;
  readonly reason: string;
}
export type ReadUpdate<Message> = { readonly ok: true; readonly message: Message } | MessageFault;

/** Characters. With its envelope a message must fit into an inbox (1 MiB), and many hear it. */
export const UPDATE_MAX = 262_144;
/** As the job's events bound a message. Characters. */
export const TEXT_MAX = 4_096;
const NAME_MAX = 256;
/** Fields of a flat message that are not of the update itself. */
const ENVELOPE_FIELDS: ReadonlySet<string> = new Set(['type', 'task_id', 'taskId', 'timestamp', 'source', 'data']);
/** Fields of an update that are set by themselves. */
const DECIDED_FIELDS: ReadonlySet<string> = new Set(['status', 'message', 'progress']);

export function readTaskUpdate(text: string): ReadUpdate<TaskUpdateMessage> {
  const read = readObject(text);
  if (!read.ok) return read;
  const { message } = read;
  const id = taskIdOf(message['task_id'] ?? message['taskId']);
  if (id === undefined) return fault('missing_field', 'task_id', 'is missing');
  if (!isJobId(id)) return fault('invalid_task_id', 'task_id', `must match ${JOB_ID.source}`); // (1)
  const wrapped = message['data'];
  const isWrapped = isObject(wrapped) && (wrapped['status'] !== undefined || message['status'] === undefined);
  const update = isWrapped ? wrapped : flatUpdate(message);
  const prefix = isWrapped ? 'data.' : ''; // (2)
  const status = update['status'];
  if (status === undefined || status === null) return fault('missing_field', `${prefix}status`, 'is missing');
  if (!isStatus(status)) return fault('invalid_field', `${prefix}status`, `must be one of ${TASK_STATUSES.join(', ')}`);
  const said = update['message'];
  if (said !== undefined && said !== null && typeof said !== 'string') return fault('invalid_field', `${prefix}message`, 'must be a text');
  const progress = update['progress'];
  if (typeof progress === 'number' && (progress < 0 || progress > 100)) return fault('invalid_field', `${prefix}progress`, 'must be from 0 to 100');
  const data: TaskUpdate = {
    ...Object.fromEntries(Object.entries(update).filter(([field]) => !DECIDED_FIELDS.has(field))),
    status,
    ...(typeof said === 'string' ? { message: said.slice(0, TEXT_MAX) } : {}),
    ...(progress === undefined || progress === null ? {} : { progress }),
  };
  return { ok: true, message: { type: 'task_update', task_id: id, data, ...originOf(message) } };
}

export function readGeneralUpdate(text: string): ReadUpdate<GeneralUpdateMessage> {
  const read = readObject(text);
  if (!read.ok) return read;
  const { message } = read;
  const wrapped = message['data'];
  if (message['type'] === 'general_update' && wrapped !== undefined) {
    if (!isObject(wrapped)) return fault('invalid_field', 'data', 'must be an object');
    return { ok: true, message: { type: 'general_update', data: wrapped, ...originOf(message) } };
  }
  return { ok: true, message: { type: 'general_update', data: message, ...originOf(message) } };
}

/** `at`: RFC 3339. */
export function writeTaskUpdate(taskId: string, data: TaskUpdate, at: string, source: string): string {
  const { status, message, progress, ...rest } = data;
  return JSON.stringify({ type: 'task_update', task_id: taskId, data: { status, message, progress, ...rest }, timestamp: at, source });
}

export function writeGeneralUpdate(data: JsonObject, at: string, source: string): string {
  return JSON.stringify({ type: 'general_update', data, timestamp: at, source });
}

function readObject(text: string): ReadUpdate<JsonObject> {
  if (text.length > UPDATE_MAX) return fault('too_large', 'message', `has ${text.length} characters; at most ${UPDATE_MAX} are taken`);
  const message = parsedObject(text);
  return message === undefined ? fault('invalid_json', 'message', 'is not a JSON object') : { ok: true, message };
}

/** Producers in other languages write a number when their ids are numbers. */
function taskIdOf(value: Json | undefined): string | undefined {
  if (value === undefined || value === null || value === '') return undefined;
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function flatUpdate(message: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(message).filter(([field]) => !ENVELOPE_FIELDS.has(field)));
}

function originOf({ timestamp, source }: JsonObject): { readonly timestamp?: string; readonly source?: string } {
  return {
    ...(typeof timestamp === 'string' ? { timestamp: timestamp.slice(0, NAME_MAX) } : {}),
    ...(typeof source === 'string' ? { source: source.slice(0, NAME_MAX) } : {}),
  };
}

function isStatus(value: Json): value is TaskStatus {
  return TASK_STATUSES.some((status) => status === value);
}

function fault(code: string, field: string, why: string): MessageFault {
  return { ok: false, code, field, reason: `The ${field === 'message' && code !== 'invalid_field' ? 'message' : `field ${field}`} ${why}.` };
}
