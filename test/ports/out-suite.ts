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

    it('lines packs up once, in the order of the calls', async () => {
      const partition = suite.freshPartition();
      const { epoch } = await withFeed(partition, 3, 'line');
      const [one, two, three] = [1, 2, 3].map((number) => ({ partition, type: 'line', id: `${epoch}-${number}`, count: number }));
      if (!one || !two || !three) throw new Error('unreachable');
      await suite.store.sequence([one, two]);
      await suite.store.sequence([one, two]);
      expect(await suite.store.unsequenced(partition, ['line', 'unknown'])).toEqual([three]);
      await suite.store.sequence([two, three]);
      expect(await suite.store.unsequenced(partition, ['line'])).toEqual([]);
      const lined = (await suite.harness.cursor()).filter((address) => address.startsWith(`${partition}:line:`));
      expect(lined).toEqual([one, two, three].map(({ id, count }) => `${partition}:line:${id}:${count}`));
    });

    it('finds all packs that were not lined up, however many', async () => {
      const partition = suite.freshPartition();
      await withFeed(partition, 230, 'many');
      const found = await suite.store.unsequenced(partition, ['many']);
      expect(found.map(({ count }) => count)).toEqual(Array.from({ length: 230 }, (_, index) => index + 1));
    });

    it('keeps what is young and small', async () => {
      const partition = suite.freshPartition();
      const { epoch } = await withFeed(partition, 3, 'keep');
      await suite.store.trim(partition, {
        keep: { maxBytes: 1_000_000, maxAgeMs: Number.MAX_SAFE_INTEGER, through: `${epoch}-3` },
        none: { maxBytes: 1, maxAgeMs: 1, through: '0-0' },
      });
      expect(await idsOf(partition, 'keep')).toHaveLength(3);
    });

    it('drops by age, never beyond what is lined up', async () => {
      const partition = suite.freshPartition();
      const { epoch } = await withFeed(partition, 3, 'old');
      await suite.store.trim(partition, { old: { maxBytes: 1_000_000, maxAgeMs: 1_000, through: `${epoch}-2` } });
      expect(await idsOf(partition, 'old')).toEqual([`${epoch}-3`]);
    });

    it('drops by bytes, oldest first', async () => {
      const partition = suite.freshPartition();
      const { epoch } = await withFeed(partition, 100, 'big');
      await suite.store.trim(partition, { big: { maxBytes: 50_000, maxAgeMs: Number.MAX_SAFE_INTEGER, through: `${epoch}-100` } });
      const kept = await idsOf(partition, 'big');
      expect(kept.length).toBeGreaterThan(20);
      expect(kept.length).toBeLessThan(60);
      expect(kept.at(-1)).toBe(`${epoch}-100`);
    });
  });
}
