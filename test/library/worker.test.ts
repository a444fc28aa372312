/** `createWorker` and `defineJob` over a real Redis; what is wrong must not compile. */
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, expectTypeOf, it } from 'vitest';
import { z } from 'zod';
import { createWorker, defineJob, handleJob, JobError, type AnyJobDefinition, type CreateWorkerOptions, type Json, type JobWorker } from '../../src/index.ts';
import { encodeJobEntry } from '../../src/protocol/job-progress.ts';
import { until } from '../agent/until.ts';
import { freePort, startTestRedis, type TestRedis } from '../redis-server.ts';

let server: TestRedis;
let redis: Redis;
const workers: JobWorker[] = [];

beforeAll(async () => {
  server = await startTestRedis();
  redis = new Redis(server.url);
});
beforeEach(async () => void (await redis.flushall()));
afterEach(async () => void (await Promise.all(workers.splice(0).map((each) => each.stop()))));
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

function worker(options: Partial<CreateWorkerOptions> & { readonly jobs: readonly AnyJobDefinition[] }): JobWorker {
  const made = createWorker({ redis: server.url, log: { warn: () => undefined }, graceMs: 2_000, ...options });
  workers.push(made);
  return made;
}
const post = async (queue: string, jobId: string, type: string, payload: Json = {}): Promise<unknown> =>
  await redis.xadd(queue, '*', ...encodeJobEntry({ jobId, type, payload: JSON.stringify(payload), attempt: 1 }));
const told = async (jobId: string) => {
  const reports = await redis.xrange('job:reports', '-', '+');
  return reports
    .filter(([, [, id]]) => id === jobId)
    .map(([, [, , , text]]) => JSON.parse(text as string) as { type: string; data: { [field: string]: Json } });
};
const ended = async (jobId: string) =>
  await until(`${jobId} has ended`, async () => (await told(jobId)).find(({ type }) => !['claimed', 'chunk', 'alive'].includes(type)));

const resize = defineJob({
  type: 'resize',
  queue: 'jobs:v1:images',
  timeoutMs: 60_000,
  payload: z.object({ width: z.coerce.number() }),
  result: z.object({ bytes: z.number() }),
});

describe('a definition', () => {
  it('has the types of its schemas, and may get its handler elsewhere', () => {
    const handled = handleJob(resize, ({ payload }) => {
      expectTypeOf(payload).toEqualTypeOf<{ width: number }>();
      return { bytes: payload.width };
    });
    expectTypeOf(handled.type).toEqualTypeOf<'resize'>();
    expect(handled).toMatchObject({ type: 'resize', queue: 'jobs:v1:images', timeoutMs: 60_000 });
    // @ts-expect-error -- the handler's result does not fit the schema
    handleJob(resize, () => ({ bytes: 'many' }));
    const whole = defineJob({
      type: 'count',
      payload: z.object({ to: z.number() }),
      handler: async ({ payload, attempt }) => await Promise.resolve(payload.to + attempt),
    });
    expectTypeOf<NonNullable<typeof whole.types>['result']>().toEqualTypeOf<number>();
    expectTypeOf<NonNullable<typeof whole.types>['payload']>().toEqualTypeOf<{ to: number }>();
    const free = defineJob({ type: 'free', handler: ({ payload }) => payload });
    expectTypeOf<NonNullable<typeof free.types>['payload']>().toEqualTypeOf<Json>();
  });
});

describe('a worker', () => {
  it('takes jobs from the queues that its jobs name and does them', async () => {
    const running = await worker({ jobs: [handleJob(resize, ({ payload }) => ({ bytes: payload.width * 2 }))] }).start();
    expect(running.queues).toEqual(['jobs:v1:images']);
    await post('jobs:v1:images', 'one', 'resize', { width: '21' });
    await post('jobs:v1:images', 'two', 'resize', { width: 'wide' });
    expect(await ended('one')).toMatchObject({ type: 'end', data: { attempt: 1, result: { bytes: 42 } } });
    expect(await ended('two')).toMatchObject({ type: 'error', data: { code: 'invalid_payload', field: 'width', retryable: false } });
    expect(running.counts).toMatchObject({ done: 1, failed: 1 });
    await running.stop();
    expect(running.state).toBe('stopped');
    expect(await redis.xlen('jobs:v1:images')).toBe(0);
  });

  it('takes from the queues of its tags as well', async () => {
    const echo = defineJob({ type: 'echo', handler: ({ payload }) => payload });
    const tagged = await worker({ jobs: [echo], queues: ['jobs:v1:cpu-general'], tags: ['gpu'] }).start();
    expect(tagged.queues).toEqual(['jobs:v1:cpu-general', 'jobs:v1:tag:gpu']);
    await post('jobs:v1:tag:gpu', 'one', 'echo', [1]);
    expect((await ended('one')).data['result']).toEqual([1]);
    expect(worker({ jobs: [echo] }).queues).toEqual(['jobs:v1:gpu-general']);
  });

  it('lets running jobs end when it stops, and may start again', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    let begun = false;
    const slow = defineJob({
      type: 'slow',
      handler: async ({ progress }) => {
        begun = true;
        progress(50, 'half');
        await promise;
        return 'done';
      },
    });
    const running = await worker({ jobs: [slow] }).start();
    await post('jobs:v1:gpu-general', 'one', 'slow');
    await until('it runs', () => begun);
    const stopped = running.stop();
    expect(running.state).toBe('stopping');
    resolve();
    await stopped;
    expect((await told('one')).map(({ type }) => type)).toEqual(['claimed', 'chunk', 'end']);
    await running.start();
    await post('jobs:v1:gpu-general', 'two', 'slow');
    expect(await ended('two')).toMatchObject({ type: 'end' });
  });

  it('gives back what does not end within the grace', async () => {
    let reason: unknown;
    const stubborn = defineJob({
      type: 'stubborn',
      handler: async ({ signal }) => {
        signal.addEventListener('abort', () => (reason = signal.reason));
        reason = 'begun';
        await new Promise(() => undefined);
      },
    });
    const running = await worker({ jobs: [stubborn], graceMs: 50 }).start();
    await post('jobs:v1:gpu-general', 'one', 'stubborn');
    await until('it runs', () => reason === 'begun');
    await running.stop();
    expect(reason).toBeInstanceOf(JobError);
    expect((await told('one')).at(-1)?.type).toBe('released');
    expect(await redis.xpending('jobs:v1:gpu-general', 'citadel-workers')).toEqual([0, null, null, null]);
  });

  it('says the way out when Redis is away, and may be started later', async () => {
    const away = worker({ redis: `redis://127.0.0.1:${await freePort()}`, jobs: [] });
    await expect(away.start()).rejects.toThrow('Failed to connect to Redis');
    expect(away.state).toBe('stopped');
    const stopped = worker({ jobs: [] });
    const starting = stopped.start().catch((error: unknown) => error);
    await stopped.stop();
    expect(await starting).toMatchObject({ code: 'stopped' });
    await stopped.start();
    expect(stopped.state).toBe('running');
  });

  it('refuses what cannot work before anything is connected', () => {
    const echo = defineJob({ type: 'echo', handler: ({ payload }) => payload });
    expect(() => worker({ jobs: [echo, echo] })).toThrow('defines a type twice');
    expect(() => worker({ jobs: [echo], queues: ['images'] })).toThrow('must match');
    expect(() => worker({ jobs: [echo], concurrency: 0 })).toThrow('concurrency');
    // @ts-expect-error -- a kind without a handler can be submitted, not done
    expect(() => worker({ jobs: [resize] })).not.toThrow();
  });
});
