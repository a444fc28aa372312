/** One batch of one partition: the order of what it takes in, the times of its steps, and what it refuses to guess. */
import { Announcements } from '../../src/engine/announcements.ts';
import { Notices } from '../../src/engine/notices.ts';
import { ManualClock } from './manual-clock.ts';
import { describe, expect, it } from 'vitest';
import { registerActorType } from '../../src/core/kernel.ts';
import { HostedTypes } from '../../src/engine/actor-types.ts';
import { BatchBuilder, type BuildResult } from '../../src/engine/batch.ts';
import { Meter } from '../../src/engine/meter.ts';
import { Partition } from '../../src/engine/partition.ts';
import type { StreamEntry } from '../../src/engine/ports.ts';
import { DEFAULT_SETTINGS, type EngineSettings } from '../../src/engine/settings.ts';
import { decodePack } from '../../src/protocol/feed-pack.ts';
import type { MachineEvent } from '../../src/protocol/envelope.ts';
import type { ActorKey } from '../../src/protocol/ids.ts';
import { encodeInboxEntry } from '../../src/protocol/inbox-entry.ts';
import { EMPTY_STATE } from '../ports/requests.ts';
import { workloadTypes } from '../simulator/machines.ts';
import { BEATS, beats } from '../simulator/workload.ts';

const EPOCH = 1_000;

interface Options {
  readonly settings?: Partial<EngineSettings>;
  /** Whether the partition has the stream source too. */
  readonly withSource?: boolean;
  /** Actors that are not in memory. */
  readonly missing?: ReadonlySet<ActorKey>;
}

function fixture({ settings = {}, withSource = false, missing = new Set() }: Options = {}) {
  const meter = new Meter();
  const executors = { print: async () => undefined, log: async () => undefined };
  const types = new HostedTypes(workloadTypes(async () => null).map((definition) => ({ registered: registerActorType(definition), executors })));
  const partition = new Partition(1, 'engine', { ...EMPTY_STATE, epoch: EPOCH }, withSource ? [beats] : [], 1_000_000);
  const builder = new BatchBuilder({
    types,
    settings: { ...DEFAULT_SETTINGS, ...settings },
    meter,
    find: (owner, key) => (missing.has(key) ? undefined : (owner.uncommitted.get(key) ?? null)),
    cacheSet: () => undefined,
    postsWait: () => false,
    evict: () => undefined,
    announcements: new Announcements({ publish: async () => undefined }, new Notices(new ManualClock(), () => undefined)),
    now: () => 0,
  });
  let sequence = 0;
  return {
    partition,
    /** Entries as one read of the inbox brings them; `count` more than they are: the read came back short. */
    read: (readAt: number, entries: readonly (readonly [ms: number, actor: ActorKey, event: MachineEvent])[], count = 500) => {
      const inbox = entries.map(([ms, actor, event]): StreamEntry => [
        `${ms}-${sequence++}`,
        encodeInboxEntry({ actor, event, source: 'library' }, JSON.stringify(event)),
      ]);
      partition.takeInbox(inbox, count, readAt);
    },
    beat: (readAt: number, times: readonly number[]) => {
      const items = times.map((ms) => ({
        id: `${ms}-${sequence++}`,
        ms,
        key: 'watched/n' as const,
        fields: ['id', 'n', 'p', '{"type":"beat"}'],
        source: beats,
      }));
      partition.takeSource(BEATS, items, { last: items[items.length - 1]?.id ?? '0-0', watermark: readAt - 1, evidence: [[readAt - 1, readAt - 1]] });
    },
    build: () => builder.build(partition, 0),
  };
}

const arm = (delayMs: number): MachineEvent => ({ type: 'arm', delayMs });
const add = (n: number): MachineEvent => ({ type: 'add', by: 'test', n });

/** `<at> <actor> <event or timer>` of each transition of a type, in their order. */
function story(result: BuildResult, type: string): readonly string[] {
  if (result.kind !== 'batch') return [result.kind];
  const pack = result.batch.request.feed.find((feed) => feed.type === type)?.pack ?? '[]';
  return decodePack(type, pack).map(({ at, key, stimulus }) => `${at} ${key} ${stimulus.kind === 'event' ? stimulus.event.type : stimulus.kind}`);
}

describe('a batch', () => {
  it('fires a timer before the entry of the same millisecond', () => {
    const { read, build } = fixture();
    read(200, [
      [100, 'alarm/a', arm(50)],
      [150, 'alarm/a', { type: 'cancel' }],
    ]);
    expect(story(build(), 'alarm')).toEqual(['100 alarm/a arm', '150 alarm/a timer', '150 alarm/a cancel']);
  });

  it('does not fire a timer that an earlier entry cancels, however late both are looked at', () => {
    const { read, build } = fixture();
    read(10_000, [
      [100, 'alarm/a', arm(50)],
      [149, 'alarm/a', { type: 'cancel' }],
    ]);
    expect(story(build(), 'alarm')).toEqual(['100 alarm/a arm', '149 alarm/a cancel']);
  });

  it('puts timers of one millisecond in the order of their actors and arms', () => {
    const { read, build } = fixture();
    read(200, [
      [100, 'alarm/c', arm(50)],
      [101, 'alarm/b', arm(49)],
      [102, 'alarm/a', arm(48)],
    ]);
    expect(story(build(), 'alarm').slice(3)).toEqual(['150 alarm/a timer', '150 alarm/b timer', '150 alarm/c timer']);
  });

  it('fires nothing beyond the watermark, and all of it when the watermark has come', () => {
    const { read, build, partition } = fixture();
    read(150, [[100, 'alarm/a', arm(50)]]);
    expect(partition.watermark).toBe(149);
    expect(story(build(), 'alarm')).toEqual(['100 alarm/a arm']);
    read(151, []);
    const fired = build();
    expect(story(fired, 'alarm')).toEqual(['150 alarm/a timer']);
    expect(fired.kind === 'batch' && fired.batch.request.firedThrough).toBe(150);
  });

  it('knows no more than the last entry of a full read', () => {
    const { read, partition } = fixture();
    read(10_000, [[100, 'ledger/a', add(1)]], 1);
    expect(partition.watermark).toBe(100);
  });

  it('lets an entry wait until the inbox and every source are known up to its time', () => {
    const { read, beat, build, partition } = fixture({ withSource: true });
    read(1_000, [[900, 'ledger/a', add(1)]]);
    beat(500, [400]);
    expect(partition.watermark).toBe(499);
    expect(story(build(), 'ledger')).toEqual([]);
    expect(partition.time).toBe(400);
    beat(1_000, []);
    expect(story(build(), 'ledger')).toEqual(['900 ledger/a add']);
  });

  it('times a beat by its id even when the inbox was far behind', () => {
    const { read, beat, build, partition } = fixture({ withSource: true });
    read(10_000, [[100, 'ledger/a', add(1)]], 1); // a backlog: the inbox is known up to 100 only
    beat(10_000, [50, 5_000]);
    build();
    expect(partition.time).toBe(100);
    expect(partition.awaitsWatermark()).toBe(true);
    read(10_001, []);
    build();
    expect(partition.time).toBe(5_000);
  });

  it('gives an entry from the future the present time, and later entries theirs', () => {
    const { read, build, partition } = fixture();
    read(1_000, [[9_999_999, 'ledger/a', add(1)]]);
    expect(story(build(), 'ledger')).toEqual(['999 ledger/a add']);
    read(2_000, [[9_999_999, 'ledger/a', add(2)]]);
    expect(story(build(), 'ledger')).toEqual(['1999 ledger/a add']);
    expect(partition.watermark).toBe(1_999);
  });

  it('never lets its time go back', () => {
    const { read, build, partition } = fixture();
    read(1_000, [[900, 'ledger/a', add(1)]]);
    build();
    partition.takeInbox([['200-0', encodeInboxEntry({ actor: 'ledger/a', event: add(2), source: 'library' }, JSON.stringify(add(2)))]], 500, 1_001);
    expect(story(build(), 'ledger')).toEqual(['900 ledger/a add']);
  });

  it('ends before an actor that is not in memory', () => {
    const missing = new Set<ActorKey>(['ledger/b']);
    const { read, build } = fixture({ missing });
    read(200, [
      [100, 'ledger/a', add(1)],
      [101, 'ledger/b', add(1)],
      [102, 'ledger/a', add(2)],
    ]);
    expect(story(build(), 'ledger')).toEqual(['100 ledger/a add']);
    expect(build().kind).toBe('nothing');
    missing.clear();
    expect(story(build(), 'ledger')).toEqual(['101 ledger/b add', '102 ledger/a add']);
  });

  it('ends at its bound and goes on in the next one', () => {
    const { read, build } = fixture({ settings: { batchEventsMax: 2 } });
    read(200, [
      [100, 'ledger/a', add(1)],
      [101, 'ledger/a', add(2)],
      [102, 'ledger/a', add(3)],
    ]);
    const [first, second] = [build(), build()];
    expect([story(first, 'ledger').length, story(second, 'ledger').length]).toEqual([2, 1]);
    const requests = [first, second].map((result) => (result.kind === 'batch' ? result.batch.request : undefined));
    expect(requests.map((request) => request?.id)).toEqual([`${EPOCH}-1`, `${EPOCH}-2`]);
    expect(requests[1]?.previous).toBe(requests[0]?.id);
  });

  it('asks to apply a rejected entry alone when its actor had changed in the same batch', () => {
    const { read, build } = fixture();
    read(200, [
      [100, 'ledger/a', add(1)],
      [101, 'ledger/a', { type: 'poison' }],
    ]);
    expect(build()).toEqual({ kind: 'isolate', ref: '101-1' });
  });

  it('refuses what does not fit the schema, and goes on', () => {
    const { read, build } = fixture();
    read(200, [
      [100, 'ledger/a', { type: 'add', by: 'test', n: 'one' }],
      [101, 'ledger/a', add(1)],
    ]);
    const result = build();
    expect(story(result, 'ledger')).toEqual(['101 ledger/a add']);
    expect(result.kind === 'batch' && result.batch.request.deadLetters.length).toBe(1);
  });
});
