/** The brake: what a fleet answers when one, many or most of its nodes fall silent. */
import { describe, expect, it } from 'vitest';
import { array, assert, integer, oneof, property, record } from 'fast-check';
import { World } from './world.ts';

const ids = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => `n${from + index}`);

/** So long do these nodes beat every 30 s, one after another, while the others are silent. */
function pass(world: World, ms: number, beating: readonly string[]): void {
  for (let passed = 0; passed < ms; passed += 30_000) {
    for (const id of beating) {
      world.advance(30_000 / beating.length);
      world.beat(id);
    }
    if (beating.length === 0) world.advance(30_000);
  }
}

const shown = (world: World, nodes: readonly string[]) => [...new Set(nodes.map((id) => world.shown(id)))];

describe('a fleet', () => {
  it('lets a minority go offline', () => {
    const world = new World();
    pass(world, 60_000, ids(0, 20));
    pass(world, 150_000, ids(10, 20));
    expect(shown(world, ids(0, 10))).toEqual(['offline']);
    expect(shown(world, ids(10, 20))).toEqual(['online']);
    expect(world.fleet()).toMatchObject({ total: 10, late: 0 });
    expect(world.incidents()).toEqual([]);
  });

  it('lets two of two go offline: so few are no common fault', () => {
    const world = new World();
    pass(world, 60_000, ids(0, 2));
    pass(world, 120_000, []);
    expect(shown(world, ids(0, 2))).toEqual(['offline']);
    expect(world.incidents()).toEqual([]);
  });

  it('brakes when 60 % fall silent at once: unknown, one incident, and no offline for hours', () => {
    const world = new World();
    pass(world, 60_000, ids(0, 20));
    pass(world, 3_600_000, ids(12, 20));
    expect(shown(world, ids(0, 12))).toEqual(['unknown']);
    expect(shown(world, ids(12, 20))).toEqual(['online']);
    expect(world.value('fleet/acme')).toEqual({ braking: 'holding' });
    expect(world.incidents()).toEqual(['opened']);
    expect(world.nodeChanges().filter(({ state }) => state === 'unknown')).toHaveLength(12);
    expect(world.nodeChanges().find(({ state }) => state === 'unknown')?.reason).toContain('the fault may not be theirs');
  });

  it('heals without a single node declared offline, and resolves the incident once', () => {
    const world = new World();
    pass(world, 60_000, ids(0, 20));
    pass(world, 300_000, ids(12, 20));
    pass(world, 90_000, ids(0, 20));
    expect(shown(world, ids(0, 20))).toEqual(['online']);
    expect(world.value('fleet/acme')).toEqual({ braking: 'easing' });
    pass(world, 120_000, ids(0, 20));
    expect(world.value('fleet/acme')).toBe('calm');
    expect(world.incidents()).toEqual(['opened', 'resolved']);
    expect(world.nodeChanges().filter(({ state }) => state === 'offline')).toEqual([]);
    expect(world.fleet()).toMatchObject({ total: 20, late: 0 });
  });

  it('declares those offline that are still silent when the brake is off: nobody stays unknown without end', () => {
    const world = new World();
    pass(world, 60_000, ids(0, 20));
    pass(world, 300_000, ids(12, 20));
    pass(world, 300_000, ids(4, 20));
    expect(shown(world, ids(0, 4))).toEqual(['offline']);
    expect(shown(world, ids(4, 20))).toEqual(['online']);
    expect(world.incidents()).toEqual(['opened', 'resolved']);
    expect(world.fleet()).toMatchObject({ total: 16, late: 0 });
  });

  it('keeps one incident while the share swings about the rule', () => {
    const world = new World();
    pass(world, 60_000, ids(0, 20));
    pass(world, 180_000, ids(12, 20));
    for (let swing = 0; swing < 3; swing++) {
      pass(world, 60_000, ids(8, 20));
      pass(world, 180_000, ids(12, 20));
    }
    expect(world.value('fleet/acme')).toEqual({ braking: 'holding' });
    expect(world.incidents()).toEqual(['opened']);
  });

  it('obeys an operator who says that the silent ones are lost', () => {
    const world = new World();
    pass(world, 60_000, ids(0, 20));
    pass(world, 300_000, ids(12, 20));
    world.send('fleet/acme', { type: 'release' });
    pass(world, 60_000, ids(12, 20));
    expect(shown(world, ids(0, 12))).toEqual(['offline']);
    expect(world.value('fleet/acme')).toBe('calm');
    expect(world.incidents()).toEqual(['opened', 'resolved']);
    expect(world.fleet()).toMatchObject({ total: 8, late: 0 });
  });

  it('opens no incident and loses no node when nobody listened for an hour', () => {
    const world = new World();
    pass(world, 60_000, ids(0, 20));
    world.close(3_600_000);
    pass(world, 60_000, ids(0, 20));
    expect(shown(world, ids(0, 20))).toEqual(['online']);
    expect(world.incidents()).toEqual([]);
  });
});

describe('a node that asks', () => {
  it('goes offline by itself when no verdict comes within an interval', () => {
    const world = new World();
    pass(world, 60_000, ids(0, 3));
    world.mute('fleet/acme');
    pass(world, 90_000, []);
    world.advance(5_000);
    expect([world.shown('n0'), world.watch('n0')]).toEqual(['degraded', 'asking']);
    pass(world, 30_000, []);
    expect(world.shown('n0')).toBe('offline');
    expect(world.nodeChanges().at(-1)?.reason).toContain('the fleet gave no verdict');
  });

  it('does not take a time in which nobody listened for the lack of a verdict', () => {
    const world = new World();
    pass(world, 60_000, ids(0, 3));
    world.mute('fleet/acme');
    pass(world, 90_000, []);
    world.advance(5_000);
    world.close(3_600_000);
    world.advance(94_999);
    expect(world.shown('n0')).toBe('degraded');
    world.advance(1);
    expect(world.shown('n0')).toBe('offline');
  });

  it('does not heed a verdict after it was heard again', () => {
    const world = new World();
    pass(world, 60_000, ids(0, 3));
    world.mute('fleet/acme');
    pass(world, 90_000, []);
    world.advance(5_000);
    world.beat('n0');
    expect(world.watch('n0')).toBe('recovering');
    expect(world.send('node/n0', { type: 'verdict', verdict: 'offline' }).kind).toBe('ignored');
    expect(world.shown('n0')).toBe('degraded');
  });
});

describe('an unknown node', () => {
  const questions = (world: World, id: string) => world.messages.filter(({ to, event }) => to === 'fleet/acme' && event['nodeId'] === id).length;

  it('asks again every interval', () => {
    const world = new World();
    pass(world, 60_000, ids(0, 4));
    pass(world, 120_000, ids(3, 4));
    expect(world.watch('n0')).toBe('adrift');
    const before = questions(world, 'n0');
    pass(world, 300_000, ids(3, 4));
    expect(questions(world, 'n0')).toBe(before + 10);
  });

  it('asks at once when a single beat was not followed by a second', () => {
    const world = new World();
    pass(world, 60_000, ids(0, 4));
    pass(world, 120_000, ids(3, 4));
    world.beat('n0');
    const before = questions(world, 'n0');
    world.advance(94_999);
    expect([world.shown('n0'), world.watch('n0'), questions(world, 'n0')]).toEqual(['unknown', 'recovering', before]);
    world.advance(1);
    expect([world.shown('n0'), world.watch('n0'), questions(world, 'n0')]).toEqual(['unknown', 'adrift', before + 1]);
  });

  it('has its whole deadline again after a time in which nobody listened, before it asks', () => {
    const world = new World();
    pass(world, 60_000, ids(0, 4));
    pass(world, 120_000, ids(3, 4));
    const before = questions(world, 'n0');
    world.close(3_600_000);
    world.advance(94_999);
    expect(questions(world, 'n0')).toBe(before);
    world.advance(1);
    expect(questions(world, 'n0')).toBe(before + 1);
  });
});

describe('the counts', () => {
  /** What a node is for its fleet: the table in the node's machine. */
  function expected(world: World, nodes: readonly string[]): { readonly total: number; readonly late: number } {
    const members = nodes.filter((id) => world.watch(id) !== 'gone' && !(world.watch(id) === 'recovering' && world.shown(id) === 'offline'));
    return { total: members.length, late: members.filter((id) => world.watch(id) !== 'fresh').length };
  }

  it('are exact after any history of beats, silences and closed times', () => {
    const act = oneof(
      record({ beat: array(integer({ min: 0, max: 6 }), { maxLength: 7 }) }),
      record({ silence: integer({ min: 1, max: 120_000 }) }),
      record({ closed: integer({ min: 1, max: 600_000 }) }),
    );
    assert(
      property(array(act, { maxLength: 60 }), (acts) => {
        const world = new World();
        const nodes = ids(0, 7);
        for (const id of nodes) world.beat(id);
        for (const each of acts) {
          if ('beat' in each) for (const node of each.beat) world.beat(`n${node}`);
          else if ('silence' in each) world.advance(each.silence);
          else world.close(each.closed);
          expect(world.fleet()).toMatchObject(expected(world, nodes));
        }
      }),
      { numRuns: 100 },
    );
  });
});
