import { afterAll, beforeAll, describe, expect, expectTypeOf, it, onTestFinished } from 'vitest';
import { z } from 'zod';
import { createJobClient, jobRequest, type JobClient } from '../../src/index.ts';
import { JobError } from '../../src/protocol/errors.ts';
import { defineJob, handleJob } from '../../src/worker/define-job.ts';
import { startJobWorld } from '../jobs/job-world.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';

const render = defineJob({
  type: 'render',
  queue: 'jobs:v1:library',
  attempts: 1,
  payload: z.object({ scene: z.string(), scale: z.number().default(1) }),
  result: z.object({ url: z.string() }),
});

let server: TestRedis;
beforeAll(async () => {
  server = await startTestRedis();
});
afterAll(() => server.stop());

async function running(prefix: string): Promise<JobClient> {
  const world = await startJobWorld(server, prefix);
  await world.worker({
    jobs: [
      handleJob(render, ({ payload }) => {
        if (payload.scene === 'storm') throw new JobError('too_dark', 'Nothing can be seen.');
        return { url: `/${payload.scene}@${payload.scale}` };
      }),
    ],
  });
  const jobs = await createJobClient({ redis: server.url, prefix }).start();
  onTestFinished(() => jobs.stop());
  return jobs;
}

describe('a job client', () => {
  it('submits by kind, with its types and defaults, and waits for the result', async () => {
    const jobs = await running('lib1');
    const job = await jobs.add(render, { scene: 'harbour' });
    const result = await job.result();
    expectTypeOf(result).toEqualTypeOf<{ url: string }>();
    expect(result).toEqual({ url: '/harbour@1' });
    expect(await jobs.get(job.jobId)).toMatchObject({ state: 'done', queue: 'jobs:v1:library', attemptsMax: 1, payload: { scene: 'harbour' } });
    // @ts-expect-error -- the schema says what a payload is
    await expect(jobs.add(render, { scene: 7 })).rejects.toMatchObject({ code: 'invalid_job', field: 'payload.scene' });
  });

  it('throws what the handler threw, and says when the wait is over first', async () => {
    const jobs = await running('lib2');
    await expect((await jobs.add(render, { scene: 'storm' })).result()).rejects.toMatchObject({ name: 'JobError', code: 'too_dark' });
    const later = await jobs.add('render', { scene: 'x' }, { delayMs: 60_000 });
    await expect(later.result({ timeoutMs: 50 })).rejects.toMatchObject({ code: 'wait_timeout' });
    expect(await jobs.cancel(later.jobId, 'enough')).toMatchObject({ kind: 'done' });
    await expect(later.result()).rejects.toMatchObject({ code: 'cancelled', message: 'enough' });
    await expect(jobs.result('nobody', { timeoutMs: 10 })).rejects.toMatchObject({ code: 'actor_not_found' });
  });

  it('follows what becomes of jobs', async () => {
    const jobs = await running('lib6');
    const ending = new AbortController();
    const transitions = await jobs.transitions('new', { signal: ending.signal });
    const { jobId } = await jobs.add(render, { scene: 'pier' });
    const seen: unknown[] = [];
    for await (const { transition } of transitions) {
      if (transition.key !== `job/${jobId}`) continue;
      seen.push(transition.to);
      if (transition.to === 'done') break;
    }
    expect(seen.at(0)).toBe('queued');
    expect(seen.at(-1)).toBe('done');
    ending.abort();
  });

  it('submits many at once, and a family', async () => {
    const jobs = await running('lib3');
    const many = await jobs.addAll(await Promise.all(['a', 'b', 'c'].map((scene) => jobRequest(render, { scene }))));
    expect(await Promise.all(many.map(({ jobId }) => jobs.result(jobId)))).toEqual(['a', 'b', 'c'].map((scene) => ({ url: `/${scene}@1` })));
    const parent = await jobs.add(render, { scene: 'all' }, { children: [await jobRequest(render, { scene: 'part' }, { priority: 'high' })] });
    await parent.result();
    expect(await jobs.get(`${parent.jobId}.0`)).toMatchObject({ state: 'done', parent: parent.jobId, priority: 10 });
    expect((await jobs.list({ state: 'done', type: 'render' })).items).toHaveLength(5);
  });

  it('needs a start, and may be stopped and started again', async () => {
    const jobs = createJobClient({ redis: server.url, prefix: 'lib4' });
    onTestFinished(() => jobs.stop());
    await expect(jobs.add('x')).rejects.toMatchObject({ code: 'stopped' });
    await jobs.start();
    await jobs.stop();
    await jobs.stop();
    await jobs.start();
    expect(await jobs.get('x')).toBeUndefined();
  });

  it('that is stopped tells those who wait', async () => {
    const jobs = await running('lib5');
    const { jobId, result } = await jobs.add('render', { scene: 'x' }, { delayMs: 60_000 });
    const [[waited]] = await Promise.all([Promise.allSettled([result({ timeoutMs: 30_000 })]), jobs.result(jobId, { timeoutMs: 20 }).catch(() => jobs.stop())]);
    expect(waited).toMatchObject({ status: 'rejected', reason: { code: 'stopped' } });
  });
});
