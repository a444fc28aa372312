/**
 * Asks real Redis what the memory store was asked, and compares: a memory store that answers differently would prove nothing.
 *
 * Leases and appends are set as they were, with the recorded owners, epochs and ids, because both stores draw them from their own
 * clock. Commits and acknowledgements go through the real store. Redis's time in a reply is left out of the comparison for the same
 * reason.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Redis } from 'ioredis';
import type { CommitResult, EngineStore, PartitionState } from '../../src/engine/ports.ts';
import type { Keys } from '../../src/redis/keys.ts';
import { readPartitionState } from '../../src/redis/partition-state.ts';
import type { MemoryRedis, Recorded } from './memory-store.ts';

export interface Difference {
  readonly at: number;
  readonly request: { readonly partition: number };
  readonly memory: unknown;
  readonly redis: unknown;
}

export interface ReplayTarget {
  readonly client: Redis;
  readonly keys: Keys;
  readonly store: EngineStore;
}

/** Replays onto empty keys, and empties the streams that get posts. The first differences, at most ten; none: both stores answered and ended alike. */
export async function replayOnRedis(log: readonly Recorded[], memory: MemoryRedis, { client, keys, store }: ReplayTarget): Promise<readonly Difference[]> {
  const differences: Difference[] = [];
  const touched = new Set<number>();
  const refused = new Set<string>();
  const streams = new Set(log.flatMap((entry) => (entry.kind === 'commit' ? entry.request.posts.map(({ stream }) => stream) : [])));
  if (streams.size > 0) await client.del([...streams]);
  for (const [at, entry] of log.entries()) {
    if (differences.length >= 10) return differences;
    switch (entry.kind) {
      case 'lease':
        await client.hset(keys.partition(entry.partition).meta, 'owner', entry.owner ?? '', 'epoch', entry.epoch, 'acknowledged', 0);
        break;
      case 'appended':
        await client.xadd(keys.partition(entry.partition).inbox, entry.id, ...entry.fields);
        break;
      case 'commit': {
        touched.add(entry.request.partition);
        await refuseAlike(entry, refused, client);
        const [answer] = await store.commit([entry.request]);
        if (!answer || answer instanceof Error) throw answer ?? new Error('Nothing was answered.');
        if (!isDeepStrictEqual(withoutTime(answer), withoutTime(entry.result))) {
          differences.push({ at, request: entry.request, memory: entry.result, redis: answer });
        }
        break;
      }
      case 'acknowledged': {
        touched.add(entry.request.partition);
        const answer = await store.acknowledge(entry.request);
        if (answer !== entry.result) differences.push({ at, request: entry.request, memory: entry.result, redis: answer });
        break;
      }
    }
  }
  for (const partition of touched) differences.push(...(await compareEnd(partition, log.length, memory, { client, keys, store })));
  return differences;
}

/** What the commits left behind: the partition's state, its records and documents, its feeds, its indexes and its dead letters. */
async function compareEnd(partition: number, at: number, memory: MemoryRedis, { client, keys }: ReplayTarget): Promise<Difference[]> {
  const held = memory.partition(partition);
  const own = keys.partition(partition);
  const expected: { [part: string]: unknown } = {
    state: sorted(held.state()),
    records: Object.fromEntries(held.records),
    documents: Object.fromEntries(held.documents),
    dead: held.dead.after('0-0').map(([, fields]) => fields),
  };
  const found: { [part: string]: unknown } = {
    state: sorted(await readPartitionState(client, keys, partition, held.epoch)),
    records: await client.hgetall(own.records),
    documents: await client.hgetall(own.documents),
    dead: (await client.xrange(own.dead, '-', '+')).map(([, fields]) => fields),
  };
  for (const [type, feed] of held.feeds) {
    expected[`feed ${type}`] = feed.after('0-0');
    found[`feed ${type}`] = await client.xrange(own.feed(type), '-', '+');
  }
  for (const [name, index] of held.indexes) {
    const colon = name.indexOf(':');
    expected[`index ${name}`] = Object.fromEntries(index);
    const flat = await client.zrange(own.index(name.slice(0, colon), name.slice(colon + 1)), '0', '-1', 'WITHSCORES');
    found[`index ${name}`] = Object.fromEntries(Array.from({ length: flat.length / 2 }, (_, place) => [flat[place * 2], Number(flat[place * 2 + 1])]));
  }
  return Object.keys(expected)
    .filter((part) => !isDeepStrictEqual({ ...(expected[part] as object) }, { ...(found[part] as object) }))
    .map((part) => ({ at, request: { partition }, memory: { [part]: expected[part] }, redis: { [part]: found[part] } }));
}

function withoutTime(result: CommitResult): unknown {
  return result.kind === 'committed' ? { ...result, time: 0 } : result;
}

/** Streams that took nothing then are keys of another type now, and the other way round. */
async function refuseAlike({ request, refusing }: Extract<Recorded, { kind: 'commit' }>, refused: Set<string>, client: Redis): Promise<void> {
  for (const { stream } of request.posts) {
    if (refusing.includes(stream) === refused.has(stream)) continue;
    await client.del(stream);
    if (refused.delete(stream)) continue;
    await client.set(stream, 'no stream');
    refused.add(stream);
  }
}

/** Sets and hashes have no order of their own, and the fields of a refused post neither. */
function sorted(state: PartitionState): PartitionState {
  return {
    ...state,
    outbox: state.outbox.map(([id, pack]) => [id, JSON.stringify(JSON.parse(pack), inOrder)]),
    invoking: [...state.invoking].sort(),
    retries: [...state.retries].sort((left, right) => (left.key < right.key ? -1 : 1)),
  };
}

function inOrder(_name: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1)));
}
