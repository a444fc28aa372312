/** What a batch makes of messages that leave, of documents from parameters, of announcements, and of actors that were kept for long enough. */
import { describe, expect, it } from 'vitest';
import { assign, sendTo, setup } from 'xstate';
import { z } from 'zod';
import type { ActorTypeDefinition } from '../../src/core/actor-type.ts';
import { registerActorType } from '../../src/core/kernel.ts';
import { HostedTypes, type HostedType } from '../../src/engine/actor-types.ts';
import { Announcements } from '../../src/engine/announcements.ts';
import { BatchBuilder, type BuildResult } from '../../src/engine/batch.ts';
import type { Batch } from '../../src/engine/batch-writes.ts';
import { Meter } from '../../src/engine/meter.ts';
import { Notices } from '../../src/engine/notices.ts';
import { Partition } from '../../src/engine/partition.ts';
import { DEFAULT_SETTINGS } from '../../src/engine/settings.ts';
import { durableActor } from '../../src/protocol/actor-reference.ts';
import type { MachineEvent } from '../../src/protocol/envelope.ts';
import { actorKey, type ActorKey } from '../../src/protocol/ids.ts';
import { encodeInboxEntry } from '../../src/protocol/inbox-entry.ts';
import type { Json } from '../../src/protocol/json.ts';
import type { Outlet } from '../../src/protocol/outlet.ts';
import type { StreamSource } from '../../src/protocol/source.ts';
import { EMPTY_STATE } from '../ports/requests.ts';
import { ManualClock } from './manual-clock.ts';

const EPOCH = 1_000;

/** A job in small: queued, then processing with a lease, then done. */
const machine = setup({
  types: { context: {} as { queue: string }, events: {} as { type: 'progress'; step: number } | { type: 'claim' | 'end' | 'later' } },
  delays: { lease: 100, soon: 20 },
  actions: {
    setDocument: (_args, _params: { readonly document: Json }) => {},
    post: sendTo(
      ({ context }) => durableActor('queue', context.queue),
      () => ({ type: 'post', what: 'job' }),
    ),
    postLater: sendTo(
      ({ context }) => durableActor('queue', context.queue),
      () => ({ type: 'post', what: 'later' }),
      { delay: 'soon' },
    ),
    count: assign({}),
  },
}).createMachine({
  id: 'job',
  context: ({ input }) => ({ queue: (input as { id: string }).id }),
  initial: 'queued',
  states: {
    queued: { on: { claim: { target: 'processing', actions: 'post' }, later: { actions: 'postLater' } } },
    processing: {
      after: { lease: 'lost' },
      on: {
        progress: { target: 'processing', reenter: true, actions: { type: 'setDocument', params: ({ event }) => ({ document: { step: event.step } }) } },
        end: 'done',
      },
    },
    lost: {},
    done: { on: { claim: { target: 'processing', actions: 'post' } } },
  },
});

const plain = z.object({ type: z.string() });
const definition: ActorTypeDefinition = {
  type: 'job',
  version: '1',
  machine,
  events: { progress: z.object({ type: z.string(), step: z.number() }), claim: plain, end: plain, later: plain },
  unindexed: ['lost'],
};

/** Numbers of values that no entry can have. */
const STRANGE: { readonly [id: string]: number | undefined } = { empty: 0, odd: 1, huge: 9_000 };

const queue: Outlet = {
  type: 'queue',
  encode: (id, event, from, at) => {
    if (id === 'throws') throw new Error('no such queue');
    if (id === 'unknown') return undefined;
    const strange = STRANGE[id];
    if (strange !== undefined) return { stream: `jobs:${id}`, fields: Array.from({ length: strange }, String) };
    return { stream: `jobs:${id}`, fields: ['what', event['what'] as string, 'from', from, 'at', String(at)], priority: 0, member: from };
  },
};

const reports: StreamSource = {
  stream: 'reports',
  keyOf: (fields) => actorKey('job', fields[1] ?? ''),
  decode: (_id, fields) => ({ ok: true, event: JSON.parse(fields[3] ?? '') as MachineEvent }),
};

function fixture(host: Partial<HostedType> = {}, sources: readonly StreamSource[] = []) {
  const types = new HostedTypes([{ registered: registerActorType(definition), executors: {}, ...host }], [queue]);
  const partition = new Partition(1, 'engine', { ...EMPTY_STATE, epoch: EPOCH }, sources, 1_000_000);
  const meter = new Meter();
  const waiting = new Set<string>();
  const published: (readonly [string, string])[] = [];
  const warnings: string[] = [];
  const notices = new Notices(new ManualClock(), (text) => void warnings.push(text));
  const announcements = new Announcements({ publish: async (messages) => void published.push(...messages) }, notices);
  const builder = new BatchBuilder({
    types,
    settings: DEFAULT_SETTINGS,
    meter,
    find: (owner, key) => owner.uncommitted.get(key) ?? null,
    cacheSet: () => undefined,
    evict: () => undefined,
    announcements,
    postsWait: (stream) => waiting.has(stream),
    now: () => 0,
  });
  let sequence = 0;
  const build = (): Batch => {
    const built: BuildResult = builder.build(partition, 0);
    if (built.kind !== 'batch') throw new Error(`The batch is ${built.kind}.`);
    return built.batch;
  };
  return {
    types,
    partition,
    meter,
    build,
    builder,
    waiting,
    announcements,
    published,
    warnings,
    /** Events of the inbox, read at that time and applied. */
    apply: (at: number, ...events: readonly (readonly [id: string, event: MachineEvent])[]): Batch => {
      const entries = events.map(
        ([id, event]) => [`${at}-${sequence++}`, encodeInboxEntry({ actor: actorKey('job', id), event, source: 'library' }, JSON.stringify(event))] as const,
      );
      partition.takeInbox(entries, 500, at + 1);
      return build();
    },
    report: (at: number, id: string, event: MachineEvent): Batch => {
      const item = { id: `${at}-${sequence++}`, ms: at, key: actorKey('job', id), fields: ['id', id, 'p', JSON.stringify(event)], source: reports };
      partition.takeInbox([], 500, at + 1);
      partition.takeSource('reports', [item], { last: item.id, watermark: at, evidence: [[at, at]] });
      return build();
    },
  };
}

const claim = { type: 'claim' } as const;
const end = { type: 'end' } as const;

describe('a message to an outlet', () => {
  it('becomes a post that is made and numbered with the commit', () => {
    const { apply } = fixture();
    const { owed, request } = apply(100, ['a', claim], ['b', claim]);
    const post = { priority: 0, from: 1 };
    expect(request.posts).toEqual([
      { ...post, stream: 'jobs:a', fields: ['what', 'job', 'from', 'job/a', 'at', '100'], member: 'job/a', number: `${EPOCH}-1` },
      { ...post, stream: 'jobs:b', fields: ['what', 'job', 'from', 'job/b', 'at', '100'], member: 'job/b', number: `${EPOCH}-2` },
    ]);
    expect(owed.outbox).toEqual([]);
    expect(request.outbox).toBeUndefined();
    expect(request.sent).toEqual({});
    const next = apply(150, ['a', end], ['a', claim]);
    expect(next.request.posts).toMatchObject([{ stream: 'jobs:a', number: `${EPOCH}-3` }]);
  });

  it('waits in the outbox behind those that its stream has not taken', () => {
    const { apply, waiting } = fixture();
    waiting.add('jobs:a');
    const { owed, request } = apply(100, ['a', claim], ['b', claim]);
    expect(owed.outbox).toMatchObject([{ post: { stream: 'jobs:a', number: `${EPOCH}-1` } }]);
    expect(JSON.parse(request.outbox ?? '')).toEqual(owed.outbox);
    expect(request.posts).toMatchObject([{ stream: 'jobs:b', number: `${EPOCH}-2` }]);
  });

  it('does not overtake one that a batch in flight has put into its outbox', () => {
    const { apply, waiting, partition } = fixture();
    waiting.add('jobs:a');
    const first = apply(100, ['a', claim], ['a', end]);
    // The line is empty again, and the batch is not settled: what it owes is in nobody's line yet.
    waiting.clear();
    const second = apply(150, ['a', claim], ['a', end]);
    expect([second.request.posts, second.owed.outbox.length]).toEqual([[], 1]);
    partition.settled(first.owed.commit);
    const third = apply(200, ['a', claim], ['a', end]);
    expect(third.request.posts).toEqual([]);
    partition.settled(second.owed.commit);
    partition.settled(third.owed.commit);
    expect(apply(250, ['a', claim]).request.posts).toMatchObject([{ number: `${EPOCH}-4` }]);
  });

  it('goes the same way when it was delayed', () => {
    const { apply, partition, build } = fixture();
    expect(apply(100, ['a', { type: 'later' }]).request.posts).toEqual([]);
    partition.takeInbox([], 500, 200);
    expect(build().request.posts).toMatchObject([{ stream: 'jobs:a', fields: ['what', 'later', 'from', 'job/a', 'at', '120'] }]);
  });

  it.each([
    ['unknown', 'The outlet "queue" has no entry for the event "post".'],
    ['throws', 'The outlet "queue" could not encode the event "post": no such queue'],
    ['empty', 'The entry that the outlet "queue" made of the event "post" has 0 values; a value for each field is needed, and one field at the least.'],
    ['odd', 'The entry that the outlet "queue" made of the event "post" has 1 values; a value for each field is needed, and one field at the least.'],
    ['huge', 'The entry that the outlet "queue" made of the event "post" has 9000 values; at most 1000 are taken.'],
  ])('is a dead letter when the outlet has no entry for it (%s), and the actor goes on', (id, reason) => {
    const { apply, partition, meter } = fixture();
    const { owed, request } = apply(100, [id, claim]);
    expect(owed.outbox).toEqual([]);
    expect(request.posts).toEqual([]);
    expect(request.deadLetters.map((json) => JSON.parse(json) as unknown)).toEqual([
      {
        at: 100,
        source: `actor:job/${id}`,
        ref: `1:${EPOCH}-1:0`,
        code: 'post_not_encoded',
        reason,
        actor: `job/${id}`,
        excerpt: JSON.stringify({ to: `queue/${id}`, event: { type: 'post', what: 'job' } }),
      },
    ]);
    expect(meter.counters.dead_letters).toBe(1);
    expect(partition.uncommitted.get(actorKey('job', id))?.record).toMatchObject({ revision: 1, snapshot: { value: 'processing' } });
  });

  it('cannot have the name of an actor type, nor of another outlet', () => {
    const hosted = { registered: registerActorType(definition), executors: {} };
    expect(() => new HostedTypes([hosted], [{ ...queue, type: 'job' }])).toThrow('names "job", which is taken');
    expect(() => new HostedTypes([hosted], [queue, queue])).toThrow('names "queue", which is taken');
  });
});

describe('a document from parameters', () => {
  it.each(['inbox', 'source'] as const)('is stored by a touch that arms the timer again, from the %s', (way) => {
    const { apply, report } = fixture({}, way === 'source' ? [reports] : []);
    const tell = (at: number, event: MachineEvent): Batch => (way === 'source' ? report(at, 'a', event) : apply(at, ['a', event]));
    tell(100, claim);
    const { request, owed } = tell(150, { type: 'progress', step: 3 });
    expect(request.documents).toEqual([['job/a', '{"step":3}']]);
    expect(request.timers.set).toEqual([['job/a |xstate.after.lease.job.processing', 250]]);
    expect([request.records, request.feed, owed.outbox]).toEqual([[], [], []]);
  });
});

describe('an announcement', () => {
  it('is made of committed transitions, touches left out, and a throw costs only itself', async () => {
    const announce = {
      channel: 'updates',
      message: ({ key, to }: { readonly key: ActorKey; readonly to: unknown }): readonly string[] => {
        if (key === 'job/bad') throw new Error('not this one');
        return [`${key} ${to as string}`];
      },
    };
    const { apply, announcements, published, warnings } = fixture({ announce });
    const { request, owed } = apply(100, ['a', claim], ['a', { type: 'progress', step: 1 }], ['a', end], ['bad', claim], ['b', claim]);
    expect(request.channels).toEqual(['updates']);
    announcements.answered(request.channels, ['updates'], owed.untold);
    expect(published.map(([, message]) => message)).toEqual(['job/a processing', 'job/a done', 'job/b processing']);
    expect(warnings).toEqual(['What job/bad announces on updates could not be made: not this one']);
  });

  it('goes with the commit while its channel is known to be heard', () => {
    const announce = { channel: 'updates', message: ({ key, to }: { readonly key: ActorKey; readonly to: unknown }) => [`${key} ${to as string}`] };
    const { apply, announcements, published } = fixture({ announce });
    announcements.answered(['updates'], ['updates'], []);
    const { request, owed } = apply(100, ['a', claim], ['a', end]);
    expect([request.announcements, request.channels, owed.untold]).toEqual([
      [
        ['updates', 'job/a processing'],
        ['updates', 'job/a done'],
      ],
      ['updates'],
      [],
    ]);
    announcements.answered(['updates'], [], []);
    const next = apply(150, ['a', claim]);
    expect([next.request.announcements, next.owed.untold.length]).toEqual([[], 1]);
    announcements.answered(['updates'], [], next.owed.untold);
    expect(published).toEqual([]);
  });

  it('asks after no channel when there is nothing to tell', () => {
    const { apply } = fixture();
    expect(apply(100, ['a', claim]).request.channels).toEqual([]);
  });
});

describe('an actor that was kept for long enough', () => {
  const overdue = (id: string, enteredAt: number) => ({ key: actorKey('job', id), statePath: 'done', enteredAt });

  it('goes with its record, its document and all that indexes hold of it', () => {
    const { apply, partition, build, meter } = fixture();
    apply(100, ['a', claim], ['a', end]);
    partition.overdue([overdue('a', 100)]);
    const { request, removed } = build();
    expect(request.removed).toEqual(['job/a']);
    expect(removed).toEqual(['job/a']);
    expect(request.index).toEqual({
      add: [],
      remove: [
        ['job', '', 'job/a'],
        ['job', 'done', 'job/a'],
      ],
    });
    expect(request.records).toEqual([]);
    expect(meter.counters.swept).toBe(1);
    expect(partition.hasOverdue).toBe(false);
  });

  it('is nobody from then on: the next event begins anew, before the removal is committed as well', () => {
    const { apply, partition, build } = fixture();
    apply(100, ['a', claim], ['a', end]);
    partition.overdue([overdue('a', 100)]);
    build();
    expect(partition.uncommitted.get('job/a')).toBeNull();
    const { request } = apply(200, ['a', claim]);
    expect(partition.uncommitted.get('job/a')?.record).toMatchObject({ revision: 1, createdAt: 200 });
    expect(request.index.add).toEqual([
      ['job', '', 'job/a', 200],
      ['job', 'processing', 'job/a', 200],
    ]);
  });

  it('stays when the same batch changes it, when it came to its state again, or has a timer', () => {
    const { apply, partition, builder } = fixture();
    apply(100, ['a', claim], ['a', end], ['b', claim], ['b', end], ['c', claim]);
    partition.overdue([overdue('a', 100), overdue('b', 99), { ...overdue('c', 100), statePath: 'processing' }, overdue('nobody', 1)]);
    const { request } = apply(150, ['a', claim], ['a', end]);
    expect(request.removed).toEqual([]);
    expect(partition.hasOverdue).toBe(false);
    partition.overdue([overdue('a', 100)]);
    expect(builder.build(partition, 0)).toEqual({ kind: 'nothing' });
  });

  it('is looked for by an indexed atomic state only', () => {
    const registered = registerActorType(definition);
    const keep = { maxAgeMs: 1, maxCount: 1 };
    expect(() => new HostedTypes([{ registered, executors: {}, keep: { lost: keep } }])).toThrow('keep.lost is not indexed');
    expect(() => new HostedTypes([{ registered, executors: {}, keep: { gone: keep } }])).toThrow('keep.gone is no atomic state of "job"');
    expect(() => new HostedTypes([{ registered, executors: {}, keep: { done: keep } }])).not.toThrow();
  });
});
