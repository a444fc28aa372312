/** Running jobs: what is told of them, and how they end. The clock moves only when the test says so. */
import { afterEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { JobError } from '../../src/protocol/errors.ts';
import type { AnyJobDefinition } from '../../src/protocol/job-handler.ts';
import { defineJob } from '../../src/worker/define-job.ts';
import { Worker, type WorkerOptions } from '../../src/worker/worker.ts';
import { echo, givenWorker } from './given-worker.ts';
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

describe('a job', () => {
  test('that is short is told once, at its end, with what its claim would have said', async () => {
    const { transport } = start();
    transport.give({ payload: '{"a":1}', attempt: 3, rayId: 'ray' });
    await settled();
    expect(transport.stored).toHaveLength(1);
    expect(transport.stored[0]?.reports[0]?.message).toEqual({
      version: '1.0',
      type: 'end',
      jobId: 'job-1',
      rayId: 'ray',
      timestamp: '2026-01-01T00:00:00.000Z',
      data: { attempt: 3, worker: 'castellan:here:1', nodeId: 'here', entry: '1-0', result: { a: 1 } },
    });
    expect(transport.acknowledged).toEqual(['1-0']);
  });

  test('that takes longer is told as claimed and begun, and alive every 10 s', async () => {
    const { transport, clock, hand } = start();
    transport.give({ type: 'hand' });
    await clock.advance(9);
    expect(transport.stored).toEqual([]);
    await clock.advance(1);
    expect(transport.of('job-1').map(({ type, counts }) => [type, counts])).toEqual([
      ['claimed', true],
      ['start', false],
    ]);
    await clock.advance(25_000);
    hand.of('job-1').end('done');
    await settled();
    expect(transport.told).toEqual(['job-1 claimed', 'job-1 alive', 'job-1 alive', 'job-1 end']);
  });

  test('whose entry carries no attempt says what it is, because nobody may know it yet', async () => {
    const { transport } = start();
    transport.queue.push({ queue: 'jobs:v1:q', entryId: '9-0', jobId: 'theirs', type: 'echo', payload: '{"x":1}' });
    transport.give();
    await settled();
    const origin = { type: 'echo', via: 'queue', queue: 'jobs:v1:q', source: 'jobs:v1:q', payload: { x: 1 } };
    expect(transport.of('theirs')[0]?.data).toEqual({ worker: 'castellan:here:1', nodeId: 'here', entry: '9-0', origin, result: { x: 1 } });
    expect(transport.of('job-1')[0]?.data).not.toHaveProperty('origin');
  });

  test('that throws is told with its code, and whether trying again helps', async () => {
    const failing = (type: string, error: unknown): AnyJobDefinition => ({
      type,
      handler: () => {
        throw error;
      },
    });
    const { transport } = start({
      jobs: [failing('plain', new Error('no disk')), failing('final', new JobError('no_such_model', 'gone', { retryable: false })), failing('odd', 'text')],
    });
    for (const type of ['plain', 'final', 'odd']) transport.give({ type });
    await settled();
    expect(['job-1', 'job-2', 'job-3'].map((id) => transport.of(id)[0]?.data)).toMatchObject([
      { code: 'handler_failed', message: 'no disk', retryable: true },
      { code: 'no_such_model', message: 'gone', retryable: false },
      { code: 'handler_failed', message: 'text', retryable: true },
    ]);
    expect(transport.acknowledged).toEqual(['1-0', '2-0', '3-0']);
  });

  test('with a schema is given the value that the schema makes; what does not fit fails for good and names the field', async () => {
    const seen: unknown[] = [];
    const resize = defineJob({
      type: 'resize',
      payload: z.object({ size: z.object({ width: z.coerce.number() }) }),
      result: z.object({ bytes: z.number() }),
      handler: ({ payload }) => {
        seen.push(payload);
        return { bytes: payload.size.width > 100 ? ('many' as never) : 1 };
      },
    });
    const { transport } = start({ jobs: [resize] });
    for (const width of ['"12"', '"wide"', '200']) transport.give({ type: 'resize', payload: `{"size":{"width":${width}}}` });
    await settled();
    expect(seen).toEqual([{ size: { width: 12 } }, { size: { width: 200 } }]);
    expect(transport.of('job-1')[0]).toMatchObject({ type: 'end', data: { result: { bytes: 1 } } });
    expect(transport.of('job-2')[0]?.data).toMatchObject({ code: 'invalid_payload', retryable: false, field: 'size.width' });
    expect(transport.of('job-3')[0]?.data).toMatchObject({ code: 'invalid_result', retryable: false, field: 'bytes' });
  });

  test.for([
    ['{', 'invalid_payload', false],
    ['{"n":1}', 'unknown_type', true],
  ] as const)('with payload %s and an unknown type fails with %s, retryable: %s', async ([payload, code, retryable]) => {
    const { transport } = start();
    transport.give({ type: 'nobody-knows', payload });
    await settled();
    expect(transport.of('job-1')[0]).toMatchObject({ type: 'error', data: { code, retryable } });
    expect(transport.acknowledged).toEqual(['1-0']);
  });

  test('whose result is too large or no JSON fails for good', async () => {
    const big: AnyJobDefinition = { type: 'big', handler: () => 'x'.repeat(300_000) };
    const odd: AnyJobDefinition = { type: 'odd', handler: () => ({ big: 1n }) };
    const { transport } = start({ jobs: [big, odd] });
    transport.give({ type: 'big' });
    transport.give({ type: 'odd' });
    await settled();
    expect(transport.of('job-1')[0]?.data).toMatchObject({ code: 'result_too_large', retryable: false });
    expect(transport.of('job-2')[0]?.data).toMatchObject({ code: 'invalid_result', retryable: false });
  });

  test('tells progress, newest first when it comes fast, and chunks and lines all and in order', async () => {
    const { transport, clock, hand } = start();
    transport.give({ type: 'hand' });
    await settled();
    // Taken apart, as handlers are written.
    const { progress, chunk, log } = hand.of('job-1').job;
    progress(1, 'begun');
    progress(2);
    progress(3);
    log('a line');
    chunk({ token: 'a' });
    chunk({ token: 'b' });
    await clock.advance(100);
    hand.of('job-1').end();
    await settled();
    const all = transport
      .of('job-1')
      .map(({ type, counts, logged, data: { progress: value, log: line, message } }) => [type, counts, logged, value ?? line ?? null, message]);
    expect(all).toEqual([
      ['claimed', true, false, null, undefined],
      ['start', false, false, null, undefined],
      ['chunk', true, false, 1, 'begun'],
      ['chunk', false, true, 'a line', undefined],
      ['chunk', false, true, { token: 'a' }, undefined],
      ['chunk', false, true, { token: 'b' }, undefined],
      ['chunk', true, false, 3, undefined],
      ['end', true, true, null, undefined],
    ]);
  });
});

describe('a job that shall end', () => {
  test('is aborted at its timeout; its error is told when its handler has ended', async () => {
    const { transport, clock, hand } = start();
    transport.give({ type: 'hand', timeoutMs: 500 });
    await clock.advance(0);
    const { job, fail } = hand.of('job-1');
    const { signal } = job;
    await clock.advance(400);
    expect(signal.aborted).toBe(false);
    await clock.advance(200);
    expect(signal.reason).toMatchObject({ code: 'timeout' });
    expect(transport.told).toEqual(['job-1 claimed']);
    fail(signal.reason);
    await settled();
    expect(transport.of('job-1').at(-1)).toMatchObject({ type: 'error', data: { code: 'timeout', retryable: true } });
    expect(worker.counts).toMatchObject({ timedOut: 1, running: 0 });
  });

  test.for(['{"timeout_ms":500}', '{"timeoutMs":"500"}'])('takes its timeout from the payload %s', async (payload) => {
    const { clock, hand, transport } = start();
    transport.give({ type: 'hand', payload });
    await clock.advance(700);
    expect(hand.of('job-1').job.signal.reason).toMatchObject({ code: 'timeout' });
  });

  test('and does not is told after a grace, once, and keeps its slot until it ends', async () => {
    const { transport, clock, hand } = start({ concurrency: 1 });
    transport.give({ type: 'hand', timeoutMs: 100 });
    transport.give();
    await clock.advance(6_000);
    expect(transport.told).toEqual(['job-1 claimed', 'job-1 error']);
    expect(worker.counts.running).toBe(1);
    hand.of('job-1').end('late');
    await settled();
    expect(transport.told).toEqual(['job-1 claimed', 'job-1 error', 'job-2 end']);
  });

  test('and never does loses its slot after a minute, which is said', async () => {
    const { transport, clock, warnings } = start({ concurrency: 1 });
    transport.give({ type: 'hand', timeoutMs: 100 });
    transport.give();
    await clock.advance(70_000);
    expect(transport.told).toEqual(['job-1 claimed', 'job-1 error', 'job-2 end']);
    expect(worker.counts.abandoned).toBe(1);
    expect(warnings.join()).toContain('job-1');
  });

  test('is cancelled by its flag within a second, whatever its handler then does', async () => {
    const { transport, clock, hand } = start();
    transport.give({ type: 'hand' });
    transport.give({ type: 'hand' });
    await clock.advance(100);
    transport.flags.add('job-1');
    await clock.advance(1_000);
    expect(hand.of('job-1').job.signal.reason).toMatchObject({ code: 'cancelled' });
    expect(hand.of('job-2').job.signal.aborted).toBe(false);
    hand.of('job-1').end('a result that nobody wants');
    await settled();
    expect(transport.of('job-1').at(-1)?.type).toBe('cancelled');
    expect(transport.acknowledged).toEqual(['1-0']);
  });
});

test.for([
  [{ queues: [] }, 'queues'],
  [{ queues: ['other'] }, 'queues'],
  [{ concurrency: 0 }, 'concurrency'],
  [{ jobs: [echo, echo] }, 'jobs'],
] as const)('%o is refused and named', ([wrong, setting]) => {
  const options = { transport: new ScriptedTransport(), queues: ['jobs:v1:q'], jobs: [echo], log: { warn: () => undefined } };
  expect(() => new Worker({ ...options, ...wrong })).toThrow(`setting ${setting}`);
});
