/** A job from its submission to its end, and whose reports count on the way. */
import { describe, expect, it } from 'vitest';
import { given } from '../../src/testing/index.ts';
import { context, posted, processing, report, submit, submitted, type, WORKER } from './jobs.ts';

describe('a plain job', () => {
  it('is posted once when it is submitted, and then has nothing that waits', () => {
    const job = submitted({ payload: { text: 'hi' }, priority: 5, rayId: 'r' });
    expect(job.value).toBe('queued');
    expect(job.revision).toBe(1);
    expect(job.messages).toEqual([
      {
        to: 'queue/jobs:v1:gpu-general',
        event: { type: 'post', jobId: 'j1', jobType: 'ECHO', attempt: 1, timeoutMs: 300_000, payload: { text: 'hi' }, priority: 5, rayId: 'r' },
      },
    ]);
    expect(job.commands).toEqual([]);
    expect([job.timers, job.invocations]).toEqual([[], {}]);
  });

  it('that is short is done in its second step: its end carries the claim', () => {
    const job = submitted({ payload: { text: 'hi' } }).when(report('end', 1, { result: { ok: true } }));
    expect(job.value).toBe('done');
    expect(job.revision).toBe(2);
    expect([job.messages, job.commands, job.timers]).toEqual([[], [], []]);
    expect(job.context).toEqual({ type: 'ECHO', payload: { text: 'hi' }, attempt: 1, ...WORKER, result: { ok: true } });
  });

  it('that takes longer is claimed first: it has a lease on observed time and a timeout on the clock', () => {
    const job = processing();
    expect(job.value).toBe('processing');
    expect(job.context).toMatchObject({ ...WORKER, entry: '1-0' });
    expect(job.timers.map(({ key, clock, inMs }) => [key, clock, inMs])).toEqual([
      ['|xstate.after.lease.job.processing', 'liveness', 30_000],
      ['|timeout', 'clock', 300_000],
    ]);
    job.when(report('end', 1, { result: 7 }));
    expect(job.value).toBe('done');
    expect(job.timers).toEqual([]);
    expect(job.context).toEqual({ type: 'ECHO', attempt: 1, ...WORKER, result: 7 });
  });

  it('keeps of its spec only what is not the default', () => {
    const job = submitted({
      queue: 'jobs:v1:gpu-general',
      priority: 0,
      delayMs: 0,
      attempts: 3,
      timeoutMs: 300_000,
      requeue: 'idempotent',
      waitFor: 'all',
      children: [],
    });
    expect(job.context).toEqual({ type: 'ECHO', attempt: 1 });
  });

  it('that is submitted again stays as it is', () => {
    expect(submitted().when(submit({ type: 'OTHER' })).outcome).toBe('ignored');
  });

  it('that asked not to be kept goes where the sweep takes it', () => {
    expect(submitted({ removeOnDone: true }).when(report('end')).value).toBe('dropped');
  });

  it('goes to the queue that it names', () => {
    expect(submitted({ queue: 'jobs:v1:tag:eu', requeue: 'fenced', timeoutMs: 5 }).messages).toMatchObject([
      { to: 'queue/jobs:v1:tag:eu', event: { requeue: 'fenced', timeoutMs: 5 } },
    ]);
  });
});

describe('a delayed job', () => {
  it('is posted when its time has come', () => {
    const job = submitted({ delayMs: 60_000 });
    expect(job.value).toBe('scheduled');
    expect(job.messages).toEqual([]);
    expect(posted(job.after(60_000))).toEqual([1]);
    expect(job.value).toBe('queued');
  });
});

describe('a sign of life', () => {
  it('is a touch that re-arms the lease and not the timeout', () => {
    const job = processing().after(20_000).when(report('alive'));
    expect(job.outcome).toBe('touch');
    expect(job.timers.map(({ inMs }) => inMs)).toEqual([30_000, 280_000]);
    expect(job.document).toBeUndefined();
  });

  it('with progress is a touch, too, and sets the document', () => {
    const job = processing().when(report('alive', 1, { progress: 40, message: 'half' }));
    expect(job.outcome).toBe('touch');
    expect(job.document).toEqual({ progress: 40, message: 'half' });
  });

  it('tells the claim when that was not told before', () => {
    const job = submitted().when(report('alive', 1, { progress: 1 }));
    expect(job.value).toBe('processing');
    expect(job.document).toEqual({ progress: 1 });
  });

  it('a claim told twice is one', () => {
    expect(processing().when(report('claimed')).outcome).toBe('touch');
  });

  it('a claim by another worker of the same attempt names that worker', () => {
    expect(processing().when(report('claimed', 1, { worker: 'castellan:gpu-2:1', nodeId: 'gpu-2' })).context).toMatchObject({ nodeId: 'gpu-2' });
  });
});

describe('the fence', () => {
  const ends = ['claimed', 'alive', 'end', 'error', 'released', 'aborted'];

  it.each(ends)('refuses %s of an older attempt and counts it, whatever the state', (name) => {
    const again = processing().when(report('released'));
    expect(again.context).toMatchObject({ attempt: 2 });
    for (const job of [
      again,
      processing().when(report('released')).when(report('claimed', 2)),
      processing()
        .when(report('released'))
        .when(report('end', 2, { result: 2 })),
    ]) {
      const before = [job.value, job.timers.length];
      job.when(report(name, 1, name === 'end' ? { result: 1 } : {}));
      expect([job.value, job.timers.length]).toEqual(before);
      expect(job.context).toMatchObject({ attempt: 2, late: 1 });
      expect(context(job)['result']).not.toBe(1);
      expect([job.messages, job.commands]).toEqual([[], []]);
    }
  });

  it('refuses an attempt that was never handed out', () => {
    expect(submitted().when(report('end', 2, { result: 'forged' })).context).toEqual({ type: 'ECHO', attempt: 1, late: 1 });
  });

  it('refuses what comes in a pause: the attempt is over', () => {
    const job = processing().when(report('error'));
    expect(job.when(report('end', 1, { result: 1 })).value).toBe('retrying');
    expect(job.context).toMatchObject({ late: 1 });
  });

  it('refuses a second end, and the first result stays', () => {
    const job = submitted()
      .when(report('end', 1, { result: 'first' }))
      .when(report('end', 1, { result: 'second' }));
    expect(job.context).toMatchObject({ result: 'first', late: 1 });
  });

  it.each(['scheduled', 'waiting', 'placing'])('refuses reports of a job that is %s: nobody has it', (state) => {
    const specs = {
      scheduled: { delayMs: 1 },
      waiting: { children: [{ type: 'A', via: 'queue', jobId: 'c' }] },
      placing: { requires: { tags: ['gpu'] } },
    } as const;
    const job = submitted(specs[state as keyof typeof specs]);
    expect(job.value).toBe(state);
    expect(job.when({ type: 'end' }).value).toBe(state);
    expect(job.context).toMatchObject({ late: 1 });
  });
});

describe('a worker that stops', () => {
  it('gives its job back: it is posted again at once, and no try is spent', () => {
    const job = processing().when(report('released'));
    expect(job.value).toBe('queued');
    expect(posted(job)).toEqual([2]);
    expect(job.timers).toEqual([]);
    expect(job.context).toEqual({ type: 'ECHO', attempt: 2, former: '1-0' });
  });

  it('may give it back before it told the claim', () => {
    expect(posted(submitted().when(report('released')))).toEqual([2]);
  });
});

describe('cancelling', () => {
  it('ends a job that waits, and takes nothing back that was not handed out', () => {
    const job = submitted({ delayMs: 1_000 }).when({ type: 'cancel', reason: 'not needed' });
    expect(job.value).toBe('cancelled');
    expect(job.context).toMatchObject({ reason: 'not needed' });
    expect([job.commands, job.timers]).toEqual([[], []]);
  });

  it.each([
    ['queued', submitted],
    ['processing', processing],
  ] as const)('takes back what is %s, and tells its worker', (_state, make) => {
    const job = make().when({ type: 'cancel' });
    expect(job.value).toBe('cancelled');
    expect(job.commands).toMatchObject([{ name: 'withdrawJob', params: { queue: 'jobs:v1:gpu-general', jobId: 'j1', attempt: 1, cancel: true } }]);
    expect(job.timers).toEqual([]);
  });

  it('is over when the worker says that it ended, and what it still tells is late', () => {
    const job = processing().when({ type: 'cancel' }).when(report('aborted'));
    expect(job.value).toBe('cancelled');
    expect(job.context).toMatchObject({ late: 1 });
  });

  it('may be told by the worker first', () => {
    expect(processing().when(report('aborted')).value).toBe('cancelled');
  });

  it('does nothing to a job that has ended', () => {
    expect(submitted().when(report('end')).when({ type: 'cancel' }).outcome).toBe('ignored');
  });
});

describe('retrying by a person', () => {
  it('hands a cancelled job out again, under a new number and with all its tries', () => {
    const job = processing().when(report('error')).after(1_000).when(report('claimed', 2)).when({ type: 'cancel', reason: 'why not' }).when({ type: 'retry' });
    expect(job.value).toBe('queued');
    expect(posted(job)).toEqual([3]);
    expect(job.context).toEqual({ type: 'ECHO', attempt: 3, former: '2-0' });
  });

  it('does not wait for the delay again', () => {
    const job = submitted({ delayMs: 1_000 }).when({ type: 'cancel' }).when({ type: 'retry' });
    expect(posted(job)).toEqual([1]);
  });

  it('does nothing to a job that has not failed', () => {
    expect(submitted().when({ type: 'retry' }).outcome).toBe('ignored');
    expect(submitted().when(report('end')).when({ type: 'retry' }).outcome).toBe('ignored');
  });
});

describe('a job that nobody submitted', () => {
  it.each([report('end'), report('claimed'), { type: 'cancel' }, { type: 'retry' }, { type: 'nodeState', state: 'online' }])(
    'is refused with the reason: $type',
    (event) => {
      expect(given(type, { id: 'j9' }).rejects(event)).toEqual({
        code: 'unknown_job',
        reason: 'There is no job j9: it was never submitted, or has been dropped.',
      });
    },
  );
});
