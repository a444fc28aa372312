/**
 * The form in which a record lies in Redis and in a checkpoint: an array by position, 0 for what is empty, times relative
 * to the actor's creation, and nothing twice. A node's record takes about 250 bytes instead of 760. Only this file knows
 * the positions; `unpackRecord(packRecord(record))` equals `record`.
 */
import type { ActorStatus } from './envelope.ts';
import type { ActorKey } from './ids.ts';
import type { Json, JsonObject } from './json.ts';
import type { ActorRecord, MachineEventJson, TimerState } from './record.ts';

type PackedTimer = readonly [
  delayMs: number,
  armedRevision: number,
  armedIndex: number,
  /** 0: runs on partition time. Otherwise on observed time, with this full deadline; -1 for none. */
  deadlineMs?: number,
  /** 0: `{ type: <send id> }`, as every `after` has. */
  event?: MachineEventJson | 0,
  target?: string | 0,
  to?: ActorKey | 0,
];

/** 0: all active states were entered when the actor was created. A list: ms after that, in the order of the value's leaves. */
type PackedEntered = 0 | readonly number[] | { readonly [statePath: string]: number };

export type PackedRecord = readonly [
  revision: number,
  version: string,
  /** 0: active. */
  status: ActorStatus | 0,
  value: Json,
  context: Json,
  history: Json | 0,
  /** Other fields of the snapshot: output, error. */
  rest: JsonObject | 0,
  entered: PackedEntered,
  /** By {@link shortKey}. */
  timers: { readonly [key: string]: PackedTimer } | 0,
  children: ActorRecord['children'] | 0,
  invocations: ActorRecord['invocations'] | 0,
  createdAt: number,
  updatedAfterMs: number,
  head: string | 0,
  parked?: string,
];

interface Snapshot {
  readonly status: ActorStatus;
  readonly value: Json;
  readonly context: Json;
  readonly historyValue: JsonObject;
  readonly [other: string]: Json;
}

export function encodeRecord(record: ActorRecord): string {
  return JSON.stringify(packRecord(record));
}

export function decodeRecord(json: string): ActorRecord {
  return unpackRecord(JSON.parse(json) as PackedRecord);
}

export function packRecord(record: ActorRecord): PackedRecord {
  const { createdAt, snapshot } = record;
  const { status, value, context, historyValue, ...rest } = snapshot as unknown as Snapshot;
  const packed = [
    record.revision,
    record.version,
    status === 'active' ? 0 : status,
    value,
    context,
    orZero(historyValue),
    orZero(rest),
    packEntered(value, record.entered, createdAt),
    packTimers(record.timers),
    orZero(record.children),
    orZero(record.invocations),
    createdAt,
    record.updatedAt - createdAt,
    record.head ?? 0,
  ] as unknown as PackedRecord;
  return record.parked === undefined ? packed : ([...packed, record.parked] as unknown as PackedRecord);
}

export function unpackRecord(packed: PackedRecord): ActorRecord {
  const [revision, version, status, value, context, history, rest, entered, timers, children, invocations, createdAt, updatedAfterMs, head, parked] = packed;
  return {
    revision,
    version,
    status: status || 'active',
    snapshot: { status: status || 'active', value, context, historyValue: history || {}, ...(rest || undefined) },
    entered: unpackEntered(value, entered, createdAt),
    timers: unpackTimers(timers),
    children: children || {},
    invocations: invocations || {},
    createdAt,
    updatedAt: createdAt + updatedAfterMs,
    head: head || null,
    ...(parked === undefined ? undefined : { parked }),
  };
}

function packEntered(value: Json, entered: ActorRecord['entered'], createdAt: number): PackedEntered {
  const paths = leafPaths(value);
  const times = paths.map((path) => (entered[path] ?? Number.NaN) - createdAt);
  // Should the paths ever not be the value's leaves, they are written out.
  if (times.some(Number.isNaN) || Object.keys(entered).length !== paths.length) {
    return Object.fromEntries(Object.entries(entered).map(([path, at]) => [path, at - createdAt]));
  }
  return times.every((afterMs) => afterMs === 0) ? 0 : times;
}

function unpackEntered(value: Json, packed: PackedEntered, createdAt: number): ActorRecord['entered'] {
  const entered: { [statePath: string]: number } = {};
  if (packed === 0 || isList(packed)) {
    for (const [index, path] of leafPaths(value).entries()) entered[path] = createdAt + (packed === 0 ? 0 : (packed[index] ?? 0));
    return entered;
  }
  for (const path in packed) entered[path] = (packed[path] as number) + createdAt;
  return entered;
}

function isList(packed: PackedEntered): packed is readonly number[] {
  return Array.isArray(packed);
}

/** State paths of a state value: `{ a: { b: 'c' }, d: 'e' }` has `a.b.c` and `d.e`. */
function leafPaths(value: Json): readonly string[] {
  if (typeof value === 'string') return [value];
  const paths: string[] = [];
  collectLeaves(value as JsonObject, '', paths);
  return paths;
}

function collectLeaves(value: JsonObject, parent: string, paths: string[]): void {
  for (const key in value) {
    const below = value[key] as Json;
    const path = parent === '' ? key : `${parent}.${key}`;
    if (typeof below === 'string') paths.push(`${path}.${below}`);
    else if (typeof below === 'object' && below !== null && Object.keys(below).length > 0) collectLeaves(below as JsonObject, path, paths);
    else paths.push(path);
  }
}

/** The object, or 0 when it has no fields. */
function orZero<Value extends object>(value: Value): Value | 0 {
  for (const _ in value) return value;
  return 0;
}

function packTimers(timers: ActorRecord['timers']): { readonly [key: string]: PackedTimer } | 0 {
  let packed: { [key: string]: PackedTimer } | 0 = 0;
  for (const key in timers) {
    packed ||= {};
    packed[shortKey(key)] = packTimer(key, timers[key] as TimerState);
  }
  return packed;
}

function packTimer(key: string, { event, clock, delayMs, deadlineMs, armed, target, to }: TimerState): PackedTimer {
  const on = clock === 'clock' ? 0 : (deadlineMs ?? -1);
  const plain = event.type === sendIdOf(key) && Object.keys(event).length === 1;
  if (to !== undefined) return [delayMs, armed[0], armed[1], on, plain ? 0 : event, target ?? 0, to];
  if (target !== undefined) return [delayMs, armed[0], armed[1], on, plain ? 0 : event, target];
  if (!plain) return [delayMs, armed[0], armed[1], on, event];
  return on === 0 ? [delayMs, armed[0], armed[1]] : [delayMs, armed[0], armed[1], on];
}

function unpackTimers(packed: { readonly [key: string]: PackedTimer } | 0): ActorRecord['timers'] {
  const timers: { [key: string]: TimerState } = {};
  if (packed === 0) return timers;
  for (const short in packed) {
    const key = longKey(short);
    const [delayMs, revision, index, on = 0, event = 0, target = 0, to = 0] = packed[short] as PackedTimer;
    timers[key] = {
      event: event || { type: sendIdOf(key) },
      clock: on === 0 ? 'clock' : 'liveness',
      delayMs,
      ...(on > 0 ? { deadlineMs: on } : undefined),
      armed: [revision, index],
      ...(target === 0 ? undefined : { target }),
      ...(to === 0 ? undefined : { to }),
    };
  }
  return timers;
}

/** The root's `after` timers, which are most of all, are written `>late.fresh`: any other key has a bar. */
const AFTER = '|xstate.after.';
const SHORT_AFTER = '>';

function shortKey(key: string): string {
  return key.startsWith(AFTER) ? SHORT_AFTER + key.slice(AFTER.length) : key;
}

function longKey(short: string): string {
  return short.includes('|') ? short : AFTER + short.slice(SHORT_AFTER.length);
}

function sendIdOf(timerKey: string): string {
  return timerKey.slice(timerKey.indexOf('|') + 1);
}
