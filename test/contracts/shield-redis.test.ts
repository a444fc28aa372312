/** The ingestion streams over a real Redis: producers, workers and tellers that know only the streams, and the jobs that follow them. */
import { Packr } from 'msgpackr';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { ingestionQueue, ingestionSource, shieldEventsSource } from '../../src/contracts/shield.ts';
import { workerQueueContract } from '../../src/contracts/worker-jobs.ts';
import { systemClock } from '../../src/engine/system-clock.ts';
import { QueueWarden } from '../../src/jobs/queue-warden.ts';
import { initRedis, type RedisStreamsClient } from '../../src/library/redis-streams-client.ts';
import type { JobState, JobView } from '../../src/protocol/job.ts';
import { closeClient, connectFirst, createWriteClient } from '../../src/redis/clients.ts';
import { createQueueObserver } from '../../src/redis/queue-observer.ts';
import { createQueues } from '../../src/redis/queues.ts';
import { parseRedisUrl } from '../../src/redis/target.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import { followedJobs, startEngineWorld, until, type EngineWorld } from './engine-world.ts';

const [QUEUE, EVENTS] = ['shield:ingestion_queue', 'shield:events'];
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

async function world(): Promise<EngineWorld & { reaches(jobId: string, state: JobState): Promise<JobView> }> {
  const started = await startEngineWorld(server, { types: [followedJobs], sources: [ingestionSource, shieldEventsSource] });
  const { client, redis } = started;
  const target = parseRedisUrl(server.url);
  const link = createWriteClient(target);
  await connectFirst(link, target);
  const warden = new QueueWarden({
    observer: createQueueObserver(link),
    client,
    reject: async (letters) => await redis.store.reject(letters),
    time: async () => await redis.store.time(),
    queues: createQueues(link),
    contract: workerQueueContract,
    others: [ingestionQueue],
    clock: systemClock,
    leaseMs: 30_000,
  });
  warden.start();
  onTestFinished(async () => {
    await warden.stop();
    await closeClient(link);
  });
  const reaches = async (jobId: string, state: JobState): Promise<JobView> =>
    await until(`${jobId} is ${state}`, async () => {
      const job = await started.job(jobId);
      return job?.state === state && job;
    });
  return { ...started, reaches };
}

async function streams(options: { readonly codec?: 'json' | 'msgpack' } = {}): Promise<RedisStreamsClient> {
  const client = await initRedis({ redis: server.url, ...options });
  onTestFinished(() => client.close());
  return client;
}

const task = (job_id: string, more: object = {}) => ({ job_id, chunk_id: 'c0', content: 'text', source_uri: 'file:///a.pdf', source_type: 'pdf', ...more });

describe('a chunk', () => {
  it.each(['json', 'msgpack'] as const)('is a job from addTask to ackTask (%s)', async (codec) => {
    const { reaches } = await world();
    const [producer, worker] = [await streams({ codec }), await streams()];
    const name = `a-${codec}`;
    await producer.addTask(task(name, { metadata: { title: 'Über', page: 3 } }));
    const queued = await reaches(`${name}@c0`, 'queued');
    expect(queued).toMatchObject({
      type: 'ingestion',
      payload: { job_id: name, chunk_id: 'c0', content: 'text', metadata: { title: 'Über', page: 3 }, retry_count: 0 },
    });
    const [read] = await worker.readTasks();
    expect(read?.jobId).toBe(`${name}@c0`);
    expect(await reaches(`${name}@c0`, 'processing')).toMatchObject({ worker: worker.consumer });
    await worker.ackTask(read!.id);
    await reaches(`${name}@c0`, 'done');
  });

  it('of a foreign producer, taken in by a foreign worker, is followed as well', async () => {
    const { reaches, deadLetters } = await world();
    await foreign.xgroup('CREATE', QUEUE, 'lightrag-workers', '0', 'MKSTREAM').catch(() => undefined);
    const metadata = Buffer.from(new Packr({ useRecords: false }).pack({ author: 'Ödön' }));
    const id = (await foreign.xadd(QUEUE, '*', 'job_id', 'b', 'chunk_id', 'c1', 'content', 'Grüße', 'metadata', metadata, 'retry_count', '0')) as string;
    await foreign.xadd(QUEUE, '*', 'chunk_id', 'c1', 'content', 'whose?');
    expect(await reaches('b@c1', 'queued')).toMatchObject({ payload: { content: 'Grüße', metadata: { author: 'Ödön' } } });
    await until('the bad one is a dead letter', async () => (await deadLetters()).some(({ field }) => field === 'job_id'));

    await foreign.xreadgroup('GROUP', 'lightrag-workers', 'python-1', 'COUNT', 10, 'STREAMS', QUEUE, '>');
    expect(await reaches('b@c1', 'processing')).toMatchObject({ worker: 'python-1' });
    // It fails, enqueues the chunk again, and acknowledges the entry that failed.
    const again = (await foreign.xadd(QUEUE, '*', 'job_id', 'b', 'chunk_id', 'c1', 'content', 'Grüße', 'retry_count', '1')) as string;
    expect(await reaches('b@c1', 'queued')).toMatchObject({ payload: { retry_count: 1 } });
    await foreign.xack(QUEUE, 'lightrag-workers', id);
    await foreign.xreadgroup('GROUP', 'lightrag-workers', 'python-2', 'COUNT', 10, 'STREAMS', QUEUE, '>');
    expect(await reaches('b@c1', 'processing')).toMatchObject({ worker: 'python-2' });
    await foreign.xack(QUEUE, 'lightrag-workers', again);
    await reaches('b@c1', 'done');
  });
});

it('what was taken in and acknowledged before the control plane first saw it is done', async () => {
  const worker = await streams();
  const [old, waiting] = [await worker.addTask(task('old')), await worker.addTask(task('waiting'))];
  for (const { id } of await worker.readTasks({ blockMs: 0 })) if (id !== waiting) await worker.ackTask(id);
  expect(await worker.ackTask(old)).toBe(false);
  const { reaches } = await world();
  await reaches('old@c0', 'done');
  expect(await reaches('waiting@c0', 'processing')).toMatchObject({ worker: worker.consumer });
  await worker.ackTask(waiting);
  await reaches('waiting@c0', 'done');
});

describe('events', () => {
  it('drive the job that they name, and the document that nobody enqueued here', async () => {
    const { reaches, job } = await world();
    const teller = await streams();
    await teller.addTask(task('e'));
    await reaches('e@c0', 'queued');
    await foreign.xadd(EVENTS, '*', 'event_id', '1', 'type', 'chunk.processing', 'job_id', 'e@c0', 'data', '{"progress":30}', 'metadata', '{}');
    expect(await reaches('e@c0', 'processing')).toMatchObject({ progress: 30 });
    await teller.emitEvent({ type: 'chunk.failed', job_id: 'e', chunk_id: 'c0', data: { error: 'no model' } });
    expect(await reaches('e@c0', 'error')).toMatchObject({ error: { message: 'no model' } });
    await teller.emitEvent({ type: 'user.login', job_id: 'nobody' });
    await teller.emitEvent({ type: 'job.completed', job_id: 'document-7', data: { entities: 12 } });
    expect(await reaches('document-7', 'done')).toMatchObject({ type: 'ingestion', result: { entities: 12 } });
    expect(await job('nobody')).toBeUndefined();
  });
});

it('the control plane adds no group and no entry of its own', async () => {
  await foreign.flushall();
  const client = await streams();
  await world();
  for (const stream of [QUEUE, EVENTS]) expect((await client.getStreamInfo(stream)).length).toBe(0);
  expect((await client.getStreamInfo(QUEUE)).consumer_groups.map(({ name }) => name).toSorted()).toEqual(['lightrag-workers', 'metrics-collector']);
});
