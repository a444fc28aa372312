/**
 * A hundred kills of an engine at work: half of them on either side of a named Function call, half at any time.
 *
 * Twenty thousand events for a thousand ledgers are appended meanwhile; one in five makes its ledger send a message to another.
 * Whenever an engine is killed the next one is already there and waits for the leases.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AppendResult, EngineStore } from '../../src/engine/ports.ts';
import { PARTITION_COUNT, type ActorKey } from '../../src/protocol/ids.ts';
import { createKeys } from '../../src/redis/keys.ts';
import { createRedisReader } from '../../src/redis/reader.ts';
import { createRedisStore } from '../../src/redis/store.ts';
import { until } from '../agent/until.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import { EngineChild } from './engine-child.ts';
import { EFFECTS } from './engine-process.ts';
import { Journal } from './journal.ts';
import type { KillPoint } from './kill-proxy.ts';
import { ledgerType, type LedgerContext, type LedgerEvent } from './ledger.ts';
import { SeededRandom } from './seeded-random.ts';

const KILLS = 100;
const NAMED_KILLS = 50;
const EVENTS = 20_000;
const ACTORS = 1_000;
/** Some senders do not know whether their append was taken, and repeat it. */
const REPEATED_SHARE = 0.05;
const SEED = Number(process.env['CASTELLAN_SEED'] ?? 20_260_101);
/** Short, so that the next engine takes over soon. */
const SETTINGS = { leaseMs: 300, trimEveryMs: 50, checkpointMs: 1_000 };
/** A named call that does not come in this time: the engine is killed all the same, and another kill is named. */
const NAMED_CALL_MS_MAX = 3_000;
/** A random kill comes within this time after the engine was given its first partition. */
const RANDOM_KILL_MS_MAX = 250;
const FUNCTIONS = ['commit', 'append', 'acknowledge', 'acquire', 'renew', 'trim'] as const;

describe('an engine killed a hundred times', () => {
  const random = new SeededRandom(SEED);
  const keys = createKeys();
  let redis: TestRedis;
  let client: Redis;
  let store: EngineStore;
  const engines: EngineChild[] = [];
  const sent = new Map<number, { readonly actor: ActorKey; readonly event: LedgerEvent }>();
  const hits: Record<string, number> = {};

  beforeAll(async () => {
    redis = await startTestRedis(['--appendonly', 'yes']);
    client = new Redis(redis.url);
    store = await createRedisStore(client, keys);
  });
  afterAll(async () => {
    for (const engine of engines) await engine.end('SIGKILL');
    client?.disconnect();
    await redis?.stop();
  });

  async function launch(): Promise<EngineChild> {
    const engine = await EngineChild.launch(redis.port, SETTINGS);
    engines.push(engine);
    return engine;
  }

  async function appendSome(count: number): Promise<void> {
    const envelopes = Array.from({ length: count }, () => {
      const ref = sent.size + 1;
      const id = `l-${random.below(ACTORS)}`;
      const amount = 1 + random.below(100);
      const event: LedgerEvent = random.below(5) === 0 ? { type: 'transfer', ref, amount, to: `l-${random.below(ACTORS)}` } : { type: 'add', ref, amount };
      const actor: ActorKey = `ledger/${id}`;
      sent.set(ref, { actor, event });
      return { actor, event: { ...event }, source: 'library', dedupeId: `event-${ref}` } as const;
    });
    const first = (await store.append(envelopes)) as readonly AppendResult[];
    const again = envelopes.flatMap((envelope, index) => (random.next() < REPEATED_SHARE ? [{ envelope, result: first[index] }] : []));
    const repeated = await store.append(again.map(({ envelope }) => envelope));
    for (const [index, { result }] of again.entries()) expect(repeated[index]).toMatchObject({ id: result?.id, repeated: true });
  }

  function pointFor(number: number): KillPoint {
    const functionName = FUNCTIONS[number % FUNCTIONS.length]!;
    const side = Math.floor(number / FUNCTIONS.length) % 2 === 0 ? 'before' : 'after';
    return { functionName, side, skip: random.below(functionName === 'commit' ? 20 : 3) };
  }

  it(`loses and doubles nothing (seed ${SEED})`, { timeout: 280_000 }, async () => {
    let named = 0;
    let active = await launch();
    let kills = 0;
    for (; kills < KILLS || named < NAMED_KILLS; kills++) {
      // Else the next one, when it starts fast, might take all of what the last one left.
      await active.acquired();
      const next = launch();
      await appendSome(Math.min(EVENTS / KILLS, EVENTS - sent.size));
      if (kills % 2 === 0) {
        const point = pointFor(named);
        const hit = await active.killAt(point, NAMED_CALL_MS_MAX);
        if (hit) named++;
        const label = `${hit ? '' : 'missed '}${point.side} ${point.functionName}`;
        hits[label] = (hits[label] ?? 0) + 1;
      } else {
        await sleep(random.below(RANDOM_KILL_MS_MAX)); // any time is right
      }
      await active.end('SIGKILL');
      active = await next;
    }
    console.log(`${kills} kills, ${named} at named calls:`, hits);
    expect(sent.size).toBe(EVENTS);

    const reader = createRedisReader({ client, blocking: client, keys });
    let quiet = 0;
    await until('all is applied and delivered', async () => {
      const partitions = await reader.partitions();
      quiet = partitions.every(({ lag, outbox, retries }) => lag + outbox + retries === 0) ? quiet + 1 : 0;
      return quiet === 2;
    });
    await active.end('SIGTERM');
    expect(await reader.countDeadLetters()).toBe(0);
  });

  it('applied each event and each message exactly once, in contiguous revisions', async () => {
    const journal = await Journal.read(client, keys, ledgerType);
    const applied = new Map<string, number>();
    const refs = new Map<string, number>();
    for (const { address, transition } of journal.all) {
      const { event } = transition.stimulus as unknown as { readonly event: LedgerEvent };
      const name = `${transition.key} ${event.type} ${event.ref}`;
      applied.set(name, (applied.get(name) ?? 0) + 1);
      const entry = `${address.partition} ${transition.cause.ref}`;
      refs.set(entry, (refs.get(entry) ?? 0) + 1);
    }
    const expected = [...sent.values()].flatMap(({ actor, event }) => [
      `${actor} ${event.type} ${event.ref}`,
      ...(event.type === 'transfer' ? [`ledger/${event.to} receive ${event.ref}`] : []),
    ]);
    expect([...applied].filter(([, times]) => times !== 1)).toEqual([]);
    expect([...refs].filter(([, times]) => times !== 1)).toEqual([]);
    expect([...applied.keys()].sort()).toEqual(expected.sort());
    for (const transitions of journal.byActor.values()) {
      expect(transitions.map(({ transition }) => transition.revision)).toEqual(transitions.map((_, index) => index + 1));
    }
  });

  it('stored what the events add up to, and what the journal folds to', async () => {
    const journal = await Journal.read(client, keys, ledgerType);
    const sums = new Map<ActorKey, number>();
    const add = (key: ActorKey, amount: number): void => void sums.set(key, (sums.get(key) ?? 0) + amount);
    for (const { actor, event } of sent.values()) {
      add(actor, event.type === 'transfer' ? -event.amount : event.amount);
      if (event.type === 'transfer') add(`ledger/${event.to}`, event.amount);
    }
    expect(journal.byActor.size).toBe(sums.size);
    for (const [key, sum] of sums) {
      const stored = await journal.stored(client, keys, key);
      expect((stored.snapshot as unknown as { readonly context: LedgerContext }).context.sum, key).toBe(sum);
      expect(journal.fold(key), key).toEqual(stored);
    }
  });

  it('delivered every command under one key that never meant another, in the order of each actor', async () => {
    const journal = await Journal.read(client, keys, ledgerType);
    const delivered = new Map<string, Set<string>>();
    const order = new Map<ActorKey, number[]>();
    const lines = await client.lrange(EFFECTS, 0, -1);
    for (const line of lines) {
      const { key, params } = JSON.parse(line) as { readonly key: string; readonly params: object };
      const known = delivered.get(key);
      if (known !== undefined) {
        known.add(JSON.stringify(params));
        continue;
      }
      delivered.set(key, new Set([JSON.stringify(params)]));
      const [actor = '', address = ''] = key.split('#');
      const revisions = order.get(actor as ActorKey) ?? [];
      revisions.push(Number(address.split('-')[1]));
      order.set(actor as ActorKey, revisions);
    }
    console.log(`${delivered.size} commands, delivered ${lines.length} times`);
    expect(delivered).toEqual(new Map(journal.effects().map(([key, params]) => [key, new Set([params])])));
    for (const [actor, revisions] of order) expect(revisions, actor).toEqual(revisions.toSorted((left, right) => left - right));
  });

  it('lined up every pack once, each partition in its order', async () => {
    const journal = await Journal.read(client, keys, ledgerType);
    const lined = (await client.xrange(keys.cursor, '-', '+')).map(([, fields]) => ({ partition: Number(fields[1]), id: String(fields[5]) }));
    for (let partition = 0; partition < PARTITION_COUNT; partition++) {
      expect(lined.filter((one) => one.partition === partition).map(({ id }) => id)).toEqual(journal.packs(partition));
    }
  });
});
