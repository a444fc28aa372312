/** Whole lives of jobs: submitted, decided by the machine in a real engine, done by workers, over a real Redis. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { defineJob } from '../../src/worker/define-job.ts';
import { JobError } from '../../src/protocol/errors.ts';
import { startJobWorld, until } from '../jobs/job-world.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';

let server: TestRedis;
beforeAll(async () => void (server = await startTestRedis()));
afterAll(async () => await server.stop());

const quiet = { log: { warn: () => undefined } };

test('many jobs are done, each once, by two workers at a time', async () => {
  const queue = 'jobs:v1:many';
  const world = await startJobWorld(server, 'many');
  const seen: number[] = [];
  const square = defineJob({ type: 'square', handler: ({ payload }) => (seen.push(payload as number), (payload as number) ** 2) });
  await Promise.all([1, 2].map(() => world.worker({ jobs: [square], queues: [queue], concurrency: 20, ...quiet })));
  const submitted = await world.jobs.submitAll(Array.from({ length: 500 }, (_, index) => ({ type: 'square', queue, payload: index })));
  const last = await Promise.all(submitted.map(({ jobId }) => world.jobs.waitForEnd(jobId, 20_000)));
  expect(last.map((view) => [view?.state, view?.result])).toEqual(Array.from({ length: 500 }, (_, index) => ['done', index ** 2]));
  expect(seen.toSorted((left, right) => left - right)).toEqual(Array.from({ length: 500 }, (_, index) => index));
  expect(last[0]).toMatchObject({ attempt: 1, worker: expect.stringMatching(/^castellan:/) });
});

test('progress and log of a longer job are seen while it runs; a cancel reaches its handler', async () => {
  const queue = 'jobs:v1:long';
  const world = await startJobWorld(server, 'long');
  const aborted = Promise.withResolvers<string>();
  const long = defineJob({
    type: 'long',
    handler: async ({ progress, log, signal }) => {
      log('begun');
      progress(40, 'nearly half');
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      aborted.resolve((signal.reason as JobError).code);
      throw signal.reason;
    },
  });
  await world.worker({ jobs: [long], queues: [queue], ...quiet });
  const { jobId } = await world.jobs.submit({ type: 'long', queue });
  await world.untilState(jobId, 'processing');
  const view = await until(
    async () => ((await world.jobs.get(jobId))?.progress === 40 ? await world.jobs.get(jobId) : undefined),
    () => 'progress',
  );
  expect(view?.worker).toMatch(/^castellan:/);
  expect((await world.jobs.log(jobId, { limit: 10 })).items.map(({ data }) => data)).toMatchObject([{ log: 'begun' }]);
  await world.jobs.cancel(jobId, 'no longer wanted');
  expect(await aborted.promise).toBe('cancelled');
  expect(await world.untilState(jobId, 'cancelled')).toMatchObject({ reason: expect.stringContaining('no longer wanted') });
});

test('a worker that stops gives its job back, and another one finishes it', async () => {
  const queue = 'jobs:v1:handed';
  const world = await startJobWorld(server, 'handed');
  let begun = false;
  const stuck = defineJob({
    type: 'hand',
    handler: async () => {
      begun = true;
      await new Promise(() => undefined);
    },
  });
  const first = await world.worker({ jobs: [stuck], queues: [queue], graceMs: 50, ...quiet });
  const { jobId } = await world.jobs.submit({ type: 'hand', queue });
  await until(
    async () => (begun ? true : undefined),
    () => 'begun',
  );
  await first.stop();
  await world.worker({ jobs: [defineJob({ type: 'hand', handler: ({ attempt }) => attempt })], queues: [queue], ...quiet });
  expect(await world.untilState(jobId, 'done')).toMatchObject({ attempt: 2, result: 2 });
});

test('a worker that does not know the type lets another one do it; an error that is final ends it', async () => {
  const queue = 'jobs:v1:types';
  const world = await startJobWorld(server, 'types');
  const ignorant = await world.worker({ jobs: [], queues: [queue], ...quiet });
  const { jobId } = await world.jobs.submit({ type: 'rare', queue, attempts: 5, backoff: { kind: 'fixed', delayMs: 50 } });
  await until(
    async () => ((ignorant.counts?.failed ?? 0) > 0 ? true : undefined),
    () => 'refused',
  );
  await ignorant.stop();
  const rare = defineJob({
    type: 'rare',
    handler: ({ payload }) => {
      if (payload === 'bad') throw new JobError('bad_model', 'no such model', { retryable: false });
      return 'done';
    },
  });
  await world.worker({ jobs: [rare], queues: [queue], ...quiet });
  expect(await world.untilState(jobId, 'done')).toMatchObject({ result: 'done' });
  const final = await world.jobs.submit({ type: 'rare', queue, payload: 'bad', attempts: 5 });
  expect(await world.untilState(final.jobId, 'error')).toMatchObject({ attempt: 1, error: { code: 'bad_model', message: 'no such model' } });
});

test('a job for a node is done there, also when another worker reads its entry first', async () => {
  const queue = 'jobs:v1:placed';
  const world = await startJobWorld(server, 'placed', { place: async () => await Promise.resolve({ nodeId: 'gpu-2' }) });
  const where = (node: string) => defineJob({ type: 'where', handler: () => node });
  for (const node of ['gpu-1', 'gpu-2', 'gpu-3']) await world.worker({ jobs: [where(node)], queues: [queue], nodeId: node, ...quiet });
  const submitted = await world.jobs.submitAll(Array.from({ length: 30 }, () => ({ type: 'where', queue, requires: { tags: ['gpu'] } })));
  const ended = await Promise.all(submitted.map(({ jobId }) => world.jobs.waitForEnd(jobId, 20_000)));
  expect(new Set(ended.map((view) => JSON.stringify([view?.state, view?.result, view?.nodeId])))).toEqual(new Set(['["done","gpu-2","gpu-2"]']));
});
