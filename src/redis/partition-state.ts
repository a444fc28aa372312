/**
 * What a new owner is told: a partition's stored state, read after the lease was taken.
 *
 * Nobody else may change these keys from then on (I4), so several reads give one consistent state.
 */
import type { Redis } from 'ioredis';
import type { PartitionState, SourcePosition } from '../engine/ports.ts';
import { STREAM_START } from '../protocol/ids.ts';
import type { ActorKey } from '../protocol/ids.ts';
import { command } from './commands.ts';
import { runPipeline } from './function-library.ts';
import type { Keys } from './keys.ts';

/** Outbox entries read at a time: each may be a pack of 500 commands. */
const OUTBOX_PAGE = 100;

export async function readPartitionState(client: Redis, keys: Keys, partition: number, epoch: number): Promise<PartitionState> {
  const own = keys.partition(partition);
  const replies = await runPipeline(client, [
    command('hgetall', own.meta),
    command('zrange', own.timers, '0', '-1', 'WITHSCORES'),
    command('zrange', own.liveness, '0', '-1', 'WITHSCORES'),
    command('hgetall', own.retries),
    command('smembers', own.invoking),
  ]);
  const failed = replies.find((reply) => reply instanceof Error);
  if (failed) throw failed;
  const [meta, timers, liveness, retries, invoking] = replies as [Fields, string[], string[], Fields, ActorKey[]];
  const fields = new Map(pairsOf(meta));
  return {
    epoch,
    commit: fields.get('commit') ?? STREAM_START,
    time: Number(fields.get('time') ?? 0),
    inbox: fields.get('inbox') ?? STREAM_START,
    sources: withPrefix(fields, 'source:', readPosition),
    applied: withPrefix(fields, 'applied:', Number),
    sent: withPrefix(fields, 'sent:', Number),
    timers: duesOf(timers),
    liveness: duesOf(liveness),
    outbox: await readOutbox(client, own.outbox),
    retries: pairsOf(retries).map(([key, value]) => ({ key, value })),
    invoking,
  };
}

/** ioredis gives HGETALL as an object, or as a flat list when its reply transformer did not run. */
type Fields = Record<string, string> | string[];

function pairsOf(fields: Fields): [string, string][] {
  if (!Array.isArray(fields)) return Object.entries(fields);
  return Array.from({ length: fields.length / 2 }, (_, index) => [fields[index * 2] as string, fields[index * 2 + 1] as string]);
}

async function readOutbox(client: Redis, key: string): Promise<[string, string][]> {
  const entries: [string, string][] = [];
  for (let after = '-'; ;) {
    const page = await client.xrange(key, after, '+', 'COUNT', OUTBOX_PAGE);
    for (const [id, fields] of page) entries.push([id, fields[1] as string]);
    const last = page.at(-1);
    if (!last || page.length < OUTBOX_PAGE) return entries;
    after = `(${last[0]}`;
  }
}

function readPosition(text: string): SourcePosition {
  const [id, watermark, observed] = text.split(' ');
  return { id: id ?? STREAM_START, watermark: Number(watermark), observed: Number(observed) };
}

function withPrefix<Value>(fields: ReadonlyMap<string, string>, prefix: string, read: (text: string) => Value): { [name: string]: Value } {
  const found: [string, Value][] = [];
  for (const [field, value] of fields) if (field.startsWith(prefix)) found.push([field.slice(prefix.length), read(value)]);
  return Object.fromEntries(found);
}

function duesOf(flat: readonly string[]): [string, number][] {
  return Array.from({ length: flat.length / 2 }, (_, index) => [flat[index * 2] as string, Number(flat[index * 2 + 1])]);
}
