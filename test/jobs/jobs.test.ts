import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Redis } from 'ioredis';
import { JobError } from '../../src/protocol/errors.ts';
import type { JobRequest } from '../../src/protocol/job.ts';
import { defineJob } from '../../src/worker/define-job.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import { startJobWorld, until, type JobWorld, type JobWorldOptions } from './job-world.ts';

let server: TestRedis;
let client: Redis;
let worlds = 0;
beforeAll(async () => {
  server = await startTestRedis();
  client = new Redis(server.url);
});
afterAll(async () => {
  client.disconnect();
  await server.stop();
});

const world = async (options?: JobWorldOptions): Promise<JobWorld & { queue: string }> => {
  const name = `jobs${worlds++}`;
  return { ...(await startJobWorld(server, name, options)), queue: `jobs:v1:${name}` };
};
const echo = defineJob({ type: 'ECHO', handler: ({ payload }) => payload });
const pages = async (jobs: JobWorld['jobs'], query: Omit<Parameters<JobWorld['jobs']['list']>[0], 'cursor'>): Promise<string[]> => {
  const ids: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await jobs.list({ ...query, ...(cursor === undefined ? {} : { cursor }) });
    ids.push(...page.items.map(({ jobId }) => jobId));
    cursor = page.next ?? undefined;
  } while (cursor !== undefined);
  return ids.toSorted();
};

describe('submitting', () => {
  it('a job is done by a worker and keeps its result', async () => {
    const { jobs, worker, queue } = await world();
    const { jobId, existing } = await jobs.submit({ type: 'ECHO', payload: { hello: 'world' }, queue }, 'acme');
    expect(existing).toBe(false);
    await worker({ jobs: [echo], queues: [queue] });
    expect(await jobs.waitForEnd(jobId, 10_000)).toMatchObject({
      jobId,
      type: 'ECHO',
      queue,
      state: 'done',
      payload: { hello: 'world' },
      result: { hello: 'world' },
      attempt: 1,
      attemptsMax: 3,
      orgId: 'acme',
    });
  });

  it('an id or key that is there already answers with that job', async () => {
    const { jobs, queue, untilState } = await world();
    const request: JobRequest = { type: 'ECHO', payload: 1, queue, dedupeKey: 'k' };
    const [first, second] = await jobs.submitAll([request, request]);
    expect([first?.existing, second?.existing, first?.jobId === second?.jobId]).toEqual([false, true, true]);
    // Whether its record is there yet or not.
    expect(await jobs.submit(request)).toEqual({ ...first, existing: true });
    await untilState(first?.jobId as string, 'queued');
    expect(await jobs.submit({ ...request, payload: 2 })).toEqual({ ...first, existing: true });
    expect((await jobs.get(first?.jobId as string))?.payload).toBe(1);
  });

  it('confirmed, the job can be read at once', async () => {
    const { jobs, queue } = await world({ confirmMs: 5_000 });
    const { jobId } = await jobs.submit({ type: 'ECHO', queue, jobId: 'mine' });
    expect(await jobs.get(jobId)).toMatchObject({ state: 'queued', attempt: 1 });
    expect(await jobs.submit({ type: 'ECHO', queue, jobId: 'mine' })).toEqual({ jobId, existing: true });
  });

  it('an id of another organisation is refused', async () => {
    const { jobs, queue, untilState } = await world();
    await jobs.submit({ type: 'ECHO', queue, jobId: 'theirs' }, 'other');
    await untilState('theirs', 'queued');
    await expect(jobs.submit({ type: 'ECHO', queue, jobId: 'theirs' }, 'acme')).rejects.toMatchObject({ code: 'invalid_job', field: 'jobId' });
  });

  it('one bad job refuses all of a bulk', async () => {
    const { jobs, queue } = await world();
    const bulk: JobRequest[] = [
      { type: 'ECHO', queue, jobId: 'good' },
      { type: 'ECHO', queue, children: [{ type: 'a b' }] },
    ];
    await expect(jobs.submitAll(bulk)).rejects.toMatchObject({ code: 'invalid_job', field: 'jobs[1].children[0].type' });
    expect(await jobs.waitForEnd('good', 50)).toBeUndefined();
  });

  it('a bulk is done, each once', async () => {
    const { jobs, worker, queue } = await world();
    const done: string[] = [];
    await worker({ jobs: [defineJob({ type: 'COUNT', handler: ({ id }) => void done.push(id) })], queues: [queue], concurrency: 50 });
    const submitted = await jobs.submitAll(Array.from({ length: 500 }, () => ({ type: 'COUNT', queue })));
    for (const { jobId } of submitted) expect((await jobs.waitForEnd(jobId, 20_000))?.state).toBe('done');
    expect(done.toSorted()).toEqual(submitted.map(({ jobId }) => jobId).toSorted());
  });
});

describe('a family', () => {
  it('parent waits for its children, and each is shown', async () => {
    const { jobs, worker, queue } = await world();
    await worker({ jobs: [echo], queues: [queue] });
    const children = [
      { type: 'ECHO', payload: 1, queue },
      { type: 'ECHO', payload: 2, queue },
    ];
    const { jobId } = await jobs.submit({ type: 'ECHO', payload: 'parent', queue, children });
    const parent = await jobs.waitForEnd(jobId, 10_000);
    expect(parent).toMatchObject({ state: 'done', result: 'parent', children: [`${jobId}.0`, `${jobId}.1`] });
    expect(await jobs.get(`${jobId}.1`)).toMatchObject({ state: 'done', result: 2, parent: jobId });
  });
});

describe('an end that is not done', () => {
  it('says what failed, and is handed out again when somebody retries it', async () => {
    const { jobs, worker, queue } = await world();
    let broken = true;
    const handler = (): string => {
      if (broken) throw new JobError('broken', 'It is broken.', { retryable: false });
      return 'whole';
    };
    await worker({ jobs: [defineJob({ type: 'FRAGILE', handler })], queues: [queue] });
    const { jobId } = await jobs.submit({ type: 'FRAGILE', queue });
    expect(await jobs.waitForEnd(jobId, 10_000)).toMatchObject({ state: 'error', error: { code: 'broken', message: 'It is broken.' } });
    expect(await jobs.cancel(jobId)).toMatchObject({ kind: 'refused', reason: expect.stringContaining('error already') });
    broken = false;
    expect(await jobs.retry(jobId)).toMatchObject({ kind: 'done' });
    expect(await jobs.waitForEnd(jobId, 10_000)).toMatchObject({ state: 'done', result: 'whole', attempt: 2 });
    expect(await jobs.retry(jobId)).toMatchObject({ kind: 'refused', reason: expect.stringContaining('done') });
    expect(await jobs.retry('nobody')).toEqual({ kind: 'missing' });
  });

  it('is tried again after its backoff', async () => {
    const { jobs, worker, queue } = await world();
    const attempts: number[] = [];
    const handler = ({ attempt }: { readonly attempt: number }): string => {
      attempts.push(attempt);
      if (attempt < 3) throw new Error('not yet');
      return 'now';
    };
    await worker({ jobs: [defineJob({ type: 'THIRD', handler })], queues: [queue] });
    const { jobId } = await jobs.submit({ type: 'THIRD', queue, backoff: { kind: 'fixed', delayMs: 20 } });
    expect(await jobs.waitForEnd(jobId, 10_000)).toMatchObject({ state: 'done', result: 'now', attempt: 3 });
    expect(attempts).toEqual([1, 2, 3]);
  });

  it('a cancelled job is not done, and its worker is told', async () => {
    const { jobs, worker, queue, untilState } = await world();
    const { jobId: waiting } = await jobs.submit({ type: 'ECHO', queue, delayMs: 60_000 });
    await untilState(waiting, 'scheduled');
    expect(await jobs.cancel(waiting, 'no longer needed')).toMatchObject({ kind: 'done', job: { state: 'cancelled', reason: 'no longer needed' } });
    const aborted = Promise.withResolvers<unknown>();
    const handler = async ({ signal }: { readonly signal: AbortSignal }): Promise<void> =>
      await new Promise((_, reject) => signal.addEventListener('abort', () => (aborted.resolve(signal.reason), reject(signal.reason as Error))));
    await worker({ jobs: [defineJob({ type: 'LONG', handler })], queues: [queue] });
    const { jobId } = await jobs.submit({ type: 'LONG', queue });
    await untilState(jobId, 'processing');
    expect(await jobs.cancel(jobId)).toMatchObject({ kind: 'done', job: { state: 'cancelled' } });
    expect(await aborted.promise).toMatchObject({ code: 'cancelled' });
  });
});

describe('keeping', () => {
  it('drops what was done and asked not to be kept, and keeps the rest', async () => {
    const { jobs, worker, queue } = await world({ sweepMs: 20, confirmMs: 5_000 });
    await worker({ jobs: [echo], queues: [queue] });
    const { jobId: kept } = await jobs.submit({ type: 'ECHO', queue });
    expect((await jobs.waitForEnd(kept, 10_000))?.state).toBe('done');
    const { jobId: dropped } = await jobs.submit({ type: 'ECHO', queue, removeOnDone: true });
    await until(
      async () => ((await jobs.get(dropped)) === undefined && (await jobs.waitForEnd(dropped, 0)) === undefined ? true : undefined),
      () => 'the job is still there',
    );
    expect((await jobs.get(kept))?.state).toBe('done');
  });

  it('keeps the newest so many', async () => {
    const keep = { maxAgeMs: 3_600_000, maxCount: 0 };
    const { jobs, worker, queue } = await world({ sweepMs: 20, settings: { keepDone: keep, keepFailed: keep } });
    let done = 0;
    await worker({ jobs: [defineJob({ type: 'ECHO', handler: () => void done++ })], queues: [queue] });
    const submitted = await jobs.submitAll(Array.from({ length: 20 }, () => ({ type: 'ECHO', queue })));
    await until(
      async () => (done === 20 && (await Promise.all(submitted.map(({ jobId }) => jobs.get(jobId)))).every((job) => job === undefined) ? true : undefined),
      () => 'jobs are still there',
    );
    // The key's job is gone, so the key is free.
    const again = await jobs.submit({ type: 'ECHO', queue, dedupeKey: 'again' });
    expect(again.existing).toBe(false);
  });
});

describe('looking', () => {
  it('lists by state, type, queue, owner and age, in pages', async () => {
    const { jobs, queue, untilState } = await world();
    const other = `${queue}-other`;
    const submitted = await jobs.submitAll([
      ...Array.from({ length: 7 }, (_, index) => ({ type: 'A', queue, jobId: `a${index}` })),
      { type: 'B', queue, jobId: 'b' },
      { type: 'A', queue: other, jobId: 'o' },
      { type: 'A', queue, jobId: 'later', delayMs: 60_000 },
    ]);
    for (const { jobId } of submitted) await untilState(jobId, jobId === 'later' ? 'scheduled' : 'queued');
    await jobs.submit({ type: 'A', queue, jobId: 'acme' }, 'acme');
    await untilState('acme', 'queued');
    const plain = Array.from({ length: 7 }, (_, index) => `a${index}`);
    expect(await pages(jobs, { limit: 3, state: 'queued', type: 'A', queue })).toEqual([...plain, 'acme']);
    expect(await pages(jobs, { limit: 3 })).toEqual([...plain, 'acme', 'b', 'later', 'o']);
    expect(await pages(jobs, { limit: 2, type: 'B' })).toEqual(['b']);
    expect(await pages(jobs, { limit: 2, queue: other })).toEqual(['o']);
    expect(await pages(jobs, { limit: 2, orgId: 'acme' })).toEqual(['acme']);
    expect(await pages(jobs, { limit: 5, state: 'done' })).toEqual([]);
    expect(await pages(jobs, { limit: 5, state: 'queued', olderThanMs: 3_600_000 })).toEqual([]);
    expect(await pages(jobs, { limit: 5, state: 'scheduled', olderThanMs: 0 })).toEqual(['later']);
    await expect(jobs.list({ limit: 1, cursor: 'nonsense' })).rejects.toMatchObject({ code: 'cursor_gone' });
  });

  it('shows progress and the log of a running job', async () => {
    const { jobs, worker, queue, untilState } = await world();
    const go = Promise.withResolvers<void>();
    const slow = defineJob({
      type: 'SLOW',
      handler: async (job) => {
        job.log('loading');
        job.progress(25);
        await go.promise;
        return 'loaded';
      },
    });
    await worker({ jobs: [slow], queues: [queue], nodeId: 'gpu-1' });
    const { jobId } = await jobs.submit({ type: 'SLOW', queue });
    await untilState(jobId, 'processing');
    let job = await jobs.get(jobId);
    while (job?.progress !== 25) job = await jobs.get(jobId);
    expect(job).toMatchObject({ nodeId: 'gpu-1', attempt: 1 });
    expect(await pages(jobs, { limit: 5, nodeId: 'gpu-1' })).toEqual([jobId]);
    expect((await jobs.waitForEnd(jobId, 10))?.state).toBe('processing');
    go.resolve();
    expect((await jobs.waitForEnd(jobId, 10_000))?.result).toBe('loaded');
    const { items } = await jobs.log(jobId, { limit: 100 });
    expect(items.map(({ data }) => (data as { log?: string }).log)).toContain('loading');
  });

  it('says that a queue is paused', async () => {
    const { jobs, queue, untilState, worker } = await world();
    expect(await jobs.pause(queue)).toMatchObject({ queue, paused: true });
    const { jobId } = await jobs.submit({ type: 'ECHO', queue });
    expect((await untilState(jobId, 'queued')).reason).toContain('paused');
    expect((await jobs.list({ limit: 5, queue })).items[0]?.reason).toContain('paused');
    expect((await jobs.listQueues()).find((view) => view.queue === queue)).toMatchObject({ paused: true, held: 1 });
    expect(await jobs.resume(queue)).toMatchObject({ paused: false });
    expect((await jobs.get(jobId))?.reason).toBeNull();
    expect(await jobs.setLimits(queue, { concurrency: 3 })).toMatchObject({ limits: { concurrency: 3 } });
    await worker({ jobs: [echo], queues: [queue] });
    expect((await jobs.waitForEnd(jobId, 10_000))?.state).toBe('done');
  });

  it('waits for a queue whose key is no stream, says so, and is done once there is one', async () => {
    const { jobs, queue, untilState, worker } = await world();
    await client.set(queue, 'somebody else’s');
    const { jobId } = await jobs.submit({ type: 'ECHO', queue });
    const other = await jobs.submit({ type: 'ECHO', queue: `${queue}-other` });
    expect((await untilState(jobId, 'queued')).reason).toBe(`The key ${queue} is a string and no stream: nothing can be handed out. Delete it, or rename it.`);
    expect((await jobs.listQueues()).find((view) => view.queue === queue)).toMatchObject({ waiting: 0, fault: expect.stringContaining('no stream') });
    await worker({ jobs: [echo], queues: [`${queue}-other`] });
    expect((await jobs.waitForEnd(other.jobId, 10_000))?.state).toBe('done');
    const [gone, again] = [await jobs.submit({ type: 'ECHO', queue }), await jobs.submit({ type: 'ECHO', queue })];
    for (const { jobId: cancelled } of [gone, again]) {
      await untilState(cancelled, 'queued');
      expect(await jobs.cancel(cancelled)).toMatchObject({ kind: 'done' });
    }
    expect(await jobs.retry(again.jobId)).toMatchObject({ kind: 'done' });
    expect(await jobs.pause(queue)).toMatchObject({ paused: true, fault: expect.stringContaining('no stream') });
    expect(await jobs.resume(queue)).toMatchObject({ paused: false });
    await until(
      async () => ((await client.hlen(`{${queue}}:withdrawn`)) === 2 ? true : undefined),
      () => 'what was cancelled to be withdrawn',
    );
    await client.del(queue);
    await until(
      async () => ((await client.xlen(queue)) >= 2 ? true : undefined),
      () => 'two to be handed out',
    );
    const entries = (await client.xrange(queue, '-', '+')).map(
      ([, fields]) => `${fields[fields.indexOf('jobId') + 1]}#${fields[fields.indexOf('attempt') + 1]}`,
    );
    expect(entries.toSorted()).toEqual([`${jobId}#1`, `${again.jobId}#2`].toSorted());
    await worker({ jobs: [echo], queues: [queue] });
    expect((await jobs.waitForEnd(jobId, 20_000))?.state).toBe('done');
    expect((await jobs.waitForEnd(again.jobId, 20_000))?.state).toBe('done');
    expect((await jobs.get(gone.jobId))?.state).toBe('cancelled');
  });

  it('finds nothing where there is nothing', async () => {
    const { jobs } = await world();
    expect(await jobs.get('nobody')).toBeUndefined();
    expect(await jobs.waitForEnd('nobody', 20)).toBeUndefined();
    expect(await jobs.log('nobody', { limit: 5 })).toEqual({ items: [], next: null });
    await expect(jobs.get('no/body')).rejects.toMatchObject({ code: 'invalid_id' });
  });
});
