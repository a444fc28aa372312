/** A glance as common.lua writes it: the answer to the read that a ring asks for. */
import type { Glance, GlancedStream } from '../engine/ports.ts';
import { PARTITION_COUNT, STREAM_START, type ActorKey } from '../protocol/ids.ts';

/** Names of sources, each with its newest entry; an empty table of Lua is written as an object. */
type Told = readonly [
  partition: number,
  time: number,
  commit: string,
  inboxBefore: string,
  sources: readonly string[] | object,
  stream: string,
  id: string,
  fields: readonly string[],
  unknown: boolean,
];

const ENTRY_ID = /^\d{1,16}-\d{1,20}$/;

/** Undefined for what is none: a plain ring, or that of another version. */
export function readGlance(message: string): Glance | undefined {
  if (!message.startsWith('[')) return undefined;
  const told = parsed(message);
  if (!isTold(told)) return undefined;
  const [partition, time, commit, inboxBefore, names, stream, id, fields, unknown] = told;
  const entries = [[id, fields]] as const;
  const sources = new Map<string, GlancedStream>();
  for (let index = 0; Array.isArray(names) && index < names.length; index += 2) {
    const name = names[index] as string;
    sources.set(name, { before: names[index + 1] as string, added: name === stream ? entries : [] });
  }
  return {
    partition,
    time,
    commit: commit === '' ? STREAM_START : commit,
    inbox: { before: inboxBefore, added: stream === '' ? entries : [] },
    sources,
    unknown: unknown ? (fields[0] as ActorKey) : undefined,
  };
}

function parsed(message: string): unknown {
  try {
    return JSON.parse(message);
  } catch {
    return undefined;
  }
}

function isTold(value: unknown): value is Told {
  if (!Array.isArray(value) || value.length !== 9) return false;
  const [partition, time, commit, inboxBefore, sources, stream, id, fields, unknown] = value as readonly unknown[];
  return (
    isPartition(partition) &&
    Number.isInteger(time) &&
    typeof commit === 'string' &&
    isEntryId(inboxBefore) &&
    (!Array.isArray(sources) || (sources.length % 2 === 0 && sources.every((each, index) => (index % 2 === 0 ? typeof each === 'string' : isEntryId(each))))) &&
    typeof stream === 'string' &&
    isEntryId(id) &&
    Array.isArray(fields) &&
    fields.length > 0 &&
    fields.every((field) => typeof field === 'string') &&
    typeof unknown === 'boolean'
  );
}

function isPartition(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < PARTITION_COUNT;
}

function isEntryId(value: unknown): boolean {
  return typeof value === 'string' && ENTRY_ID.test(value);
}
