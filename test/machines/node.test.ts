/** A node, from its first status through silence and back. Deadlines: late 35 s, degraded 65 s, offline 95 s after the newest beat. */
import { beforeEach, describe, expect, it } from 'vitest';
import { World } from './world.ts';

let world: World;
beforeEach(() => {
  world = new World();
  for (const other of ['b', 'c', 'd']) world.beat(other);
});

/** Lets time pass while the rest of the fleet beats on. */
function pass(ms: number): void {
  for (let passed = 0; passed < ms;) {
    const stride = Math.min(10_000, ms - passed);
    world.advance(stride);
    passed += stride;
    for (const other of ['b', 'c', 'd']) world.beat(other);
  }
}

const reasons = () =>
  world
    .nodeChanges()
    .filter(({ nodeId }) => nodeId === 'a')
    .map(({ state, reason }) => `${state}: ${reason}`);

describe('a new node', () => {
  it('is online at its first status, joins its fleet and says so once', () => {
    world.beat('a');
    expect(world.shown('a')).toBe('online');
    expect(world.fleet()).toEqual({ org: 'acme', total: 4, late: 0 });
    expect(world.node('a')).toEqual({ id: 'a', org: 'acme', name: 'a', tags: [] });
    expect(reasons()).toEqual(['online: first status received']);
    expect(world.nodeChanges().at(-1)).toMatchObject({ nodeId: 'a', orgId: 'acme', state: 'online' });
  });

  it('that something else has created waits for its first status', () => {
    world.send('node/a', { type: 'verdict', verdict: 'offline' });
    expect(world.watch('a')).toBe('waiting');
    world.beat('a');
    expect(world.shown('a')).toBe('online');
    expect(world.node('a')).toMatchObject({ org: 'acme' });
    expect(world.fleet().total).toBe(4);
  });
});

describe('a beat in time', () => {
  it('is a touch: the document is stored and the one timer re-armed, without a revision', () => {
    world.beat('a');
    pass(30_000);
    const decision = world.beat('a');
    expect(decision).toMatchObject({ kind: 'touch', recordChanged: false, document: `{"at":${world.now}}` });
    expect(decision).toMatchObject({ timers: [{ kind: 'arm', key: '|xstate.after.late.fresh', clock: 'liveness', delayMs: 35_000 }] });
    expect(world.revision('node/a')).toBe(1);
    expect(world.document('node/a')).toBe(`{"at":${world.now}}`);
  });

  it('stays one while the readings wander within their bands', () => {
    world.beat('a', { gpuTemperature: 84.9, diskPercent: 89.9 });
    expect(world.beat('a', { gpuTemperature: null, diskPercent: null }).kind).toBe('touch');
    expect(world.beat('a', { gpuTemperature: 10, diskPercent: 1, tags: [] }).kind).toBe('touch');
  });

  it('with another name or other tags is a revision once', () => {
    world.beat('a');
    expect(world.beat('a', { name: 'new name', tags: ['gpu', 'eu'] }).kind).toBe('transition');
    expect(world.node('a')).toMatchObject({ name: 'new name', tags: ['gpu', 'eu'] });
    expect(world.beat('a', { name: 'new name', tags: ['gpu', 'eu'] }).kind).toBe('touch');
    expect(world.beat('a', { name: 'new name' }).kind).toBe('touch');
    expect(world.shown('a')).toBe('online');
    expect(reasons()).toHaveLength(1);
  });

  it('from another organisation moves the node from one fleet to the other', () => {
    world.beat('a');
    world.beat('a', { orgId: 'zeta' });
    expect(world.fleet('acme')).toMatchObject({ total: 3, late: 0 });
    expect(world.fleet('zeta')).toMatchObject({ total: 1, late: 0 });
    expect(world.node('a').org).toBe('zeta');
  });
});

describe('silence', () => {
  beforeEach(() => void world.beat('a'));

  it('makes it late, then degraded, then offline, each at its deadline since the last beat', () => {
    pass(34_999);
    expect(world.watch('a')).toBe('fresh');
    world.advance(1);
    expect([world.shown('a'), world.watch('a')]).toEqual(['online', 'late']);
    expect(world.fleet()).toMatchObject({ total: 4, late: 1 });
    pass(29_999);
    expect(world.shown('a')).toBe('online');
    world.advance(1);
    expect([world.shown('a'), world.watch('a')]).toEqual(['degraded', 'silent']);
    pass(29_999);
    expect(world.shown('a')).toBe('degraded');
    world.advance(1);
    expect([world.shown('a'), world.watch('a')]).toEqual(['offline', 'gone']);
    expect(world.fleet()).toMatchObject({ total: 3, late: 0 });
    expect(reasons()).toEqual([
      'online: first status received',
      'degraded: no status for 65 s: 2 beats of 30 s missed, plus 5 s skew',
      'offline: no status for 95 s: 3 beats of 30 s missed, plus 5 s skew',
    ]);
  });

  it('never has more than one timer armed', () => {
    for (let second = 0; second < 200; second++) {
      pass(1_000);
      expect(world.timers('node/a').length).toBeLessThanOrEqual(1);
    }
    expect(world.timers('node/a')).toEqual([]);
  });

  it('of one beat is told to the fleet and taken back, and shown to nobody', () => {
    pass(40_000);
    expect(world.fleet().late).toBe(1);
    world.beat('a');
    expect(world.fleet()).toMatchObject({ total: 4, late: 0 });
    expect([world.shown('a'), world.watch('a')]).toEqual(['online', 'fresh']);
    expect(reasons()).toHaveLength(1);
    pass(34_999);
    expect(world.watch('a')).toBe('fresh');
  });

  it('while nobody listened counts for nothing: each stage gets its whole deadline again', () => {
    pass(30_000);
    world.close(3_600_000);
    pass(34_999);
    expect(world.watch('a')).toBe('fresh');
    world.advance(1);
    expect(world.watch('a')).toBe('late');
    world.close(3_600_000);
    pass(64_999);
    expect(world.shown('a')).toBe('online');
    world.advance(1);
    expect(world.shown('a')).toBe('degraded');
    world.close(3_600_000);
    pass(94_999);
    expect(world.shown('a')).toBe('degraded');
    world.advance(1);
    expect(world.shown('a')).toBe('offline');
  });
});

describe('coming back', () => {
  beforeEach(() => void world.beat('a'));

  it('from degraded takes two beats', () => {
    pass(70_000);
    world.beat('a');
    expect([world.shown('a'), world.watch('a')]).toEqual(['degraded', 'recovering']);
    pass(30_000);
    world.beat('a');
    expect([world.shown('a'), world.watch('a')]).toEqual(['online', 'fresh']);
    expect(world.fleet()).toMatchObject({ total: 4, late: 0 });
    expect(reasons().at(-1)).toBe('online: 2 beats in a row received');
  });

  it('from degraded with one beat alone gets the whole offline deadline from that beat', () => {
    pass(90_000);
    world.beat('a');
    pass(94_999);
    expect(world.shown('a')).toBe('degraded');
    world.advance(1);
    expect(world.shown('a')).toBe('offline');
  });

  it('from offline takes two beats within the full deadline, and joins the fleet again', () => {
    pass(100_000);
    expect(world.shown('a')).toBe('offline');
    world.beat('a');
    expect([world.shown('a'), world.watch('a')]).toEqual(['offline', 'recovering']);
    expect(world.fleet().total).toBe(3);
    pass(95_000);
    expect(world.watch('a')).toBe('gone');
    world.beat('a');
    pass(30_000);
    world.beat('a');
    expect(world.shown('a')).toBe('online');
    expect(world.fleet()).toMatchObject({ total: 4, late: 0 });
    expect(reasons()).toEqual([
      'online: first status received',
      expect.stringContaining('degraded: '),
      expect.stringContaining('offline: '),
      'online: 2 beats in a row received',
    ]);
  });

  it('stores the status at every stage', () => {
    for (const silence of [40_000, 70_000, 100_000, 1_000]) {
      pass(silence);
      world.beat('a');
      expect(world.document('node/a')).toBe(`{"at":${world.now}}`);
    }
  });
});

describe('health', () => {
  const health = () => (world.value('node/a') as { readonly health: object }).health;

  it('follows the services, the hottest GPU and the disk independently', () => {
    world.beat('a', { services: 'failed', gpuTemperature: 85, diskPercent: 90 });
    expect(health()).toEqual({ services: 'failed', gpu: 'high', disk: 'low' });
    world.beat('a', { services: 'degraded', gpuTemperature: 80, diskPercent: 85 });
    expect(health()).toEqual({ services: 'degraded', gpu: 'high', disk: 'low' });
    world.beat('a', { services: 'degraded', gpuTemperature: 79.9, diskPercent: 84.9 });
    expect(health()).toEqual({ services: 'degraded', gpu: 'normal', disk: 'ok' });
    world.beat('a', { services: 'failed' });
    world.beat('a', { services: 'ok' });
    expect(health()).toEqual({ services: 'ok', gpu: 'normal', disk: 'ok' });
    expect(world.shown('a')).toBe('online');
  });

  it('keeps its opinion while a reading is missing', () => {
    world.beat('a', { gpuTemperature: 90, diskPercent: 95 });
    expect(world.beat('a', { gpuTemperature: null, diskPercent: null }).kind).toBe('touch');
    expect(health()).toEqual({ services: 'ok', gpu: 'high', disk: 'low' });
  });
});
