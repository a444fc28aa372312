import { describe, expect, it } from 'vitest';
import { EMPTY_STATE, emptyCommit } from './requests.ts';
import { LEASE_MS } from './suite-context.ts';
import type { SuiteContext } from './suite-context.ts';

export function leaseSuite(suite: SuiteContext): void {
  describe('leases', () => {
    it('gives a free partition with its empty state', async () => {
      const before = await suite.store.time();
      const state = await suite.own(suite.freshPartition());
      expect(state.epoch).toBeGreaterThanOrEqual(before);
      expect(state).toEqual({ ...EMPTY_STATE, epoch: state.epoch });
    });

    it('refuses another owner while the lease runs, and tells who holds it', async () => {
      const partition = suite.freshPartition();
      await suite.own(partition);
      const result = await suite.store.acquire(partition, 'engine-b', LEASE_MS);
      expect(result).toMatchObject({ kind: 'held', owner: 'engine-a' });
      expect(result.kind === 'held' && result.remainingMs).toBeGreaterThan(0);
      expect(result.kind === 'held' && result.remainingMs).toBeLessThanOrEqual(LEASE_MS);
    });

    it('gives a higher epoch at every taking, also to the same owner and after a release', async () => {
      const partition = suite.freshPartition();
      const first = await suite.own(partition);
      const second = await suite.own(partition);
      await suite.store.release('engine-a', [{ partition, epoch: second.epoch }]);
      const third = await suite.own(partition, 'engine-b');
      expect(second.epoch).toBeGreaterThan(first.epoch);
      expect(third.epoch).toBeGreaterThan(second.epoch);
    });

    it('lets another owner take an expired lease, and then refuses the first', async () => {
      const partition = suite.freshPartition();
      const short = await suite.store.acquire(partition, 'engine-a', 20);
      if (short.kind !== 'acquired') throw new Error('not acquired');
      await suite.harness.passTime(25);
      await suite.own(partition, 'engine-b');
      expect(await suite.store.renew('engine-a', [{ partition, epoch: short.state.epoch }], LEASE_MS)).toEqual([false]);
      expect(await suite.commitOne(emptyCommit(partition, short.state, 1))).toEqual({ kind: 'fenced' });
    });

    it('renews an expired lease that nobody took, and several at once', async () => {
      const [one, two] = [suite.freshPartition(), suite.freshPartition()];
      const short = await suite.store.acquire(one, 'engine-a', 20);
      const other = await suite.own(two, 'engine-b');
      if (short.kind !== 'acquired') throw new Error('not acquired');
      await suite.harness.passTime(25);
      const leases = [
        { partition: one, epoch: short.state.epoch },
        { partition: two, epoch: other.epoch },
      ];
      expect(await suite.store.renew('engine-a', leases, LEASE_MS)).toEqual([true, false]);
      expect(await suite.store.acquire(one, 'engine-b', LEASE_MS)).toMatchObject({ kind: 'held' });
    });

    it('does not release what another epoch holds', async () => {
      const partition = suite.freshPartition();
      const first = await suite.own(partition);
      await suite.own(partition);
      await suite.store.release('engine-a', [{ partition, epoch: first.epoch }]);
      expect(await suite.store.acquire(partition, 'engine-b', LEASE_MS)).toMatchObject({ kind: 'held' });
    });

    it('refuses the commit of an owner that released', async () => {
      const partition = suite.freshPartition();
      const state = await suite.own(partition);
      await suite.store.release('engine-a', [{ partition, epoch: state.epoch }]);
      expect(await suite.commitOne(emptyCommit(partition, state, 1))).toEqual({ kind: 'fenced' });
    });
  });
}
