/** A job whose tries fail, or run too long. */
import { describe, expect, it } from 'vitest';
import { given } from '../../src/testing/index.ts';
import { buried, context, posted, processing, report, submitted, type } from './jobs.ts';

const pauseOf = (job: ReturnType<typeof submitted>): number | undefined => job.timers[0]?.inMs;

describe('a failed try', () => {
  it('is followed by another after a pause, under a new number', () => {
    const job = processing().when(report('error', 1, { code: 'oom', message: 'out of memory' }));
    expect(job.value).toBe('retrying');
    expect(posted(job)).toEqual([]);
    expect(job.context).toEqual({
      type: 'ECHO',
      attempt: 1,
      failures: 1,
      former: '1-0',
      pauseMs: 1_000,
      error: { code: 'oom', message: 'out of memory' },
      reason: 'try 1 failed: out of memory; tried again after 1 s',
    });
    expect(posted(job.after(1_000))).toEqual([2]);
    expect(job.value).toBe('queued');
  });

  it('of a short job, which was never claimed, is the same', () => {
    expect(submitted().when(report('error')).value).toBe('retrying');
  });

  it('is forgotten when a later one is done', () => {
    const job = processing()
      .when(report('error'))
      .after(1_000)
      .when(report('end', 2, { result: 1 }));
    expect(job.context).toEqual({ type: 'ECHO', attempt: 2, worker: 'castellan:gpu-1:1', nodeId: 'gpu-1', result: 1 });
  });

  it('leaves an error without a worker and without a message told as such', () => {
    expect(submitted({ attempts: 1 }).when({ type: 'error', attempt: 1 }).context).toMatchObject({
      error: { code: 'failed', message: 'its worker gave no reason' },
    });
  });
});

describe('the last try', () => {
  it('that fails ends the job, and its queue gets a dead letter with all that is known', () => {
    const job = submitted({ payload: { n: 1 }, attempts: 2, queue: 'jobs:v1:tag:eu' })
      .when(report('error'))
      .after(1_000)
      .when(report('error', 2, { code: 'oom', message: 'out of memory' }));
    expect(job.value).toBe('error');
    expect(job.timers).toEqual([]);
    expect(job.messages).toEqual([
      {
        to: 'dlq/tag:eu',
        event: {
          type: 'bury',
          jobId: 'j1',
          jobType: 'ECHO',
          payload: { n: 1 },
          queue: 'jobs:v1:tag:eu',
          reason: 'oom: out of memory',
          attempts: 2,
          worker: 'castellan:gpu-1:1',
          entry: '2-0',
        },
      },
    ]);
    expect(job.context).toMatchObject({ error: { code: 'oom', message: 'out of memory' }, attempt: 2, failures: 2 });
  });

  it('is counted from the first, which has no number when somebody else enqueued it', () => {
    const job = given(type, { id: 'j1' })
      .when({ type: 'adopt', spec: { type: 'ECHO', via: 'queue', attempts: 2 }, entry: '1-0' })
      .when({ type: 'error', worker: 'theirs', entry: '1-0' })
      .after(1_000)
      .when(report('error', 1));
    expect(buried(job)).toMatchObject([{ attempts: 2 }]);
  });

  it('is the first when the worker says that trying again is of no use', () => {
    const job = processing().when(report('error', 1, { retryable: false }));
    expect(job.value).toBe('error');
    expect(buried(job)).toHaveLength(1);
  });

  it('is followed by as many as at first when a person retries the job', () => {
    const job = submitted({ attempts: 2 }).when(report('error')).after(1_000).when(report('error', 2)).when({ type: 'retry' });
    expect(posted(job)).toEqual([3]);
    expect(context(job)).toEqual({ type: 'ECHO', attempts: 2, attempt: 3, former: '2-0' });
    expect(job.when(report('error', 3)).value).toBe('retrying');
    expect(job.after(1_000).when(report('error', 4)).value).toBe('error');
  });
});

describe('the pause', () => {
  const pauses = (spec: object, tries: number): (number | undefined)[] => {
    const job = submitted({ attempts: 100, ...spec });
    return Array.from({ length: tries }, (_, index) => {
      const pause = pauseOf(job.when(report('error', index + 1)));
      job.after(pause ?? 0);
      return pause;
    });
  };

  it('is doubled from try to try, up to five minutes', () => {
    expect(pauses({}, 11)).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 300_000, 300_000]);
  });

  it('is always the same when that was asked for', () => {
    expect(pauses({ backoff: { kind: 'fixed', delayMs: 250 } }, 3)).toEqual([250, 250, 250]);
  });

  it('has a bound of its own when that was asked for, and never more than a day', () => {
    expect(pauses({ backoff: { kind: 'exponential', delayMs: 10, delayMsMax: 25 } }, 4)).toEqual([10, 20, 25, 25]);
    expect(pauses({ backoff: { kind: 'exponential', delayMs: 86_400_000 } }, 40).at(-1)).toBe(86_400_000);
  });

  it('is spread by the job and the try when that was asked for, and the same each time', () => {
    const spec = { backoff: { kind: 'fixed', delayMs: 1_000, jitter: 0.5 } } as const;
    const spread = pauses(spec, 20);
    for (const pause of spread) expect(pause).toSatisfy((ms: number) => ms >= 500 && ms <= 1_000);
    expect(new Set(spread).size).toBeGreaterThan(10);
    expect(pauses(spec, 20)).toEqual(spread);
  });

  it('may be none', () => {
    const job = submitted({ backoff: { kind: 'fixed', delayMs: 0 } }).when(report('error'));
    expect(posted(job.after(0))).toEqual([2]);
  });

  it('can be cancelled: nothing lies anywhere that had to be taken back', () => {
    const job = processing().when(report('error')).when({ type: 'cancel' });
    expect(job.value).toBe('cancelled');
    expect(job.timers).toEqual([]);
  });
});

describe('the timeout', () => {
  it('counts from the start, takes the attempt back without telling later workers to end, and another follows', () => {
    const job = processing();
    for (let second = 0; second < 290; second += 10) job.after(10_000).when(report('alive'));
    job.after(10_000);
    expect(job.value).toBe('retrying');
    expect(job.commands).toEqual([{ name: 'withdrawJob', params: { queue: 'jobs:v1:gpu-general', jobId: 'j1', attempt: 1, entry: '1-0', cancel: false } }]);
    expect(job.context).toMatchObject({ failures: 1, error: { code: 'timeout', message: 'it ran longer than 300 s' } });
    expect(posted(job.after(1_000))).toEqual([2]);
  });

  it('of the last try ends the job, tells its worker to end and buries it', () => {
    const job = processing({ attempts: 1, timeoutMs: 5_000 }).after(5_000);
    expect(job.value).toBe('error');
    expect(job.commands).toMatchObject([{ name: 'withdrawJob', params: { cancel: true } }]);
    expect(buried(job)).toMatchObject([{ reason: 'timeout: it ran longer than 5 s', attempts: 1, entry: '1-0' }]);
  });

  it('begins anew with the next try', () => {
    const job = processing({ timeoutMs: 5_000 }).after(4_000).when(report('error')).after(1_000).when(report('claimed', 2));
    expect(job.timers.map(({ inMs }) => inMs)).toEqual([5_000, 30_000]);
  });

  it('does not run while the job waits in its queue', () => {
    expect(submitted({ timeoutMs: 1 }).after(86_400_000).value).toBe('queued');
  });
});
