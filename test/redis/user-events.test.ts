import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { keepWaitingRebalances, rebalanceExecutors } from '../../src/contracts/rebalance.ts';
import type { Delivery } from '../../src/protocol/command.ts';
import { connectRedis, type RedisConnections } from '../../src/redis/connect.ts';
import { parseRedisUrl } from '../../src/redis/target.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';

let server: TestRedis;
let foreign: Redis;
beforeAll(async () => {
  server = await startTestRedis();
  foreign = new Redis(server.url);
});
afterAll(async () => {
  foreign.disconnect();
  await server.stop();
});

async function connected(): Promise<RedisConnections> {
  const redis = await connectRedis(parseRedisUrl(server.url));
  onTestFinished(() => redis.close());
  return redis;
}

function delivery(jobId: string, name: string, status: string, revision: number, epoch = 7): Delivery {
  const params = { jobId, userId: 'ann', status, type: 'rebalance', payload: { amount: 1_000, ratio: 1.0, list: [], text: '"é\n' } };
  return {
    key: `job/${jobId}#${epoch}-${revision}-0`,
    actor: `job/${jobId}`,
    epoch,
    revision,
    at: 1_731_304_200_500,
    command: { kind: 'effect', name, params },
  };
}

const signal = new AbortController().signal;
const silent = { info: () => undefined, error: () => undefined };

it('a job stands in the list once and its record follows its changes, however often and in whichever order they are told', async () => {
  const { userEvents } = await connected();
  const { pushRebalance, tellRebalance } = rebalanceExecutors(userEvents, silent);
  const jobId = '1731304200000-a7f3e2k';
  const record = async () => JSON.parse((await foreign.get(`agent:rebalance:job:${jobId}`)) ?? 'null') as Record<string, unknown>;
  await pushRebalance(delivery(jobId, 'pushRebalance', 'queued', 1), signal);
  await pushRebalance(delivery(jobId, 'pushRebalance', 'queued', 1), signal);
  expect(await record()).toEqual({
    jobId,
    status: 'queued',
    userId: 'ann',
    payload: { amount: 1_000, ratio: 1, list: [], text: '"é\n' },
    type: 'rebalance',
    createdAt: '2024-11-11T05:50:00.000Z',
    updatedAt: '2024-11-11T05:50:00.500Z',
  });
  expect(await foreign.ttl(`agent:rebalance:job:${jobId}`)).toBeGreaterThan(86_390);
  await tellRebalance(delivery(jobId, 'tellRebalance', 'processing', 2), signal);
  await tellRebalance(delivery(jobId, 'tellRebalance', 'done', 3), signal);
  await tellRebalance(delivery(jobId, 'tellRebalance', 'processing', 2), signal);
  await pushRebalance(delivery(jobId, 'pushRebalance', 'queued', 1), signal);
  expect((await record())['status']).toBe('done');
  expect(await foreign.lrange('agent:rebalance:jobs', 0, -1)).toEqual([jobId]);
  expect((await userEvents.read('ann', '0-0', 10)).map(({ name }) => name)).toEqual(['rebalance:created', 'rebalance:processing', 'rebalance:done']);
  // Handed out anew by a person, or after Redis lost its newest commits: later in its order.
  await pushRebalance(delivery(jobId, 'pushRebalance', 'queued', 4), signal);
  await pushRebalance(delivery(jobId, 'pushRebalance', 'queued', 2, 8), signal);
  expect(await foreign.lrange('agent:rebalance:jobs', 0, -1)).toEqual([jobId, jobId, jobId]);
});

it('a job that is cancelled is taken out of the list, also when its handing out is told after that', async () => {
  const { userEvents } = await connected();
  const { pushRebalance, tellRebalance } = rebalanceExecutors(userEvents, silent);
  const [jobId, late, other] = ['1731304200001-cancel1', '1731304200002-cancel2', '1731304200003-waiting'];
  const waiting = async (): Promise<readonly string[]> =>
    (await foreign.lrange('agent:rebalance:jobs', 0, -1)).filter((id) => [jobId, late, other].includes(id));
  const cancelled = (id: string): Delivery => {
    const told = delivery(id, 'tellRebalance', 'error', 2);
    return { ...told, command: { ...told.command, params: { ...(told.command.params as object), withdrawn: true } } };
  };
  await pushRebalance(delivery(jobId, 'pushRebalance', 'queued', 1), signal);
  await pushRebalance(delivery(other, 'pushRebalance', 'queued', 1), signal);
  await tellRebalance(cancelled(jobId), signal);
  await tellRebalance(cancelled(late), signal);
  await pushRebalance(delivery(late, 'pushRebalance', 'queued', 1), signal);
  expect(await waiting()).toEqual([other]);
  await pushRebalance(delivery(jobId, 'pushRebalance', 'queued', 3), signal);
  expect(await waiting()).toEqual([other, jobId]);
});

it('a key of another type where the list should be fails the telling, and nothing is written', async () => {
  const { userEvents } = await connected();
  const { pushRebalance } = rebalanceExecutors(userEvents, silent);
  await foreign.rename('agent:rebalance:jobs', 'kept aside');
  await foreign.set('agent:rebalance:jobs', 'a text');
  const before = (await userEvents.read('ann', '0-0', 100)).length;
  await expect(pushRebalance(delivery('1731304200001-b9f4e3l', 'pushRebalance', 'queued', 1), signal)).rejects.toThrow(/WRONGTYPE/);
  expect(await foreign.exists('agent:rebalance:job:1731304200001-b9f4e3l')).toBe(0);
  expect(await userEvents.read('ann', '0-0', 100)).toHaveLength(before);
  await foreign.rename('kept aside', 'agent:rebalance:jobs');
  await pushRebalance(delivery('1731304200001-b9f4e3l', 'pushRebalance', 'queued', 1), signal);
  expect(await foreign.lindex('agent:rebalance:jobs', -1)).toBe('1731304200001-b9f4e3l');
});

it('a job that waits keeps its record', async () => {
  const { userEvents } = await connected();
  await rebalanceExecutors(userEvents, silent).pushRebalance(delivery('waits', 'pushRebalance', 'queued', 1), signal);
  await foreign.expire('agent:rebalance:job:waits', 10);
  expect(await keepWaitingRebalances(userEvents)).toBe(await foreign.llen('agent:rebalance:jobs'));
  expect(await foreign.ttl('agent:rebalance:job:waits')).toBeGreaterThan(86_390);
});

it('what waits is given to one socket at a time, and to the next when that one ends without having it', async () => {
  const { userEvents } = await connected();
  const rings: (string | null)[] = [];
  await userEvents.listen((userId) => void rings.push(userId));
  onTestFinished(() => userEvents.close());
  await rebalanceExecutors(userEvents, silent).tellRebalance(delivery('waiting', 'tellRebalance', 'done', 1), signal);
  const [first, second] = [
    { userId: 'ann', socket: 's1' },
    { userId: 'ann', socket: 's2' },
  ];
  expect(await userEvents.begin(first)).toMatchObject({ kind: 'from' });
  expect(await userEvents.begin(second)).toMatchObject({ kind: 'wait' });
  rings.length = 0;
  await userEvents.end(first);
  const given = await userEvents.begin(second);
  expect(given).toMatchObject({ kind: 'from' });
  const events = await userEvents.read('ann', given.kind === 'from' ? given.cursor : '', 100);
  const newest = events.at(-1)?.cursor ?? '';
  await userEvents.reached(second, newest);
  expect(await userEvents.begin({ userId: 'ann', socket: 's3' })).toEqual({ kind: 'from', cursor: newest });
  await expect.poll(() => rings).toEqual(['ann', 'ann']);
});

it('ids of users that are no names change no key of another', async () => {
  const { userEvents } = await connected();
  const user = 'a}:{b / é\ud800';
  const change = delivery('odd', 'tellRebalance', 'done', 1);
  await rebalanceExecutors(userEvents, silent).tellRebalance(
    { ...change, command: { ...change.command, params: { ...(change.command.params as object), userId: user } } },
    signal,
  );
  expect(await userEvents.read(user, '0-0', 10)).toHaveLength(1);
  expect(await foreign.keys('castellan:user:*')).toContain('castellan:user:{a%7D%3A%7Bb%20%2F%20%C3%A9%EF%BF%BD}:events');
});

it('the first value of a name is kept', async () => {
  const { userEvents } = await connected();
  expect(await userEvents.firstOf('key', 'one', 60_000)).toBe('one');
  expect(await userEvents.firstOf('key', 'two', 60_000)).toBe('one');
});
