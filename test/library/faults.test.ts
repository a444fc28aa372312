/** The library beside other engines and under a Redis that goes away: what a user holds must go on by itself. */
import { randomUUID } from 'node:crypto';
import { inspect } from 'node:util';
import { Redis } from 'ioredis';
import { afterEach, describe, expect, it } from 'vitest';
import { CastellanError, createCastellan, createClient, RedisUnusableError } from '../../src/index.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import { counterType } from './counter.ts';

const servers: TestRedis[] = [];
const running: { stop(): Promise<void> }[] = [];
afterEach(async () => {
  for (const each of running.splice(0)) await each.stop();
  for (const server of servers.splice(0)) await server.stop();
});

async function startRedis(): Promise<TestRedis> {
  const server = await startTestRedis(['--appendonly', 'yes', '--appendfsync', 'always']);
  servers.push(server);
  return server;
}

function optionsOn(redis: TestRedis, prefix: string) {
  return { redis: redis.url, prefix, types: [counterType()] as const, log: { warn: () => {} }, settings: { leaseMs: 1_000 } };
}

/** Repeats what may fail while Redis is away, as a user would: with the same dedupe id. */
async function insist<Result>(act: () => Promise<Result>): Promise<Result> {
  for (;;) {
    try {
      return await act();
    } catch (error) {
      if (error instanceof CastellanError && !error.retryable) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

describe('engines that start at the same moment', () => {
  it('share the partitions, apply every event once, and leave theirs to the last', async () => {
    const redis = await startRedis();
    const prefix = randomUUID();
    const engines = [1, 2, 3].map(() => createCastellan(optionsOn(redis, prefix)));
    running.push(...engines);
    await Promise.all(engines.map((engine) => engine.start()));
    expect(engines.reduce((sum, engine) => sum + (engine.report()?.owned ?? 0), 0)).toBe(64);

    const ids = Array.from({ length: 100 }, (_, index) => `c-${index}`);
    const addTo = async (id: string, by: number) => await engines[2]!.sendAndWait('counter', id, { type: 'add', by });
    await Promise.all(ids.map((id) => addTo(id, 1)));
    const { cursor } = engines[2]!;
    await Promise.all([engines[0]!.stop(), engines[1]!.stop()]);
    const outcomes = await Promise.all(ids.map((id) => addTo(id, 2)));
    expect(outcomes).toEqual(ids.map(() => ({ kind: 'transition', revision: 2, value: { counting: 'heard' }, status: 'active' })));
    const seen = new Set<string>();
    for await (const { transition } of await engines[2]!.transitions(cursor)) {
      if (transition.revision === 2) seen.add(transition.key);
      if (seen.size === ids.length) break;
    }
    expect((await engines[2]!.get('counter', 'c-7'))?.context).toEqual({ count: 3 });
  });
});

describe('a Redis that is killed', () => {
  it('leaves sends, waits and iterations as they were', async () => {
    const redis = await startRedis();
    const prefix = randomUUID();
    const castellan = await createCastellan(optionsOn(redis, prefix)).start();
    const client = await createClient(optionsOn(redis, prefix)).start();
    running.push(castellan, client);

    const seen: number[] = [];
    const following = (async () => {
      for await (const { transition } of await client.transitions('new')) {
        seen.push(transition.revision);
        if (transition.revision === 4) return;
      }
    })();
    const waiting = client.waitFor('counter', 'a', { when: ({ context }) => context.count === 4 }, { timeoutMs: 50_000 });
    await client.sendAndWait('counter', 'a', { type: 'add', by: 1 });
    for (const round of [2, 3]) {
      await redis.kill();
      const sent = insist(async () => await client.send('counter', 'a', { type: 'add', by: 1 }, { dedupeId: `round-${round}` }));
      await redis.start();
      await sent;
    }
    // Its answer comes over a subscription that was made again.
    const last = await insist(async () => await client.sendAndWait('counter', 'a', { type: 'add', by: 1 }, { dedupeId: 'last', timeoutMs: 20_000 }));
    expect(['transition', 'repeated']).toContain(last.kind);
    await following;
    expect(seen).toEqual([1, 2, 3, 4]);
    expect((await waiting).revision).toBe(4);
  });

  it('or is full is reported without what was sent: an event may hold a secret', async () => {
    const redis = await startRedis();
    const client = await createClient(optionsOn(redis, randomUUID())).start();
    running.push(client);
    const administrator = new Redis(redis.url);
    await administrator.config('SET', 'maxmemory', '1');
    administrator.disconnect();
    const error: unknown = await client.send('counter', 'a', { type: 'add', by: 1 }, { dedupeId: 'my-secret' }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(RedisUnusableError);
    expect(inspect(error, { depth: 20, maxArrayLength: 1_000 })).not.toContain('my-secret');
  });

  it('does not keep a stop from ending', async () => {
    const redis = await startRedis();
    const castellan = await createCastellan(optionsOn(redis, randomUUID())).start();
    running.push(castellan);
    await castellan.sendAndWait('counter', 'a', { type: 'add', by: 1 });
    await redis.kill();
    await castellan.stop();
    expect(castellan.state).toBe('stopped');
  });
});
