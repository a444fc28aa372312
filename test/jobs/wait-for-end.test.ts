/** Waiting for a job's end: what is told, what is read, and when. */
import { describe, expect, it } from 'vitest';
import type { Arrivals, StoredView } from '../../src/engine/read-ports.ts';
import { createJobs, type JobPorts } from '../../src/jobs/jobs.ts';
import { RedisUnusableError } from '../../src/protocol/errors.ts';
import { actorKey, type ActorKey } from '../../src/protocol/ids.ts';
import type { ActorRecord } from '../../src/protocol/record.ts';
import { encodeRecord } from '../../src/protocol/stored-record.ts';
import { ManualClock } from '../engine/manual-clock.ts';

const KEY = actorKey('job', 'one');

function stored(state: string, revision: number, more: { readonly result?: string; readonly createdAt?: number } = {}): StoredView {
  const { result, createdAt = 1_000 } = more;
  const context = { type: 'ECHO', attempt: revision, ...(result === undefined ? {} : { result }) };
  const record: ActorRecord = {
    revision,
    version: '1',
    status: 'active',
    snapshot: { status: 'active', value: state, context, historyValue: {} },
    entered: { [state]: createdAt + revision },
    timers: {},
    children: {},
    invocations: {},
    createdAt,
    updatedAt: createdAt + revision,
    head: null,
  };
  return { key: KEY, record: encodeRecord(record), document: null, dues: {} };
}

function world(first: StoredView | undefined) {
  const clock = new ManualClock();
  const here = { now: first, looks: 0, away: 0, hearing: 0, subscribing: Promise.resolve(), answer: async (job: StoredView | undefined) => job };
  let told: Parameters<Arrivals['hear']>[1] | undefined;
  const arrivals: Arrivals = {
    hear: async (_type, heard) => {
      await here.subscribing;
      here.hearing++;
      told = heard;
      return async () => void here.hearing--;
    },
  };
  const stop = new AbortController();
  const ports = {
    arrivals,
    clock,
    stopped: stop.signal,
    reader: {
      getActor: async () => {
        here.looks++;
        if (here.away > 0 && here.away--) throw new RedisUnusableError('Redis is away.');
        return await here.answer(here.now);
      },
    },
    confirmMs: 0,
    client: { sendAndWait: async () => ({ kind: 'transition' }) },
    queues: { view: async () => [] },
  } as unknown as JobPorts;
  return {
    here,
    clock,
    stop,
    jobs: createJobs(ports),
    tell: (view: StoredView): void => told?.(view.key, view),
    tellKey: (key: ActorKey): void => told?.(key, undefined),
  };
}

describe('who waits for the end of a job', () => {
  it('has it as soon as it is told, without a second look', async () => {
    const { jobs, clock, here, tell } = world(stored('queued', 1));
    const waiting = jobs.waitForEnd('one', 10_000);
    await clock.advance(0);
    tell(stored('done', 2, { result: 'whole' }));
    expect(await waiting).toMatchObject({ state: 'done', result: 'whole' });
    expect([clock.now(), here.looks]).toEqual([0, 1]);
  });

  it('reads one that is too large to be told', async () => {
    const { jobs, clock, here, tellKey } = world(stored('queued', 1));
    const waiting = jobs.waitForEnd('one', 10_000);
    await clock.advance(0);
    here.now = stored('done', 2, { result: 'large' });
    tellKey(KEY);
    expect(await waiting).toMatchObject({ state: 'done', result: 'large' });
    expect([clock.now(), here.looks]).toEqual([0, 2]);
  });

  it('is not misled by what is told late of an earlier try, or of an earlier job of that id', async () => {
    const { jobs, clock, tell } = world(stored('queued', 4));
    const waiting = jobs.waitForEnd('one', 10_000);
    await clock.advance(0);
    tell(stored('error', 3));
    tell(stored('done', 9, { createdAt: 500, result: 'of another' }));
    await clock.advance(10);
    tell(stored('done', 6, { result: 'of this one' }));
    expect(await waiting).toMatchObject({ state: 'done', result: 'of this one' });
  });

  it('is not misled either by what is told before the job was read', async () => {
    const { jobs, clock, here, tell } = world(undefined);
    const before = jobs.waitForEnd('one', 10_000);
    tell(stored('error', 3));
    here.now = stored('queued', 4);
    await clock.advance(100);
    here.now = stored('done', 5, { result: 'in the end' });
    await clock.advance(1_000);
    expect(await before).toMatchObject({ state: 'done', result: 'in the end' });
  });

  it('looks every second, for a message may be lost', async () => {
    const { jobs, clock, here } = world(stored('queued', 1));
    const waiting = jobs.waitForEnd('one', 10_000);
    await clock.advance(999);
    here.now = stored('cancelled', 2);
    expect(here.looks).toBe(1);
    await clock.advance(1);
    expect(await waiting).toMatchObject({ state: 'cancelled' });
  });

  it('has the job as it stands when the time is over', async () => {
    const { jobs, clock } = world(stored('processing', 1));
    const waiting = jobs.waitForEnd('one', 1_500);
    await clock.advance(1_500);
    expect(await waiting).toMatchObject({ state: 'processing' });
  });

  it('is let go by a stop, also while it begins to listen', async () => {
    const { jobs, clock, here, stop } = world(stored('queued', 1));
    const subscribed = Promise.withResolvers<void>();
    here.subscribing = subscribed.promise;
    const waiting = jobs.waitForEnd('one', 10_000).catch((error: unknown) => error);
    stop.abort();
    subscribed.resolve();
    await clock.advance(0);
    expect(await waiting).toMatchObject({ code: 'stopped' });
    expect([clock.now(), clock.sleeping, here.hearing]).toEqual([0, 0, 0]);
  });

  it('is let go by a stop while Redis does not answer', async () => {
    const { jobs, clock, here, stop } = world(stored('queued', 1));
    here.answer = async () => await new Promise<never>(() => undefined);
    const waiting = jobs.waitForEnd('one', 10_000).catch((error: unknown) => error);
    await clock.advance(5);
    stop.abort();
    await clock.advance(0);
    expect(await waiting).toMatchObject({ code: 'stopped' });
  });

  it('outlasts a Redis that is away for a moment, not one that is away until the time is over', async () => {
    const { jobs, clock, here } = world(stored('done', 2));
    here.away = 5;
    const waiting = jobs.waitForEnd('one', 10_000);
    await clock.advance(500);
    expect(await waiting).toMatchObject({ state: 'done' });
    here.away = 1_000;
    const inVain = jobs.waitForEnd('one', 2_000).catch((error: unknown) => error);
    await clock.advance(2_000);
    expect(await inVain).toMatchObject({ code: 'redis_unusable' });
  });

  it('waits for one that was accepted as long as it is asked to, for any other two seconds', async () => {
    const { jobs, clock, here } = world(undefined);
    const unknown = jobs.waitForEnd('one', 10_000);
    const accepted = jobs.waitForEnd('one', 10_000, true);
    const never = jobs.waitForEnd('one', 3_000, true);
    await clock.advance(2_000);
    expect(await unknown).toBeUndefined();
    await clock.advance(1_000);
    expect(await never).toBeUndefined();
    await clock.advance(4_500);
    here.now = stored('done', 2);
    await clock.advance(1_000);
    expect(await accepted).toMatchObject({ state: 'done' });
  });

  it('is one of many: they listen together, and stop a second after the last', async () => {
    const { jobs, clock, here, tell } = world(stored('queued', 1));
    const waiting = [1, 2, 3].map(async () => await jobs.waitForEnd('one', 10_000));
    await clock.advance(5);
    expect(here.hearing).toBe(1);
    tell(stored('done', 2));
    expect((await Promise.all(waiting)).map((job) => job?.state)).toEqual(['done', 'done', 'done']);
    await clock.advance(999);
    expect(here.hearing).toBe(1);
    await clock.advance(1);
    expect(here.hearing).toBe(0);
  });
});

describe('who cancels a job', () => {
  it('may do so before it has a record, and hears of one that never comes after two seconds', async () => {
    const { jobs, clock, here } = world(undefined);
    const soon = jobs.cancel('one');
    await clock.advance(100);
    here.now = stored('queued', 1);
    await clock.advance(20);
    expect(await soon).toMatchObject({ kind: 'done' });
    here.now = undefined;
    const never = jobs.cancel('one');
    await clock.advance(2_100);
    expect(await never).toEqual({ kind: 'missing' });
  });
});
