/** The memory store's commits of a random walk, asked again of real Redis: the same replies, the same state at the end. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Redis } from 'ioredis';
import type { CommitRequest, PartitionState } from '../../src/engine/ports.ts';
import { partitionOf, STREAM_START, type ActorKey } from '../../src/protocol/ids.ts';
import { closeClient, connectFirst, createWriteClient } from '../../src/redis/clients.ts';
import { createKeys } from '../../src/redis/keys.ts';
import { createRedisStore } from '../../src/redis/store.ts';
import { parseRedisUrl } from '../../src/redis/target.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import { MemoryRedis, type Recorded } from '../simulator/memory-store.ts';
import { replayOnRedis } from '../simulator/replay.ts';
import { emptyCommit } from './requests.ts';

const STEPS = 400;
const ACTORS: readonly ActorKey[] = ['node/a', 'node/b', 'job/1', 'job/2', 'job/3', 'fleet/x'];
const PARTITIONS = [...new Set(ACTORS.map(partitionOf))];
const STATES = ['online', 'offline', 'deep.state', ''];

describe('the memory store beside real Redis', () => {
  let server: TestRedis;
  let client: Redis;
  beforeAll(async () => {
    server = await startTestRedis();
    const target = parseRedisUrl(server.url);
    client = createWriteClient(target);
    await connectFirst(client, target);
  });
  afterAll(async () => {
    await closeClient(client);
    await server.stop();
  });

  for (const seed of [1, 2, 3, 4, 5]) {
    it(`answers the same commits alike (seed ${seed})`, async () => {
      const { log, memory } = await walk(seed);
      const kinds = new Set(log.flatMap((entry) => (entry.kind === 'commit' ? [kindOf(entry)] : [])));
      // A walk that never met one of the answers would compare nothing.
      expect([...kinds].sort()).toEqual(['committed', 'diverged', 'fenced', 'overtaken', 'refused', 'repeated']);
      const keys = createKeys(`replay-${seed}`);
      expect(await replayOnRedis(log, memory, { client, keys, store: await createRedisStore(client, keys) })).toEqual([]);
    });
  }

  it('notices a store that answers or writes differently', async () => {
    const { log, memory } = await walk(6);
    const keys = createKeys('planted');
    const store = await createRedisStore(client, keys);
    const at = log.findIndex((entry) => entry.kind === 'commit' && entry.result.kind === 'fenced');
    const wrongReply = log.map((entry, index): Recorded =>
      index === at && entry.kind === 'commit' ? { ...entry, result: { kind: 'committed', time: 0, repeated: false, refused: false, heard: [] } } : entry,
    );
    expect(await replayOnRedis(wrongReply, memory, { client, keys, store })).toMatchObject([{ at, redis: { kind: 'fenced' } }]);
    const again = createKeys('planted-state');
    memory.partition(PARTITIONS[0] as number).timers.set('node/ghost |t', 1);
    expect(await replayOnRedis(log, memory, { client, keys: again, store: await createRedisStore(client, again) })).toHaveLength(1);
  });
});

function kindOf({ result }: Extract<Recorded, { kind: 'commit' }>): string {
  if (result.kind !== 'committed') return result.kind;
  return result.refused ? 'refused' : result.repeated ? 'repeated' : result.kind;
}

/** Two engines take partitions from one another, commit, repeat, fork and fall behind, as chance will have it. */
async function walk(seed: number): Promise<{ readonly log: readonly Recorded[]; readonly memory: MemoryRedis }> {
  const log: Recorded[] = [];
  const random = mulberry32(seed);
  const pick = <Item>(items: readonly Item[]): Item => items[Math.floor(random() * items.length)] as Item;
  const some = <Item>(items: readonly Item[]): Item[] => items.filter(() => random() < 0.4);
  let now = 1_700_000_000_000;
  const memory = new MemoryRedis({ now: () => now, record: (entry) => log.push(entry) });
  const store = memory.store();
  const views = new Map<string, { state: PartitionState; previous: string; number: number; last?: CommitRequest }>();

  const changes = (partition: number): Partial<CommitRequest> => {
    const own = ACTORS.filter((key) => partitionOf(key) === partition);
    const member = (key: ActorKey): string => `${key} |${pick(['soon', 'later'])}`;
    const set = some(own).map((key) => [member(key), Math.floor(random() * 1_000)] as const);
    const kept = new Set(set.map(([name]) => name));
    const added = some(own).map((key) => [key.slice(0, key.indexOf('/')), pick(STATES), key, now] as const);
    return {
      records: some(own).map((key) => [key, JSON.stringify({ n: random() })] as const),
      documents: some(own).map((key) => [key, JSON.stringify({ d: random() })] as const),
      timers: {
        set,
        remove: some(own)
          .map(member)
          .filter((name) => !kept.has(name)),
      },
      index: { add: added, remove: some(added).map(([type, path, key]) => [type, path === 'online' ? 'offline' : 'online', key] as const) },
      invoking: { add: some(own), remove: [] },
      feed: random() < 0.7 ? [{ type: 'node', count: 1, pack: JSON.stringify([random()]) }] : [],
      ...(random() < 0.3 ? { outbox: JSON.stringify([random()]) } : {}),
      posts: random() < 0.5 ? [{ stream: pick(['walk:a', 'walk:b']), from: partition, number: `1-${now}`, fields: ['n', String(now)], priority: 0 }] : [],
      deadLetters: random() < 0.2 ? ['{"code":"bad"}'] : [],
      applied: random() < 0.3 ? { [pick(PARTITIONS)]: Math.floor(random() * 10) } : {},
      sources: random() < 0.3 ? { s: { id: `${now}-0`, watermark: now, observed: now } } : {},
    };
  };

  for (let step = 0; step < STEPS; step++) {
    now += Math.floor(random() * 30);
    const partition = pick(PARTITIONS);
    const owner = pick(['engine-a', 'engine-b']);
    const name = `${owner}:${partition}`;
    const view = views.get(name);
    const chance = random();
    if (random() < 0.5) memory.refusing.add(pick(['walk:a', 'walk:b']));
    if (random() < 0.2) memory.refusing.clear();
    if (chance < 0.25) {
      await store.append([{ actor: pick(ACTORS), event: { type: 'go', step }, source: 'library' }]);
    } else if (!view || chance < 0.35) {
      const result = await store.acquire(partition, owner, 50);
      if (result.kind === 'acquired') views.set(name, { state: result.state, previous: result.state.commit, number: 1 });
    } else if (chance < 0.4) {
      await store.release(owner, [{ partition, epoch: view.state.epoch }]);
    } else if (chance < 0.5 && view.last) {
      await store.commit([view.last]);
    } else {
      const entries = memory.partition(partition).inbox.after(STREAM_START);
      const stored = memory.partition(partition).inboxPosition;
      const request: CommitRequest = {
        ...emptyCommit(partition, view.state, view.number),
        owner,
        previous: random() < 0.1 ? STREAM_START : view.previous,
        time: now,
        inbox: random() < 0.5 ? (entries[Math.floor(random() * entries.length)]?.[0] ?? stored) : stored,
        ...changes(partition),
        ...(random() < 0.4 ? { firedThrough: now - Math.floor(random() * 60) } : {}),
      };
      const [result] = await store.commit([request]);
      if (result && !(result instanceof Error) && result.kind === 'committed') {
        view.previous = request.id;
        view.number++;
        view.last = request;
      }
    }
  }
  return { log, memory };
}

/** A small seeded generator: the same walk at every run. */
function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
