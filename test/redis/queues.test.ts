/** The gates of worker queues on a real Redis: order, limits, pause, and taking an attempt back. */
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { WORKER_GROUP } from '../../src/protocol/job-progress.ts';
import type { Post } from '../../src/protocol/outlet.ts';
import type { Queues } from '../../src/protocol/queues.ts';
import { closeClient, connectFirst, createWriteClient } from '../../src/redis/clients.ts';
import { postBatches } from '../../src/redis/post-call.ts';
import { callQueues, createQueueLibrary, createQueues } from '../../src/redis/queues.ts';
import { parseRedisUrl } from '../../src/redis/target.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';

const QUEUE = 'jobs:v1:gpu-general';
const library = createQueueLibrary();

let server: TestRedis;
let client: Redis;
let queues: Queues;
let number = 0;

beforeAll(async () => {
  server = await startTestRedis();
  const target = parseRedisUrl(server.url);
  client = createWriteClient(target);
  await connectFirst(client, target);
  queues = createQueues(client, library);
});
afterAll(async () => {
  await closeClient(client);
  await server.stop();
});
beforeEach(async () => {
  await client.flushall();
});

interface Job {
  readonly id: string;
  readonly priority?: number;
  readonly attempt?: number;
}

function postOf({ id, priority = 0, attempt = 1 }: Job): Post {
  number++;
  const fields = ['jobId', id, 'type', 'ECHO', 'payload', '{}', 'attempt', String(attempt)];
  return { stream: QUEUE, fields, priority, member: id, from: 3, number: `1-${number}` };
}

async function post(jobs: readonly Job[]): Promise<readonly Post[]> {
  const posts = jobs.map(postOf);
  await send(posts);
  return posts;
}

async function send(posts: readonly Post[]): Promise<void> {
  for (const { call } of postBatches(posts)) await callQueues(client, library, [call]);
}

function named(prefix: string, count: number, job: Omit<Job, 'id'> = {}): Job[] {
  return Array.from({ length: count }, (_, index) => ({ id: `${prefix}${index}`, ...job }));
}

type Entry = readonly [id: string, fields: readonly string[]];
const jobOf = ([, fields]: Entry): string => fields[1] as string;

async function inStream(): Promise<string[]> {
  return ((await client.xrange(QUEUE, '-', '+')) as Entry[]).map(jobOf);
}

async function take(count: number, consumer = 'w1'): Promise<Entry[]> {
  const reply = (await client.call('XREADGROUP', 'GROUP', WORKER_GROUP, consumer, 'COUNT', String(count), 'STREAMS', QUEUE, '>')) as [string, Entry[]][] | null;
  return reply?.[0]?.[1] ?? [];
}

async function done(entries: readonly Entry[]): Promise<void> {
  for (const [id] of entries) {
    await client.xack(QUEUE, WORKER_GROUP, id);
    await client.xdel(QUEUE, id);
  }
}

/** Takes and finishes all there is, pumping between, and says in which order. */
async function drain(page = 8): Promise<string[]> {
  const order: string[] = [];
  for (;;) {
    const entries = await take(page);
    await done(entries);
    order.push(...entries.map(jobOf));
    const [pumped] = await queues.pump([QUEUE]);
    if (entries.length === 0 && pumped?.moved === 0) return order;
  }
}

async function keysLeft(): Promise<string[]> {
  return (await client.keys('*')).toSorted();
}

describe('without a gate', () => {
  it('an entry goes to the stream at once, and the group begins before it', async () => {
    await post(named('a', 3));
    expect(await inStream()).toEqual(['a0', 'a1', 'a2']);
    expect(await keysLeft()).toEqual([QUEUE, `{${QUEUE}}:posts`]);
    expect((await take(10)).map(jobOf)).toEqual(['a0', 'a1', 'a2']);
    expect(await client.hgetall(`{${QUEUE}}:posts`)).toMatchObject({ count: '3', passed: '0-0' });
  });

  it('streams that are no queues get neither group nor gate', async () => {
    await send([{ stream: 'dlq:v1:gpu-general', fields: ['a', '1'], from: 1, number: '1-1', maxLength: 10 }]);
    expect(await client.call('XINFO', 'GROUPS', 'dlq:v1:gpu-general')).toEqual([]);
  });
});

describe('priority', () => {
  it('lets an urgent job overtake what lies in the stream unread', async () => {
    await post(named('plain', 200));
    await post([{ id: 'urgent', priority: 10 }, { id: 'idle', priority: -10 }, ...named('later', 3)]);
    while ((await queues.pump([QUEUE]))[0]?.more === true);
    expect((await inStream()).length).toBe(32);
    const order = await drain();
    expect(order.indexOf('urgent')).toBeLessThanOrEqual(40);
    expect(order.filter((id) => id !== 'urgent')).toEqual([...named('plain', 200), ...named('later', 3), { id: 'idle' }].map(({ id }) => id));
    expect(await keysLeft()).toEqual([QUEUE, `{${QUEUE}}:posts`]);
  });

  it('keeps order by urgency and then by age, across a taking back', async () => {
    await queues.pause(QUEUE);
    await post([{ id: 'a' }, { id: 'b', priority: 5 }, { id: 'c', priority: 5 }, { id: 'd', priority: 7 }, { id: 'e' }]);
    expect(await inStream()).toEqual([]);
    await queues.resume(QUEUE);
    expect(await inStream()).toEqual(['d', 'b', 'c', 'a', 'e']);
    await queues.pause(QUEUE);
    expect(await inStream()).toEqual([]);
    await post([{ id: 'f', priority: 6 }]);
    await queues.resume(QUEUE);
    expect(await drain()).toEqual(['d', 'f', 'b', 'c', 'a', 'e']);
  });

  it('costs nothing when nothing waits: the gate goes with its last entry', async () => {
    await post([{ id: 'urgent', priority: 10 }]);
    expect(await inStream()).toEqual(['urgent']);
    expect(await keysLeft()).toEqual([QUEUE, `{${QUEUE}}:posts`]);
  });

  it('overtakes a long backlog', async () => {
    await post(named('plain', 3_000));
    await post([{ id: 'urgent', priority: 1 }]);
    while ((await queues.pump([QUEUE]))[0]?.more === true);
    const order = await drain(32);
    expect(order.length).toBe(3_001);
    expect(order.indexOf('urgent')).toBeLessThanOrEqual(64);
    expect(order.filter((id) => id !== 'urgent')).toEqual(named('plain', 3_000).map(({ id }) => id));
  });
});

describe('pause', () => {
  it('holds new entries and takes unread ones back; what a worker has stays with it', async () => {
    await post(named('a', 5));
    const mine = await take(2);
    await queues.pause(QUEUE);
    await post(named('b', 2));
    expect((await inStream()).toSorted()).toEqual(['a0', 'a1']);
    expect((await queues.view([QUEUE]))[0]).toEqual({ queue: QUEUE, paused: true, limits: {}, waiting: 0, held: 5, taken: 2, workers: 1 });
    expect(await take(10)).toEqual([]);
    await done(mine);
    expect(await queues.pump([QUEUE])).toEqual([{ moved: 0, returned: 0, held: 5, because: 'paused', againMs: 0, more: false }]);
    await queues.resume(QUEUE);
    expect(await drain()).toEqual(['a2', 'a3', 'a4', 'b0', 'b1']);
    expect((await queues.view([QUEUE]))[0]).toMatchObject({ paused: false, held: 0, waiting: 0, taken: 0 });
  });

  it('may come before the first job, and is listed', async () => {
    await queues.pause('jobs:v1:tag:new');
    await client.xadd('jobs:v1:cpu-general', '*', 'jobId', 'x');
    await client.set('jobs:v1:{odd}', 'no queue');
    expect(await queues.list()).toEqual(['jobs:v1:cpu-general', 'jobs:v1:tag:new']);
    expect((await queues.view(['jobs:v1:tag:new']))[0]).toEqual({
      ...{ queue: 'jobs:v1:tag:new', paused: true, limits: {}, waiting: 0, held: 0, taken: 0, workers: 0 },
    });
    await queues.resume('jobs:v1:tag:new');
    expect(await queues.list()).toEqual(['jobs:v1:cpu-general']);
  });

  it('leaves alone what others enqueued', async () => {
    await client.xadd(QUEUE, '*', 'jobId', 'foreign', 'type', 'ECHO');
    await post(named('a', 2));
    await queues.pause(QUEUE);
    expect(await inStream()).toEqual(['foreign']);
  });

  it('works through a long backlog in bounded steps', async () => {
    await post(named('a', 1_800));
    await queues.pause(QUEUE);
    let calls = 0;
    while ((await queues.pump([QUEUE]))[0]?.more === true) calls++;
    expect(calls).toBeGreaterThan(1);
    expect(await inStream()).toEqual([]);
    await queues.resume(QUEUE);
    while ((await queues.pump([QUEUE]))[0]?.more === true);
    expect(await inStream()).toEqual(named('a', 1_800).map(({ id }) => id));
  });
});

describe('a concurrency limit', () => {
  it('bounds what is taken and what lies there, and goes on when a job is done', async () => {
    await post(named('a', 2));
    await queues.setLimits(QUEUE, { concurrency: 3 });
    await post(named('b', 4));
    expect(await inStream()).toEqual(['a0', 'a1', 'b0']);
    const mine = await take(10);
    expect(mine.length).toBe(3);
    expect((await queues.pump([QUEUE]))[0]).toMatchObject({ moved: 0, held: 3, because: 'concurrency' });
    await done(mine.slice(0, 2));
    expect((await queues.pump([QUEUE]))[0]).toMatchObject({ moved: 2, held: 1 });
    expect((await take(10)).map(jobOf)).toEqual(['b1', 'b2']);
    expect((await queues.view([QUEUE]))[0]).toMatchObject({ limits: { concurrency: 3 }, taken: 3, held: 1, waiting: 0 });
  });

  it('holds for what lay there before it was set', async () => {
    await post(named('a', 10));
    await queues.setLimits(QUEUE, { concurrency: 4 });
    expect(await inStream()).toEqual(['a0', 'a1', 'a2', 'a3']);
    await queues.setLimits(QUEUE, {});
    expect(await inStream()).toEqual(named('a', 10).map(({ id }) => id));
    expect(await keysLeft()).toEqual([QUEUE, `{${QUEUE}}:posts`]);
  });

  it('may be set together with a pause and a rate', async () => {
    await queues.setLimits(QUEUE, { concurrency: 4, rate: { max: 2, perMs: 3_600_000 } });
    await queues.pause(QUEUE);
    await post(named('a', 10));
    expect((await queues.view([QUEUE]))[0]).toMatchObject({ paused: true, limits: { concurrency: 4, rate: { max: 2, perMs: 3_600_000 } }, held: 10 });
    await queues.resume(QUEUE);
    expect((await inStream()).length).toBe(1);
    expect((await drain()).length).toBe(2);
  });

  it('is refused when it is none', async () => {
    await expect(queues.setLimits(QUEUE, { concurrency: 0 })).rejects.toMatchObject({ code: 'invalid_job', field: 'concurrency' });
    await expect(queues.setLimits(QUEUE, { rate: { max: 1.5, perMs: 10 } })).rejects.toMatchObject({ field: 'rate.max' });
    await expect(queues.pause('castellan:{p0}:inbox')).rejects.toMatchObject({ field: 'queue' });
  });
});

describe('a rate limit', () => {
  it('hands out no more than so many in the interval, and says when the next may go', async () => {
    await queues.setLimits(QUEUE, { rate: { max: 20, perMs: 3_600_000 } });
    await post(named('a', 50));
    const order = await drain();
    expect(order).toEqual(named('a', 20).map(({ id }) => id));
    const [pumped] = await queues.pump([QUEUE]);
    expect(pumped).toMatchObject({ moved: 0, held: 30, because: 'rate' });
    expect(pumped?.againMs).toBeGreaterThan(0);
    expect(pumped?.againMs).toBeLessThanOrEqual(3_600_000 * (33 / 32));
    await queues.setLimits(QUEUE, { rate: { max: 25, perMs: 3_600_000 } });
    expect((await drain()).length).toBe(25);
  });

  it('hands out more when the interval has passed', async () => {
    await queues.setLimits(QUEUE, { rate: { max: 5, perMs: 320 } });
    await post(named('a', 12));
    const times: number[] = [];
    while (times.length < 12) {
      for (const entry of await take(5)) {
        times.push(Number(entry[0].split('-')[0]));
        await done([entry]);
      }
      const [pumped] = await queues.pump([QUEUE]);
      if (pumped?.because === 'rate') await new Promise((resolve) => setTimeout(resolve, pumped.againMs));
    }
    // An entry's id is the time at which it was handed to the stream.
    for (let index = 5; index < times.length; index++) expect((times[index] as number) - (times[index - 5] as number)).toBeGreaterThanOrEqual(320);
  });
});

describe('a post that is repeated', () => {
  it('changes nothing, held or not', async () => {
    const first = await post(named('a', 3));
    await queues.pause(QUEUE);
    const second = await post(named('b', 3));
    await send([...first, ...second]);
    expect((await queues.view([QUEUE]))[0]?.held).toBe(6);
    await queues.resume(QUEUE);
    await send(second);
    expect(await inStream()).toEqual(['a0', 'a1', 'a2', 'b0', 'b1', 'b2']);
  });

  it('of a newer attempt takes the older one’s place in the gate', async () => {
    await queues.pause(QUEUE);
    await post([{ id: 'a', attempt: 1 }, { id: 'b' }]);
    await post([{ id: 'a', attempt: 2 }]);
    await queues.resume(QUEUE);
    const entries = (await client.xrange(QUEUE, '-', '+')) as Entry[];
    expect(entries.map(([, fields]) => [fields[1], fields[7]])).toEqual([
      ['b', '1'],
      ['a', '2'],
    ]);
  });
});

describe('withdrawing an attempt', () => {
  it('takes it out of the gate', async () => {
    await queues.pause(QUEUE);
    await post(named('a', 3));
    expect(await queues.withdraw({ queue: QUEUE, jobId: 'a1', attempt: 1 })).toBe(1);
    expect(await queues.withdraw({ queue: QUEUE, jobId: 'a1', attempt: 1 })).toBe(0);
    await queues.resume(QUEUE);
    expect(await inStream()).toEqual(['a0', 'a2']);
  });

  it('takes it out of the stream, wherever it lies', async () => {
    await post(named('a', 1_200));
    expect(await queues.withdraw({ queue: QUEUE, jobId: 'a1100', attempt: 1 })).toBe(1);
    expect(await inStream()).not.toContain('a1100');
    expect((await inStream()).length).toBe(1_199);
  });

  it('takes it out of a worker’s pending list, by its entry or by looking for it', async () => {
    await post(named('a', 3));
    const mine = await take(3);
    expect(await queues.withdraw({ queue: QUEUE, jobId: 'a0', attempt: 1, entry: mine[0]?.[0] as string })).toBe(1);
    expect(await queues.withdraw({ queue: QUEUE, jobId: 'a1', attempt: 1 })).toBe(1);
    expect(await queues.withdraw({ queue: QUEUE, jobId: 'a2', attempt: 1, entry: '1-1' })).toBe(1);
    expect(await client.xpending(QUEUE, WORKER_GROUP)).toEqual([0, null, null, null]);
    expect(await inStream()).toEqual([]);
  });

  it('frees a place for the next', async () => {
    await queues.setLimits(QUEUE, { concurrency: 1 });
    await post(named('a', 2));
    const [mine] = await take(5);
    await queues.withdraw({ queue: QUEUE, jobId: 'a0', attempt: 1, entry: mine?.[0] as string });
    expect((await take(5)).map(jobOf)).toEqual(['a1']);
  });

  it('leaves a newer attempt, another job, and what others hold of the same name elsewhere', async () => {
    await post([{ id: 'a', attempt: 2 }, { id: 'b' }]);
    const [mine] = (await client.xrange(QUEUE, '-', '+')) as Entry[];
    expect(await queues.withdraw({ queue: QUEUE, jobId: 'a', attempt: 1, entry: mine?.[0] as string })).toBe(0);
    expect(await inStream()).toEqual(['a', 'b']);
    await queues.pause(QUEUE);
    expect(await queues.withdraw({ queue: QUEUE, jobId: 'a', attempt: 1 })).toBe(0);
    expect((await queues.view([QUEUE]))[0]?.held).toBe(2);
  });

  it('takes an adopted entry, which carries no attempt, and one that its producer trimmed away', async () => {
    const entry = (await client.xadd(QUEUE, '*', 'job_id', 'x', 'type', 'ECHO')) as string;
    await client.xgroup('CREATE', QUEUE, WORKER_GROUP, '0');
    await take(1);
    expect(await queues.withdraw({ queue: QUEUE, jobId: 'x', attempt: 1 })).toBe(1);
    const second = (await client.xadd(QUEUE, '*', 'job_id', 'y', 'type', 'ECHO')) as string;
    await take(1);
    await client.xtrim(QUEUE, 'MAXLEN', 0);
    expect(await queues.withdraw({ queue: QUEUE, jobId: 'y', attempt: 1, entry: second })).toBe(1);
    expect(await client.xpending(QUEUE, WORKER_GROUP)).toEqual([0, null, null, null]);
    expect(entry).not.toBe(second);
  });

  it('finds nothing where there is nothing', async () => {
    expect(await queues.withdraw({ queue: QUEUE, jobId: 'a', attempt: 1 })).toBe(0);
    // An entry that waits on its way would come too late.
    expect(await keysLeft()).toEqual([`{${QUEUE}}:withdrawn`]);
    expect(await client.ttl(`{${QUEUE}}:withdrawn`)).toBeGreaterThan(86_000);
  });

  it('remembers a bounded number of those that it did not find', async () => {
    const key = `{${QUEUE}}:withdrawn`;
    await client.hset(key, Object.fromEntries(Array.from({ length: 10_000 }, (_, index) => [`old-${index}`, 1])));
    await queues.withdraw({ queue: QUEUE, jobId: 'new', attempt: 3 });
    expect([await client.hlen(key), await client.hget(key, 'new')]).toEqual([10_000, '3']);
  });

  it('flags a job as cancelled for its attempts so far, for a day', async () => {
    await queues.flagCancelled('a', 2);
    expect(await client.get('job:cancelled:a')).toBe('2');
    expect(await client.ttl('job:cancelled:a')).toBeGreaterThan(86_000);
    await queues.flagCancelled('a', null);
    expect(await client.exists('job:cancelled:a')).toBe(0);
  });
});
