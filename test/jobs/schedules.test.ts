import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { defineJob } from '../../src/worker/define-job.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import { startJobWorld, until } from './job-world.ts';

let server: TestRedis;
beforeAll(async () => {
  server = await startTestRedis();
});
afterAll(() => server.stop());

describe('a schedule', () => {
  it('submits its job again and again, with its children', async () => {
    const { jobs, worker } = await startJobWorld(server, 'schedules1');
    const queue = 'jobs:v1:schedules1';
    const done: string[] = [];
    await worker({ jobs: [defineJob({ type: 'TICK', handler: ({ id }) => void done.push(id) })], queues: [queue] });
    const job = { type: 'TICK', queue, children: [{ type: 'TICK', queue }] };
    const put = await jobs.putSchedule({ name: 'often', everyMs: 100, job });
    expect(put).toMatchObject({ name: 'often', everyMs: 100, job, lastJobId: null, runs: 0, reason: null });
    expect(Date.parse(put.nextAt as string)).toBeGreaterThan(0);
    await until(
      async () => (done.length >= 6 ? true : undefined),
      () => `only ${done.length} ran`,
    );
    expect(await jobs.removeSchedule('often')).toBe(true);
    expect(new Set(done).size).toBe(done.length);
    const parent = done.find((id) => /^often\.\d+$/.test(id)) as string;
    expect(await jobs.get(parent)).toMatchObject({ state: 'done', children: [`${parent}.0`] });
  });

  it('is listed with its next time, changed, and removed', async () => {
    const { jobs } = await startJobWorld(server, 'schedules2');
    await jobs.putSchedule({ name: 'nightly', cron: '0 3 * * *', timeZone: 'Europe/Berlin', job: { type: 'BACKUP', payload: { full: true } } });
    const { items } = await jobs.listSchedules({ limit: 10 });
    expect(items).toMatchObject([{ name: 'nightly', cron: '0 3 * * *', timeZone: 'Europe/Berlin', job: { type: 'BACKUP', payload: { full: true } }, runs: 0 }]);
    expect(new Date(items[0]?.nextAt as string).getUTCMinutes()).toBe(0);
    const changed = await jobs.putSchedule({ name: 'nightly', cron: '30 4 * * *', job: { type: 'BACKUP' } });
    expect(changed).toMatchObject({ cron: '30 4 * * *', nextAt: expect.stringMatching(/T04:30:00.000Z$/), job: { type: 'BACKUP' } });
    expect(changed).not.toHaveProperty('timeZone');
    expect(await jobs.removeSchedule('nightly')).toBe(true);
    expect(await jobs.removeSchedule('nightly')).toBe(false);
    expect((await jobs.listSchedules({ limit: 10 })).items).toEqual([]);
  });

  it('that makes no sense is refused before it is stored, with its field', async () => {
    const { jobs } = await startJobWorld(server, 'schedules3');
    const job = { type: 'A' };
    const cases = [
      [{ name: 'a b', cron: '* * * * *', job }, 'name'],
      [{ name: 'a', job }, 'cron'],
      [{ name: 'a', cron: 'every day', job }, 'cron'],
      [{ name: 'a', cron: '* * * * *', timeZone: 'Mars/Olympus', job }, 'timeZone'],
      [{ name: 'a', everyMs: 1, job }, 'everyMs'],
      [{ name: 'a', everyMs: 1_000, job: { type: '' } }, 'job.type'],
      [{ name: 'a', everyMs: 1_000, job: { type: 'A', jobId: 'x' } }, 'job.jobId'],
      [{ name: 'a', everyMs: 1_000, job: undefined as never }, 'job'],
    ] as const;
    for (const [request, field] of cases) await expect(jobs.putSchedule(request)).rejects.toMatchObject({ code: 'invalid_job', field });
    expect((await jobs.listSchedules({ limit: 10 })).items).toEqual([]);
  });
});
