/** Jobs whose worker fell silent ask its node. Deadlines: late 35 s, degraded 65 s, offline 95 s after the newest beat. */
import { beforeEach, describe, expect, it } from 'vitest';
import { ASKERS_MAX } from '../../machines/node/machine.ts';
import { NODE_STATES } from '../../src/protocol/control-plane.ts';
import { World } from './world.ts';

let world: World;
beforeEach(() => {
  world = new World();
  for (const job of ['j1', 'j2']) world.mute(`job/${job}`);
  for (const other of ['b', 'c', 'd']) world.beat(other);
});

function pass(ms: number): void {
  for (let passed = 0; passed < ms;) {
    const stride = Math.min(10_000, ms - passed);
    world.advance(stride);
    passed += stride;
    for (const other of ['b', 'c', 'd']) world.beat(other);
  }
}

const doubt = (job: string) => world.send('node/a', { type: 'doubt', job });
const answers = () =>
  world.messages.filter(({ to }) => to.startsWith('job/')).map(({ to, event }) => `${to} ${(event as { readonly state?: string }).state ?? ''}`);

describe('a node that never reported', () => {
  it('answers that it is unheard, and is no member of a fleet nor shown in any state', () => {
    doubt('j1');
    expect(answers()).toEqual(['job/j1 unheard']);
    expect(NODE_STATES).not.toContain(world.shown('a'));
    expect(world.messages.filter(({ to }) => to.startsWith('fleet/'))).toHaveLength(3);
    expect(world.timers('node/a')).toEqual([]);
  });

  it('is a node like any other from its first status on', () => {
    doubt('j1');
    world.beat('a');
    expect(world.shown('a')).toBe('online');
    expect(world.fleet()).toMatchObject({ total: 4, late: 0 });
    expect(answers()).toHaveLength(1);
  });
});

describe('a node that is online', () => {
  beforeEach(() => void world.beat('a'));

  it('answers when it is heard after the question, and not before: both may have fallen silent together', () => {
    pass(20_000);
    doubt('j1');
    doubt('j2');
    expect(answers()).toEqual([]);
    pass(10_000);
    world.beat('a');
    expect(answers()).toEqual(['job/j1 online', 'job/j2 online']);
  });

  it('forgets who was told: its next beat is a touch again', () => {
    doubt('j1');
    world.beat('a');
    expect(world.beat('a').kind).toBe('touch');
    expect(answers()).toHaveLength(1);
    expect(world.node('a')).toEqual({ id: 'a', org: 'acme', name: 'a', tags: [] });
  });

  it('remembers each asker once, and changes nothing when it asks again', () => {
    doubt('j1');
    expect(doubt('j1').kind).toBe('ignored');
    expect(world.node('a').askers).toEqual(['j1']);
  });

  it('answers at its beat although that was late', () => {
    pass(40_000);
    expect(world.watch('a')).toBe('late');
    doubt('j1');
    world.beat('a');
    expect(answers()).toEqual(['job/j1 online']);
  });

  it('does not start its silence anew by being asked', () => {
    pass(30_000);
    doubt('j1');
    pass(70_000);
    expect(world.shown('a')).toBe('offline');
    expect(answers()).toEqual(['job/j1 offline']);
  });

  it('tells those beyond the bound that it does not know, and remembers none of them', () => {
    for (let index = 0; index <= ASKERS_MAX; index++) {
      world.mute(`job/n${index}`);
      doubt(`n${index}`);
    }
    expect(answers()).toEqual([`job/n${ASKERS_MAX} unknown`]);
    expect(world.node('a').askers).toHaveLength(ASKERS_MAX);
    world.beat('a');
    expect(answers()).toHaveLength(1 + ASKERS_MAX);
  });
});

describe('a node that is silent', () => {
  beforeEach(() => {
    world.beat('a');
    pass(70_000);
  });

  it('says that it is degraded, and tells when it is offline', () => {
    doubt('j1');
    expect(world.shown('a')).toBe('degraded');
    expect(answers()).toEqual(['job/j1 degraded']);
    pass(30_000);
    expect(answers()).toEqual(['job/j1 degraded', 'job/j1 offline']);
  });

  it('tells when it is back online: not at its first beat, which its worker may follow, but at the second', () => {
    doubt('j1');
    world.beat('a');
    expect(answers()).toEqual(['job/j1 degraded']);
    pass(30_000);
    world.beat('a');
    expect(answers()).toEqual(['job/j1 degraded', 'job/j1 online']);
    expect(world.node('a').askers).toBeUndefined();
  });

  it('answers again who asks again, and remembers it once', () => {
    doubt('j1');
    doubt('j1');
    expect(answers()).toEqual(['job/j1 degraded', 'job/j1 degraded']);
    expect(world.node('a').askers).toEqual(['j1']);
  });

  it('answers at once when it is offline', () => {
    pass(30_000);
    doubt('j1');
    expect(answers()).toEqual(['job/j1 offline']);
    expect(world.node('a').askers).toBeUndefined();
  });
});

describe('a fleet that fell silent at once', () => {
  it('lets its nodes answer that they do not know, and no job is told that its node is offline', () => {
    world.beat('a');
    world.advance(120_000);
    expect(world.shown('a')).toBe('unknown');
    doubt('j1');
    world.advance(3_600_000);
    expect(answers()).toEqual(['job/j1 unknown']);
    world.beat('a');
    world.advance(30_000);
    world.beat('a');
    expect(answers()).toEqual(['job/j1 unknown', 'job/j1 online']);
  });
});
