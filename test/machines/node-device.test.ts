/** A node and the device that it is. Deadlines: degraded 65 s, offline 95 s after the newest beat; a GPU is hot from 85 °C on by default. */
import { beforeEach, describe, expect, it } from 'vitest';
import { World } from './world.ts';

const DEVICE = 'abcdefghij234567abcd';
const OTHER = 'zyxwvutsrq765432zyxw';

let world: World;
beforeEach(() => {
  world = new World();
  for (const device of [DEVICE, OTHER]) world.mute(`device/${device}`);
});

const told = () => {
  const events = world.messages.filter(({ to }) => to === `device/${DEVICE}`).map(({ event }) => event);
  world.messages.length = 0;
  return events;
};
const claim = (gpuHigh: number | null = null) => world.send('node/a', { type: 'device', device: DEVICE, orgId: 'acme', gpuHigh });
/** Beats of a node that is hot, until its state has followed. */
const state = (name: string) => ({ type: 'nodeState', nodeId: 'a', state: name });

describe('a node that reports with a code', () => {
  it('tells the device once that it was seen, and beats on as before', () => {
    world.beat('a', { device: DEVICE });
    expect(told()).toEqual([{ type: 'seen', nodeId: 'a', orgId: 'acme' }, state('online')]);
    expect(world.beat('a', { device: DEVICE }).kind).toBe('touch');
    expect(world.beat('a').kind).toBe('touch');
    expect(told()).toEqual([]);
  });

  it('tells another device when it was enrolled anew', () => {
    world.beat('a', { device: OTHER });
    world.beat('a', { device: DEVICE });
    expect(told()).toEqual([{ type: 'seen', nodeId: 'a', orgId: 'acme' }]);
    expect(world.node('a').device).toBe(DEVICE);
  });
});

describe('a device that makes itself known', () => {
  it('is told how its node is, and every change from then on', () => {
    world.beat('a', { services: 'degraded' });
    expect(told()).toEqual([]);
    claim();
    expect(told()).toEqual([state('online'), { type: 'nodeHealth', nodeId: 'a', services: 'degraded' }, { type: 'nodeHealth', nodeId: 'a', gpu: 'normal' }]);
    world.beat('a', { gpuTemperature: 91 });
    expect(told()).toEqual([
      { type: 'nodeHealth', nodeId: 'a', services: 'ok' },
      { type: 'nodeHealth', nodeId: 'a', gpu: 'high', gpuTemperature: 91 },
    ]);
    world.advance(65_000);
    expect(told()).toEqual([state('degraded')]);
    world.advance(30_000);
    expect(told()).toEqual([state('offline')]);
    world.beat('a');
    world.beat('a');
    expect(told()).toEqual([{ type: 'nodeHealth', nodeId: 'a', gpu: 'normal', gpuTemperature: 50 }, state('online')]);
  });

  it('may come before the first status, without making the node one that was heard', () => {
    claim();
    expect(told()).toEqual([
      { type: 'nodeHealth', nodeId: 'a', services: 'ok' },
      { type: 'nodeHealth', nodeId: 'a', gpu: 'normal' },
    ]);
    expect(world.shown('a')).toBe('new');
    world.beat('a');
    expect(told()).toEqual([state('online')]);
    expect(world.fleet()).toMatchObject({ total: 1, late: 0 });
  });

  it('says from when on its GPU is hot, five degrees above cooled down', () => {
    world.beat('a');
    claim(70);
    told();
    world.beat('a', { gpuTemperature: 70 });
    expect(told()).toMatchObject([{ gpu: 'high', gpuTemperature: 70 }]);
    world.beat('a', { gpuTemperature: 65 });
    expect(told()).toEqual([]);
    world.beat('a', { gpuTemperature: 64 });
    expect(told()).toMatchObject([{ gpu: 'normal' }]);
    claim(null);
    told();
    world.beat('a', { gpuTemperature: 84 });
    expect(told()).toEqual([]);
  });

  it('costs a beat nothing', () => {
    world.beat('a');
    claim(70);
    expect(world.beat('a').kind).toBe('touch');
    expect(world.timers('node/a')).toHaveLength(1);
  });
});
