/** What befalls Redis: its functions are flushed, its memory is full, one call is refused, a stream gets an id from the future. */
import { mkdtemp, readdir, readFile, rm, stat, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { simulatedStatus, statusEntryFields } from '../../bench/simulated-status.ts';
import type { EngineStore } from '../../src/engine/ports.ts';
import { partitionOf, type ActorKey } from '../../src/protocol/ids.ts';
import { createKeys } from '../../src/redis/keys.ts';
import { createRedisReader, type RedisReader } from '../../src/redis/reader.ts';
import { createRedisStore } from '../../src/redis/store.ts';
import { until } from '../agent/until.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import { EngineChild } from './engine-child.ts';
import { EFFECTS } from './engine-process.ts';
import { Journal } from './journal.ts';
import { ledgerType, type LedgerEvent } from './ledger.ts';
import { RefusingProxy } from './refusing-proxy.ts';
import { SeededRandom } from './seeded-random.ts';
import { connectionChanges, DEGRADED_MS, historyOf, INTERVAL_MS, nodeOf, OFFLINE_MS, startServe, type ServeProcess } from './serve-process.ts';

const keys = createKeys();
const TRANSACTION_END = '*1\r\n$4\r\nEXEC\r\n';
const random = new SeededRandom(Number(process.env['CASTELLAN_SEED'] ?? 7));

describe('an engine goes on', () => {
  const ACTORS = 100;
  const LEASE_MS = 500;
  let redis: TestRedis;
  let client: Redis;
  let store: EngineStore;
  let reader: RedisReader;
  let engine: EngineChild;
  const sent: { readonly actor: ActorKey; readonly event: LedgerEvent }[] = [];

  beforeEach(async () => {
    // With `everysec` what Redis answered while it waited for its disk is lost when it is killed.
    redis = await startTestRedis(['--appendonly', 'yes', '--appendfsync', 'always']);
    client = new Redis(redis.url, { retryStrategy: () => 20, autoResendUnfulfilledCommands: false, maxRetriesPerRequest: 0 });
    client.on('error', () => undefined);
    store = await createRedisStore(client, keys);
    reader = createRedisReader({ client, blocking: client, keys });
    engine = await EngineChild.launch(redis.port, { leaseMs: LEASE_MS, trimEveryMs: 200 });
    await engine.started();
    sent.length = 0;
  });
  afterEach(async () => {
    await engine?.end('SIGKILL');
    client?.disconnect();
    await redis?.stop();
  });

  async function appendOnlyFile(): Promise<string> {
    const folder = join(redis.folder, 'appendonlydir');
    const name = (await readdir(folder)).find((each) => each.endsWith('.incr.aof'));
    return join(folder, name ?? '');
  }
  const appendOnlySize = async (): Promise<number> => (await stat(await appendOnlyFile())).size;

  /**
   * Drops what comes after the last whole transaction before `size`. Cut inside a transaction, Redis 7.0 leaves its beginning
   * in the file and executes it at the start after the next, when another transaction has ended behind it.
   */
  async function cutAppendOnlyFile(size: number): Promise<void> {
    const file = await appendOnlyFile();
    const end = (await readFile(file)).subarray(0, size).lastIndexOf(TRANSACTION_END);
    await truncate(file, end + TRANSACTION_END.length);
  }

  const ledger = (number: number): ActorKey => `ledger/l-${number % ACTORS}`;

  function next(): { readonly actor: ActorKey; readonly event: LedgerEvent } {
    const ref = sent.length + 1;
    const event: LedgerEvent = ref % 4 === 0 ? { type: 'transfer', ref, amount: ref, to: `l-${(ref * 7) % ACTORS}` } : { type: 'add', ref, amount: ref };
    const one = { actor: ledger(ref * 3), event };
    sent.push(one);
    return one;
  }

  /** Sends under dedupe ids. Resolves with how many were accepted. */
  async function send(events: readonly { readonly actor: ActorKey; readonly event: LedgerEvent }[]): Promise<number> {
    const results = await store.append(events.map(({ actor, event }) => ({ actor, event: { ...event }, source: 'library', dedupeId: `event-${event.ref}` })));
    return results.filter((result) => !(result instanceof Error)).length;
  }

  async function settled(): Promise<void> {
    let quiet = 0;
    await until('all is applied and delivered', async () => {
      const partitions = await reader.partitions();
      quiet = partitions.every(({ lag, outbox, retries }) => lag + outbox + retries === 0) ? quiet + 1 : 0;
      return quiet === 2;
    });
  }

  /** What is stored of each actor is what its journal folds to. */
  async function isWhole(): Promise<Journal> {
    const journal = await Journal.read(client, keys, ledgerType);
    for (const key of journal.byActor.keys()) expect(journal.fold(key), key).toEqual(await journal.stored(client, keys, key));
    return journal;
  }

  async function everythingOnce(): Promise<void> {
    await settled();
    const journal = await isWhole();
    const applied = journal.all.map(({ transition }) => {
      const { event } = transition.stimulus as unknown as { readonly event: LedgerEvent };
      return `${transition.key} ${event.type} ${event.ref}`;
    });
    const expected = sent.flatMap(({ actor, event }) => [
      `${actor} ${event.type} ${event.ref}`,
      ...(event.type === 'transfer' ? [`ledger/${event.to} receive ${event.ref}`] : []),
    ]);
    expect(applied.sort()).toEqual(expected.sort());
    const delivered = (await client.lrange(EFFECTS, 0, -1)).map((line) => (JSON.parse(line) as { readonly key: string }).key);
    expect(new Set(delivered)).toEqual(new Set(journal.effects().map(([key]) => key)));
    expect(await reader.countDeadLetters()).toBe(0);
  }

  it('when functions and scripts are flushed, and nobody notices', async () => {
    for (let flush = 0; flush < 20; flush++) {
      const sending = send(Array.from({ length: 100 }, next));
      await client.call('FUNCTION', 'FLUSH');
      await client.call('SCRIPT', 'FLUSH');
      expect(await sending).toBe(100);
    }
    await everythingOnce();
  });

  it('when Redis is killed and comes back, again and again', async () => {
    for (let time = 0; time < 10; time++) {
      const events = Array.from({ length: 300 }, next);
      const sending = send(events).catch(() => 0); // whether they were taken is not known
      await redis.kill();
      await sending;
      await redis.start();
      await until('the events are accepted', async () => (await send(events).catch(() => 0)) === events.length);
    }
    await everythingOnce();
  });

  it('when Redis comes back without its newest writes', async () => {
    await send(Array.from({ length: 500 }, next));
    await settled();
    for (let time = 0; time < 3; time++) {
      const sending = send(Array.from({ length: 600 }, next));
      const kept = await until('some of it is written', async () => {
        const size = await appendOnlySize();
        return (await client.xlen(keys.cursor)) > 0 && size;
      });
      await sending;
      await settled();
      await redis.kill();
      await cutAppendOnlyFile(kept + random.below((await appendOnlySize()) - kept));
      await redis.start();
      await until('what was lost is sent again', async () => (await send(sent).catch(() => 0)) === sent.length);
      await everythingOnce();
    }
  });

  it('after Redis refused writes because its memory was full: nothing was half written, nothing accepted is lost', async () => {
    const refused: (typeof sent)[number][] = [];
    for (let time = 0; time < 5; time++) {
      expect(await send(Array.from({ length: 400 }, next))).toBe(400);
      await client.config('SET', 'maxmemory', '1mb'); // less than it uses: in the middle of the engine's work
      const more = Array.from({ length: 50 }, next);
      expect(await send(more)).toBe(0);
      refused.push(...more);
      await isWhole();
      await sleep(LEASE_MS); // long enough for tries of the engine, and for leases to end that are not renewed
      await isWhole();
      // On a busy machine a short lease lapses at times; a full memory must not keep it from being renewed.
      await until('all leases are held', async () => (await reader.partitions()).every(({ owner }) => owner !== null));
      await client.config('SET', 'maxmemory', '0');
    }
    expect(await send(refused)).toBe(refused.length);
    await everythingOnce();
  });
});

describe('messages between actors', () => {
  it('stay in order when Redis refuses some of them', async () => {
    const redis = await startTestRedis();
    const client = new Redis(redis.url);
    const proxy = await RefusingProxy.listen(redis.port);
    const through = new Redis(proxy.url);
    const store = await createRedisStore(through, keys);
    const actor: ActorKey = 'ledger/l-1';
    // More than one call takes, all for one partition.
    const messages = Array.from({ length: 1_200 }, (_, index) => ({
      envelope: { actor, event: { type: 'receive', ref: index, amount: 1 }, source: 'actor:ledger/l-2' as const },
      from: 7,
      number: index + 1,
    }));
    const { inbox } = keys.partition(partitionOf(actor));
    const numbers = async (): Promise<number[]> => (await client.xrange(inbox, '-', '+')).map(([, fields]) => Number(fields[fields.indexOf('n') + 1]));

    proxy.refuseNext('append', 'OOM command not allowed');
    await expect(store.appendMessages(messages)).rejects.toMatchObject({ code: 'redis_unusable' });
    // Had a later one been taken, its receiver would take those before it for repeats.
    expect(await numbers()).toEqual([]);
    await store.appendMessages(messages);
    expect(await numbers()).toEqual(messages.map(({ number }) => number));

    through.disconnect();
    proxy.close();
    client.disconnect();
    await redis.stop();
  });
});

describe('an id from the future in the status stream', () => {
  let redis: TestRedis;
  let client: Redis;
  let folder: string;
  let serve: ServeProcess;

  beforeAll(async () => {
    redis = await startTestRedis(['--appendonly', 'yes']);
    client = new Redis(redis.url);
    folder = await mkdtemp(join(tmpdir(), 'castellan-future-'));
    serve = await startServe(redis.url, folder);
  });
  afterAll(async () => {
    await serve?.end('SIGKILL');
    client?.disconnect();
    await redis?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const FAR = Date.UTC(2100, 0, 1);
  const NODE = 'sim-000001';

  /** Resolves with Redis's time just after. */
  async function beat(id: string, number = 1): Promise<number> {
    await client.xadd('node:status:stream', id, ...statusEntryFields(simulatedStatus(number, 1, Date.now())));
    const [seconds, microseconds] = await client.time();
    return Number(seconds) * 1_000 + Number(microseconds) / 1_000;
  }

  const counted = async (): Promise<number> => Number(/^castellan_future_ids_total (\d+)/m.exec(await serve.text('/metrics'))?.[1]);
  const stateIs = async (state: string): Promise<void> => void (await until(`the node is ${state}`, async () => (await nodeOf(serve, NODE))?.state === state));

  it('is counted and pins no deadline to its time', async () => {
    await beat('*');
    await stateIs('online');
    expect(await counted()).toBe(0);
    await beat(`${FAR}-0`, 2);
    for (let number = 0; number < 4; number++) {
      await sleep(INTERVAL_MS); // the rhythm of the beats is what is tested
      await beat('*');
    }
    expect((await client.xrevrange('node:status:stream', '+', '-', 'COUNT', 1))[0]?.[0]).toMatch(new RegExp(`^${FAR}-`));
    expect((await nodeOf(serve, NODE))?.state).toBe('online');
    expect(await counted()).toBeGreaterThan(0);

    const last = await beat('*');
    await stateIs('offline');
    const changes = connectionChanges(await historyOf(serve, NODE));
    expect(changes.map(({ to }) => to)).toEqual(['online', 'degraded', 'offline']);
    expect(Math.abs((changes[1]?.at ?? 0) - last - DEGRADED_MS)).toBeLessThanOrEqual(300);
    expect(Math.abs((changes[2]?.at ?? 0) - last - OFFLINE_MS)).toBeLessThanOrEqual(300);
    expect(Date.parse((await nodeOf(serve, NODE))?.since ?? '')).toBeLessThan(last + 2 * OFFLINE_MS);
  });

  it('does not stand in the way of a new control plane', async () => {
    await serve.end('SIGKILL');
    serve = await startServe(redis.url, folder);
    await beat('*');
    await sleep(INTERVAL_MS / 2);
    await beat('*');
    await stateIs('online');
  });
});
