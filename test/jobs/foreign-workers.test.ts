/** Whole lives of jobs in the hands of workers and producers that know nothing but the keys: engine, job machine, warden and a real Redis. */
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { workerQueueContract } from '../../src/contracts/worker-jobs.ts';
import { systemClock } from '../../src/engine/system-clock.ts';
import { QueueWarden } from '../../src/jobs/queue-warden.ts';
import { WORKER_GROUP } from '../../src/protocol/job-progress.ts';
import { closeClient, connectFirst, createSubscriber, createWriteClient } from '../../src/redis/clients.ts';
import { createProgressListener } from '../../src/redis/progress-listener.ts';
import { createQueueObserver } from '../../src/redis/queue-observer.ts';
import { parseRedisUrl } from '../../src/redis/target.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import { startJobWorld, until, type JobWorld } from './job-world.ts';
import { progress, type Entry } from './warden-fixture.ts';

let server: TestRedis;
let client: Redis;
let worlds = 0;

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

interface World extends JobWorld {
  readonly queue: string;
  take(consumer: string): Promise<Entry>;
}

async function startWorld(): Promise<World> {
  worlds++;
  const queue = `jobs:v1:tag:t${worlds}`;
  const world = await startJobWorld(server, `w${worlds}`);
  const target = parseRedisUrl(server.url);
  const subscriber = createSubscriber(target);
  await connectFirst(subscriber, target);
  const warden = new QueueWarden({
    observer: createQueueObserver(client),
    queues: world.redis.queues,
    client: world.client,
    contract: workerQueueContract,
    progress: createProgressListener(subscriber),
    clock: systemClock,
    leaseMs: 30_000,
    time: () => world.redis.store.time(),
    reject: (letters) => world.redis.store.reject(letters),
  });
  warden.watch(queue);
  warden.start();
  onTestFinished(async () => {
    await warden.stop();
    await closeClient(subscriber);
  });
  return {
    ...world,
    queue,
    take: (consumer) =>
      until(
        async () => {
          try {
            const reply = await client.call('XREADGROUP', 'GROUP', WORKER_GROUP, consumer, 'COUNT', '1', 'STREAMS', queue, '>');
            return (reply as [string, Entry[]][] | null)?.[0]?.[1][0];
          } catch (error) {
            if ((error as Error).message.startsWith('NOGROUP')) return undefined;
            throw error;
          }
        },
        () => `an entry of ${queue}`,
      ),
  };
}

const acknowledge = async (queue: string, entry: Entry): Promise<void> => void (await client.xack(queue, WORKER_GROUP, entry[0]));

describe('a job in the hands of a foreign worker', () => {
  it('is processing while it has it and done when it acknowledges', async () => {
    const world = await startWorld();
    await world.jobs.submit({ type: 'ECHO', jobId: 'a', queue: world.queue, payload: { a: 1 } });
    const entry = await world.take('raw-1');
    expect(entry[1].slice(0, 6)).toEqual(['jobId', 'a', 'type', 'ECHO', 'payload', '{"a":1}']);
    expect(await world.untilState('a', 'processing')).toMatchObject({ worker: 'raw-1', attempt: 1 });
    await client.xadd('stream:v1:a', '*', 'event', progress('a', 'end', { result: { tokens: 3 } }));
    await acknowledge(world.queue, entry);
    expect(await world.untilState('a', 'done')).toMatchObject({ worker: 'raw-1', attempt: 1, result: { tokens: 3 }, lateReports: 0 });
  });

  it('keeps the result that its worker only published, however quick that worker is', async () => {
    const world = await startWorld();
    await world.jobs.submit({ type: 'ECHO', jobId: 'q0', queue: world.queue });
    await acknowledge(world.queue, await world.take('raw-quick'));
    await world.untilState('q0', 'done');
    await until(
      async () => Number(await client.call('PUBSUB', 'NUMPAT')) > 0 || undefined,
      () => 'a listener to all jobs while a foreign worker is about',
    );
    await world.jobs.submit({ type: 'ECHO', jobId: 'q1', queue: world.queue });
    const entry = await world.take('raw-quick');
    const pipeline = client.pipeline();
    pipeline.publish('stream:v1:q1', progress('q1', 'end', { result: { tokens: 5 } }));
    pipeline.xack(world.queue, WORKER_GROUP, entry[0]);
    await pipeline.exec();
    expect(await world.untilState('q1', 'done')).toMatchObject({ result: { tokens: 5 } });
  });

  it('fails as the worker says, and is handed out again until its tries are spent: then it is a dead letter with every field', async () => {
    const world = await startWorld();
    await world.jobs.submit({ type: 'ECHO', jobId: 'b', queue: world.queue, attempts: 2, backoff: { kind: 'fixed', delayMs: 1 } });
    for (const attempt of ['1', '2']) {
      const entry = await world.take('raw-1');
      expect(entry[1][entry[1].indexOf('attempt') + 1]).toBe(attempt);
      await client.xadd('stream:v1:b', '*', 'event', progress('b', 'error', { message: `broke ${attempt}` }));
      await acknowledge(world.queue, entry);
    }
    expect(await world.untilState('b', 'error')).toMatchObject({ attempt: 2, error: { message: 'broke 2' } });
    const dead = `dlq:v1:${world.queue.slice('jobs:v1:'.length)}`;
    const letter = await until(
      async () => ((await client.xrange(dead, '-', '+')) as Entry[])[0],
      () => `an entry of ${dead}`,
    );
    const named = Object.fromEntries(letter[1].flatMap((name, index) => (index % 2 === 0 ? [[name, letter[1][index + 1]]] : [])));
    expect(named).toEqual({
      original_message_id: expect.stringMatching(/^\d+-\d+$/),
      original_queue: world.queue,
      reason: expect.stringContaining('broke 2'),
      moved_at: expect.stringMatching(/^\d{4}-.*Z$/),
      worker_id: 'raw-1',
      jobId: 'b',
      type: 'ECHO',
      enqueuedAt: expect.stringMatching(/^\d{4}-.*Z$/),
      payload: '{}',
      attempts: '2',
    });
  });

  it('is taken back when its worker dies with it, by its timeout, and another finishes it; the late acknowledgement changes nothing', async () => {
    const world = await startWorld();
    await world.jobs.submit({ type: 'ECHO', jobId: 'c', queue: world.queue, timeoutMs: 400, backoff: { kind: 'fixed', delayMs: 1 } });
    const lost = await world.take('raw-dead');
    await world.untilState('c', 'processing');
    const entry = await world.take('raw-2');
    expect(entry[0]).not.toBe(lost[0]);
    await until(
      async () => ((await client.xpending(world.queue, WORKER_GROUP, lost[0], lost[0], 1)).length === 0 ? true : undefined),
      () => 'the entry to be taken back',
    );
    await acknowledge(world.queue, lost);
    await world.untilState('c', 'processing');
    await acknowledge(world.queue, entry);
    expect(await world.untilState('c', 'done')).toMatchObject({ attempt: 2, worker: 'raw-2' });
  });

  it('tells its progress on its channel', async () => {
    const world = await startWorld();
    await world.jobs.submit({ type: 'ECHO', jobId: 'd', queue: world.queue });
    const entry = await world.take('raw-1');
    await until(
      async () => ((await client.publish('stream:v1:d', progress('d', 'chunk', { progress: 40 }))) > 0 ? true : undefined),
      () => 'a listener',
    );
    await until(
      async () => ((await world.jobs.get('d'))?.progress === 40 ? true : undefined),
      () => 'the progress',
    );
    await client.publish('stream:v1:d', progress('d', 'end', { result: 'hi' }));
    expect(await world.untilState('d', 'done')).toMatchObject({ result: 'hi' });
    await acknowledge(world.queue, entry);
  });

  it('is taken out of its queue when it is cancelled, and its worker is told', async () => {
    const world = await startWorld();
    await world.jobs.submit({ type: 'ECHO', jobId: 'e', queue: world.queue });
    await world.take('raw-1');
    await world.untilState('e', 'processing');
    expect(await world.jobs.cancel('e', 'no more')).toMatchObject({ kind: 'done' });
    await until(
      async () => ((await client.xlen(world.queue)) === 0 ? true : undefined),
      () => 'the entry to go',
    );
    expect(await client.get('job:cancelled:e')).toBe('1');
    expect((await world.jobs.get('e'))?.state).toBe('cancelled');
    await world.jobs.retry('e');
    await acknowledge(world.queue, await world.take('raw-2'));
    await world.untilState('e', 'done');
    expect(await client.exists('job:cancelled:e')).toBe(0);
  });
});

describe('a job that a foreign producer enqueued', () => {
  it('is adopted, and lives as any other', async () => {
    const world = await startWorld();
    await client.xadd(world.queue, '*', 'job_id', 'x', 'type', 'LLM_INFERENCE', 'payload', '{"prompt":"hi","timeout_ms":5000}', 'enqueuedAt', 'now');
    expect(await world.untilState('x', 'queued')).toMatchObject({ type: 'LLM_INFERENCE', payload: { prompt: 'hi' }, queue: world.queue });
    const entry = await world.take('raw-1');
    expect(await world.untilState('x', 'processing')).toMatchObject({ worker: 'raw-1' });
    await client.set('job:x:status', '{"status":"failed","error":"no model"}');
    await acknowledge(world.queue, entry);
    const second = await world.take('raw-2');
    expect(second[1]).toContain('attempt');
    await client.del('job:x:status');
    await world.untilState('x', 'processing');
    await acknowledge(world.queue, second);
    expect(await world.untilState('x', 'done')).toMatchObject({ worker: 'raw-2', lateReports: 0 });
  });

  it('is adopted together with bad ones, which become dead letters that name the field', async () => {
    const world = await startWorld();
    for (let index = 0; index < 20; index++) await client.xadd(world.queue, '*', 'jobId', `bad ${index}`, 'type', 'ECHO');
    await client.xadd(world.queue, '*', 'jobId', 'good', 'type', 'ECHO');
    await world.untilState('good', 'queued');
    const { items } = await world.redis.reader.listDeadLetters(undefined, 50);
    const ours = items.filter(({ source }) => source === `stream:${world.queue}`);
    expect(ours).toHaveLength(20);
    for (const letter of ours) expect(letter).toMatchObject({ code: 'invalid_job_id', field: 'jobId' });
  });

  it('waits in its queue with others by priority, pause and limit', async () => {
    const world = await startWorld();
    await world.jobs.pause(world.queue);
    for (const [jobId, priority] of [
      ['p1', 0],
      ['p2', 'high'],
      ['p3', 'low'],
    ] as const)
      await world.jobs.submit({ type: 'ECHO', jobId, queue: world.queue, priority });
    await until(
      async () => ((await world.jobs.listQueues()).some(({ queue, held }) => queue === world.queue && held === 3) ? true : undefined),
      () => 'all held',
    );
    await world.jobs.setLimits(world.queue, { concurrency: 1 });
    await world.jobs.resume(world.queue);
    for (const jobId of ['p2', 'p1', 'p3']) {
      const entry = await world.take('raw-1');
      expect(entry[1][1]).toBe(jobId);
      await acknowledge(world.queue, entry);
      await world.untilState(jobId, 'done');
    }
  });
});
