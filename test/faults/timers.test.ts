/** Timers of a real engine that is killed, held up by a backlog, or quiet. */
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { AppendResult, EngineStore } from '../../src/engine/ports.ts';
import { millisecondsOf, partitionOf, type ActorKey } from '../../src/protocol/ids.ts';
import type { Stimulus } from '../../src/protocol/envelope.ts';
import { createKeys } from '../../src/redis/keys.ts';
import { createRedisReader, type RedisReader } from '../../src/redis/reader.ts';
import { createRedisStore } from '../../src/redis/store.ts';
import { until } from '../agent/until.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import { alarmType } from './alarm.ts';
import { EngineChild } from './engine-child.ts';
import { Journal, type JournalEntry } from './journal.ts';

const SETTINGS = { leaseMs: 300 };
const ALARMS = 60;
/** Long enough that a loaded machine has done what must come first. */
const DELAY_MS = 2_500;
/** A quiet fleet's timers fire within this time of being due. */
const LATENESS_MS_MAX = 100;

describe('timers', () => {
  const keys = createKeys();
  let redis: TestRedis;
  let client: Redis;
  let store: EngineStore;
  let reader: RedisReader;
  let engine: EngineChild | undefined;

  beforeAll(async () => {
    redis = await startTestRedis(['--appendonly', 'yes']);
    client = new Redis(redis.url);
    store = await createRedisStore(client, keys);
    reader = createRedisReader({ client, blocking: client, keys });
  });
  afterEach(async () => {
    await engine?.end('SIGKILL');
    await client.flushall();
  });
  afterAll(async () => {
    client?.disconnect();
    await redis?.stop();
  });

  async function startEngine(): Promise<EngineChild> {
    engine = await EngineChild.launch(redis.port, SETTINGS);
    await engine.started();
    return engine;
  }

  async function send(
    actors: readonly ActorKey[],
    event: { readonly type: 'set'; readonly ms: number } | { readonly type: 'cancel' | 'note' },
  ): Promise<AppendResult[]> {
    const results = await store.append(actors.map((actor) => ({ actor, event, source: 'library' })));
    return results.map((result) => {
      if (result instanceof Error) throw result;
      return result;
    });
  }

  async function allApplied(): Promise<void> {
    await until('all is applied', async () => (await reader.partitions()).every(({ lag }) => lag === 0));
  }

  async function redisPassed(ms: number): Promise<void> {
    await until(`Redis's clock has passed ${ms}`, async () => (await store.time()) > ms);
  }

  const journal = async (): Promise<Journal> => Journal.read(client, keys, alarmType);
  const stimulusOf = ({ transition }: JournalEntry): Stimulus => transition.stimulus;
  /** When an alarm that was set once is due. It counts from the step that set it, which may have an earlier time than the entry by a millisecond. */
  const dueOf = ({ byActor }: Journal, key: ActorKey): number => (byActor.get(key)?.[0]?.transition.at ?? NaN) + DELAY_MS;
  const rung = ({ byActor }: Journal, key: ActorKey): JournalEntry | undefined => byActor.get(key)?.find((entry) => stimulusOf(entry).kind === 'timer');
  const alarms = (name: string, count: number): ActorKey[] => Array.from({ length: count }, (_, number): ActorKey => `alarm/${name}-${number}`);

  /** Actors that share a partition with this one. */
  function neighbours(key: ActorKey, count: number): ActorKey[] {
    const found: ActorKey[] = [];
    for (let number = 0; found.length < count; number++) if (partitionOf(`alarm/near-${number}`) === partitionOf(key)) found.push(`alarm/near-${number}`);
    return found;
  }

  it.each(['before', 'after'] as const)('that the last event before a kill cancelled do not ring (killed %s the commit reached Redis)', async (side) => {
    const first = await startEngine();
    const [cancelled, kept] = [alarms('cancelled', ALARMS), alarms('kept', ALARMS)];
    await send([...cancelled, ...kept], { type: 'set', ms: DELAY_MS });
    await allApplied();
    const set = await journal();
    const dues = [...cancelled, ...kept].map((key) => dueOf(set, key));

    const killed = first.killAt({ functionName: 'commit', side, skip: 3 }, 5_000);
    const cancels = await send(cancelled, { type: 'cancel' });
    expect(await killed).toBe(true);
    expect(Math.max(...cancels.map(({ id }) => millisecondsOf(id)))).toBeLessThan(Math.min(...dues)); // else the machine was too slow for this test
    await redisPassed(Math.max(...dues));

    await startEngine();
    await until('the other alarms have rung', async () => {
      const now = await journal();
      return kept.every((key) => rung(now, key) !== undefined);
    });
    await allApplied();
    const now = await journal();
    expect(cancelled.filter((key) => rung(now, key) !== undefined)).toEqual([]);
    for (const key of cancelled) expect(now.byActor.get(key)?.at(-1)?.transition.to).toBe('off');
    for (const key of kept) expect(rung(now, key)?.transition.at).toBe(dueOf(now, key));
  });

  it('due behind a backlog do not overtake it', async () => {
    const first = await startEngine();
    const key: ActorKey = 'alarm/behind';
    const [cancelled, noted, ...others] = neighbours(key, 20) as [ActorKey, ActorKey, ...ActorKey[]];
    const backlog = Array.from({ length: 4_000 }, (_, number): ActorKey => others[number % others.length] as ActorKey);
    await send([key, cancelled], { type: 'set', ms: DELAY_MS });
    await allApplied();
    const set = await journal();
    const dues = [dueOf(set, key), dueOf(set, cancelled)];
    await first.end('SIGKILL');

    const early = [
      ...(await send(backlog, { type: 'note' })),
      ...(await send([key, noted], { type: 'note' })),
      ...(await send([cancelled], { type: 'cancel' })),
    ];
    expect(Math.max(...early.map(({ id }) => millisecondsOf(id)))).toBeLessThan(Math.min(...dues)); // else the machine was too slow for this test
    await redisPassed(Math.max(...dues) + 5);
    await send([key, noted, ...backlog], { type: 'note' });
    await startEngine();
    await allApplied();
    await until('the alarm has rung', async () => rung(await journal(), key) !== undefined);

    const now = await journal();
    expect(rung(now, cancelled)).toBeUndefined();
    const inPartition = now.all.filter(({ address }) => address.partition === partitionOf(key));
    const at = inPartition.findIndex((entry) => entry.transition.key === key && stimulusOf(entry).kind === 'timer');
    const entryMs = (entries: readonly JournalEntry[]): number[] =>
      entries.filter((entry) => stimulusOf(entry).kind === 'event').map(({ transition }) => millisecondsOf(transition.cause.ref));
    expect(inPartition[at]?.transition.at).toBe(dues[0]);
    expect(Math.max(...entryMs(inPartition.slice(0, at)))).toBeLessThan(dues[0] as number);
    expect(Math.min(...entryMs(inPartition.slice(at)))).toBeGreaterThanOrEqual(dues[0] as number);
    expect(entryMs(inPartition)).toHaveLength(2 + backlog.length * 2 + 3 + 2);
    const times = inPartition.map(({ transition }) => transition.at);
    expect(times).toEqual(times.toSorted((left, right) => left - right));
  });

  it(`of a quiet fleet ring within ${LATENESS_MS_MAX} ms of being due`, async () => {
    await startEngine();
    const keysOfAlarms = alarms('quiet', ALARMS);
    for (const [index, key] of keysOfAlarms.entries()) await send([key], { type: 'set', ms: 500 + ((index * 997) % 2_000) });
    await until('all alarms have rung', async () => {
      const now = await journal();
      return keysOfAlarms.every((key) => rung(now, key) !== undefined);
    });

    // A transition can be seen from the moment in which its pack is lined up, which Redis's clock stamps.
    const lined = new Map((await client.xrange(keys.cursor, '-', '+')).map(([id, fields]) => [`${fields[1]} ${fields[5]}`, millisecondsOf(id)]));
    const now = await journal();
    const lateness = keysOfAlarms
      .map((key) => rung(now, key)!)
      .map(({ address, transition }) => (lined.get(`${address.partition} ${address.pack}`) ?? Infinity) - transition.at)
      .sort((left, right) => left - right);
    console.log(`lateness of ${ALARMS} timers, ms: p50 ${lateness[ALARMS / 2]}, p90 ${lateness[(ALARMS * 9) / 10]}, most ${lateness[ALARMS - 1]}`);
    expect(lateness[0]).toBeGreaterThanOrEqual(0);
    // The median: a single one may be held up by whatever else this machine does.
    expect(lateness[ALARMS / 2]).toBeLessThanOrEqual(LATENESS_MS_MAX);
  });
});
