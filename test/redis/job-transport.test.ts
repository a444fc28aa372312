/** Workers' jobs over a real Redis. */
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { decodeJobEntry, encodeJobEntry, type JobEntry, type ProgressType } from '../../src/protocol/job-progress.ts';
import { partitionOf } from '../../src/protocol/ids.ts';
import type { JobReport } from '../../src/protocol/worker.ts';
import { createJobTransport, workerConsumer, type RedisJobTransport } from '../../src/redis/job-transport.ts';
import { readGlance } from '../../src/redis/glance.ts';
import { createKeys } from '../../src/redis/keys.ts';
import { takeSeal } from '../../src/redis/seal.ts';
import { createRedisStore } from '../../src/redis/store.ts';
import { parseRedisUrl } from '../../src/redis/target.ts';
import { until } from '../agent/until.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import { HoldingProxy } from './holding-proxy.ts';

const GROUP = 'citadel-workers';
const A = 'jobs:v1:a';
const B = 'jobs:v1:b';
let server: TestRedis;
let redis: Redis;
const open: RedisJobTransport[] = [];

beforeAll(async () => {
  server = await startTestRedis();
  redis = new Redis(server.url);
});
beforeEach(async () => void (await redis.flushall()));
afterEach(async () => void (await Promise.all(open.splice(0).map((each) => each.close()))));
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

async function transportOf(nodeId: string, unique = '1', url = server.url): Promise<RedisJobTransport> {
  const transport = createJobTransport(parseRedisUrl(url), { consumer: workerConsumer(nodeId, unique), nodeId });
  open.push(transport);
  await transport.connect();
  return transport;
}
const take = (transport: RedisJobTransport, queues = [A], count = 10, blockMs = 1_000, signal = new AbortController().signal) =>
  transport.consume({ queues, count, blockMs, signal });
/** As the outlet posts it. */
const post = async (queue: string, jobId: string, more: Partial<JobEntry> = {}): Promise<string> =>
  (await redis.xadd(queue, '*', ...encodeJobEntry({ jobId, type: 'ECHO', payload: '{}', attempt: 1, ...more }))) as string;
const report = (jobId: string, type: ProgressType, more: Partial<JobReport> = {}): JobReport => ({
  message: { version: '1.0', type, jobId, timestamp: '2026-01-01T00:00:00.000Z', data: { attempt: 1 } },
  counts: true,
  logged: false,
  ...more,
});
const reports = async () => (await redis.xrange('job:reports', '-', '+')).map(([, [, jobId, , text]]) => `${jobId} ${JSON.parse(text as string).type}`);
const pending = async (queue = A) => ((await redis.xpending(queue, GROUP, '-', '+', 100)) as [string, string][]).map(([id, consumer]) => `${id} ${consumer}`);

describe('the ring of a single report', () => {
  const engineStore = async () => await createRedisStore(redis, createKeys());
  const rung = async (transport: RedisJobTransport, ...told: readonly JobReport[]): Promise<readonly string[]> => {
    const listener = new Redis(server.url);
    const heard: string[] = [];
    listener.on('smessage', (_channel: string, message: string) => heard.push(message));
    await listener.ssubscribe('castellan:bell:sources');
    await transport.report(told, []);
    await until('it rang', async () => heard.length > 0);
    listener.disconnect();
    return heard;
  };
  const partition = partitionOf('job/one');

  test('brings it to an owner who has read all else', async () => {
    const transport = await transportOf('n1');
    expect(await rung(transport, report('one', 'end'))).toEqual([String(partition)]); // nobody owns the partition
    const [read] = await redis.xrange('job:reports', '-', '+');
    await (await engineStore()).acquire(partition, 'engine', 60_000, ['job:reports', 'beats']);
    const unseal = await takeSeal(redis, createKeys());
    const [sealed] = await rung(transport, report('one', 'alive'));
    const message = unseal(sealed as string);
    const added = (await redis.xrevrange('job:reports', '+', '-', 'COUNT', 1))[0];
    expect(readGlance(message as string)).toMatchObject({ partition, inbox: { before: '0-0', added: [] }, unknown: undefined });
    expect(readGlance(message as string)?.sources).toEqual(
      new Map([
        ['job:reports', { before: read?.[0], added: [added] }],
        ['beats', { before: '0-0', added: [] }],
      ]),
    );
    expect(await rung(transport, report('one', 'alive'), report('one', 'end'))).toEqual([String(partition)]);
    await redis.xadd(`castellan:{p${partition}}:inbox`, '*', 'job/one', '{"type":"cancel"}');
    expect(await rung(transport, report('one', 'end'))).toEqual([String(partition)]);
  });

  test('is plain where the worker may not look', async () => {
    await (await engineStore()).acquire(partition, 'engine', 60_000, []);
    await redis.call('ACL', 'SETUSER', 'worker', 'on', '>secret', '~job:reports', '~jobs:v1:*', '&*', '+@all');
    const transport = await transportOf('n1', '1', server.url.replace('redis://', 'redis://worker:secret@'));
    expect(await rung(transport, report('one', 'end'))).toEqual([String(partition)]);
    expect(await reports()).toEqual(['one end']);
    await redis.call('ACL', 'DELUSER', 'worker');
  });
});

describe('taking', () => {
  test('creates group and queue where they are missing, and finds what was enqueued before', async () => {
    await post(A, 'early');
    const transport = await transportOf('n1');
    const first = await take(transport, [A, B], 10, 50);
    const found = first.length > 0 ? first : await take(transport, [A, B]);
    expect(found).toMatchObject([{ queue: A, jobId: 'early', type: 'ECHO', payload: '{}', attempt: 1 }]);
    expect(await redis.exists(B)).toBe(1);
  });

  test('two workers never get the same entry, whatever the queue', async () => {
    const [one, two] = await Promise.all([transportOf('n1'), transportOf('n2')]);
    for (let index = 0; index < 50; index++) await post(index % 2 === 0 ? A : B, `job-${index}`);
    const taken: JobEntry[] = [];
    while (taken.length < 50) taken.push(...(await Promise.all([one, two].map((each) => take(each, [A, B], 3, 50)))).flat());
    expect(new Set(taken.map(({ jobId }) => jobId)).size).toBe(50);
  });

  test('an abort ends the wait at once and loses nothing', async () => {
    const transport = await transportOf('n1');
    await take(transport, [A], 1, 10);
    const stop = new AbortController();
    const waiting = take(transport, [A], 1, 5_000, stop.signal);
    await until('it waits', async () => ((await redis.client('LIST')) as string).includes('cmd=xreadgroup'));
    stop.abort();
    expect(await waiting).toEqual([]);
    await post(A, 'later');
    expect(await take(transport)).toMatchObject([{ jobId: 'later' }]);
  });

  test('a queue that is dropped while it is waited for is made again', async () => {
    const transport = await transportOf('n1');
    await take(transport, [A], 1, 10);
    const waiting = take(transport, [A], 1, 2_000);
    await until('it waits', async () => ((await redis.client('LIST')) as string).includes('cmd=xreadgroup'));
    await redis.del(A);
    await waiting;
    await post(A, 'new');
    const found = await until('the new entry is taken', async () => (await take(transport, [A], 1, 100)).at(0));
    expect(found.jobId).toBe('new');
  });

  test('entries whose answer was lost are found again, before anything new and without those that were seen', async () => {
    const proxy = await HoldingProxy.listen(server.port);
    const transport = await transportOf('n1', '1', proxy.url);
    await take(transport, [A], 1, 10);
    await post(A, 'seen');
    const [seen] = await take(transport, [A], 1);
    expect(seen?.jobId).toBe('seen');
    const waiting = take(transport, [A], 10, 5_000);
    await until('it waits', async () => ((await redis.client('LIST')) as string).includes('cmd=xreadgroup'));
    proxy.holdAnswers();
    await post(A, 'lost-1');
    await until('it was given to us', async () => (await pending()).length === 2);
    await post(A, 'new');
    proxy.cut();
    await expect(waiting).rejects.toMatchObject({ code: 'redis_unusable' });
    const found = await until('the link is back', async () => {
      const entries = await take(transport, [A], 10, 100).catch(() => []);
      return entries.length > 0 && entries;
    });
    expect(found.map(({ jobId }) => jobId)).toEqual(['lost-1']);
    expect((await take(transport)).map(({ jobId }) => jobId)).toEqual(['new']);
    await transport.close();
    proxy.close();
  });
});

describe('reporting', () => {
  test('appends what counts, in order, and acknowledges; our entries are dropped, a foreign one stays in its stream', async () => {
    const transport = await transportOf('n1');
    await take(transport, [A, B], 1, 10);
    await post(A, 'ours');
    await post(B, 'other-queue');
    const foreign = (await redis.xadd(A, '*', 'jobId', 'foreign', 'type', 'ECHO', 'payload', '{}')) as string;
    const entries = [...(await take(transport, [A, B]))];
    expect(entries).toHaveLength(3);
    await transport.report([report('ours', 'claimed'), report('ours', 'start', { counts: false }), report('ours', 'end'), report('foreign', 'end')], entries);
    expect(await reports()).toEqual(['ours claimed', 'ours end', 'foreign end']);
    expect(await pending(A)).toEqual([]);
    expect(await pending(B)).toEqual([]);
    expect((await redis.xrange(A, '-', '+')).map(([id]) => id)).toEqual([foreign]);
    expect(await redis.xlen(B)).toBe(0);
  });

  test('tells each on its channel when somebody listens, and rings the bell of the sources', async () => {
    const transport = await transportOf('n1');
    const listener = new Redis(server.url);
    const heard: string[] = [];
    listener.on('message', (channel, text) => heard.push(`${channel} ${JSON.parse(text).type}`));
    listener.on('smessage', (channel) => heard.push(channel));
    await listener.subscribe('stream:v1:one');
    await listener.ssubscribe('castellan:bell:sources');
    await transport.report([report('one', 'start', { counts: false }), report('two', 'end'), report('one', 'end')], []);
    await until('all is heard', () => heard.length >= 3);
    expect(heard).toEqual(['stream:v1:one start', 'stream:v1:one end', 'castellan:bell:sources']);
    heard.length = 0;
    listener.on('pmessage', (_pattern, channel) => heard.push(`pattern ${channel}`));
    await listener.psubscribe('stream:v1:*');
    await transport.report([report('two', 'start', { counts: false })], []);
    await until('the pattern hears it', () => heard.length > 0);
    expect(heard).toEqual(['pattern stream:v1:two']);
    listener.disconnect();
  });

  test('keeps a log for a day, and one that cannot be kept costs nothing else', async () => {
    const transport = await transportOf('n1');
    await redis.set('stream:v1:odd', 'not a stream');
    await transport.report(
      [report('one', 'chunk', { counts: false, logged: true }), report('odd', 'chunk', { logged: true }), report('one', 'end', { logged: true })],
      [],
    );
    const types = (await redis.xrange('stream:v1:one', '-', '+')).map(([, [, text]]) => JSON.parse(text as string).type);
    expect(types).toEqual(['chunk', 'end']);
    expect(await redis.ttl('stream:v1:one')).toBeGreaterThan(86_000);
    expect(await reports()).toEqual(['odd chunk', 'one end']);
  });

  test('that Redis refuses acknowledges nothing', async () => {
    const transport = await transportOf('n1');
    await take(transport, [A], 1, 10);
    const id = await post(A, 'one');
    const entries = await take(transport);
    await redis.set('job:reports', 'not a stream');
    await expect(transport.report([report('one', 'end')], entries)).rejects.toMatchObject({ code: 'redis_unusable', retryable: true });
    expect(await pending()).toEqual([`${id} ${transport.consumer}`]);
    await redis.del('job:reports');
    await transport.report([report('one', 'end')], entries);
    expect(await pending()).toEqual([]);
    // Repeated, as after an answer that was lost: told twice, which the fence refuses; nothing else.
    await transport.report([report('one', 'end')], entries);
    expect(await reports()).toEqual(['one end', 'one end']);
  });

  test('works after Redis lost its functions', async () => {
    const transport = await transportOf('n1');
    await transport.report([report('one', 'claimed')], []);
    await redis.call('FUNCTION', 'FLUSH');
    await transport.report([report('one', 'end')], []);
    expect(await reports()).toEqual(['one claimed', 'one end']);
  });
});

test('a worker that is too busy to read says that it lives, and is given nothing for it', async () => {
  const transport = await transportOf('n1');
  await take(transport, [A, B], 1, 10);
  await post(A, 'held');
  await take(transport);
  await post(A, 'new');
  const idleMs = async () => Number(((await redis.xinfo('CONSUMERS', A, 'citadel-workers')) as unknown[][])[0]?.[5]);
  await until('it has been silent', async () => (await idleMs()) >= 50);
  await transport.keepAlive([A, B]);
  expect(await idleMs()).toBeLessThan(50);
  expect((await take(transport)).map(({ jobId }) => jobId)).toEqual(['new']);
  await redis.del(B);
  await transport.keepAlive([A, B]);
});

describe('entries that name a node', () => {
  test('are left pending by who read them, and taken by the named node alone', async () => {
    const [reader, named, third] = await Promise.all([transportOf('n1'), transportOf('n2'), transportOf('n3')]);
    await take(reader, [A], 1, 10);
    await post(A, 'by-field', { targetNode: 'n2' });
    await redis.xadd(A, '*', 'jobId', 'by-payload', 'type', 'ECHO', 'payload', '{"x":1,"target_node":"n2"}');
    await redis.xadd(A, '*', 'jobId', 'camel', 'type', 'ECHO', 'payload', '{"targetNode":"n2"}');
    await post(A, 'for-anybody', { payload: '{"target":"n2"}' });
    await redis.xadd(A, '*', 'jobId', 'bad', 'type', 'ECHO', 'payload', '{"target_node":"n2"');
    expect(await take(reader)).toHaveLength(5);
    expect(await third.claimTargeted([A, B], 100)).toEqual([]);
    const taken = await named.claimTargeted([A, B], 100);
    expect(taken.map(({ jobId }) => jobId)).toEqual(['by-field', 'by-payload', 'camel']);
    expect(taken[0]).toEqual(
      decodeJobEntry(A, taken[0]?.entryId ?? '', encodeJobEntry({ jobId: 'by-field', type: 'ECHO', payload: '{}', attempt: 1, targetNode: 'n2' })),
    );
    expect((await pending()).filter((each) => each.endsWith(named.consumer))).toHaveLength(3);
    expect(await named.claimTargeted([A, B], 100)).toEqual([]);
  });

  test('are taken no more than there is room for, in their order', async () => {
    const [reader, named] = await Promise.all([transportOf('n1'), transportOf('n2')]);
    await take(reader, [A, B], 1, 10);
    for (let index = 0; index < 5; index++) {
      await post(A, `other-${index}`);
      await post(A, `mine-${index}`, { targetNode: 'n2' });
      await post(B, `more-${index}`, { targetNode: 'n2' });
    }
    await take(reader, [A, B], 100);
    const taken: string[][] = [];
    for (let look = 0; look < 5; look++) taken.push((await named.claimTargeted([A, B], 3)).map(({ jobId }) => jobId));
    expect(taken).toEqual([['mine-0', 'mine-1', 'mine-2'], ['mine-3', 'mine-4', 'more-0'], ['more-1', 'more-2', 'more-3'], ['more-4'], []]);
  });

  test('are not taken from another worker of the same node, which runs them', async () => {
    const [one, two] = await Promise.all([transportOf('n2', '1'), transportOf('n2', '2')]);
    await take(one, [A], 1, 10);
    await post(A, 'mine', { targetNode: 'n2' });
    expect(await take(one)).toHaveLength(1);
    expect(await two.claimTargeted([A], 100)).toEqual([]);
  });

  test('are looked into once: what is not for this node is not read again', async () => {
    const [reader, other] = await Promise.all([transportOf('n1'), transportOf('n9')]);
    await take(reader, [A], 1, 10);
    for (let index = 0; index < 450; index++) await post(A, `job-${index}`);
    await take(reader, [A], 450);
    const reads = async () => Number(/cmdstat_xrange:calls=(\d+)/.exec(await redis.info('commandstats'))?.[1] ?? 0);
    const before = await reads();
    expect(await other.claimTargeted([A], 100)).toEqual([]);
    expect((await reads()) - before).toBe(450);
    expect(await other.claimTargeted([A], 100)).toEqual([]);
    expect((await reads()) - before).toBe(450);
  });

  test('ring the named node when another worker comes upon them', async () => {
    const [reader, named] = await Promise.all([transportOf('n1'), transportOf('n2')]);
    let rung = 0;
    named.onTargeted(() => rung++);
    await until('it listens', async () => ((await redis.pubsub('NUMSUB', 'castellan:bell:node:n2')) as [string, number])[1] === 1);
    await take(reader, [A], 1, 10);
    await post(A, 'for-n2', { targetNode: 'n2' });
    await take(reader);
    await until('it is rung', () => rung > 0);
    expect(await named.claimTargeted([A], 100)).toMatchObject([{ jobId: 'for-n2' }]);
  });
});

test('cancel flags are meant for attempts up to their number; any other stands for all', async () => {
  const transport = await transportOf('n1');
  await redis.mset('job:cancelled:a', '2', 'job:cancelled:b', 'true');
  const jobs = [{ jobId: 'a', attempt: 2 }, { jobId: 'a', attempt: 3 }, { jobId: 'a' }, { jobId: 'b', attempt: 9 }, { jobId: 'c', attempt: 1 }];
  expect(await transport.cancelled(jobs)).toEqual([true, false, true, true, false]);
});

test("the node's state is told, and whatever else comes on its channel is passed over", async () => {
  const transport = await transportOf('n1');
  const told: string[] = [];
  const end = transport.onNodeState((state) => told.push(state));
  await until('it listens', async () => (await redis.publish('node:state:n1', 'no JSON')) === 1);
  await redis.publish('node:state:n1', '{"version":"1.0","nodeId":"n1","state":"degraded"}');
  await until('it is told', () => told.length === 1);
  end();
  await redis.publish('node:state:n1', '{"state":"online"}');
  expect(told).toEqual(['degraded']);
});

test('a worker that leaves is forgotten by the group, unless it still holds entries', async () => {
  const [one, two] = await Promise.all([transportOf('n1'), transportOf('n2')]);
  await take(one, [A], 1, 10);
  await post(A, 'left');
  await take(one);
  await take(two, [A], 1, 10);
  await Promise.all([one.close(), two.close()]);
  const consumers = (await redis.xinfo('CONSUMERS', A, GROUP)) as string[][];
  expect(consumers.map((each) => each[1])).toEqual([one.consumer]);
});

test('a Redis that is away: connect says the way out, calls reject, and all goes on when it is back', async () => {
  const own = await startTestRedis();
  const transport = createJobTransport(parseRedisUrl(own.url), { consumer: workerConsumer('n1', '1') });
  await take(transport, [A], 1, 10);
  await own.kill();
  await expect(take(transport, [A], 1, 100)).rejects.toMatchObject({ code: 'redis_unusable' });
  await own.start();
  const client = new Redis(own.url);
  await client.xadd(A, '*', 'jobId', 'after', 'type', 'ECHO', 'payload', '{}');
  const found = await until('it is taken', async () => (await take(transport, [A], 1, 100).catch(() => [])).at(0));
  expect(found.jobId).toBe('after');
  await transport.close();
  client.disconnect();
  await own.stop();
  await expect(createJobTransport(parseRedisUrl(own.url), { consumer: 'castellan:x:1' }).connect()).rejects.toThrow('Failed to connect to Redis');
});
