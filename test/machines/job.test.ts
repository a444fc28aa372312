/** The plain life of a job. */
import { describe, expect, it } from 'vitest';
import { jobType } from '../../machines/job/definition.ts';
import { given } from '../../src/testing/index.ts';

const type = jobType({ place: async () => ({ nodeId: 'n' }) });
const spec = { type: 'ECHO', via: 'queue' } as const;

describe('a plain job', () => {
  it('is posted when it is submitted, and done when its worker says so', () => {
    const job = given(type, { id: 'j1' }).when({ type: 'submit', spec });
    expect(job.value).toBe('queued');
    expect(job.messages).toEqual([{ to: 'queue/jobs:v1:gpu-general', event: { type: 'post', jobId: 'j1', jobType: 'ECHO', attempt: 1, timeoutMs: 300_000 } }]);
    expect(job.timers).toEqual([]);
    job.when({ type: 'end', attempt: 1, worker: 'castellan:n:1', nodeId: 'n', entry: '1-0', result: { ok: true } });
    expect(job.value).toBe('done');
    expect(job.context).toEqual({ type: 'ECHO', attempt: 1, worker: 'castellan:n:1', nodeId: 'n', result: { ok: true } });
  });
  it('with a longer one is claimed first: it has a lease and a timeout', () => {
    const job = given(type, { id: 'j1' })
      .when({ type: 'submit', spec })
      .when({ type: 'claimed', attempt: 1, worker: 'castellan:n:1', nodeId: 'n', entry: '1-0' });
    expect(job.value).toBe('processing');
    expect(job.timers.map(({ key, clock, inMs }) => [key, clock, inMs])).toEqual([
      ['|xstate.after.lease.job.processing', 'liveness', 30_000],
      ['|timeout', 'clock', 300_000],
    ]);
    expect(job.when({ type: 'alive', attempt: 1 }).outcome).toBe('touch');
    expect(job.when({ type: 'end', attempt: 1 }).timers).toEqual([]);
    expect(job.value).toBe('done');
  });
});
