/** Redis on behalf of many nodes: what waiting costs, who is woken, and what an outage does. */
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { FabricConsume, FabricRedis } from '../../src/protocol/fabric-redis.ts';
import { encodeJobEntry, type JobEntry } from '../../src/protocol/job-progress.ts';
import { createFabricRedis } from '../../src/redis/fabric-redis.ts';
import { parseRedisUrl } from '../../src/redis/target.ts';
import { until } from '../agent/until.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';

const QUEUE = 'jobs:v1:gpu-general';
const GROUP = 'citadel-workers';
let server: TestRedis;
let redis: Redis;
let fabric: FabricRedis;

beforeAll(async () => {
  server = await startTestRedis(['--appendonly', 'yes', '--appendfsync', 'always']);
  redis = new Redis(server.url);
  redis.on('error', () => undefined);
  fabric = await createFabricRedis(parseRedisUrl(server.url));
});
beforeEach(async () => void (await redis.flushall()));
afterAll(async () => {
  await fabric.close();
  redis.disconnect();
  await server.stop();
});

const post = async (jobId: string, more: Partial<JobEntry> = {}): Promise<string> =>
  (await redis.xadd(QUEUE, '*', ...encodeJobEntry({ jobId, type: 'ECHO', payload: '{}', attempt: 1, ...more }))) as string;
const consume = async (nodeId: string, more: Partial<FabricConsume> = {}) =>
  await fabric.consume({
    ...{ nodeId, queues: [QUEUE], group: GROUP, consumer: `castellan:${nodeId}:1`, count: 10, blockMs: 20_000, signal: new AbortController().signal },
    ...more,
  });
const clients = async () => ((await redis.client('LIST')) as string).trim().split('\n');
const waiting = async (command = 'cmd=xread ') => (await clients()).filter((line) => line.includes(command)).length;

describe('waiting', () => {
  test('of a hundred nodes holds one connection, and a job wakes one of them', async () => {
    const before = (await clients()).length;
    const end = new AbortController();
    const got: string[] = [];
    const all = Array.from({ length: 100 }, async (_, index) => {
      const messages = await consume(`n${index}`, { signal: end.signal });
      got.push(...messages.map(({ data }) => data['jobId'] as string));
    });
    await until('they wait', async () => (await waiting()) === 1);
    expect((await clients()).length).toBe(before);
    await post('j1');
    await until('one has it', () => got.length === 1);
    for (let index = 2; index <= 20; index++) await post(`j${index}`);
    await until('each job is with somebody', () => got.length === 20);
    expect(new Set(got).size).toBe(20);
    end.abort();
    await Promise.all(all);
  });

  test('ends with its signal at once, and takes nothing afterwards', async () => {
    const end = new AbortController();
    const waits = consume('a', { signal: end.signal });
    await until('it waits', async () => (await waiting()) === 1);
    end.abort();
    expect(await waits).toEqual([]);
    await post('later');
    expect(await redis.xpending(QUEUE, GROUP, '-', '+', 10)).toEqual([]);
  });

  test('a node is called when another comes upon its entry, whoever that is', async () => {
    const waits = consume('a');
    await until('it has looked', async () => (await redis.exists(QUEUE)) === 1 && (await waiting()) === 1);
    // A worker that rings for nobody has read it.
    const id = await redis
      .multi()
      .xadd(QUEUE, '*', 'jobId', 'x', 'type', 'ECHO', 'payload', '{"targetNode":"a"}')
      .xreadgroup('GROUP', GROUP, 'stranger', 'STREAMS', QUEUE, '>')
      .exec();
    expect((await waits).map((each) => each.id)).toEqual([id?.[0]?.[1]]);
    expect(await redis.xpending(QUEUE, GROUP, '-', '+', 10)).toMatchObject([[id?.[0]?.[1], 'castellan:a:1', expect.anything(), 2]]);
  });

  test('goes on after Redis was away', async () => {
    await post('first');
    await consume('a');
    await server.kill();
    await expect(fabric.ping()).rejects.toThrow('Redis could not answer');
    await server.start();
    await until(
      'the link is back',
      async () =>
        await fabric.ping().then(
          () => true,
          () => false,
        ),
    );
    const waits = consume('b');
    await until('it waits', async () => (await waiting().catch(() => 0)) === 1);
    await post('second');
    expect((await waits).map(({ data }) => data['jobId'])).toEqual(['second']);
    expect(await fabric.held('a', 'first')).toMatchObject({ consumer: 'castellan:a:1' });
  });
});

describe('what a node holds', () => {
  test('is asked of the pending list, not of memory: an attempt that was taken back is nobody’s to tell of', async () => {
    const id = await post('j1');
    await consume('a');
    const held = await fabric.held('a', 'j1');
    expect(held).toMatchObject({ entryId: id, consumer: 'castellan:a:1' });
    if (held === undefined) throw new Error('held');
    await redis.xack(QUEUE, GROUP, id);
    await redis.xdel(QUEUE, id);
    expect(await fabric.tell('a', held, { text: '{}', to: 'report' })).toBeUndefined();
    expect(await fabric.held('a', 'j1')).toBeUndefined();
    expect(await redis.exists('job:reports')).toBe(0);
  });

  test('passes with the entry: who lost it to another node cannot tell of it or acknowledge it', async () => {
    const id = await post('j1');
    await consume('a');
    const held = await fabric.held('a', 'j1');
    await redis.xclaim(QUEUE, GROUP, 'castellan:b:1', 0, id);
    if (held === undefined) throw new Error('held');
    expect(await fabric.tell('a', held, { text: '{}', to: 'channel' })).toBeUndefined();
    expect(await fabric.acknowledge('a', QUEUE, GROUP, id)).toBe('held-by-another');
    expect(await fabric.acknowledge('b', QUEUE, GROUP, id)).toBe('acknowledged');
    expect(await fabric.acknowledge('b', QUEUE, GROUP, id)).toBe('not-pending');
  });

  test('a name that begins like another node’s is not that node', async () => {
    const id = await post('j1');
    await consume('a.b');
    expect(await fabric.acknowledge('a', QUEUE, GROUP, id)).toBe('held-by-another');
    expect(await fabric.held('a', 'j1')).toBeUndefined();
  });

  test('an entry of another producer stays in its stream, and its observer knows that it was told of', async () => {
    const id = (await redis.xadd(QUEUE, '*', 'jobId', 'f', 'type', 'ECHO')) as string;
    await consume('a');
    expect(await fabric.acknowledge('a', QUEUE, GROUP, id)).toBe('acknowledged');
    expect(await redis.xlen(QUEUE)).toBe(1);
    expect(await redis.hget(`{${QUEUE}}:taken`, id)).toBe('');
  });
});
