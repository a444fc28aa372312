import { describe, expect, it } from 'vitest';
import { Meter } from '../../src/engine/meter.ts';
import type { PackAddress } from '../../src/engine/ports.ts';
import { Sequencer } from '../../src/engine/sequencer.ts';
import { ManualClock, settled } from './manual-clock.ts';

function pack(id: string, type = 'job', partition = 1): PackAddress {
  return { partition, type, id, count: 1 };
}

describe('the sequencer', () => {
  it('lines packs up in the order in which they were added, and says how far', async () => {
    const lined: PackAddress[] = [];
    const sequencer = new Sequencer({ sequence: async (addresses) => void lined.push(...addresses) }, new ManualClock(), new Meter());
    const abort = new AbortController();
    const ended = sequencer.run(abort.signal);
    sequencer.add([pack('1-1'), pack('1-1', 'node')]);
    sequencer.add([pack('1-2')]);
    await settled();
    expect(lined.map(({ type, id }) => `${type} ${id}`)).toEqual(['job 1-1', 'node 1-1', 'job 1-2']);
    expect(sequencer.through(1, 'job')).toBe('1-2');
    expect(sequencer.through(2, 'job')).toBeUndefined();
    abort.abort();
    await ended;
  });

  it('takes what the last owner lined up for granted, and lines up first what it left', async () => {
    const lined: string[] = [];
    const sequence = async (addresses: readonly PackAddress[]): Promise<void> => void lined.push(...addresses.map(({ type, id }) => `${type} ${id}`));
    const sequencer = new Sequencer({ sequence }, new ManualClock(), new Meter());
    sequencer.open(1, ['job', 'node'], '1-9', [pack('1-8'), pack('1-9')]);
    sequencer.add([pack('2-1', 'node')]);
    expect(sequencer.through(1, 'node')).toBe('1-9');
    expect(sequencer.through(1, 'job')).toBeUndefined();
    const abort = new AbortController();
    const ended = sequencer.run(abort.signal);
    await settled();
    expect(lined).toEqual(['job 1-8', 'job 1-9', 'node 2-1']);
    expect(sequencer.through(1, 'job')).toBe('1-9');
    abort.abort();
    await ended;
  });

  it('says a failed call again before anything newer, and trims nothing meanwhile', async () => {
    const calls: string[][] = [];
    const clock = new ManualClock();
    const sequence = async (addresses: readonly PackAddress[]): Promise<void> => {
      calls.push(addresses.map(({ id }) => id));
      if (calls.length < 3) throw new Error('Connection is closed');
    };
    const sequencer = new Sequencer({ sequence }, clock, new Meter());
    const abort = new AbortController();
    const ended = sequencer.run(abort.signal);
    sequencer.add([pack('1-1')]);
    await settled();
    sequencer.add([pack('1-2')]);
    expect(sequencer.through(1, 'job')).toBeUndefined();
    await clock.advance(1_000);
    expect(calls).toEqual([['1-1'], ['1-1', '1-2'], ['1-1', '1-2']]);
    expect(sequencer.through(1, 'job')).toBe('1-2');
    abort.abort();
    await ended;
  });

  it('pays what is left at a stop', async () => {
    const lined: string[] = [];
    const sequencer = new Sequencer({ sequence: async (addresses) => void lined.push(...addresses.map(({ id }) => id)) }, new ManualClock(), new Meter());
    const abort = new AbortController();
    abort.abort();
    sequencer.add([pack('1-1')]);
    await sequencer.run(abort.signal);
    expect(lined).toEqual(['1-1']);
  });
});
