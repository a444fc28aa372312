/** What makes the simulator worth believing: it repeats itself, it finds bugs that are put in, and its store answers as Redis does. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Redis } from 'ioredis';
import { closeClient, connectFirst, createWriteClient } from '../../src/redis/clients.ts';
import { createKeys } from '../../src/redis/keys.ts';
import { createRedisStore } from '../../src/redis/store.ts';
import { parseRedisUrl } from '../../src/redis/target.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import { faultsOf } from './checks.ts';
import { PLANTS } from './plants.ts';
import { replayOnRedis } from './replay.ts';
import { simulate } from './world.ts';

/** A planted bug must show within as many seeds as every test run tries. */
const SEEDS = 500;
/** Some show once in two hundred runs, and the machine may be busy. */
const FIND_MS_MAX = 240_000;

describe('a seed', () => {
  it('gives the same history every time', async () => {
    const histories = new Set<string>();
    for (const seed of [1, 2, 3, 4, 5]) {
      const [first, again] = [await simulate(seed), await simulate(seed)];
      expect(again.fingerprint).toBe(first.fingerprint);
      expect(again.log).toEqual(first.log);
      histories.add(first.fingerprint);
    }
    expect(histories.size).toBe(5);
  });
});

describe('the simulator', () => {
  for (const [bug, plant] of Object.entries(PLANTS)) {
    it(`finds ${bug}`, { timeout: FIND_MS_MAX }, async () => {
      let found: readonly string[] = [];
      for (let seed = 1; seed <= SEEDS && found.length === 0; seed++) found = faultsOf(await simulate(seed, plant));
      expect(found).not.toEqual([]);
    });
  }
});

describe('what the memory store was asked in a run', () => {
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

  it('real Redis answers alike', async () => {
    const answers = new Set<string>();
    for (let seed = 1; seed <= 8; seed++) {
      const { log, redis } = await simulate(seed);
      for (const entry of log) if (entry.kind === 'commit') answers.add(entry.result.kind);
      const keys = createKeys(`simulated-${seed}`);
      expect(await replayOnRedis(log, redis, { client, keys, store: await createRedisStore(client, keys) })).toEqual([]);
    }
    // Runs in which nobody was ever refused would compare little.
    expect([...answers]).toEqual(expect.arrayContaining(['committed', 'fenced']));
  });
});
