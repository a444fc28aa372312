import { beforeEach, describe, expect, it } from 'vitest';
import type { z } from 'zod';
import * as schemas from '../../src/http/job-schemas.ts';
import { pageOf } from '../../src/http/schemas.ts';
import { createFakeJobs, fakeJob, type FakeJobs } from './fake-jobs.ts';
import { startFixture, type Fixture } from './server-fixture.ts';

let server: Fixture;
let jobs: FakeJobs;
let viewer: { authorization: string };
let operator: { authorization: string };

beforeEach(async () => {
  jobs = createFakeJobs();
  server = await startFixture({ jobs });
  viewer = await server.bearer('viewer');
  operator = await server.bearer('operator');
});

const get = async (url: string, headers: Record<string, string> = viewer) => await server.app.inject({ url, headers });
const send = async (method: 'POST' | 'PUT' | 'DELETE', url: string, payload?: object, headers: Record<string, string> = operator) =>
  await server.app.inject({ method, url, headers, ...(payload === undefined ? {} : { payload }) });

describe('every answer has the shape that the OpenAPI document promises', () => {
  const cases: readonly (readonly [url: string, schema: z.ZodType])[] = [
    ['/api/v1/jobs', pageOf(schemas.jobView)],
    ['/api/v1/jobs/one', schemas.jobView],
    ['/api/v1/jobs/one?wait=5', schemas.jobView],
    ['/api/v1/jobs/one/log', pageOf(schemas.jobLogLine)],
    ['/api/v1/queues', pageOf(schemas.queueView)],
    ['/api/v1/schedules', pageOf(schemas.scheduleView)],
  ];
  it.each(cases)('%s', async (url, schema) => {
    jobs.jobs.set('one', fakeJob('one'));
    jobs.logs.set('one', [{ id: '1-0', at: '2030-01-01T00:00:00.000Z', type: 'chunk', data: { log: 'hello' } }]);
    await jobs.putSchedule({ name: 'nightly', cron: '0 3 * * *', job: { type: 'ECHO' } });
    const response = await get(url);
    expect(response.statusCode).toBe(200);
    const parsed = schema.safeParse(response.json());
    expect(parsed.error).toBeUndefined();
    expect(parsed.data).toEqual(response.json());
  });

  it('and the document names every route', async () => {
    const paths = Object.keys((await get('/openapi.json', {})).json().paths).filter((path) => path.startsWith('/api/v1/'));
    expect(paths.sort()).toEqual([
      '/api/v1/jobs',
      '/api/v1/jobs/bulk',
      '/api/v1/jobs/{jobId}',
      '/api/v1/jobs/{jobId}/cancel',
      '/api/v1/jobs/{jobId}/log',
      '/api/v1/jobs/{jobId}/retry',
      '/api/v1/queues',
      '/api/v1/queues/{queue}/limits',
      '/api/v1/queues/{queue}/pause',
      '/api/v1/queues/{queue}/resume',
      '/api/v1/schedules',
      '/api/v1/schedules/{name}',
    ]);
  });
});

describe('submitting', () => {
  it('answers 201, and 200 when the job existed', async () => {
    const first = await send('POST', '/api/v1/jobs', { type: 'ECHO', jobId: 'mine', payload: { a: 1 } });
    expect([first.statusCode, first.json()]).toEqual([201, { jobId: 'mine', existing: false }]);
    const second = await send('POST', '/api/v1/jobs', { type: 'ECHO', jobId: 'mine' });
    expect([second.statusCode, second.json()]).toEqual([200, { jobId: 'mine', existing: true }]);
    expect(jobs.jobs.get('mine')?.payload).toEqual({ a: 1 });
  });

  it('with the same Idempotency-Key is one job, of that caller', async () => {
    const submit = async (key: string, caller = operator) =>
      (await send('POST', '/api/v1/jobs', { type: 'ECHO' }, { ...caller, 'idempotency-key': key })).json();
    const first = await submit('a');
    expect(await submit('a')).toEqual({ ...first, existing: true });
    const others = [await submit('b'), await submit('a', await server.bearer('admin')), await submit('a', await server.bearer('operator', 'acme'))];
    expect(others.map(({ existing }) => existing)).toEqual([false, false, false]);
    expect(jobs.jobs.size).toBe(4);
  });

  it('takes many, each with a key of its own', async () => {
    const body = { jobs: [{ type: 'ECHO' }, { type: 'ECHO', jobId: 'mine' }, { type: 'ECHO' }] };
    const headers = { ...operator, 'idempotency-key': 'bulk' };
    const first = await send('POST', '/api/v1/jobs/bulk', body, headers);
    expect(first.statusCode).toBe(201);
    expect(jobs.jobs.size).toBe(3);
    const again = await send('POST', '/api/v1/jobs/bulk', body, headers);
    expect(again.statusCode).toBe(200);
    expect(again.json().jobs.map(({ jobId }: { jobId: string }) => jobId)).toEqual(first.json().jobs.map(({ jobId }: { jobId: string }) => jobId));
  });

  it('names the field of a bad job, and bounds a bulk', async () => {
    expect((await send('POST', '/api/v1/jobs', { type: 'BROKEN' })).json()).toMatchObject({ status: 400, code: 'invalid_job', field: 'payload' });
    expect((await send('POST', '/api/v1/jobs', {})).json()).toMatchObject({ status: 400, code: 'invalid_request', field: 'body.type' });
    const many = { jobs: Array.from({ length: 1_001 }, () => ({ type: 'ECHO' })) };
    expect((await send('POST', '/api/v1/jobs/bulk', many)).json()).toMatchObject({ status: 400, field: 'body.jobs' });
    expect((await send('POST', '/api/v1/jobs/bulk', { jobs: [] })).statusCode).toBe(400);
  });

  it('needs an operator', async () => {
    for (const url of ['/api/v1/jobs', '/api/v1/jobs/bulk', '/api/v1/jobs/one/cancel', '/api/v1/jobs/one/retry', '/api/v1/queues/jobs:v1:x/pause'])
      expect((await send('POST', url, { type: 'ECHO' }, viewer)).json()).toMatchObject({ status: 403, code: 'forbidden' });
    expect((await send('POST', '/api/v1/jobs', { type: 'ECHO' }, {})).statusCode).toBe(401);
  });
});

describe('looking at jobs', () => {
  it('passes the filters on', async () => {
    await get('/api/v1/jobs?state=processing&type=ECHO&queue=jobs:v1:x&node=gpu-1&olderThan=60000&limit=7');
    expect(jobs.asked).toEqual([{ limit: 7, state: 'processing', type: 'ECHO', queue: 'jobs:v1:x', nodeId: 'gpu-1', olderThanMs: 60_000 }]);
    expect((await get('/api/v1/jobs?state=lost')).json()).toMatchObject({ status: 400, field: 'state' });
  });

  it('waits for the end when asked to, for a bounded time', async () => {
    jobs.jobs.set('one', fakeJob('one'));
    expect((await get('/api/v1/jobs/one?wait=1000')).json()).toMatchObject({ state: 'done', result: 42 });
    expect(jobs.waits).toEqual([1_000]);
    expect((await get('/api/v1/jobs/one?wait=30001')).statusCode).toBe(400);
  });

  it.each(['/api/v1/jobs/none', '/api/v1/jobs/none?wait=5', '/api/v1/jobs/none/log'])('%s is not there', async (url) => {
    expect((await get(url)).json()).toMatchObject({ status: 404, code: 'job_not_found' });
  });
});

describe('changing jobs', () => {
  it('cancels with a reason, with or without a body', async () => {
    jobs.jobs.set('one', fakeJob('one'));
    expect((await send('POST', '/api/v1/jobs/one/cancel', { reason: 'no longer needed' })).json()).toMatchObject({
      state: 'cancelled',
      reason: 'no longer needed',
    });
    expect((await send('POST', '/api/v1/jobs/one/cancel')).statusCode).toBe(200);
  });

  it('retries, and says why it does not', async () => {
    jobs.jobs.set('one', fakeJob('one', { state: 'error' }));
    jobs.jobs.set('two', fakeJob('two', { state: 'done' }));
    expect((await send('POST', '/api/v1/jobs/one/retry')).json()).toMatchObject({ state: 'queued' });
    expect((await send('POST', '/api/v1/jobs/two/retry')).json()).toMatchObject({
      status: 409,
      code: 'job_refused',
      detail: 'It is done; submit another one.',
    });
    expect((await send('POST', '/api/v1/jobs/three/retry')).json()).toMatchObject({ status: 404, code: 'job_not_found' });
  });
});

describe('queues and schedules', () => {
  it('a queue is paused, limited and resumed', async () => {
    expect((await send('POST', '/api/v1/queues/jobs:v1:tag:gpu/pause')).json()).toMatchObject({ queue: 'jobs:v1:tag:gpu', paused: true });
    expect((await send('PUT', '/api/v1/queues/jobs:v1:tag:gpu/limits', { concurrency: 2, rate: { max: 5, perMs: 1_000 } })).json()).toMatchObject({
      limits: { concurrency: 2, rate: { max: 5, perMs: 1_000 } },
    });
    expect((await send('POST', '/api/v1/queues/jobs:v1:tag:gpu/resume')).json()).toMatchObject({ paused: false });
    expect((await send('PUT', '/api/v1/queues/jobs:v1:tag:gpu/limits', { concurrency: 0 })).json()).toMatchObject({ status: 400, field: 'body.concurrency' });
    expect((await send('POST', '/api/v1/queues/mail/pause')).json()).toMatchObject({ status: 400, field: 'queue' });
  });

  it('a schedule is made and removed', async () => {
    const made = await send('PUT', '/api/v1/schedules/nightly', {
      cron: '0 3 * * *',
      timeZone: 'Europe/Berlin',
      job: { type: 'ECHO', payload: { deep: [1] } },
    });
    expect([made.statusCode, made.json()]).toMatchObject([200, { name: 'nightly', job: { type: 'ECHO', payload: { deep: [1] } } }]);
    expect((await send('DELETE', '/api/v1/schedules/nightly')).statusCode).toBe(204);
    expect((await send('DELETE', '/api/v1/schedules/nightly')).json()).toMatchObject({ status: 404, code: 'schedule_not_found' });
    expect((await send('PUT', '/api/v1/schedules/nightly', { cron: '0 3 * * *' })).json()).toMatchObject({ status: 400, field: 'body.job' });
  });
});

describe('a caller of one organisation', () => {
  it('submits, sees and changes its own jobs only', async () => {
    const own = await server.bearer('operator', 'acme');
    jobs.jobs.set('theirs', fakeJob('theirs', { orgId: 'other' }));
    jobs.jobs.set('nobodys', fakeJob('nobodys', { orgId: null }));
    const { jobId } = (await send('POST', '/api/v1/jobs', { type: 'ECHO' }, own)).json();
    expect(jobs.jobs.get(jobId)?.orgId).toBe('acme');
    expect((await get('/api/v1/jobs', own)).json().items.map((job: { jobId: string }) => job.jobId)).toEqual([jobId]);
    for (const id of ['theirs', 'nobodys']) {
      for (const url of [`/api/v1/jobs/${id}`, `/api/v1/jobs/${id}?wait=1`, `/api/v1/jobs/${id}/log`]) expect((await get(url, own)).statusCode).toBe(404);
      for (const verb of ['cancel', 'retry']) expect((await send('POST', `/api/v1/jobs/${id}/${verb}`, undefined, own)).statusCode).toBe(404);
    }
    expect(jobs.jobs.get('theirs')?.state).toBe('queued');
  });

  it('neither sees nor changes queues and schedules', async () => {
    const own = await server.bearer('admin', 'acme');
    for (const url of ['/api/v1/queues', '/api/v1/schedules']) expect((await get(url, own)).json()).toMatchObject({ status: 403, code: 'forbidden' });
    for (const verb of ['pause', 'resume']) expect((await send('POST', `/api/v1/queues/jobs:v1:x/${verb}`, undefined, own)).statusCode).toBe(403);
    expect((await send('PUT', '/api/v1/queues/jobs:v1:x/limits', {}, own)).statusCode).toBe(403);
    expect((await send('PUT', '/api/v1/schedules/s', { cron: '* * * * *', job: { type: 'a' } }, own)).statusCode).toBe(403);
    expect((await send('DELETE', '/api/v1/schedules/s', undefined, own)).statusCode).toBe(403);
  });
});

it('without jobs there are no routes for them', async () => {
  const bare = await startFixture();
  expect((await bare.app.inject({ url: '/api/v1/jobs', headers: await bare.bearer('viewer') })).json()).toMatchObject({ status: 404, code: 'not_found' });
});
