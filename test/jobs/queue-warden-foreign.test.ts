/** The warden on a real Redis: workers that know nothing but XREADGROUP, XACK and the keys. */
import { describe, expect, it } from 'vitest';
import { WORKER_GROUP } from '../../src/protocol/job-progress.ts';
import type { QueueObserver } from '../../src/protocol/queues.ts';
import { createProgressListener } from '../../src/redis/progress-listener.ts';
import { createQueueObserver } from '../../src/redis/queue-observer.ts';
import { createQueues } from '../../src/redis/queues.ts';
import { library, progress, QUEUE, WardenFixture } from './warden-fixture.ts';

const world = new WardenFixture();

describe('a foreign worker', () => {
  it('that only acknowledges: its claim and its end, each once, with the attempt of the entry', async () => {
    await world.post('a', { attempt: 3 });
    world.start();
    world.start();
    const [entry] = await world.take('w1');
    await world.hears('a', 'claimed');
    await world.client.xack(QUEUE, WORKER_GROUP, entry?.[0] as string);
    await world.hears('a', 'claimed', 'end');
    await world.settle();
    const report = { worker: 'w1', entry: entry?.[0], attempt: 3 };
    expect(world.eventsOf('a')).toEqual([
      { type: 'claimed', ...report },
      { type: 'end', ...report },
    ]);
    expect(await world.taken()).toEqual([]);
  });

  it('whose consumer is removed with the job in hand has lost it, unless it left how that ended', async () => {
    world.start();
    for (const id of ['lost', 'told']) await world.post(id, { attempt: 2 });
    const entries = await world.take('w1');
    await world.hears('lost', 'claimed');
    await world.hears('told', 'claimed');
    await world.client.xadd('stream:v1:told', '*', 'event', progress('told', 'end', { result: 7 }));
    await world.client.xgroup('DELCONSUMER', QUEUE, WORKER_GROUP, 'w1');
    await world.hears('lost', 'claimed', 'stalled');
    await world.hears('told', 'claimed', 'end');
    expect(world.eventsOf('lost').at(-1)).toEqual({ type: 'stalled', worker: 'w1', entry: entries[0]?.[0], attempt: 2 });
    expect(world.eventsOf('told').at(-1)).toMatchObject({ type: 'end', result: 7 });
  });

  it('that is done between two looks', async () => {
    world.start();
    await world.post('a', { attempt: 2 });
    const entries = await world.take('w1');
    for (const [id] of entries) await world.client.xack(QUEUE, WORKER_GROUP, id);
    await world.hears('a', 'end');
    await world.settle();
    expect(world.eventsOf('a')).toEqual([{ type: 'end', worker: 'w1', entry: entries[0]?.[0], attempt: 2 }]);
  });

  it('that takes a foreign producer’s entry: adopted first, then claimed, then ended', async () => {
    world.start();
    await world.enqueue('jobId', 'x', 'type', 'ECHO');
    await world.until('the group', async () => (await world.client.exists(`{${QUEUE}}:posts`)) === 1);
    const [entry] = await world.take('w1');
    await world.client.xadd('stream:v1:x', '*', 'event', progress('x', 'end', { result: { tokens: 3 } }));
    await world.client.xack(QUEUE, WORKER_GROUP, entry?.[0] as string);
    await world.until('its end', () => world.typesOf('x').at(-1) === 'end');
    expect(world.typesOf('x')[0]).toBe('adopt');
    expect(world.eventsOf('x').at(-1)).toMatchObject({ result: { tokens: 3 }, entry: entry?.[0] });
    expect(world.eventsOf('x').at(-1)).not.toHaveProperty('attempt');
  });

  it('that is done between a look and its note', async () => {
    const observer = createQueueObserver(world.client, library);
    let done = false;
    const note: QueueObserver['note'] = async (notes) => {
      const claimed = notes.flatMap(({ claims }) => claims);
      for (const { entry } of claimed) done = (await world.client.xack(QUEUE, WORKER_GROUP, entry)) === 1 || done;
      await observer.note(notes);
    };
    world.start({ observer: { ...observer, note } });
    await world.post('quick');
    await world.settle(); // seen while it waits, so that the look at its claim passes it
    await world.take('w1');
    await world.until('its end', () => world.typesOf('quick').at(-1) === 'end');
    expect(done).toBe(true);
    expect(world.eventsOf('quick').at(-1)).toMatchObject({ type: 'end', worker: 'w1' });
    await world.settle();
    expect(world.typesOf('quick').filter((type) => type === 'end')).toHaveLength(1);
  });

  it('that finds a queue anew after one with ids from the future was deleted, or one with the last id there is', async () => {
    world.start();
    for (const [round, id] of ['99999999999999-0', '18446744073709551615-18446744073709551615'].entries()) {
      await world.client.xadd(QUEUE, id, 'jobId', `far-${round}`, 'type', 'ECHO');
      await world.until('it is adopted', () => world.typesOf(`far-${round}`).includes('adopt'));
      await world.settle();
      await world.client.del(QUEUE);
      await world.enqueue('jobId', `near-${round}`, 'type', 'ECHO');
      await world.until('the next is adopted', () => world.typesOf(`near-${round}`).includes('adopt'));
      await world.client.del(QUEUE);
      await world.settle();
    }
    expect(world.errors).toEqual([]);
  });

  it('that leaves its outcome in the stream or the status of its job', async () => {
    world.start();
    for (const id of ['added', 'fields', 'hash', 'text', 'failed', 'wrong']) await world.post(id);
    const entries = await world.take('w1');
    await world.client.xadd('stream:v1:added', '*', 'data', progress('added', 'start'));
    await world.client.xadd('stream:v1:added', '*', 'data', progress('added', 'error', { message: 'no GPU', code: 'gpu' }));
    await world.client.xadd('stream:v1:fields', '*', 'type', 'end', 'timestamp', 'now', 'data', '{"text":"hi"}');
    await world.client.hset('job:hash:status', { status: 'completed', result: '[1]' });
    await world.client.set('job:text:status', '{"status":"done","result":7}');
    await world.client.hset('job:failed:status', { status: 'failed', error: 'broke' });
    await world.client.set('stream:v1:wrong', 'not a stream');
    await world.client.lpush('job:wrong:status', 'not a status');
    for (const [id] of entries) await world.client.xack(QUEUE, WORKER_GROUP, id);
    await world.until('all ended', () =>
      ['added', 'fields', 'hash', 'text', 'failed', 'wrong'].every((id) => ['end', 'error'].includes(world.typesOf(id).at(-1) ?? '')),
    );
    expect(world.eventsOf('added').at(-1)).toMatchObject({ type: 'error', message: 'no GPU', code: 'gpu' });
    expect(world.eventsOf('fields').at(-1)).toMatchObject({ type: 'end', result: { text: 'hi' } });
    expect(world.eventsOf('hash').at(-1)).toMatchObject({ type: 'end', result: [1] });
    expect(world.eventsOf('text').at(-1)).toMatchObject({ type: 'end', result: 7 });
    expect(world.eventsOf('failed').at(-1)).toMatchObject({ type: 'error', message: 'broke' });
    expect(world.eventsOf('wrong').at(-1)).toMatchObject({ type: 'end' });
  });

  it('is heard at once on the channel of its job, and its end counts once', async () => {
    await world.post('a', { attempt: 2 });
    world.start({ progress: createProgressListener(world.subscriber) });
    const [entry] = await world.take('w1');
    await world.until('listening', async () => ((await world.client.call('PUBSUB', 'NUMSUB', 'stream:v1:a')) as [string, number])[1] === 1);
    for (let token = 0; token < 20; token++) await world.client.publish('stream:v1:a', progress('a', 'chunk', { progress: token }));
    await world.hears('a', 'claimed', 'alive');
    expect(world.eventsOf('a')[1]).toEqual({ type: 'alive', progress: 0, worker: 'w1', entry: entry?.[0], attempt: 2 });
    await world.client.publish('stream:v1:a', progress('a', 'end', { result: 'hi' }));
    await world.until('its end', () => world.typesOf('a').at(-1) === 'end');
    await world.client.xack(QUEUE, WORKER_GROUP, entry?.[0] as string);
    await world.until('no more listening', async () => ((await world.client.call('PUBSUB', 'NUMSUB', 'stream:v1:a')) as [string, number])[1] === 0);
    expect(world.typesOf('a').filter((type) => type === 'end')).toHaveLength(1);
    expect(world.eventsOf('a').at(-1)).toMatchObject({ type: 'end', result: 'hi', attempt: 2 });
  });

  it('that dies: another takes its entry over and finishes', async () => {
    await world.post('a');
    world.start();
    const [entry] = await world.take('w1');
    await world.hears('a', 'claimed');
    await world.client.call('XAUTOCLAIM', QUEUE, WORKER_GROUP, 'w2', '0', '0-0');
    await world.hears('a', 'claimed', 'claimed');
    await world.client.xack(QUEUE, WORKER_GROUP, entry?.[0] as string);
    await world.hears('a', 'claimed', 'claimed', 'end');
    expect(world.eventsOf('a').map(({ worker }) => worker)).toEqual(['w1', 'w2', 'w2']);
  });

  it('whose entry is withdrawn is not taken for one that is done', async () => {
    await world.post('a');
    world.start();
    const [entry] = await world.take('w1');
    await world.hears('a', 'claimed');
    await createQueues(world.client, library).withdraw({ queue: QUEUE, jobId: 'a', attempt: 1, entry: entry?.[0] as string });
    await world.client.xack(QUEUE, WORKER_GROUP, entry?.[0] as string);
    await world.settle();
    expect(world.typesOf('a')).toEqual(['claimed']);
    expect(await world.taken()).toEqual([]);
  });

  it('that only read another node’s entry has not claimed it', async () => {
    await world.post('a', { fields: ['target_node', 'gpu-7'] });
    world.start();
    const [entry] = await world.take('citadel-gpu-1');
    await world.until('tracked', async () => (await world.taken()).length === 1);
    expect(world.typesOf('a')).toEqual([]);
    await world.client.xclaim(QUEUE, WORKER_GROUP, 'citadel-gpu-7', 0, entry?.[0] as string);
    await world.hears('a', 'claimed');
    expect(world.eventsOf('a')[0]).toMatchObject({ worker: 'citadel-gpu-7' });
  });

  it('is followed across a restart of ours', async () => {
    await world.post('a');
    world.start();
    const [entry] = await world.take('w1');
    await world.hears('a', 'claimed');
    await world.stop();
    await world.client.xack(QUEUE, WORKER_GROUP, entry?.[0] as string);
    world.start();
    await world.hears('a', 'claimed', 'end');
  });

  it('may be many, with a thousand jobs', async () => {
    for (let index = 0; index < 1_000; index++) await world.post(`j${index}`);
    world.start();
    const entries = [...(await world.take('w1', QUEUE, 600)), ...(await world.take('w2', QUEUE, 400))];
    await world.until('all claimed', () => world.told.length === 1_000);
    for (const [id] of entries) await world.client.xack(QUEUE, WORKER_GROUP, id);
    await world.until('all ended', () => world.told.length === 2_000);
    await world.settle();
    expect(world.told.length).toBe(2_000);
    expect(new Set(world.told.map(({ job, event }) => `${job} ${event.type}`)).size).toBe(2_000);
  });
});
