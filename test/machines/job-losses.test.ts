/** A job whose worker is lost with it in hand. */
import { describe, expect, it } from 'vitest';
import { LOSSES_MAX } from '../../machines/job/events.ts';
import { buried, context, posted, processing, report, submitted } from './jobs.ts';

const PACE_MS = 5_000;
const nodeState = (state: string) => ({ type: 'nodeState', state });

/** Asked about its worker. */
function doubted(spec: object = {}) {
  return processing(spec).after(30_000);
}

describe('a silent worker', () => {
  it('is doubted after its lease: its node is asked, and the job stays where it is', () => {
    const job = doubted();
    expect(job.value).toBe('processing');
    expect(job.messages).toEqual([{ to: 'node/gpu-1', event: { type: 'doubt', job: 'j1' } }]);
    expect(job.context).toMatchObject({ doubt: 'asked', reason: 'its worker is silent; node gpu-1 is asked' });
    expect(job.commands).toEqual([]);
  });

  it('that is heard again keeps its job', () => {
    const job = doubted().when(report('alive'));
    expect(job.value).toBe('processing');
    expect(context(job)['doubt']).toBeUndefined();
    expect(context(job)['reason']).toBeUndefined();
    expect(job.when(report('alive')).outcome).toBe('touch');
    expect(job.when(report('end', 1, { result: 1 })).value).toBe('done');
  });

  it('may end its job out of the doubt', () => {
    expect(doubted().when(report('end')).value).toBe('done');
  });

  it('is asked about again when its node did not answer', () => {
    const job = doubted().after(59_999);
    expect(job.messages).toEqual([]);
    expect(job.after(1).messages).toEqual([{ to: 'node/gpu-1', event: { type: 'doubt', job: 'j1' } }]);
  });

  it('is lost when its node lives and it still tells nothing', () => {
    const job = doubted().when(nodeState('online'));
    expect(job.value).toBe('processing');
    expect(job.after(19_999).value).toBe('processing');
    expect(job.after(1).value).toBe('retrying');
    expect(job.context).toMatchObject({ losses: 1, reason: expect.stringMatching(/^its worker castellan:gpu-1:1 is gone; handed out again after/) });
  });

  it('keeps its job when it is heard after its node was', () => {
    const job = doubted().when(nodeState('online')).after(10_000).when(report('alive')).after(25_000);
    expect(job.value).toBe('processing');
    expect(context(job)['doubt']).toBeUndefined();
  });

  it.each(['offline', 'unheard'])('is lost when its node is %s', (state) => {
    const job = doubted().when(nodeState(state));
    expect(job.value).toBe('retrying');
    expect(job.commands).toEqual([{ name: 'withdrawJob', params: { queue: 'jobs:v1:gpu-general', jobId: 'j1', attempt: 1, entry: '1-0', cancel: false } }]);
  });

  it.each(['degraded', 'unknown'])('keeps its job while its node is %s: the node tells when it knows', (state) => {
    const job = doubted().when(nodeState(state));
    expect(job.context).toMatchObject({ reason: `its worker is silent, and so is its node gpu-1 (${state}); it waits for either` });
    expect(job.when(nodeState(state)).outcome).toBe('ignored');
    expect(job.after(200_000).value).toBe('processing');
    expect(job.when(nodeState('offline')).value).toBe('retrying');
  });

  it('of no known node is lost at once', () => {
    const job = submitted().when({ type: 'claimed', attempt: 1, worker: 'castellan:x' }).after(30_000);
    expect(job.value).toBe('retrying');
  });

  it('of a node that can be none is lost at once, too: nobody could be asked', () => {
    expect(
      submitted()
        .when(report('claimed', 1, { nodeId: 'no such/node' }))
        .after(30_000).value,
    ).toBe('retrying');
  });

  it('is not doubted for the time in which nobody listened', () => {
    const job = processing().after(20_000).closed(120_000);
    expect(job.after(29_999).messages).toEqual([]);
    expect(job.after(1).messages).toHaveLength(1);
  });

  it('that knows of no attempts is doubted by nobody: its silence is bounded by the timeout', () => {
    const job = submitted().when({ type: 'claimed', worker: 'python-1', entry: '5-0' });
    expect(job.after(299_999).value).toBe('processing');
    expect(job.after(1).value).toBe('retrying');
    expect(job.context).toMatchObject({ failures: 1, error: { code: 'timeout' } });
  });

  it('leaves an answer that comes too late without effect', () => {
    expect(processing().when(nodeState('offline')).outcome).toBe('ignored');
    expect(doubted().when(report('alive')).when(nodeState('offline')).outcome).toBe('ignored');
  });
});

describe('a lost job', () => {
  it('is handed out again within the pace, at a moment of its own, and no try is spent', () => {
    const pauses = new Set<number>();
    for (let index = 0; index < 50; index++) {
      const job = processing({}, `job-${index}`).after(30_000).when(nodeState('offline'));
      const pause = job.timers[0]?.inMs ?? Number.NaN;
      expect(pause).toBeGreaterThanOrEqual(0);
      expect(pause).toBeLessThan(PACE_MS);
      pauses.add(pause);
      expect(posted(job.after(pause))).toEqual([2]);
      expect(context(job)['failures']).toBeUndefined();
    }
    expect(pauses.size).toBeGreaterThan(40);
  });

  it('refuses what its lost worker tells later', () => {
    const job = doubted()
      .when(nodeState('offline'))
      .after(PACE_MS)
      .when(report('end', 1, { result: 'late' }));
    expect(job.value).toBe('queued');
    expect(job.context).toMatchObject({ attempt: 2, late: 1 });
    expect(job.when(report('end', 2, { result: 'right' })).context).toMatchObject({ result: 'right', late: 1 });
  });

  it('ends in error when it must not happen twice', () => {
    const job = doubted({ requeue: 'never' }).when(nodeState('offline'));
    expect(job.value).toBe('error');
    expect(context(job)['error']).toEqual({ code: 'worker_lost', message: 'its node gpu-1 is offline; it may have been done and must not be done twice' });
    expect(buried(job)).toMatchObject([{ attempts: 1, worker: 'castellan:gpu-1:1', entry: '1-0' }]);
    expect(job.commands).toMatchObject([{ name: 'withdrawJob', params: { cancel: true } }]);
    expect(job.timers).toEqual([]);
  });

  it('is handed out again when it is fenced: its handler refuses the lost worker', () => {
    expect(doubted({ requeue: 'fenced' }).when(nodeState('offline')).value).toBe('retrying');
  });

  it('ends in error when it lost too many workers: it may be what kills them', () => {
    const job = submitted();
    for (let loss = 1; loss <= LOSSES_MAX; loss++) {
      job.when(report('claimed', loss)).after(30_000).when(nodeState('offline'));
      expect(job.value).toBe('retrying');
      job.after(PACE_MS);
    }
    job
      .when(report('claimed', LOSSES_MAX + 1))
      .after(30_000)
      .when(nodeState('offline'));
    expect(job.value).toBe('error');
    expect(context(job)['error']).toMatchObject({ code: 'worker_lost' });
    expect(buried(job)).toHaveLength(1);
  });
});

describe('an entry that lies with a consumer that is gone', () => {
  const stalled = (entry: string, more = {}) => ({ type: 'stalled', entry, worker: 'castellan:dead:1', ...more });

  it.each([
    ['processing', processing],
    ['queued, its claim untold', submitted],
  ] as const)('is a loss of the job that is %s', (_state, make) => {
    const job = make().when(stalled('1-0'));
    expect(job.value).toBe('retrying');
    expect(job.context).toMatchObject({ losses: 1, former: '1-0' });
    expect(job.commands).toMatchObject([{ name: 'withdrawJob', params: { attempt: 1, cancel: false } }]);
  });

  it('is none when it is the entry of an attempt that is over, or of another one', () => {
    expect(processing().when(stalled('0-9')).outcome).toBe('ignored');
    expect(submitted().when(stalled('1-0', { attempt: 2 })).outcome).toBe('ignored');
    expect(processing().when(report('released')).when(stalled('1-0')).outcome).toBe('ignored');
    expect(submitted().when(report('end')).when(stalled('1-0')).outcome).toBe('ignored');
  });

  it('is none when that consumer told of the job itself: a busy worker reads nothing, and its lease says whether it lives', () => {
    const job = processing();
    expect(job.when(stalled('1-0', { worker: context(job)['worker'] })).outcome).toBe('ignored');
    expect(job.value).toBe('processing');
  });

  it('of a foreign worker is lost with its consumer, although it told of the claim', () => {
    const claimed = submitted().when({ type: 'claimed', attempt: 1, worker: 'theirs', entry: '1-0' });
    const theirs = claimed.when(stalled('1-0', { worker: 'theirs' }));
    expect(theirs.value).toBe('retrying');
  });

  it('of a foreign worker has no lease, also when its attempt is told for it: only its time ends it', () => {
    const job = submitted().when({ type: 'claimed', attempt: 1, worker: 'theirs', entry: '1-0' }).after(200_000);
    expect([job.value, context(job)['attempt'], context(job)['losses']]).toEqual(['processing', 1, undefined]);
    expect(job.after(100_000).value).toBe('retrying');
    expect(job.context).toMatchObject({ error: { code: 'timeout' } });
  });

  it('ends a job that must not happen twice', () => {
    const job = submitted({ requeue: 'never' }).when(stalled('1-0'));
    expect(job.value).toBe('error');
    expect(buried(job)).toHaveLength(1);
  });
});
