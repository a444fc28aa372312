import { describe, expect, it } from 'vitest';
import { EffectLane, type LaneEvent } from '../../src/engine/effect-lane.ts';
import { Meter } from '../../src/engine/meter.ts';
import { DEFAULT_SETTINGS, type EngineSettings } from '../../src/engine/settings.ts';
import type { Delivery, Executor } from '../../src/protocol/command.ts';
import { actorKey } from '../../src/protocol/ids.ts';
import { ManualClock, settled } from './manual-clock.ts';

function delivery(actor: string, revision: number): Delivery {
  const key = actorKey('job', actor);
  return { key: `${key}#1-${revision}-0`, actor: key, epoch: 1, revision, at: 0, command: { kind: 'effect', name: 'print', params: {} } };
}

function fixture(executor: Executor, settings: Partial<EngineSettings> = {}) {
  const clock = new ManualClock();
  const lane = new EffectLane({ name: 'job:print', executor, clock, settings: { ...DEFAULT_SETTINGS, ...settings }, meter: new Meter() });
  const told: string[] = [];
  const stop = new AbortController();
  const tell = (event: LaneEvent): void => void told.push(`${event.kind} ${event.delivery.key.slice(4)}`);
  return { clock, lane, told, stop, add: (actor: string, revision: number) => lane.add(delivery(actor, revision), stop.signal, tell), tell };
}

describe('an effect lane', () => {
  it('runs one delivery of an actor at a time, actors beside one another', async () => {
    const running = new Map<string, () => void>();
    const { add, told } = fixture(({ key }) => new Promise((resolve) => running.set(key.slice(4), resolve)));
    add('a', 1);
    add('a', 2);
    add('b', 1);
    await settled();
    expect([...running.keys()]).toEqual(['a#1-1-0', 'b#1-1-0']);
    running.get('a#1-1-0')?.();
    await settled();
    expect([...running.keys()]).toEqual(['a#1-1-0', 'b#1-1-0', 'a#1-2-0']);
    expect(told).toEqual(['delivered a#1-1-0']);
  });

  it('keeps the order of an actor whose delivery fails, and holds up no other', async () => {
    let fails = 2;
    const seen: string[] = [];
    const { add, told, clock } = fixture(async ({ key }) => {
      seen.push(key.slice(4));
      if (key.startsWith('job/a#1-1') && fails-- > 0) throw new Error('no');
    });
    add('a', 1);
    add('a', 2);
    add('b', 1);
    await settled();
    expect(told).toEqual(['retry a#1-1-0', 'retry a#1-2-0', 'delivered b#1-1-0']);
    add('a', 3);
    expect(told[3]).toBe('retry a#1-3-0');
    await clock.advance(10_000);
    expect(seen).toEqual(['a#1-1-0', 'b#1-1-0', 'a#1-1-0', 'a#1-1-0', 'a#1-2-0', 'a#1-3-0']);
    expect(told.slice(-3)).toEqual(['delivered a#1-1-0', 'delivered a#1-2-0', 'delivered a#1-3-0']);
  });

  it('gives up after its tries, and goes on with the next of the actor', async () => {
    const { add, told, clock } = fixture(
      async ({ key }) => {
        if (key.startsWith('job/a#1-1')) throw new Error('never');
      },
      { effectAttemptsMax: 3 },
    );
    add('a', 1);
    add('a', 2);
    await clock.advance(100_000);
    expect(told.filter((event) => event.startsWith('exhausted'))).toEqual(['exhausted a#1-1-0']);
    expect(told[told.length - 1]).toBe('delivered a#1-2-0');
  });

  it('tries only so many failed actors again by itself; the others come up as those conclude', async () => {
    let isBroken = true;
    const { add, told, clock } = fixture(
      async () => {
        if (isBroken) throw new Error('down');
      },
      { laneRetriesMax: 1 },
    );
    for (const actor of ['a', 'b', 'c']) add(actor, 1);
    await settled();
    expect(clock.sleeping).toBe(1);
    isBroken = false;
    await clock.advance(60_000);
    expect(told.filter((event) => event.startsWith('delivered')).sort()).toEqual(['delivered a#1-1-0', 'delivered b#1-1-0', 'delivered c#1-1-0']);
  });

  it('ends a try whose executor neither ends nor listens', async () => {
    const { add, told, clock } = fixture(() => new Promise(() => undefined), { effectTimeoutMs: 1_000, effectAttemptsMax: 2 });
    add('a', 1);
    await clock.advance(999);
    expect(told).toEqual([]);
    await clock.advance(10_000);
    expect(told).toEqual(['retry a#1-1-0', 'exhausted a#1-1-0']);
  });

  it('resumes what its last owner left, with the tries that it had', async () => {
    const { lane, told, clock, stop, tell } = fixture(
      async () => {
        throw new Error('no');
      },
      { effectAttemptsMax: 5 },
    );
    lane.resume({ delivery: delivery('a', 1), attempts: 4, lastError: 'before' }, stop.signal, tell);
    await clock.advance(1_000);
    expect(told).toEqual(['exhausted a#1-1-0']);
  });

  it('starts nothing more when its partition is lost', async () => {
    const seen: string[] = [];
    const { add, told, stop, clock } = fixture(async ({ key }) => {
      seen.push(key);
      throw new Error('no');
    });
    add('a', 1);
    await settled();
    stop.abort();
    await clock.advance(60_000);
    expect([seen.length, told.length]).toEqual([1, 1]);
  });
});
