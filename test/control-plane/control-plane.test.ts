/** What the outside sees of a real engine over a real Redis: past states, listings, dry runs, replays, and what cannot be read. */
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { assign, setup } from 'xstate';
import { z } from 'zod';
import { createControlPlane } from '../../src/control-plane/control-plane.ts';
import { registerActorType } from '../../src/core/kernel.ts';
import { Client } from '../../src/engine/client.ts';
import { Engine } from '../../src/engine/engine.ts';
import { Hub } from '../../src/engine/hub.ts';
import { systemClock } from '../../src/engine/system-clock.ts';
import type { ControlPlane } from '../../src/protocol/control-plane.ts';
import { UnreadableHistoryError } from '../../src/protocol/errors.ts';
import { partitionOf } from '../../src/protocol/ids.ts';
import { connectRedis, type RedisConnections } from '../../src/redis/connect.ts';
import { parseRedisUrl } from '../../src/redis/target.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';

const WAIT_MS = 20_000;
const machine = setup({
  types: { context: {} as { readonly count: number }, events: {} as { type: 'add'; by: number } | { type: 'break' } | { type: 'beat' } },
  actions: {
    add: assign({ count: ({ context, event }) => context.count + (event.type === 'add' ? event.by : 0) }),
    fail: assign(() => {
      throw new Error('out of order');
    }),
  },
}).createMachine({
  context: { count: 0 },
  type: 'parallel',
  states: {
    lamp: { initial: 'off', states: { off: { on: { add: { target: 'on', actions: 'add' } } }, on: { on: { add: { actions: 'add' } } } } },
    quiet: { initial: 'calm', states: { calm: {} } },
  },
  on: { break: { actions: 'fail' } },
});

let server: TestRedis;
let redis: RedisConnections;
let engine: Engine;
let client: Client;
let plane: ControlPlane;

beforeAll(async () => {
  server = await startTestRedis();
  redis = await connectRedis(parseRedisUrl(server.url));
  const events = {
    add: z.object({ type: z.literal('add'), by: z.number() }),
    break: z.object({ type: z.literal('break') }),
    beat: z.object({ type: z.literal('beat') }),
  };
  const registered = registerActorType({ type: 'lamp', version: '1', machine, events, unindexed: ['quiet'] });
  engine = new Engine({ store: redis.engineStore, doorbell: redis.doorbell, clock: systemClock, types: [{ registered, executors: {} }], owner: 'test' });
  const hub = new Hub(redis.reader, systemClock);
  client = new Client({ store: redis.store, reader: redis.reader, replies: redis.replies, hub, types: engine.types, clock: systemClock });
  plane = createControlPlane({ engine, client, reader: redis.reader, types: engine.types, time: () => redis.store.time(), uptimeMs: () => 1_000 });
  await client.start();
  await engine.start();
});
afterAll(async () => {
  await client.stop();
  await engine.stop();
  await redis.close();
  await server.stop();
});

async function add(id: string, by: number): Promise<void> {
  const { outcome } = await plane.send('lamp', id, { type: 'add', by }, { waitMs: WAIT_MS });
  expect(outcome?.kind).toBe('transition');
}

describe('the control plane', () => {
  it('tells an actor as it was after any of its revisions, before and behind a checkpoint', async () => {
    for (let by = 1; by <= 53; by++) await add('past', by);
    for (const revision of [1, 2, 49, 50, 51, 53]) {
      const past = await plane.at('lamp', 'past', revision);
      expect(past, `revision ${revision}`).toMatchObject({ kind: 'found', actor: { revision, context: { count: (revision * (revision + 1)) / 2 } } });
    }
    expect(await plane.at('lamp', 'past', 54)).toEqual({ kind: 'missing' });
    expect(await plane.at('lamp', 'nobody', 1)).toEqual({ kind: 'missing' });
  });

  it('pages through a history, newest first, and says when the rest was trimmed', async () => {
    for (let by = 1; by <= 5; by++) await add('paged', by);
    const first = await plane.history('lamp', 'paged', { limit: 2 });
    expect(first?.items.map(({ revision }) => revision)).toEqual([5, 4]);
    expect(first?.truncated).toBe(false);
    const second = await plane.history('lamp', 'paged', { limit: 9, cursor: first?.next ?? '' });
    expect(second?.items.map(({ revision }) => revision)).toEqual([3, 2, 1]);
    expect(second).toMatchObject({ next: null, truncated: false });

    const feed = redis.keys.partition(partitionOf('lamp/paged')).feed('lamp');
    const raw = new Redis(server.url);
    const packs = await raw.xrange(feed, '-', '+');
    await raw.xtrim(feed, 'MINID', packs[packs.length - 1]?.[0] ?? '');
    expect(await plane.history('lamp', 'paged', { limit: 9 })).toMatchObject({ items: [{ revision: 5 }], next: null, truncated: true });
    expect(await plane.at('lamp', 'paged', 3)).toEqual({ kind: 'gone' });
    raw.disconnect();
  });

  it('does not take a journal that it cannot read for one that was trimmed', async () => {
    await add('odd', 1);
    const raw = new Redis(server.url);
    const feed = redis.keys.partition(partitionOf('lamp/odd')).feed('lamp');
    const [newest] = await raw.xrevrange(feed, '+', '-', 'COUNT', 1);
    await raw.del(feed);
    await raw.xadd(feed, newest?.[0] ?? '', 'n', '1', 't', '1', 'p', '{"written":"otherwise"}');
    await expect(plane.history('lamp', 'odd', { limit: 5 })).rejects.toBeInstanceOf(UnreadableHistoryError);
    raw.disconnect();
  });

  it('lists by a state that is indexed and by one that is not, never more than asked for', async () => {
    for (const id of ['l1', 'l2', 'l3']) await add(id, 1);
    for (const state of ['lamp.on', 'quiet.calm']) {
      const found: string[] = [];
      for (let cursor: string | null | undefined; cursor !== null;) {
        const page = await plane.listActors({ type: 'lamp', state, limit: 2, ...(cursor === undefined ? {} : { cursor }) });
        expect(page.items.length).toBeLessThanOrEqual(2);
        found.push(...page.items.map(({ id }) => id));
        cursor = page.next;
      }
      expect(found, state).toEqual(expect.arrayContaining(['l1', 'l2', 'l3']));
      expect(new Set(found).size, state).toBe(found.length);
    }
    expect(await plane.listActors({ type: 'lamp', state: 'lamp.off', limit: 9 })).toEqual({ items: [], next: null });
    const keys = await redis.reader.listActors({ type: 'lamp', statePath: 'quiet.calm', limit: 9 });
    expect(keys.items).toEqual([]);
  });

  it('tells in a dry run what would happen, and changes nothing', async () => {
    await add('dry', 1);
    expect(await plane.dryRun('lamp', 'dry', { type: 'add', by: 4 })).toMatchObject({ kind: 'transition', revision: 2, context: { count: 5 } });
    expect(await plane.dryRun('lamp', 'dry', { type: 'beat' })).toEqual({ kind: 'ignored' });
    expect(await plane.dryRun('lamp', 'dry', { type: 'add', by: 'x' })).toMatchObject({ kind: 'rejected', field: 'by' });
    expect(await plane.getActor('lamp', 'dry')).toMatchObject({ revision: 1, context: { count: 1 } });
  });

  it('keeps what an actor rejected, and replays it once', async () => {
    const { outcome } = await plane.send('lamp', 'poisoned', { type: 'break' }, { waitMs: WAIT_MS });
    expect(outcome).toMatchObject({ kind: 'dead-letter' });
    const { items } = await plane.listDeadLetters({ limit: 9 });
    const letter = items.find(({ actor }) => actor === 'lamp/poisoned');
    expect(letter).toMatchObject({ source: 'http', event: { type: 'break' } });
    const replayed = await plane.replayDeadLetter(letter?.id ?? '');
    expect(replayed).toMatchObject({ kind: 'replayed' });
    expect(await plane.replayDeadLetter(letter?.id ?? '')).toEqual(replayed);
    expect(await plane.replayDeadLetter('0-1-1')).toEqual({ kind: 'missing' });
  });
});
