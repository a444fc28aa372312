import { afterAll, beforeAll, expect, it } from 'vitest';
import { Metrics } from '../../src/control-plane/metrics.ts';
import { Meter } from '../../src/engine/meter.ts';
import { systemClock } from '../../src/engine/system-clock.ts';
import { jobFigures } from '../../src/jobs/figures.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import { startJobWorld } from './job-world.ts';

let server: TestRedis;
beforeAll(async () => {
  server = await startTestRedis();
});
afterAll(() => server.stop());

it('metrics tell the jobs by state and how full the queues are', async () => {
  const { jobs, redis, untilState } = await startJobWorld(server, 'figures');
  const queue = 'jobs:v1:figures';
  await jobs.submitAll([
    { type: 'A', queue, jobId: 'one' },
    { type: 'A', queue, jobId: 'two' },
    { type: 'A', queue, jobId: 'later', delayMs: 60_000 },
  ]);
  await untilState('one', 'queued');
  await untilState('two', 'queued');
  await untilState('later', 'scheduled');
  await jobs.pause(queue);
  const figures = jobFigures({ reader: redis.reader, queues: redis.queues, clock: systemClock });
  const metrics = new Metrics({
    meter: new Meter(),
    report: () => ({
      state: 'running',
      owned: 64,
      outboxDepth: 0,
      invocationsRunning: 0,
      cachedActors: 0,
      cachedBytes: 0,
      closedMs: 0,
      sourceLagMs: {},
      deliveryStalledMs: 0,
    }),
    reader: redis.reader,
    jobs: async () => ({ ...(await figures()), placement: { placed: 7, waiting: { no_tag: 2 } } }),
  });
  const text = await metrics.text();
  expect(text).toContain('castellan_jobs{state="queued"} 2');
  expect(text).toContain('castellan_jobs{state="scheduled"} 1');
  expect(text).toContain('castellan_jobs{state="done"} 0');
  expect(text).toContain('castellan_placements 7');
  expect(text).toContain('castellan_jobs_unplaced{missing="no_tag"} 2');
  expect(text).toContain(`castellan_queue_paused{queue="${queue}"} 1`);
  expect(text).toMatch(new RegExp(`castellan_queue_(waiting|held)\\{queue="${queue}"\\} 2`));
});
