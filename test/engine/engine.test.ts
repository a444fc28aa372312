/** A whole engine over a store in memory, on a clock that the test moves: bells, announcements, outlets, and what is dropped with time. */
import { afterEach, describe, expect, it } from 'vitest';
import { assign, sendTo, setup } from 'xstate';
import { z } from 'zod';
import { registerActorType } from '../../src/core/kernel.ts';
import type { HostedType } from '../../src/engine/actor-types.ts';
import { Engine, type EngineOptions } from '../../src/engine/engine.ts';
import type { EngineStore } from '../../src/engine/ports.ts';
import type { EngineSettings } from '../../src/engine/settings.ts';
import { durableActor } from '../../src/protocol/actor-reference.ts';
import type { MachineEvent } from '../../src/protocol/envelope.ts';
import { actorKey, PARTITION_COUNT, partitionOf } from '../../src/protocol/ids.ts';
import type { StreamSource } from '../../src/protocol/source.ts';
import { decodeRecord } from '../../src/protocol/stored-record.ts';
import { MemoryRedis } from '../simulator/memory-store.ts';
import { ManualClock } from './manual-clock.ts';

const BEGINNING_MS = 1_700_000_000_000;
const REPORTS = 'reports';

const machine = setup({
  types: { context: {} as { id: string }, events: {} as { type: 'begin' | 'end' }, input: {} as { id: string } },
  actions: {
    post: sendTo(
      ({ context }) => durableActor('queue', context.id),
      () => ({ type: 'post' }),
    ),
  },
}).createMachine({
  id: 'job',
  context: ({ input }) => ({ id: input.id }),
  initial: 'new',
  states: { new: { on: { begin: { target: 'busy', actions: 'post' } } }, busy: { on: { end: 'done' } }, done: {} },
});
const plain = z.object({ type: z.string() });
/** As well, it counts what it posts, and has an effect beside each. */
const notingMachine = setup({
  types: { context: {} as { id: string; n: number }, events: {} as { type: 'begin' | 'end' }, input: {} as { id: string } },
  actions: {
    count: assign(({ context }) => ({ n: context.n + 1 })),
    note: () => {},
    post: sendTo(
      ({ context }) => durableActor('numbered', context.id),
      ({ context }) => ({ type: 'post', n: context.n }),
    ),
  },
}).createMachine({
  id: 'job',
  context: ({ input }) => ({ id: input.id, n: 0 }),
  initial: 'new',
  states: { new: { on: { begin: { target: 'busy', actions: ['count', 'post', 'note'] } } }, busy: { on: { end: 'new' } } },
});
const noting = registerActorType({ type: 'job', version: '1', machine: notingMachine, events: { begin: plain, end: plain }, effects: ['note'] });
const registered = registerActorType({ type: 'job', version: '1', machine, events: { begin: plain, end: plain } });

const reports: StreamSource = {
  stream: REPORTS,
  keyOf: (fields) => (fields[0] === 'other' ? null : actorKey('job', fields[1] ?? '')),
  decode: (_id, fields) => ({ ok: true, event: JSON.parse(fields[3] ?? '') as MachineEvent }),
  trimBehind: true,
};

describe('an engine', () => {
  const engines: { engine: Engine; clock: ManualClock }[] = [];
  afterEach(async () => {
    for (const { engine, clock } of engines.splice(0)) {
      const stopped = engine.stop();
      await clock.advance(5_000);
      await stopped;
    }
  });

  interface World {
    readonly clock: ManualClock;
    readonly redis: MemoryRedis;
  }
  const world = (): World => {
    const clock = new ManualClock();
    return { clock, redis: new MemoryRedis({ now: () => BEGINNING_MS + Math.floor(clock.now()) }) };
  };
  const start = async (
    { clock, redis }: World,
    {
      host = {},
      settings = {},
      ...options
    }: Partial<EngineOptions> & { readonly host?: Partial<HostedType>; readonly settings?: Partial<EngineSettings> } = {},
  ) => {
    const calls: Partial<Record<keyof EngineStore, number>> = {};
    const store = redis.store(async (name, phase) => {
      if (phase === 'before') calls[name] = (calls[name] ?? 0) + 1;
    });
    const warnings: string[] = [];
    const engine = new Engine({
      store,
      doorbell: redis.doorbell(),
      clock,
      types: [{ registered, executors: {}, ...host }],
      outlets: [
        { type: 'queue', encode: (id) => ({ stream: `queue:${id}`, fields: ['jobId', id] }) },
        { type: 'numbered', encode: (id, event) => ({ stream: `queue:${id}`, fields: ['n', JSON.stringify(event['n'])] }) },
      ],
      owner: `engine-${engines.length}`,
      settings: { pollMs: 60_000, checkpointMs: 500, trimEveryMs: 1_000, ...settings },
      warn: (text) => void warnings.push(text),
      ...options,
    });
    engines.push({ engine, clock });
    void engine.start();
    await clock.advance(100);
    return { engine, calls, warnings };
  };
  const append = async ({ redis, clock }: World, id: string, ...events: readonly string[]): Promise<void> => {
    await redis.store().append(events.map((type) => ({ actor: actorKey('job', id), event: { type }, source: 'library' as const })));
    await clock.advance(20);
  };
  const recordOf = ({ redis }: World, id: string): string | undefined => {
    const key = actorKey('job', id);
    return redis.partition(partitionOf(key)).records.get(key);
  };

  it('reads its sources when their bell rings, and no more often than that', async () => {
    const here = world();
    const { calls } = await start(here, { sources: [reports] });
    await here.clock.advance(1_000);
    here.redis.addToSource(REPORTS, ['id', 'a', 'p', '{"type":"begin"}']);
    await here.clock.advance(100);
    expect(recordOf(here, 'a')).toBeUndefined(); // nobody rang, and the next look is far away
    const before = calls.read ?? 0;
    for (let rings = 0; rings < 1_000; rings++) here.redis.ringSources();
    await here.clock.advance(5);
    expect(recordOf(here, 'a')).toContain('busy');
    expect((calls.read ?? 0) - before).toBeLessThan(6);
    const after = calls.read ?? 0;
    await here.clock.advance(1_000);
    expect(calls.read).toBe(after);
  });

  it('applies what a ring brings without a read, and reads when another rang as well', async () => {
    const here = world();
    const { calls } = await start(here, { sources: [reports] });
    const before = { ...calls };
    const reads = (): number => (calls.read ?? 0) - (before.read ?? 0);
    await append(here, 'a', 'begin');
    expect(recordOf(here, 'a')).toContain('busy');
    here.redis.report(REPORTS, ['id', 'a', 'p', '{"type":"end"}'], partitionOf(actorKey('job', 'a')));
    await here.clock.advance(20);
    expect(recordOf(here, 'a')).toContain('done');
    expect([reads(), (calls.load ?? 0) - (before.load ?? 0)]).toEqual([0, 0]);
    here.redis.addToSource(REPORTS, ['id', 'b', 'p', '{"type":"begin"}']); // by somebody who does not ring
    await append(here, 'c', 'begin');
    expect([recordOf(here, 'b'), recordOf(here, 'c')]).toEqual([expect.stringContaining('busy'), expect.stringContaining('busy')]);
    expect(reads()).toBeGreaterThan(0);
  });

  it('posts what machines send to an outlet, and acknowledges it', async () => {
    const here = world();
    const { engine } = await start(here);
    await append(here, 'a', 'begin');
    await here.clock.advance(100);
    expect(here.redis.posted('queue:a').map(([, fields]) => fields)).toEqual([['jobId', 'a']]);
    expect([engine.meter.counters.posts, engine.report().outboxDepth, here.redis.partition(partitionOf('job/a')).outbox.length]).toEqual([1, 0, 0]);
  });

  it('delivers what a stream refused when it takes entries again, in order, and carries out once what was decided with it', async () => {
    const here = world();
    const carriedOut: string[] = [];
    const { engine, warnings } = await start(here, { host: { registered: noting, executors: { note: async ({ key }) => void carriedOut.push(key) } } });
    here.redis.refusing.add('queue:a');
    await append(here, 'a', 'begin');
    await append(here, 'b', 'begin');
    await here.clock.advance(2_000);
    await append(here, 'a', 'end', 'begin');
    expect([here.redis.posted('queue:a').length, here.redis.posted('queue:b').length, engine.report().outboxDepth]).toEqual([0, 1, 2]);
    here.redis.refusing.clear();
    await here.clock.advance(20_000);
    await append(here, 'a', 'end', 'begin');
    await here.clock.advance(1_000);
    expect(here.redis.posted('queue:a').map(([, fields]) => fields[1])).toEqual(['1', '2', '3']);
    expect(carriedOut.map((key) => key.slice(0, key.indexOf('#'))).sort()).toEqual(['job/a', 'job/a', 'job/a', 'job/b']);
    expect([new Set(carriedOut).size, engine.report().outboxDepth]).toEqual([4, 0]);
    expect(warnings[0]).toMatch(/^1 entries for the stream queue:a wait because it does not take them/);
  });

  it('announces transitions while somebody listens, and builds none while nobody does', async () => {
    const here = world();
    let built = 0;
    await start(here, { host: { announce: { channel: 'updates', message: ({ key, to }) => (built++, [`${key} ${to as string}`]) } } });
    await append(here, 'a', 'begin');
    expect([built, here.redis.published]).toEqual([0, []]);
    here.redis.listened.add('updates');
    await append(here, 'a', 'end');
    await append(here, 'b', 'begin', 'end');
    expect(here.redis.published).toEqual(['job/a done', 'job/b busy', 'job/b done'].map((text) => ['updates', text]));
  });

  it('drops actors that were kept for long enough, and lets their addresses begin anew', async () => {
    const here = world();
    const { engine } = await start(here, { host: { keep: { done: { maxAgeMs: 5_000, maxCount: 1_000 } } } });
    await append(here, 'a', 'begin', 'end');
    await append(here, 'b', 'begin');
    await here.clock.advance(3_000);
    expect(recordOf(here, 'a')).toContain('done');
    await here.clock.advance(5_000);
    expect([recordOf(here, 'a'), engine.meter.counters.swept, engine.report().cachedActors]).toEqual([undefined, 1, 1]);
    expect(recordOf(here, 'b')).toContain('busy');
    await append(here, 'a', 'begin');
    expect(decodeRecord(recordOf(here, 'a') ?? '')).toMatchObject({ revision: 1 });
    for (const { indexes } of here.redis.partitions) expect(indexes.get('job:done')?.size ?? 0).toBe(0);
  });

  it('keeps so many of the newest, each partition its share, however many there are at once', async () => {
    const here = world();
    await start(here, { host: { keep: { done: { maxAgeMs: 1e9, maxCount: 2 * PARTITION_COUNT } } } });
    const ids = Array.from({ length: 1_300 }, (_, index) => `j${index}`).filter((id) => partitionOf(actorKey('job', id)) < 2);
    const many = Array.from({ length: 700 }, (_, index) => `m${index}`);
    const beside = many.map((id) => Array.from({ length: 200 }, (_, at) => `${id}-${at}`).find((name) => partitionOf(actorKey('job', name)) === 5) as string);
    for (const id of [...ids, ...beside]) {
      await here.redis.store().append(['begin', 'end'].map((type) => ({ actor: actorKey('job', id), event: { type }, source: 'library' as const })));
    }
    await here.clock.advance(5_000);
    for (const number of [0, 1, 5]) {
      const held = here.redis.partition(number);
      const finished = [...ids, ...beside].map((id) => actorKey('job', id)).filter((key) => partitionOf(key) === number);
      // All came in one millisecond: an index orders those by their names.
      expect([...held.records.keys()].sort()).toEqual(finished.sort().slice(-2));
    }
  });

  it('trims a source of its own behind all partitions, and its next owner misses nothing', async () => {
    const here = world();
    const { engine } = await start(here, { sources: [reports], settings: { pollMs: 50 } });
    for (let n = 0; n < 40; n++) {
      here.redis.addToSource(REPORTS, n % 4 === 3 ? ['other', 'x'] : ['id', `r${n}`, 'p', '{"type":"begin"}']);
      await here.clock.advance(20);
    }
    await here.clock.advance(5_000);
    const [left] = here.redis.source(REPORTS).after('0-0');
    expect(here.redis.source(REPORTS).length).toBe(1);
    expect(left?.[1]).toEqual(['other', 'x']);
    const stopped = engine.stop();
    await here.clock.advance(1_000);
    await stopped;
    here.redis.addToSource(REPORTS, ['id', 'late', 'p', '{"type":"begin"}']);
    const next = await start(here, { sources: [reports], settings: { pollMs: 50 } });
    await here.clock.advance(1_000);
    expect(recordOf(here, 'late')).toContain('busy');
    expect([next.warnings, next.engine.meter.counters.source_gaps]).toEqual([[], 0]);
  });

  it('needs an intake for lists and channels', () => {
    const { clock, redis } = world();
    const options = { store: redis.store(), doorbell: redis.doorbell(), clock, types: [], owner: 'x' };
    expect(() => new Engine({ ...options, lists: [{ list: 'l', side: 'left', decode: () => ({ ok: 'ignored' }) }] })).toThrow('intake');
  });
});
