import { describe, expect, it } from 'vitest';
import type { PartitionState } from '../../src/engine/ports.ts';
import { emptyCommit } from './requests.ts';
import type { SuiteContext } from './suite-context.ts';

export function outSuite(suite: SuiteContext): void {
  describe('the outbox', () => {
    const withOutbox = async (partition: number, commits: number): Promise<PartitionState> => {
      const state = await suite.own(partition);
      let previous = state.commit;
      for (let number = 1; number <= commits; number++) {
        const request = { ...emptyCommit(partition, state, number), previous, outbox: `[${number}]` };
        await suite.commitOne(request);
        previous = request.id;
      }
      return state;
    };
    const NOTHING = { number: 1, through: null, retriesSet: [], retriesRemoved: [], deadLetters: [] };

    it('drops what was delivered and keeps retries', async () => {
      const partition = suite.freshPartition();
      const { epoch } = await withOutbox(partition, 3);
      const retry = { key: 'node/a#1-1-0', value: '{"attempts":1}' };
      const request = { ...NOTHING, partition, owner: 'engine-a', epoch, through: `${epoch}-2`, retriesSet: [retry, { key: 'x', value: '1' }] };
      expect(await suite.store.acknowledge(request)).toBe(true);
      expect(await suite.store.acknowledge({ ...NOTHING, number: 2, partition, owner: 'engine-a', epoch, retriesRemoved: ['x', 'unknown'] })).toBe(true);
      const next = await suite.own(partition);
      expect(next.outbox).toEqual([[`${epoch}-3`, '[3]']]);
      expect(next.retries).toEqual([retry]);
    });

    it('refuses a stale owner', async () => {
      const partition = suite.freshPartition();
      const { epoch } = await withOutbox(partition, 1);
      await suite.own(partition);
      expect(await suite.store.acknowledge({ ...NOTHING, partition, owner: 'engine-a', epoch, through: `${epoch}-1` })).toBe(false);
      expect((await suite.own(partition)).outbox).toHaveLength(1);
    });

    it('stores the dead letters of a repeated call once', async () => {
      const partition = suite.freshPartition();
      const { epoch } = await withOutbox(partition, 1);
      const request = { ...NOTHING, partition, owner: 'engine-a', epoch, through: `${epoch}-1`, deadLetters: ['{"code":"parked"}'] };
      expect(await suite.store.acknowledge(request)).toBe(true);
      expect(await suite.store.acknowledge(request)).toBe(true);
      expect(await suite.harness.deadLetters(partition)).toEqual(['{"code":"parked"}']);
    });

    it('does not take in a call that arrives after a later one', async () => {
      const partition = suite.freshPartition();
      const { epoch } = await withOutbox(partition, 1);
      const call = { ...NOTHING, partition, owner: 'engine-a', epoch };
      const retry = { key: 'node/a#1-1-0', value: '{"attempts":1}' };
      expect(await suite.store.acknowledge({ ...call, number: 2, retriesRemoved: [retry.key] })).toBe(true);
      expect(await suite.store.acknowledge({ ...call, number: 1, retriesSet: [retry] })).toBe(true);
      const next = await suite.own(partition);
      expect(next.retries).toEqual([]);
      expect(await suite.store.acknowledge({ ...call, epoch: next.epoch, number: 1, retriesSet: [retry] })).toBe(true);
      expect((await suite.own(partition)).retries).toEqual([retry]);
    });
  });

  describe('the feed', () => {
    const withFeed = async (partition: number, commits: number, type: string): Promise<PartitionState> => {
      const state = await suite.own(partition);
      let previous = state.commit;
      for (let number = 1; number <= commits; number++) {
        const feed = [{ type, count: number, pack: JSON.stringify('x'.repeat(1_000)) }];
        const request = { ...emptyCommit(partition, state, number), previous, time: number, feed };
        await suite.commitOne(request);
        previous = request.id;
      }
      return state;
    };
    const idsOf = async (partition: number, type: string): Promise<string[]> => (await suite.harness.feed(partition, type)).map(([id]) => id);

    it('is lined up by each commit, once, in the order of the commits', async () => {
      const partition = suite.freshPartition();
      const state = await withFeed(partition, 3, 'line');
      const { epoch } = state;
      const feed = ['line', 'other'].map((type) => ({ type, count: 4, pack: '[]' }));
      const last = { ...emptyCommit(partition, state, 4), previous: `${epoch}-3`, time: 4, feed };
      await suite.commitOne(last);
      await suite.commitOne(last);
      const refused = { ...last, id: `${epoch}-9`, previous: `${epoch}-8` };
      expect(await suite.commitOne(refused)).toMatchObject({ kind: 'diverged' });
      const lined = (await suite.harness.cursor()).filter((address) => address.startsWith(`${partition}:`));
      const own = [1, 2, 3, 4].map((number) => `${partition}:line:${epoch}-${number}:${number}`);
      expect(lined).toEqual([...own, `${partition}:other:${epoch}-4:4`]);
    });

    it('keeps what is young and small', async () => {
      const partition = suite.freshPartition();
      await withFeed(partition, 3, 'keep');
      await suite.store.trim(partition, {
        keep: { maxBytes: 1_000_000, maxAgeMs: Number.MAX_SAFE_INTEGER },
        none: { maxBytes: 1, maxAgeMs: 1 },
      });
      expect(await idsOf(partition, 'keep')).toHaveLength(3);
    });

    it('drops by age', async () => {
      const partition = suite.freshPartition();
      const state = await withFeed(partition, 3, 'old');
      const { epoch } = state;
      const feed = [{ type: 'old', count: 4, pack: '[]' }];
      await suite.commitOne({ ...emptyCommit(partition, state, 4), previous: `${epoch}-3`, time: Date.now() * 10, feed });
      await suite.store.trim(partition, { old: { maxBytes: 1_000_000, maxAgeMs: 1_000 } });
      expect(await idsOf(partition, 'old')).toEqual([`${epoch}-4`]);
    });

    it('drops by bytes, oldest first', async () => {
      const partition = suite.freshPartition();
      const { epoch } = await withFeed(partition, 100, 'big');
      await suite.store.trim(partition, { big: { maxBytes: 50_000, maxAgeMs: Number.MAX_SAFE_INTEGER } });
      const kept = await idsOf(partition, 'big');
      expect(kept.length).toBeGreaterThan(20);
      expect(kept.length).toBeLessThan(60);
      expect(kept.at(-1)).toBe(`${epoch}-100`);
    });
  });
}
