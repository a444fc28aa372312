import { describe, expect, it } from 'vitest';
import { Membership } from '../../src/engine/membership.ts';
import { PARTITION_COUNT } from '../../src/protocol/ids.ts';
import { MemoryRedis } from '../simulator/memory-store.ts';
import { ManualClock } from './manual-clock.ts';

const LEASE_MS = 1_000;

function fixture() {
  const clock = new ManualClock();
  const redis = new MemoryRedis({ now: () => 1_700_000_000_000 + clock.now() });
  let isDown = false;
  const member = (owner: string) => {
    const opened: number[] = [];
    const closed: number[] = [];
    const store = redis.store(async () => {
      if (isDown) throw new Error('Connection is closed');
    });
    const membership = new Membership({
      store,
      clock,
      owner,
      leaseMs: LEASE_MS,
      sources: [],
      open: async (partition) => void opened.push(partition),
      close: (partition) => closed.push(partition),
    });
    const abort = new AbortController();
    return { membership, opened, closed, run: () => membership.run(abort.signal), abort };
  };
  return { clock, redis, member, outage: (down: boolean) => void (isDown = down) };
}

describe('membership', () => {
  it('takes all partitions and holds them', async () => {
    const { clock, member } = fixture();
    const one = member('one');
    void one.run();
    await one.membership.complete();
    await clock.advance(10 * LEASE_MS);
    expect(one.opened).toHaveLength(PARTITION_COUNT);
    expect(one.closed).toEqual([]);
    expect(one.membership.owned).toBe(PARTITION_COUNT);
  });

  it('loses nothing to an outage that is longer than its lease, as long as nobody else came', async () => {
    const { clock, member, outage } = fixture();
    const one = member('one');
    void one.run();
    await one.membership.complete();
    outage(true);
    await clock.advance(5 * LEASE_MS);
    outage(false);
    await clock.advance(5 * LEASE_MS);
    expect(one.closed).toEqual([]);
    expect(one.opened).toHaveLength(PARTITION_COUNT);
  });

  it('hands over to another engine when its lease has ended, and closes what it lost', async () => {
    const { clock, member, redis } = fixture();
    const [one, two] = [member('one'), member('two')];
    void one.run();
    await one.membership.complete();
    one.abort.abort();
    await clock.advance(LEASE_MS / 2);
    void two.run();
    await clock.advance(2 * LEASE_MS);
    expect(two.opened).toHaveLength(PARTITION_COUNT);
    expect(redis.partition(7).owner).toBe('two');
  });

  it('takes a dropped partition again, under a new epoch', async () => {
    const { clock, member, redis } = fixture();
    const one = member('one');
    void one.run();
    await one.membership.complete();
    await clock.advance(10);
    const { epoch } = redis.partition(3);
    one.membership.drop(3);
    await clock.advance(10);
    expect(one.opened.filter((partition) => partition === 3)).toHaveLength(2);
    expect(redis.partition(3).epoch).toBeGreaterThan(epoch);
  });

  it('tries again what could not be opened', async () => {
    const clock = new ManualClock();
    const redis = new MemoryRedis({ now: () => 1_700_000_000_000 + clock.now() });
    let tries = 0;
    const membership = new Membership({
      store: redis.store(),
      clock,
      owner: 'one',
      leaseMs: LEASE_MS,
      sources: [],
      open: async (partition) => {
        if (partition === 5 && ++tries < 3) throw new Error('Connection is closed');
      },
      close: () => undefined,
    });
    const abort = new AbortController();
    void membership.run(abort.signal);
    await clock.advance(2 * LEASE_MS);
    expect([tries, membership.owned]).toEqual([3, PARTITION_COUNT]);
    abort.abort();
  });

  it('gives its leases back', async () => {
    const { member, redis } = fixture();
    const one = member('one');
    void one.run();
    await one.membership.complete();
    one.abort.abort();
    await one.membership.release();
    expect(redis.partitions.every(({ owner }) => owner === null)).toBe(true);
  });
});
