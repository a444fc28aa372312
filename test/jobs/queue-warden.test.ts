/** The warden on a real Redis: what other producers enqueue, and what workers of ours do. */
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/engine/system-clock.ts';
import { QueuePump } from '../../src/jobs/queue-pump.ts';
import { RedisUnusableError } from '../../src/protocol/errors.ts';
import { WORKER_GROUP } from '../../src/protocol/job-progress.ts';
import type { QueueContract } from '../../src/protocol/queues.ts';
import { createJobTransport } from '../../src/redis/job-transport.ts';
import { createQueueObserver } from '../../src/redis/queue-observer.ts';
import { createQueues } from '../../src/redis/queues.ts';
import { parseRedisUrl } from '../../src/redis/target.ts';
import { library, NOW, QUEUE, WardenFixture, type Entry } from './warden-fixture.ts';

const TAG_QUEUE = 'jobs:v1:tag:gpu';
const world = new WardenFixture();

describe('an entry of another producer', () => {
  it('is adopted once, whoever looks and however often', async () => {
    const entry = await world.enqueue('jobId', 'x', 'type', 'LLM_INFERENCE', 'payload', '{"a":1}', 'enqueuedAt', '2026-01-01T00:00:00Z');
    world.start();
    world.start();
    await world.hears('x', 'adopt');
    await world.post('ours');
    await world.enqueue('job_id', 'y', 'type', 'ECHO');
    await world.hears('y', 'adopt');
    await world.settle();
    expect(world.told.map(({ job, source }) => [job, source])).toEqual([
      ['job/x', `stream:${QUEUE}`],
      ['job/y', `stream:${QUEUE}`],
    ]);
    expect(world.eventsOf('x')[0]).toEqual({
      type: 'adopt',
      entry,
      spec: { type: 'LLM_INFERENCE', via: 'queue', queue: QUEUE, source: QUEUE, payload: { a: 1 } },
    });
    expect(await world.client.call('XINFO', 'GROUPS', QUEUE)).toHaveLength(1);
  });

  it('is found in a queue that nobody named, and after a restart only what came since', async () => {
    await world.client.xadd(TAG_QUEUE, '*', 'jobId', 'x', 'type', 'ECHO');
    world.start();
    await world.hears('x', 'adopt');
    await world.stop();
    await world.client.xadd(TAG_QUEUE, '*', 'jobId', 'y', 'type', 'ECHO');
    world.forget();
    world.start();
    await world.hears('y', 'adopt');
    expect(world.typesOf('x')).toEqual(['adopt']);
  });

  it('that was done with before anybody looked is history', async () => {
    await world.client.xgroup('CREATE', QUEUE, WORKER_GROUP, '0', 'MKSTREAM');
    for (const id of ['done', 'pending', 'unread']) await world.enqueue('jobId', id, 'type', 'ECHO');
    const [first, second] = [await world.take('w', QUEUE, 1), await world.take('w', QUEUE, 1)];
    await world.client.xack(QUEUE, WORKER_GROUP, first[0]?.[0] as string);
    expect(second.length).toBe(1);
    world.start();
    await world.until('both', () => world.typesOf('unread').length === 1 && world.typesOf('pending').length === 2);
    await world.settle();
    expect(world.told.map(({ job, event }) => [job, event.type])).toEqual([
      ['job/pending', 'adopt'],
      ['job/unread', 'adopt'],
      ['job/pending', 'claimed'],
    ]);
  });

  it('costs no look through the stream when only we have posted', async () => {
    let scans = 0;
    const observer = createQueueObserver(world.client, library);
    world.start({ observer: { ...observer, scanForeign: async (...args) => (scans++, await observer.scanForeign(...args)) } });
    await world.enqueue('jobId', 'x', 'type', 'ECHO');
    await world.hears('x', 'adopt');
    const before = scans;
    for (let index = 0; index < 50; index++) await world.post(`ours${index}`);
    await world.until(
      'all seen',
      async () => (await world.client.hget(`{${QUEUE}}:posts`, 'scanned')) === (await world.client.xrevrange(QUEUE, '+', '-', 'COUNT', 1))[0]?.[0],
    );
    expect(scans).toBe(before);
    expect(world.told.length).toBe(1);
  });

  it('that is bad goes to the dead world.letters with the field at fault, its neighbours are adopted', async () => {
    const bad: readonly (readonly [field: string, fields: string[]])[] = [
      ['jobId', ['type', 'ECHO']],
      ['jobId', ['jobId', 'a b', 'type', 'ECHO']],
      ['jobId', ['jobId', 'a/b', 'type', 'ECHO']],
      ['jobId', ['jobId', '{p0}', 'type', 'ECHO']],
      ['jobId', ['jobId', 'ä', 'type', 'ECHO']],
      ['jobId', ['jobId', 'x'.repeat(200), 'type', 'ECHO']],
      ['jobId', ['jobId', 'a', 'job_id', 'b', 'type', 'ECHO']],
      ['type', ['jobId', 'a']],
      ['type', ['jobId', 'a', 'type', '']],
      ['type', ['jobId', 'a', 'type', '1st']],
      ['type', ['jobId', 'a', 'type', 'a b']],
      ['payload', ['jobId', 'a', 'type', 'ECHO', 'payload', '']],
      ['payload', ['jobId', 'a', 'type', 'ECHO', 'payload', 'nonsense']],
      ['payload', ['jobId', 'a', 'type', 'ECHO', 'payload', '{"token":"hunter2"']],
      ['payload', ['jobId', 'a', 'type', 'ECHO', 'payload', `"${'x'.repeat(600_000)}"`]],
      ['payload.timeout_ms', ['jobId', 'a', 'type', 'ECHO', 'payload', '{"timeout_ms":-1}']],
      ['payload.timeout_ms', ['jobId', 'a', 'type', 'ECHO', 'payload', '{"timeout_ms":"long"}']],
      ['payload.target_node', ['jobId', 'a', 'type', 'ECHO', 'payload', '{"target_node":7}']],
      ['target_node', ['jobId', 'a', 'type', 'ECHO', 'target_node', 'a b']],
      ['rayId', ['jobId', 'a', 'type', 'ECHO', 'rayId', 'r'.repeat(300)]],
    ];
    const ids: string[] = [];
    for (const [, fields] of bad) ids.push(await world.enqueue(...fields));
    await world.enqueue('jobId', 'good', 'type', 'ECHO');
    world.start();
    await world.hears('good', 'adopt');
    expect(world.told.length).toBe(1);
    expect(world.letters.map(({ ref, field, source }) => [ref, field, source])).toEqual(bad.map(([field], index) => [ids[index], field, `stream:${QUEUE}`]));
    for (const letter of world.letters) expect(letter).toMatchObject({ at: NOW, reason: expect.stringContaining(letter.field as string) });
    expect(JSON.stringify(world.letters)).not.toContain('hunter2');
  });

  it('is world.told again when Redis was away in between, and nothing is lost', async () => {
    world.failing = new RedisUnusableError('away');
    world.start();
    await world.enqueue('jobId', 'x', 'type', 'ECHO');
    await world.until('a failure', () => world.errors.length > 0);
    world.failing = undefined;
    await world.hears('x', 'adopt');
  });
});

describe('our own workers', () => {
  it('speak for themselves: nothing is world.told of what they take and finish', async () => {
    for (let index = 0; index < 5; index++) await world.post(`a${index}`);
    world.start();
    const entries = await world.take('castellan:gpu-1:1');
    await world.settle();
    await world.client
      .multi()
      .xack(QUEUE, WORKER_GROUP, ...entries.map(([id]) => id))
      .xdel(QUEUE, ...entries.map(([id]) => id))
      .exec();
    await world.settle();
    expect(world.told).toEqual([]);
  });

  it('that are gone with an entry in hand are world.told of once', async () => {
    world.start({ leaseMs: 30 });
    await world.post('a', { attempt: 2 });
    const [entry] = await world.take('castellan:gpu-1:1');
    await world.hears('a', 'stalled');
    const before = world.sends;
    await world.settle();
    expect(world.sends).toBe(before);
    expect(world.eventsOf('a')).toEqual([{ type: 'stalled', entry: entry?.[0], worker: 'castellan:gpu-1:1', attempt: 2 }]);
  });

  it('take over from a foreign one: it is followed no longer', async () => {
    await world.post('a');
    world.start();
    const [entry] = await world.take('w1');
    await world.hears('a', 'claimed');
    await world.client.xclaim(QUEUE, WORKER_GROUP, 'castellan:gpu-1:1', 0, entry?.[0] as string);
    await world.until('let go', async () => (await world.taken()).length === 0);
    await world.client
      .multi()
      .xack(QUEUE, WORKER_GROUP, entry?.[0] as string)
      .xdel(QUEUE, entry?.[0] as string)
      .exec();
    await world.settle();
    expect(world.typesOf('a')).toEqual(['claimed']);
  });

  it('finish a foreign producer’s entry, which stays where it is: their report is the only one', async () => {
    const transport = createJobTransport(parseRedisUrl(world.server.url), { consumer: 'castellan:gpu-1:1', nodeId: 'gpu-1' });
    await transport.connect();
    try {
      world.start();
      for (const id of ['x', 'y']) await world.enqueue('jobId', id, 'type', 'ECHO');
      await world.until('both', () => world.told.length === 2);
      const entries = await transport.consume({ queues: [QUEUE], count: 10, blockMs: 1_000, signal: AbortSignal.timeout(10_000) });
      expect(entries.map(({ jobId }) => jobId)).toEqual(['x', 'y']);
      const message = { version: '1.0', type: 'end', jobId: 'x', timestamp: '2026-01-01T00:00:00Z', data: { result: 7 } } as const;
      await transport.report([{ message, counts: true, logged: false }], entries);
      await world.until('passed', async () => (await world.taken()).length === 0);
      await world.settle();
      expect(world.told.map(({ event }) => event.type)).toEqual(['adopt', 'adopt']);
      expect(await world.client.xlen(QUEUE)).toBe(2);
    } finally {
      await transport.close();
    }
  });
});

describe('held entries', () => {
  it('are pumped as soon as somebody sees them', async () => {
    const queues = createQueues(world.client, library);
    const pump = new QueuePump({ queues, clock: systemClock });
    pump.start();
    try {
      world.start({ onHeld: (queue) => pump.ring(queue) });
      await queues.setLimits(QUEUE, { concurrency: 2 });
      for (let index = 0; index < 9; index++) await world.post(`a${index}`);
      let done = 0;
      await world.until('all done', async () => {
        const entries = await world.take('castellan:n:1');
        expect(entries.length).toBeLessThanOrEqual(2);
        for (const [id] of entries) await world.client.multi().xack(QUEUE, WORKER_GROUP, id).xdel(QUEUE, id).exec();
        return (done += entries.length) === 9;
      });
    } finally {
      await pump.stop();
    }
  });
});

describe('another stream', () => {
  it('is observed by its own contract', async () => {
    const contract: QueueContract = {
      group: 'lightrag-workers',
      fields: ['job_id', 'chunk_id'],
      jobOf: (fields) => ({ jobId: `${fields[1]}@${fields[3]}` }),
    };
    const stream = 'shield:ingestion_queue';
    await world.client.xgroup('CREATE', stream, contract.group, '0', 'MKSTREAM');
    world.start({ others: [{ stream, contract }] });
    await world.until('looked at', async () => (await world.client.exists(`{${stream}}:posts`)) === 1);
    await world.client.xadd(stream, '*', 'job_id', 'doc', 'chunk_id', '1', 'content', 'text');
    const reply = (await world.client.call('XREADGROUP', 'GROUP', contract.group, 'rag', 'STREAMS', stream, '>')) as [string, Entry[]][];
    await world.hears('doc@1', 'claimed');
    await world.client.xack(stream, contract.group, reply[0]?.[1][0]?.[0] as string);
    await world.hears('doc@1', 'claimed', 'end');
  });
});

describe('tidying', () => {
  it('keeps what is not done with, and ten thousand of what is', async () => {
    await world.client.xgroup('CREATE', QUEUE, WORKER_GROUP, '0', 'MKSTREAM');
    const pipeline = world.client.pipeline();
    for (let index = 0; index < 10_400; index++) pipeline.xadd(QUEUE, `${index + 1}-0`, 'a', '1');
    await pipeline.exec();
    const observer = createQueueObserver(world.client, library);
    const streams = [{ stream: QUEUE, group: WORKER_GROUP, fields: [] }];
    await observer.tidy(streams);
    expect(await world.client.xlen(QUEUE)).toBe(10_400);
    const entries = await world.take('w1', QUEUE, 200);
    await world.client.xack(QUEUE, WORKER_GROUP, ...entries.slice(0, 100).map(([id]) => id));
    await observer.tidy(streams);
    expect(await world.client.xlen(QUEUE)).toBe(10_300);
    expect((await world.client.xrange(QUEUE, '-', '+', 'COUNT', 1))[0]?.[0]).toBe('101-0');
    await world.take('w1', QUEUE, 11_000);
    await world.client.xack(QUEUE, WORKER_GROUP, ...((await world.client.xpending(QUEUE, WORKER_GROUP, '-', '+', 11_000)) as [string][]).map(([id]) => id));
    await observer.tidy(streams);
    expect(await world.client.xlen(QUEUE)).toBe(10_000);
    await observer.tidy([{ stream: 'jobs:v1:missing', group: WORKER_GROUP, fields: [] }]);
  });
});
