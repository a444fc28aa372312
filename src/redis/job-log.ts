/**
 * Reads the streams in which workers keep what they say of a job.
 *
 * 1. Workers of others write there as well: an entry is a progress message as JSON in any field, or a message's own fields, or
 *    whatever else, which is shown as it is.
 */
import type { Redis } from 'ioredis';
import { timestamp } from '../protocol/control-plane.ts';
import { CursorGoneError } from '../protocol/errors.ts';
import { millisecondsOf } from '../protocol/ids.ts';
import type { JobLogLine } from '../protocol/job.ts';
import type { JobLogs } from '../protocol/job-log.ts';
import { progressKey } from '../protocol/job-progress.ts';
import type { Json, JsonObject } from '../protocol/json.ts';

const ENTRY_ID = /^\d{1,16}-\d{1,20}$/;

export function createJobLogs(client: Redis): JobLogs {
  return {
    async page(jobId, { cursor, limit }) {
      if (cursor !== undefined && !ENTRY_ID.test(cursor)) throw new CursorGoneError(cursor);
      const entries = await client.xrange(progressKey(jobId), cursor === undefined ? '-' : `(${cursor}`, '+', 'COUNT', limit + 1).catch(noneOfAnotherKind);
      const items = entries.slice(0, limit).map(([id, fields]) => lineOf(id, fields));
      return { items, next: entries.length > limit ? (items.at(-1)?.id ?? null) : null };
    },
  };
}

/** The name is the contract's, and any program may have put something else there. */
function noneOfAnotherKind(error: Error): [string, string[]][] {
  if (error.message.startsWith('WRONGTYPE')) return [];
  throw error;
}

function lineOf(id: string, fields: readonly string[]): JobLogLine {
  const own = Object.fromEntries(Array.from({ length: fields.length / 2 }, (_, index) => [fields[index * 2] as string, fields[index * 2 + 1] as string]));
  const message = Object.values(own).map(parsed).find(isMessage) ?? own;
  const { type, timestamp: told, data } = message as { readonly type?: Json; readonly timestamp?: Json; readonly data?: Json };
  return {
    id,
    at: typeof told === 'string' && !Number.isNaN(Date.parse(told)) ? timestamp(Date.parse(told)) : timestamp(millisecondsOf(id)),
    type: typeof type === 'string' ? type : 'entry',
    data: typeof type === 'string' && data !== undefined ? (typeof data === 'string' ? (parsed(data) ?? data) : data) : own,
  };
}

function isMessage(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && typeof (value as JsonObject)['type'] === 'string';
}

/** Undefined when it is not JSON. */
function parsed(text: string): Json | undefined {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return undefined;
  }
}
