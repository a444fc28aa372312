/** Jobs of the rebalance list, which belong to a user, and entries that others put into a queue. */
import { describe, expect, it } from 'vitest';
import { given, type TestActor } from '../../src/testing/index.ts';
import { context, posted, report, submitted, type } from './jobs.ts';

const owned = () => submitted({ type: 'rebalance', via: 'rebalance', userId: 'alice', payload: { from: 'a' }, priority: 10, attempts: 1 });
const says = (name: string, more: object = {}) => ({ type: name, userId: 'alice', ...more });
const told = (job: TestActor) => job.commands.filter(({ name }) => name === 'tellRebalance').map(({ params }) => params);
const timeout = (job: TestActor) => job.timers.find(({ key }) => key === '|timeout')?.inMs;

describe('a job of the rebalance list', () => {
  it('is pushed when it is submitted, and posted nowhere', () => {
    const job = owned();
    expect(job.value).toBe('queued');
    expect(job.messages).toEqual([]);
    expect(job.commands).toEqual([
      { name: 'pushRebalance', params: { jobId: 'j1', userId: 'alice', status: 'queued', type: 'rebalance', payload: { from: 'a' }, priority: 10 } },
    ]);
  });

  it('waits for an agent without end', () => {
    expect(owned().after(30 * 86_400_000).value).toBe('queued');
  });

  it('tells its owner of each message, with what else stands in it', () => {
    const job = owned().when(says('claimed', { extra: { step: 1 } }));
    expect(job.value).toBe('processing');
    expect(told(job)).toMatchObject([{ jobId: 'j1', userId: 'alice', status: 'processing', extra: { step: 1 } }]);
    expect(told(job.when(says('claimed', { extra: { step: 2 } })))).toMatchObject([{ status: 'processing', extra: { step: 2 } }]);
    expect(told(job.when(says('end', { extra: { moved: 3 } })))).toMatchObject([{ status: 'done', extra: { moved: 3 } }]);
    expect(job.value).toBe('done');
  });

  it('has five minutes from the start on, and again with each message', () => {
    const job = owned().when(says('claimed')).after(200_000);
    expect(timeout(job)).toBe(100_000);
    expect(timeout(job.when(says('claimed')))).toBe(300_000);
    job.after(300_000);
    expect(job.value).toBe('error');
    expect(told(job)).toMatchObject([{ status: 'error', error: 'nothing was heard of it for 300 s' }]);
    expect([job.messages, job.commands.length]).toEqual([[], 1]);
  });

  it('is done when its agent says so after the timeout', () => {
    const job = owned()
      .when(says('claimed'))
      .after(300_000)
      .when(says('end', { result: 1 }));
    expect(job.value).toBe('done');
    expect(told(job)).toMatchObject([{ status: 'done' }]);
    expect(job.context).toMatchObject({ result: 1 });
    expect(context(job)['error']).toBeUndefined();
  });

  it('goes on when its agent does after the timeout', () => {
    const job = owned().when(says('claimed')).after(300_000).when(says('claimed'));
    expect(job.value).toBe('processing');
    expect(timeout(job)).toBe(300_000);
  });

  it('is final once done: what comes later is late', () => {
    const job = owned()
      .when(says('end', { result: 1 }))
      .when(says('claimed'))
      .when(says('end', { result: 2 }));
    expect(job.value).toBe('done');
    expect(job.context).toMatchObject({ result: 1, late: 2 });
    expect(told(job)).toEqual([]);
  });

  it('ends in error as soon as its agent says so: who retries it is the agent', () => {
    const job = owned()
      .when(says('claimed'))
      .when(says('error', { message: 'no route' }));
    expect(job.value).toBe('error');
    expect(told(job)).toMatchObject([{ status: 'error', error: 'no route' }]);
    expect(job.messages).toEqual([]);
  });

  it('has no lease', () => {
    expect(owned().when(says('claimed')).after(290_000).messages).toEqual([]);
  });

  it.each(['claimed', 'alive', 'end', 'error'])('refuses %s in the name of another user, in every state', (name) => {
    const refusal = { code: 'wrong_user', field: 'userId', reason: 'Job j1 belongs to another user than "mallory".' };
    for (const job of [owned(), owned().when(says('claimed')), owned().when(says('end')), owned().when(says('error'))]) {
      expect(job.rejects({ type: name, userId: 'mallory' })).toEqual(refusal);
    }
  });

  it('that nobody submitted is adopted for the user whom its first report names', () => {
    const origin = { type: 'rebalance', via: 'rebalance', userId: 'bob', source: 'agent:rebalance:status' };
    const job = given(type, { id: 'j7' }).when({ type: 'claimed', userId: 'bob', origin });
    expect(job.value).toBe('processing');
    expect(told(job)).toMatchObject([{ jobId: 'j7', userId: 'bob', status: 'processing' }]);
    expect(job.context).toEqual({ type: 'rebalance', via: 'rebalance', userId: 'bob', source: 'agent:rebalance:status' });
    expect(job.rejects({ type: 'end', userId: 'alice' })).toMatchObject({ code: 'wrong_user' });
  });

  it('is pushed again when a person retries it', () => {
    const job = owned().when(says('error')).when({ type: 'retry' });
    expect(job.value).toBe('queued');
    expect(job.commands.map(({ name }) => name)).toEqual(['pushRebalance']);
    expect(job.messages).toEqual([]);
  });

  it('tells its owner when it is cancelled', () => {
    const job = owned().when({ type: 'cancel', reason: 'not now' });
    expect(told(job)).toMatchObject([{ status: 'error', error: 'not now', withdrawn: true }]);
    expect(job.commands).toHaveLength(1);
    expect(told(owned().when(says('error')))[0]).not.toHaveProperty('withdrawn');
  });
});

describe('an entry that somebody else enqueued', () => {
  const spec = { type: 'ECHO', via: 'queue', queue: 'jobs:v1:gpu-general' };
  const adopted = () => given(type, { id: 'test-123' }).when({ type: 'adopt', spec, entry: '5-0' });

  it('becomes a job that lies in its queue, and is not posted again', () => {
    const job = adopted();
    expect(job.value).toBe('queued');
    expect([job.messages, job.commands]).toEqual([[], []]);
    expect(job.context).toEqual({ type: 'ECHO', entry: '5-0' });
  });

  it('that names a node says for whom it waits, until that one takes it', () => {
    const job = given(type, { id: 'test-123' }).when({ type: 'adopt', spec: { ...spec, requires: { node: 'gpu-7' } }, entry: '5-0' });
    expect(job.context).toMatchObject({ reason: 'only node gpu-7 may take it: its entry names that one' });
    expect(job.when({ type: 'claimed', entry: '5-0', worker: 'castellan:gpu-7:1', nodeId: 'gpu-7' }).context).toMatchObject({ reason: undefined });
  });

  it('that was seen before changes nothing', () => {
    expect(adopted().when({ type: 'adopt', spec, entry: '5-0' }).outcome).toBe('ignored');
    expect(submitted().when({ type: 'adopt', spec, entry: '5-0' }).outcome).toBe('ignored');
  });

  it('is done when its worker, which knows of no attempts, says so', () => {
    const job = adopted().when({ type: 'claimed', worker: 'python-1', entry: '5-0' }).when({ type: 'end', worker: 'python-1', entry: '5-0', result: 'ok' });
    expect(job.context).toEqual({ type: 'ECHO', worker: 'python-1', result: 'ok' });
  });

  it('may be told done before it is adopted: the report says what it is', () => {
    const job = given(type, { id: 'test-123' }).when({ type: 'end', worker: 'castellan:gpu-1:1', entry: '5-0', origin: spec });
    expect(job.value).toBe('done');
    expect(job.when({ type: 'adopt', spec, entry: '5-0' }).outcome).toBe('ignored');
  });

  it('of a worker of ours has a lease, although it carries no attempt', () => {
    const job = adopted().when({ type: 'claimed', worker: 'castellan:gpu-1:1', nodeId: 'gpu-1', entry: '5-0' }).after(30_000);
    expect(job.messages).toMatchObject([{ to: 'node/gpu-1' }]);
  });

  it('whose consumer is gone is posted by us, under the first attempt; its own entry does not count any more', () => {
    const job = adopted().when({ type: 'claimed', worker: 'python-1', entry: '5-0' }).when({ type: 'stalled', entry: '5-0' });
    expect(job.commands).toMatchObject([{ name: 'withdrawJob', params: { jobId: 'test-123', attempt: 0, entry: '5-0', cancel: false } }]);
    expect(posted(job.after(5_000))).toEqual([1]);
    expect(job.when({ type: 'end', worker: 'python-1', entry: '5-0', result: 'late' }).value).toBe('queued');
    expect(job.when({ type: 'end', worker: 'castellan:gpu-1:1', entry: '5-0', result: 'late' }).value).toBe('queued');
    expect(job.context).toMatchObject({ late: 2 });
    expect(job.when({ type: 'end', worker: 'python-2', entry: '9-0', result: 'right' }).context).toMatchObject({ result: 'right' });
  });

  it('that fails for good is buried as tried once', () => {
    const job = adopted().when({ type: 'error', worker: 'python-1', entry: '5-0', retryable: false });
    expect(job.messages).toMatchObject([{ to: 'dlq/gpu-general', event: { attempts: 1, entry: '5-0', worker: 'python-1' } }]);
  });

  it('is tried again by us when it fails', () => {
    const job = adopted().when({ type: 'error', worker: 'python-1', entry: '5-0' });
    expect(posted(job.after(1_000))).toEqual([1]);
    expect(job.when(report('end', 1)).value).toBe('done');
  });
});
