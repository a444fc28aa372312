/** Parents and children, and jobs that need a node. */
import { describe, expect, it } from 'vitest';
import type { ChildSpec, JobSpec } from '../../machines/job/events.ts';
import type { TestActor } from '../../src/testing/index.ts';
import { context, posted, report, submitted } from './jobs.ts';

const child = (jobId: string): ChildSpec => ({ type: 'PART', via: 'queue', jobId });
const CHILDREN = [child('j1.0'), child('j1.1')];
const ended = (name: string, ok = true, message?: string) => ({ type: 'childEnded', child: name, ok, ...(message === undefined ? {} : { message }) });

function parent(spec: Partial<JobSpec> = {}): TestActor {
  return submitted({ type: 'WHOLE', children: CHILDREN, ...spec });
}

const cancelled = (job: TestActor) => job.messages.filter(({ event }) => event.type === 'cancel').map(({ to }) => to);

describe('a parent', () => {
  it('submits its children, which name it, and waits', () => {
    const job = parent();
    expect(job.value).toBe('waiting');
    expect(job.messages).toEqual([
      { to: 'job/j1.0', event: { type: 'submit', spec: { type: 'PART', via: 'queue', parent: 'j1' } } },
      { to: 'job/j1.1', event: { type: 'submit', spec: { type: 'PART', via: 'queue', parent: 'j1' } } },
    ]);
    expect(job.context).toMatchObject({ children: ['j1.0', 'j1.1'], reason: 'waits for 2 children' });
    expect(context(job)['unborn']).toBeUndefined();
  });

  it('is handed out when all of them are done, and keeps their ids', () => {
    const job = parent().when(ended('j1.1'));
    expect(job.context).toMatchObject({ reason: 'waits for 1 more of 2 children' });
    expect(posted(job.when(ended('j1.0')))).toEqual([1]);
    expect(job.context).toEqual({ type: 'WHOLE', children: ['j1.0', 'j1.1'], childDone: true, attempt: 1 });
    expect(job.when(report('end')).context).toMatchObject({ children: ['j1.0', 'j1.1'] });
  });

  it('counts each child once, and none that is not its own', () => {
    const job = parent().when(ended('j1.0'));
    expect(job.when(ended('j1.0')).outcome).toBe('ignored');
    expect(job.when(ended('other')).outcome).toBe('ignored');
    expect(job.value).toBe('waiting');
  });

  it('with a delay submits its children when that is over', () => {
    const job = parent({ delayMs: 1_000 });
    expect([job.value, job.messages]).toEqual(['scheduled', []]);
    expect(job.after(1_000).messages).toHaveLength(2);
    expect(job.value).toBe('waiting');
  });

  it('fails with the first child that was not done', () => {
    const job = parent().when(ended('j1.0', false, 'out of memory'));
    expect(job.value).toBe('error');
    expect(job.context).toMatchObject({ error: { code: 'child_failed', message: 'j1.0: out of memory' } });
    expect(job.messages).toEqual([]);
  });

  it('goes on without those that failed when it was asked to', () => {
    const job = parent({ onChildFailure: 'continue' }).when(ended('j1.0', false));
    expect(job.value).toBe('waiting');
    expect(posted(job.when(ended('j1.1')))).toEqual([1]);
  });

  it('that waits for any is handed out with the first that is done, and needs the others no more', () => {
    const job = parent({ waitFor: 'any' }).when(ended('j1.1'));
    expect(posted(job)).toEqual([1]);
    expect(cancelled(job)).toEqual(['job/j1.0']);
    expect(job.when(ended('j1.0', false, 'cancelled')).outcome).toBe('ignored');
  });

  it('that waits for any fails only when none is left', () => {
    const job = parent({ waitFor: 'any' }).when(ended('j1.0', false, 'first'));
    expect(job.value).toBe('waiting');
    expect(job.when(ended('j1.1', false, 'second')).value).toBe('error');
    expect(job.context).toMatchObject({ error: { code: 'child_failed', message: 'j1.0: first' } });
  });

  it('that waits for any and goes on without those that failed is handed out when all have ended', () => {
    const job = parent({ waitFor: 'any', onChildFailure: 'continue' }).when(ended('j1.0', false));
    expect(posted(job.when(ended('j1.1', false)))).toEqual([1]);
  });

  it('that is cancelled cancels the children that have not ended', () => {
    const job = parent().when(ended('j1.0')).when({ type: 'cancel' });
    expect(job.value).toBe('cancelled');
    expect(cancelled(job)).toEqual(['job/j1.1']);
  });

  it('that a person retries goes on without the child that failed, and waits for those that have not ended', () => {
    const job = parent().when(ended('j1.0', false)).when({ type: 'retry' });
    expect(job.value).toBe('waiting');
    expect(job.messages).toEqual([]);
    expect(posted(job.when(ended('j1.1')))).toEqual([1]);
    const late = parent().when(ended('j1.0', false)).when(ended('j1.1'));
    expect(late.value).toBe('error');
    expect(posted(late.when({ type: 'retry' }))).toEqual([1]);
  });

  it('that was cancelled before its children were submitted submits them when it is retried', () => {
    const job = parent({ delayMs: 1_000 }).when({ type: 'cancel' });
    expect(job.messages).toEqual([]);
    expect(job.when({ type: 'retry' }).messages).toHaveLength(2);
  });

  it('may be a child itself', () => {
    expect(parent({ children: [{ ...child('j1.0'), children: [child('j1.0.0')] }] }).messages).toMatchObject([
      { to: 'job/j1.0', event: { spec: { parent: 'j1', children: [{ jobId: 'j1.0.0' }] } } },
    ]);
  });
});

describe('a child', () => {
  it.each([
    ['is done', report('end'), { ok: true }],
    ['fails for good', report('error', 1, { retryable: false, message: 'no' }), { ok: false, message: 'no' }],
    ['is cancelled', { type: 'cancel', reason: 'why not' }, { ok: false, message: 'why not' }],
    ['is aborted', report('aborted'), { ok: false, message: 'cancelled' }],
  ])('tells its parent once when it %s', (_what, event, told) => {
    const job = submitted({ parent: 'p' }).when(event);
    expect(job.messages.filter(({ to }) => to === 'job/p')).toEqual([{ to: 'job/p', event: { type: 'childEnded', child: 'j1', ...told } }]);
    expect(job.when(report('end')).messages).toEqual([]);
  });

  it('tells nothing of a try that failed', () => {
    expect(submitted({ parent: 'p' }).when(report('error')).messages).toEqual([]);
  });
});

describe('a job that needs a node', () => {
  const requires = { tags: ['gpu'] };
  const place = (job: TestActor, nodeId: string) => job.settle('place', { ok: true, output: { nodeId } });
  const noPlace = (job: TestActor) => job.settle('place', { ok: true, output: { reason: 'no online node has tag gpu' } });

  it('looks for one, and is posted for it', () => {
    const job = submitted({ requires, orgId: 'acme' });
    expect(job.value).toBe('placing');
    expect(Object.values(job.invocations)).toMatchObject([{ source: 'place', input: { jobId: 'j1', orgId: 'acme', requires, tries: 0 } }]);
    expect(place(job, 'gpu-1').messages).toMatchObject([{ to: 'queue/jobs:v1:gpu-general', event: { attempt: 1, targetNode: 'gpu-1' } }]);
    expect(job.context).toMatchObject({ target: 'gpu-1', reason: 'placed on node gpu-1' });
  });

  it('says why it waits while none has what it needs, and looks again with growing pauses', () => {
    const job = noPlace(submitted({ requires }));
    expect(job.value).toBe('placing');
    expect(job.context).toMatchObject({ reason: 'no online node has tag gpu', looks: 1 });
    const pauses: number[] = [];
    for (let look = 0; look < 9; look++) {
      const pause = job.timers[0]?.inMs ?? Number.NaN;
      pauses.push(pause);
      job.after(pause);
      expect(Object.values(job.invocations)).toMatchObject([{ input: { tries: look + 1 } }]);
      noPlace(job);
    }
    for (const [index, pause] of pauses.entries()) expect(pause).toBeGreaterThanOrEqual(pauses[index - 1] ?? 0);
    expect(pauses[0]).toBeLessThanOrEqual(1_000);
    expect(pauses.at(-1)).toBeLessThanOrEqual(60_000);
  });

  it('says so when the fleet cannot be looked at, and looks again', () => {
    const job = submitted({ requires }).settle('place', { ok: false, error: { name: 'Error', message: 'Redis is away' } });
    expect(job.context).toMatchObject({ reason: 'Redis is away' });
    expect(job.timers).toHaveLength(1);
  });

  it('is placed anew when its node does not take it', () => {
    const job = place(submitted({ requires }), 'gpu-1').after(60_000);
    expect(job.value).toBe('placing');
    expect(job.commands).toMatchObject([{ name: 'withdrawJob', params: { attempt: 1, cancel: false } }]);
    expect(context(job)['target']).toBeUndefined();
    expect(place(job, 'gpu-2').messages).toMatchObject([{ event: { attempt: 2, targetNode: 'gpu-2' } }]);
    expect(job.when(report('end', 1)).context).toMatchObject({ late: 1 });
  });

  it('stays with the node that takes it', () => {
    const job = place(submitted({ requires }), 'gpu-1').when(report('claimed'));
    expect(job.timers.map(({ key }) => key)).toEqual(['|xstate.after.lease.job.processing', '|timeout']);
    expect(context(job)['reason']).toBeUndefined();
    const short = place(submitted({ requires }), 'gpu-1').when(report('end'));
    expect([short.value, short.timers]).toEqual(['done', []]);
    expect(context(short)['target']).toBeUndefined();
  });

  it('is placed anew at every further attempt', () => {
    expect(place(submitted({ requires }), 'gpu-1').when(report('error')).after(1_000).value).toBe('placing');
    expect(place(submitted({ requires }), 'gpu-1').when(report('claimed')).when(report('released')).value).toBe('placing');
    expect(place(submitted({ requires }), 'gpu-1').when(report('released')).value).toBe('placing');
    expect(place(submitted({ requires }), 'gpu-1').when({ type: 'cancel' }).when({ type: 'retry' }).value).toBe('placing');
  });

  it('that is cancelled looks for none any more', () => {
    const job = noPlace(submitted({ requires })).when({ type: 'cancel' });
    expect([job.value, job.timers, job.invocations]).toEqual(['cancelled', [], {}]);
  });
});
