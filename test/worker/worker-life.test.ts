/** Taking jobs, a link that breaks, stopping. The clock moves only when the test says so. */
import { afterEach, describe, expect, test } from 'vitest';
import { Worker, type WorkerOptions } from '../../src/worker/worker.ts';
import { givenWorker } from './given-worker.ts';
import { ScriptedTransport, settled } from './scripted-transport.ts';

let worker: Worker;

function start(options: Partial<WorkerOptions> = {}) {
  const given = givenWorker(options);
  ({ worker } = given);
  return given;
}

afterEach(async () => {
  const stopped = worker.stop(0);
  // Its clock stands still; what it would wait for is only a link that the test left broken.
  await Promise.race([stopped, settled()]);
});

describe('taking', () => {
  test('never runs more at once than the concurrency', async () => {
    const { transport, hand } = start({ concurrency: 2 });
    for (let index = 0; index < 5; index++) transport.give({ type: 'hand' });
    await settled();
    expect([...hand.jobs.keys()]).toEqual(['job-1', 'job-2']);
    expect(transport.asked).toBe(2);
    hand.of('job-1').end();
    await settled();
    expect([...hand.jobs.keys()]).toEqual(['job-1', 'job-2', 'job-3']);
  });

  test('holds what came beyond it, and runs it next; a stop gives back what was not begun at once', async () => {
    const { transport, clock, hand } = start({ concurrency: 1 });
    await settled();
    for (const jobId of ['first', 'second', 'third']) {
      transport.forThisNode.push({ queue: 'jobs:v1:q', entryId: `${jobId}-0`, jobId, type: 'hand', payload: '{}', attempt: 1, targetNode: 'here' });
    }
    transport.ring();
    await clock.advance(0);
    expect(worker.counts).toMatchObject({ running: 1, waiting: 2 });
    hand.of('first').end();
    await clock.advance(0);
    expect([...hand.jobs.keys()]).toEqual(['first', 'second']);
    const stopped = worker.stop(60_000);
    await clock.advance(0);
    expect(transport.told).toEqual(['first end', 'third released']);
    hand.of('second').end();
    await clock.advance(0);
    await stopped;
    expect(transport.told).toEqual(['first end', 'third released', 'second end']);
  });

  test('says that it lives while it is too busy to read, and only then', async () => {
    const { transport, clock, hand } = start({ concurrency: 1 });
    await settled();
    await clock.advance(3_000);
    expect(transport.keptAlive).toBe(0); // it reads
    transport.give({ type: 'hand' });
    await settled();
    await clock.advance(3_000);
    const kept = transport.keptAlive;
    expect(kept).toBeGreaterThanOrEqual(2);
    hand.of('job-1').end();
    await settled();
    await clock.advance(3_000);
    expect(transport.keptAlive).toBe(kept);
  });

  test('does not run an entry twice, however often it is given', async () => {
    const { transport, hand } = start();
    const entry = transport.give({ type: 'hand' });
    await settled();
    transport.queue.push(entry);
    transport.give();
    await settled();
    expect(worker.counts).toMatchObject({ taken: 2, running: 1 });
    hand.of('job-1').end();
    await settled();
    expect(transport.acknowledged.toSorted()).toEqual(['1-0', '2-0']);
  });

  test.for([{ targetNode: 'there' }, { payload: '{"target_node":"there"}' }, { payload: '{"targetNode":"there"}' }])('leaves %o pending', async (more) => {
    const { transport } = start();
    transport.give(more);
    transport.give({ targetNode: 'here' });
    transport.give({ payload: '{"target_node":"here"}' });
    await settled();
    expect(transport.told).toEqual(['job-2 end', 'job-3 end']);
    expect(transport.acknowledged).toEqual(['2-0', '3-0']);
    expect(worker.counts.leftToOthers).toBe(1);
  });

  test('claims what others left to this node every second, and at once when told', async () => {
    const { transport, clock } = start();
    await clock.advance(100);
    transport.forThisNode.push({ queue: 'jobs:v1:q', entryId: '7-0', jobId: 'one', type: 'echo', payload: '{}', attempt: 1, targetNode: 'here' });
    await clock.advance(1_000);
    expect(transport.told).toEqual(['one end']);
    transport.forThisNode.push({ queue: 'jobs:v1:q', entryId: '8-0', jobId: 'two', type: 'echo', payload: '{}', attempt: 1, targetNode: 'here' });
    transport.ring();
    await clock.advance(0);
    expect(transport.told).toEqual(['one end', 'two end']);
  });

  test('ends while the node is unwell, until it is online again', async () => {
    const { transport } = start({ heartbeatMs: 1_000 });
    await settled();
    transport.tellNodeState('degraded');
    await settled();
    transport.give();
    await settled();
    expect(transport.told).toEqual([]);
    transport.tellNodeState('online');
    await settled();
    expect(transport.told).toEqual(['job-1 end']);
  });

  test('goes on after three heartbeats without news, because a message may be lost', async () => {
    const { transport, clock } = start({ heartbeatMs: 1_000 });
    await settled();
    transport.tellNodeState('offline');
    await settled();
    transport.give();
    await clock.advance(2_900);
    expect(transport.told).toEqual([]);
    await clock.advance(1_200);
    expect(transport.told).toEqual(['job-1 end']);
  });
});

describe('a link that is down', () => {
  test('loses no report and keeps their order; nothing is acknowledged before its report is stored', async () => {
    const { transport, clock, hand, warnings } = start();
    transport.give({ type: 'hand' });
    transport.give({ type: 'hand' });
    await clock.advance(20);
    transport.breakLink();
    hand.of('job-2').end();
    await clock.advance(300);
    hand.of('job-1').end();
    await clock.advance(12_000);
    expect(transport.told).toEqual(['job-1 claimed', 'job-2 claimed']);
    expect(worker.counts.reports).toBe(2);
    transport.mendLink();
    await clock.advance(3_000);
    expect(transport.told).toEqual(['job-1 claimed', 'job-2 claimed', 'job-2 end', 'job-1 end']);
    expect(transport.acknowledged).toEqual(['2-0', '1-0']);
    // Each of the two ways is told once, not at every try.
    expect(warnings.filter((each) => each.includes('tried again'))).toHaveLength(1);
    expect(warnings.filter((each) => each.includes('repeated'))).toHaveLength(1);
  });

  test('takes jobs again when it is back', async () => {
    const { transport, clock } = start();
    await settled();
    transport.breakLink();
    await clock.advance(5_000);
    transport.mendLink();
    transport.give();
    await clock.advance(3_000);
    expect(transport.told).toEqual(['job-1 end']);
  });

  test('bounds what is held: lines are left out, ends never, and no jobs are taken', async () => {
    const { transport, clock, hand } = start({ concurrency: 3 });
    transport.give({ type: 'hand' });
    await clock.advance(20);
    const before = transport.told.length;
    transport.held = new Promise(() => undefined);
    const { log } = hand.of('job-1').job;
    for (let line = 0; line < 6_000; line++) log(`line ${line}`);
    transport.give();
    transport.give();
    await settled();
    hand.of('job-1').end();
    await settled();
    expect(worker.counts.leftOut).toBeGreaterThan(400);
    expect(worker.counts.reports).toBeGreaterThan(5_000);
    expect(worker.counts.done).toBeLessThanOrEqual(3);
    expect(transport.told).toHaveLength(before);
  });

  test('what is told while a call is under way goes together with the next', async () => {
    const { transport } = start({ concurrency: 100 });
    const { promise, resolve } = Promise.withResolvers<void>();
    transport.held = promise;
    transport.give();
    await settled();
    for (let index = 0; index < 50; index++) transport.give();
    await settled();
    resolve();
    await settled();
    expect(transport.stored.map(({ reports }) => reports.length)).toEqual([1, 50]);
    expect(transport.told).toEqual(Array.from({ length: 51 }, (_, index) => `job-${index + 1} end`));
  });
});

describe('stopping', () => {
  test('waits for what runs and takes nothing more', async () => {
    const { transport, clock, hand } = start();
    transport.give({ type: 'hand' });
    await settled();
    const stopped = worker.stop(10_000);
    transport.queue.push({ queue: 'jobs:v1:q', entryId: '99-0', jobId: 'later', type: 'echo', payload: '{}', attempt: 1 });
    await clock.advance(1_000);
    expect(worker.state).toBe('draining');
    hand.of('job-1').end('in time');
    await clock.advance(0);
    await stopped;
    expect(transport.of('job-1').at(-1)).toMatchObject({ type: 'end', data: { result: 'in time' } });
    expect(transport.of('later')).toEqual([{ type: 'released', counts: true, logged: false, data: expect.objectContaining({ attempt: 1 }) }]);
    expect(transport.closed).toBe(true);
    expect(worker.state).toBe('stopped');
  });

  test('aborts at the end of the grace, gives back what may be done again, and fails what may not', async () => {
    const { transport, clock, hand } = start();
    transport.give({ type: 'hand' });
    transport.give({ type: 'hand', requeue: 'never' });
    await settled();
    const stopped = worker.stop(1_000);
    await clock.advance(1_000);
    await stopped;
    expect(hand.of('job-1').job.signal.reason).toMatchObject({ code: 'worker_stopped' });
    expect(transport.of('job-1').at(-1)?.type).toBe('released');
    expect(transport.of('job-2').at(-1)).toMatchObject({ type: 'error', data: { code: 'worker_stopped', retryable: false } });
    expect(transport.acknowledged).toEqual(['1-0', '2-0']);
  });

  test('does not wait for ever for a link that is down, and says what it could not tell', async () => {
    const { transport, clock, hand, warnings } = start();
    transport.give({ type: 'hand' });
    await clock.advance(20);
    transport.breakLink();
    hand.of('job-1').end();
    await settled();
    const stopped = worker.stop(1_000);
    await clock.advance(20_000);
    await stopped;
    expect(warnings.at(-1)).toContain('1 reports could not be stored');
  });

  test('does not say that jobs can be taken again when only the asking for them was called off', async () => {
    const told: string[] = [];
    const log = { warn: (text: string) => void told.push(text), info: (text: string) => void told.push(text) };
    const given = start({ log });
    given.transport.breakLink();
    await given.clock.advance(100);
    given.transport.mendLink();
    await given.clock.advance(60_000);
    await worker.stop(0);
    expect(told.filter((text) => /taken/.test(text))).toEqual([expect.stringContaining('No jobs can be taken')]);
  });

  test('may be asked in any state, any number of times', async () => {
    const { transport, clock } = start();
    await clock.advance(0);
    await Promise.all([worker.stop(), worker.stop()]);
    await worker.stop();
    expect(transport.closed).toBe(true);
    expect(() => worker.start()).toThrow('was stopped');
    const idle = new ScriptedTransport();
    await new Worker({ transport: idle, queues: ['jobs:v1:q'], jobs: [], log: { warn: () => undefined } }).stop();
    expect(idle.closed).toBe(true);
  });
});
