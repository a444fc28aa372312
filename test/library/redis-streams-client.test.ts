/** The client of the ingestion streams over a real Redis, beside foreign producers and consumers. */
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { Packr } from 'msgpackr';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { closeRedis, initRedis, RedisStreamsClient, type RedisStreamsOptions } from '../../src/library/redis-streams-client.ts';
import { freePort, startTestRedis, type TestRedis } from '../redis-server.ts';

const [QUEUE, EVENTS] = ['shield:ingestion_queue', 'shield:events'];
const TASK = { job_id: 'job-1', chunk_id: 'c0', content: 'Grüße', source_uri: 'file:///a.pdf', source_type: 'pdf', metadata: { page: 3, title: 'Über' } };
const NOW = { blockMs: 0 };
let redis: TestRedis;
let foreign: Redis;
const open: RedisStreamsClient[] = [];
const log: string[] = [];

beforeAll(async () => {
  redis = await startTestRedis();
  foreign = new Redis(redis.url);
});
afterEach(async () => {
  await Promise.all(open.splice(0).map(closeRedis));
  await foreign.flushall();
  log.length = 0;
});
afterAll(async () => {
  foreign.disconnect();
  await redis.stop();
});

async function connected(options: RedisStreamsOptions = {}): Promise<RedisStreamsClient> {
  const log_ = { warn: (message: string) => void log.push(message), info: (message: string) => void log.push(message) };
  const client = await initRedis({ redis: redis.url, log: log_, ...options });
  open.push(client);
  return client;
}

async function groupsOf(stream: string): Promise<string[]> {
  return ((await foreign.xinfo('GROUPS', stream)) as string[][]).map((pairs) => pairs[1] as string).toSorted();
}

describe('the streams', () => {
  it('are made at the start with their groups, empty, and unchanged by a restart', async () => {
    const client = await connected();
    expect(log).toEqual(['Redis Streams client connected']);
    expect(await groupsOf(QUEUE)).toEqual(['lightrag-workers', 'metrics-collector']);
    expect(await groupsOf(EVENTS)).toEqual(['ag-ui-frontend', 'dashboard-frontend', 'metrics-collector', 'power-ui-frontend']);
    expect(await foreign.xlen(QUEUE)).toBe(0);
    expect(await foreign.xlen(EVENTS)).toBe(0);

    const id = await client.addTask(TASK);
    await client.readTasks(NOW);
    const before = [await client.getStreamInfo(QUEUE), await client.getStreamInfo(EVENTS)];
    await closeRedis(client);
    const again = await connected();
    expect([await again.getStreamInfo(QUEUE), await again.getStreamInfo(EVENTS)]).toEqual(before);
    expect(before).toEqual([
      {
        ...{ length: 1, first_entry: id, last_entry: id },
        consumer_groups: [
          { name: 'lightrag-workers', consumers: 1, pending: 1, last_delivered_id: id },
          { name: 'metrics-collector', consumers: 0, pending: 0, last_delivered_id: '0-0' },
        ],
      },
      expect.objectContaining({ length: 0, first_entry: null, last_entry: null }),
    ]);
    expect(await again.getStreamInfo('missing')).toEqual({ length: 0, first_entry: null, last_entry: null, consumer_groups: [] });
  });

  it('under a key that holds something else are refused with the way out', async () => {
    await foreign.set(EVENTS, 'mine');
    await expect(connected()).rejects.toThrow(/shield:events.*Another program uses that key/);
  });

  it('without a Redis say where it was looked for', async () => {
    const port = await freePort();
    await expect(initRedis({ redis: { host: '127.0.0.1', port } })).rejects.toThrow(`Failed to connect to Redis at 127.0.0.1:${port}/0`);
    await expect(new RedisStreamsClient().addTask(TASK)).rejects.toThrow(/call connect\(\)/);
  });
});

describe('a task', () => {
  it.each(['json', 'msgpack'] as const)('goes from one program to another (%s)', async (codec) => {
    const [producer, worker] = [await connected({ codec }), await connected({ consumer: 'worker-2' })];
    expect(producer.consumer).toBe(`orchestrator-${hostname()}-${process.pid}`);
    const id = await producer.addTask(TASK);
    const tasks = await worker.readTasks();
    expect(tasks).toEqual([{ id, jobId: 'job-1@c0', task: { ...TASK, retry_count: 0, timestamp: expect.any(String) as string } }]);
    expect(await worker.readTasks(NOW)).toEqual([]);
    expect(await worker.readTasks({ ...NOW, group: 'metrics-collector' })).toHaveLength(1);
    expect(await worker.ackTask(id)).toBe(true);
    expect(await worker.ackTask(id)).toBe(false);
    expect((await foreign.xpending(QUEUE, 'lightrag-workers'))[0]).toBe(0);
  });

  it('lies in the stream as other languages read it', async () => {
    const id = await (await connected({ codec: 'json' })).addTask({ ...TASK, retry_count: 2 });
    const [[, fields]] = (await foreign.xrange(QUEUE, id, id)) as [[string, string[]]];
    const names = fields.filter((_, index) => index % 2 === 0);
    expect(names).toEqual(['job_id', 'chunk_id', 'content', 'source_uri', 'source_type', 'metadata', 'retry_count', 'timestamp']);
    expect(fields[fields.indexOf('metadata') + 1]).toBe('{"page":3,"title":"Über"}');
    const packed = await (await connected({ codec: 'msgpack' })).addTask(TASK);
    const [[, bytes]] = (await foreign.xrangeBuffer(QUEUE, packed, packed)) as [[Buffer, Buffer[]]];
    expect(new Packr({ mapsAsObjects: true }).unpack(bytes[11] as Buffer)).toEqual(TASK.metadata);
  });

  it('that cannot be read is told, and does not stand in the way', async () => {
    const worker = await connected();
    await foreign.xadd(QUEUE, '*', 'chunk_id', 'c0', 'content', 'whose?');
    const id = await foreign.xadd(QUEUE, '*', 'job_id', 'j', 'chunk_id', 'c', 'content', 'x');
    expect(await worker.readTasks(NOW)).toEqual([{ id, jobId: 'j@c', task: { job_id: 'j', chunk_id: 'c', content: 'x', retry_count: 0 } }]);
    expect(log.at(-1)).toContain('The field job_id is missing.');
    expect((await foreign.xpending(QUEUE, 'lightrag-workers'))[0]).toBe(1);
    await expect(worker.addTask({ ...TASK, job_id: 'no good' })).rejects.toMatchObject({ code: 'invalid_job', field: 'job_id' });
  });

  it('whose answer was lost is found again, what was handed over is not doubled', async () => {
    const worker = await connected();
    const held = await worker.addTask(TASK);
    expect((await worker.readTasks(NOW)).map(({ id }) => id)).toEqual([held]);
    const failed = worker.readTasks().catch((error: unknown) => error);
    await untilBlocked();
    for (const line of ((await foreign.client('LIST')) as string).split('\n')) {
      if (line.includes('castellan-block')) await foreign.client('KILL', 'ID', (/\bid=(\d+)/.exec(line) ?? [])[1] as string);
    }
    expect(await failed).toMatchObject({ code: 'redis_unusable' });
    // As if the read had taken it and its answer had been lost with the link.
    const lost = await worker.addTask({ ...TASK, chunk_id: 'c1' });
    await foreign.xreadgroup('GROUP', 'lightrag-workers', worker.consumer, 'COUNT', 1, 'STREAMS', QUEUE, '>');
    let found: readonly { readonly id: string }[] = [];
    for (let tries = 0; found.length === 0 && tries < 500; tries++) {
      found = await worker.readTasks(NOW).catch(() => []);
      await sleep(10);
    }
    expect(found.map(({ id }) => id)).toEqual([lost]);
    expect(await worker.readTasks(NOW)).toEqual([]);
  });
});

describe('an event', () => {
  it('is heard by every group once', async () => {
    const [teller, hearer] = [await connected(), await connected({ consumer: 'h' })];
    const id = await teller.emitEvent({ type: 'job.completed', job_id: 'job-1', data: { entities: 12 } });
    const event = {
      ...{ event_id: expect.any(String) as string, type: 'job.completed', job_id: 'job-1', timestamp: expect.any(String) as string },
      ...{ data: { entities: 12 }, metadata: {} },
    };
    expect(await hearer.readEvents()).toEqual([{ id, event }]);
    expect(await hearer.readEvents({ group: 'ag-ui-frontend' })).toEqual([{ id, event }]);
    expect(await hearer.readEvents(NOW)).toEqual([]);
    expect(await hearer.ackEvent(id)).toBe(true);
    expect(await hearer.ackEvent(id, 'ag-ui-frontend')).toBe(true);
    await expect(teller.emitEvent({ type: '' })).rejects.toMatchObject({ field: 'type' });
  });

  it('that a foreign program packed is read', async () => {
    const hearer = await connected();
    const data = Buffer.from(new Packr({ useRecords: false }).pack({ chunk: 'ü', at: 1 }));
    await foreign.xadd(EVENTS, '*', 'event_id', 'e', 'type', 'chunk.done', 'data', data);
    expect((await hearer.readEvents())[0]?.event).toEqual({ event_id: 'e', type: 'chunk.done', data: { chunk: 'ü', at: 1 } });
  });
});

it('a read that waits ends when the client is closed', async () => {
  const client = await connected();
  const waiting = client.readTasks().catch((error: unknown) => error);
  await untilBlocked();
  await closeRedis(client);
  expect(await waiting).toMatchObject({ code: 'stopped' });
});

async function untilBlocked(): Promise<void> {
  for (let tries = 0; tries < 1_000; tries++) if (/^blocked_clients:[1-9]/m.test(await foreign.info('clients'))) return;
  throw new Error('nobody blocks');
}
