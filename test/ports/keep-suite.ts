import { describe, expect, it } from 'vitest';
import type { CommitRequest, EngineStore, PartitionState } from '../../src/engine/ports.ts';
import { PARTITION_COUNT, type ActorKey } from '../../src/protocol/ids.ts';
import type { Post } from '../../src/protocol/outlet.ts';
import { emptyCommit } from './requests.ts';
import type { SuiteContext } from './suite-context.ts';

export function keepSuite(suite: SuiteContext): void {
  describe('posts to the streams of other systems', () => {
    const entry = (stream: string, from: number, number: string, rest: Partial<Post> = {}): Post => ({ stream, from, number, fields: ['of', number], ...rest });
    const numbersIn = async (stream: string): Promise<string[]> => (await suite.harness.stream(stream)).map(([, fields]) => fields[1] as string);

    it('appends each number of a partition once, in order, and each partition counts for itself', async () => {
      const posts = [
        entry('out:a', 1, '5-1'),
        entry('out:a', 2, '5-1'),
        entry('out:b', 1, '5-2'),
        entry('out:a', 1, '5-3', { fields: ['of', '5-3', 'more', 'ä'] }),
      ];
      expect(await suite.store.post(posts)).toEqual([undefined, undefined, undefined, undefined]);
      expect(await suite.store.post([...posts, entry('out:a', 1, '5-10'), entry('out:a', 1, '5-9'), entry('out:a', 1, '6-1')])).toHaveLength(7);
      expect(await numbersIn('out:a')).toEqual(['5-1', '5-1', '5-3', '5-10', '6-1']);
      expect(await numbersIn('out:b')).toEqual(['5-2']);
      expect((await suite.harness.stream('out:a'))[2]?.[1]).toEqual(['of', '5-3', 'more', 'ä']);
      expect(await suite.store.post([])).toEqual([]);
    });

    it('takes in a great many in one call, in order', async () => {
      const numbers = Array.from({ length: 1_300 }, (_, index) => `1-${index + 1}`);
      await suite.store.post(numbers.map((number) => entry('out:many', 1, number)));
      expect(await numbersIn('out:many')).toEqual(numbers);
    });

    it('takes in those of a commit with it, once, and leaves in the outbox what a stream refuses', async () => {
      const partition = suite.freshPartition();
      const state = await suite.own(partition);
      await suite.harness.refuse('out:refusing');
      const refused = entry('out:refusing', partition, `${state.epoch}-2`, {
        fields: ['of', '2', 'quoted', '"ä"\n'],
        priority: 0,
        member: 'job/x',
        maxLength: 7,
      });
      const first: CommitRequest = {
        ...emptyCommit(partition, state, 1),
        outbox: '[{"message":1}]',
        posts: [
          entry('out:taken', partition, `${state.epoch}-1`),
          refused,
          entry('out:taken', partition, `${state.epoch}-3`, { priority: 0, member: 'job/y' }),
        ],
      };
      expect(await suite.commitOne(first)).toMatchObject({ kind: 'committed', repeated: false, refused: true });
      expect(await suite.commitOne(first)).toMatchObject({ kind: 'committed', repeated: true, refused: true });
      const second: CommitRequest = { ...emptyCommit(partition, state, 2), previous: first.id, posts: [entry('out:taken', partition, `${state.epoch}-4`)] };
      expect(await suite.commitOne(second)).toMatchObject({ kind: 'committed', repeated: false, refused: false });
      expect(await suite.commitOne(second)).toMatchObject({ kind: 'committed', repeated: true, refused: false });
      expect(await numbersIn('out:taken')).toEqual([`${state.epoch}-1`, `${state.epoch}-3`, `${state.epoch}-4`]);
      const third: CommitRequest = { ...emptyCommit(partition, state, 3), previous: second.id, posts: [refused] };
      expect(await suite.commitOne(third)).toMatchObject({ kind: 'committed', refused: true });
      const { outbox } = await suite.own(partition);
      expect(outbox.map(([id, pack]) => [id, JSON.parse(pack) as unknown])).toEqual([
        [first.id, [{ message: 1 }, { post: refused }]],
        [third.id, [{ post: refused }]],
      ]);
      const [failure] = await suite.store.post([refused]);
      expect(failure).toBeInstanceOf(Error);
    });

    it('trims to about the length that the entry names', async () => {
      await suite.store.post(Array.from({ length: 600 }, (_, index) => entry('out:short', 1, `1-${index + 1}`, { maxLength: 100 })));
      const kept = await numbersIn('out:short');
      expect(kept.length).toBeLessThan(400);
      expect(kept.at(-1)).toBe('1-600');
    });
  });

  describe('sources of our own', () => {
    it('drops what every partition has applied, by the stored positions, and nothing else', async () => {
      const stream = 'suite:reports';
      const ids: string[] = [];
      for (let n = 0; n < 4; n++) ids.push(await suite.harness.addToSource(stream, ['n', String(n)]));
      const [, second, third] = ids as [string, string, string];
      const position = (id: string) => ({ sources: { [stream]: { id, watermark: 0, observed: 0 } } });
      const idsHeld = async (): Promise<string[]> => (await suite.harness.stream(stream)).map(([id]) => id);

      await suite.store.trimSource(stream);
      expect(await idsHeld()).toEqual(ids);
      const applied = async (partition: number, id: string): Promise<void> => {
        const { owner, state } = await suite.takeOver(partition);
        await suite.commitOne({ ...emptyCommit(partition, state, 1), owner, inbox: state.inbox, time: state.time, ...position(id) });
      };
      for (let partition = 0; partition < PARTITION_COUNT; partition++) if (partition !== 7) await applied(partition, partition === 3 ? second : third);
      await suite.store.trimSource(stream);
      expect(await idsHeld()).toEqual(ids); // partition 7 has applied nothing
      await applied(7, third);
      await suite.store.trimSource(stream);
      expect(await idsHeld()).toEqual(ids.slice(1)); // partition 3 stands at the second, which stays as a mark
      await suite.store.trimSource('suite:nothing-there');
    });
  });

  describe('actors that were kept for long enough', () => {
    const actors: readonly ActorKey[] = ['old/a', 'old/b', 'old/c', 'old/d'];
    const kept = async (partition: number, owner: string): Promise<PartitionState> => {
      const state = await suite.own(partition, owner);
      await suite.commitOne({
        ...emptyCommit(partition, state, 1),
        owner,
        records: actors.map((key) => [key, `{"of":"${key}"}`]),
        documents: actors.map((key) => [key, '"doc"']),
        index: { add: actors.flatMap((key, at) => [['old', '', key, at] as const, ['old', 'done', key, 100 + at] as const]), remove: [] },
      });
      return state;
    };
    const query = { type: 'old', statePath: 'done', limit: 10 };

    it('are found by age and by count, the oldest first, a bounded number at a time', async () => {
      const partition = suite.freshPartition();
      await kept(partition, 'engine-a');
      const ask = { partition, ...query };
      const found = await suite.store.overdue([
        { ...ask, enteredBefore: 102, keep: 10 },
        { ...ask, enteredBefore: 0, keep: 3 },
        { ...ask, enteredBefore: 102, keep: 1, limit: 2 },
        { ...ask, enteredBefore: 200, keep: 0, statePath: 'nowhere' },
      ]);
      expect(found).toEqual([
        [
          ['old/a', 100],
          ['old/b', 101],
        ],
        [['old/a', 100]],
        [
          ['old/a', 100],
          ['old/b', 101],
        ],
        [],
      ]);
      expect(await suite.store.overdue([])).toEqual([]);
    });

    it('go with a commit: record, document and index entries, at once and not for a stale owner', async () => {
      const partition = suite.freshPartition();
      const state = await kept(partition, 'engine-a');
      const request: Parameters<EngineStore['commit']>[0][number] = {
        ...emptyCommit(partition, state, 2),
        previous: `${state.epoch}-1`,
        removed: ['old/a', 'old/b'],
        index: { add: [], remove: [['old', 'done', 'old/a'] as const, ['old', '', 'old/a'] as const, ['old', 'done', 'old/b'] as const] },
      };
      expect(await suite.commitOne({ ...request, owner: 'engine-b' })).toEqual({ kind: 'fenced' });
      expect(await suite.commitOne(request)).toMatchObject({ kind: 'committed', repeated: false });
      expect(await suite.commitOne(request)).toMatchObject({ kind: 'committed', repeated: true });
      const [loaded] = await suite.store.load([{ partition, keys: actors }]);
      expect(loaded?.map(({ record }) => record)).toEqual([null, null, '{"of":"old/c"}', '{"of":"old/d"}']);
      expect((await suite.harness.index(partition, 'old', 'done')).map(([key]) => key)).toEqual(['old/c', 'old/d']);
      expect((await suite.harness.index(partition, 'old', '')).map(([key]) => key)).toEqual(['old/b', 'old/c', 'old/d']);
    });
  });

  describe('the channels of a commit', () => {
    it('are told its announcements, once', async () => {
      const partition = suite.freshPartition();
      const state = await suite.own(partition);
      const told = ['one', 'zwei “ä”'].map((message) => ['suite:announced', message] as const);
      const request = { ...emptyCommit(partition, state, 1), announcements: told, channels: ['suite:announced'] };
      const heard = await suite.harness.hear('suite:announced', 2, async () => {
        expect(await suite.commitOne(request)).toMatchObject({ kind: 'committed', heard: ['suite:announced'] });
        expect(await suite.commitOne(request)).toMatchObject({ repeated: true });
      });
      expect(heard).toEqual(['one', 'zwei “ä”']);
    });

    it('are answered with those that have listeners, also when the commit is repeated', async () => {
      const partition = suite.freshPartition();
      const state = await suite.own(partition);
      const request = { ...emptyCommit(partition, state, 1), channels: ['suite:deaf', 'suite:heard'] };
      expect(await suite.commitOne(request)).toMatchObject({ kind: 'committed', heard: [] });
      await suite.harness.hear('suite:heard', 1, async () => {
        expect(await suite.commitOne(request)).toMatchObject({ repeated: true, heard: ['suite:heard'] });
        const next = { ...request, previous: request.id, id: `${state.epoch}-2` };
        expect(await suite.commitOne(next)).toMatchObject({ repeated: false, heard: ['suite:heard'] });
        await suite.store.publish([['suite:heard', 'end']]);
      });
    });
  });

  describe('what reached no partition', () => {
    it('is rejected into the dead letters of partition 0', async () => {
      await suite.store.reject(['{"code":"one"}', '{"code":"two"}']);
      expect((await suite.harness.deadLetters(0)).slice(-2)).toEqual(['{"code":"one"}', '{"code":"two"}']);
    });
  });
}
