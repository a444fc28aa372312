import { expect, it, onTestFinished } from 'vitest';
import { createCastellan, createJobClient, createWorker, defineJob } from '../../src/index.ts';
import { startTestRedis } from '../redis-server.ts';

it('runs jobs beside actors of its own when it is asked to, and says why a job waits for a node where there is no fleet', async () => {
  const server = await startTestRedis();
  onTestFinished(() => server.stop());
  const castellan = await createCastellan({ redis: server.url, types: [], jobs: {} }).start();
  const double = defineJob({ type: 'double', handler: async ({ payload }) => await Promise.resolve(2 * (payload as number)) });
  const worker = await createWorker({ redis: server.url, jobs: [double] }).start();
  const jobs = await createJobClient({ redis: server.url }).start();
  onTestFinished(async () => {
    await Promise.all([jobs.stop(), worker.stop()]);
    await castellan.stop();
  });

  expect(await (await jobs.add('double', 21)).result()).toBe(42);

  const { jobId } = await jobs.add('double', 1, { requires: { tags: ['gpu'] } });
  await expect.poll(async () => (await jobs.get(jobId))?.reason).toContain('there is no fleet here');
});
