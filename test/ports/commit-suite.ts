import { describe, expect, it } from 'vitest';
import type { CommitRequest } from '../../src/engine/ports.ts';
import { millisecondsOf, partitionOf, type ActorKey } from '../../src/protocol/ids.ts';
import { emptyCommit, envelope, fullCommit } from './requests.ts';
import type { SuiteContext } from './suite-context.ts';

export function commitSuite(suite: SuiteContext): void {
  describe('commits', () => {
    it('tells the named parts of documents to those who listen, once', async () => {
      const partition = suite.freshPartition();
      const state = await suite.own(partition);
      const full = fullCommit(partition, state, 1);
      const request: CommitRequest = {
        ...full,
        documents: [
          ['node/a', '{"at":1,"status":{"a":"ü"}}'],
          ['node/b', '{"at":2,"status":{"b":1}}'],
        ],
        publications: [
          { channel: 'suite:a', document: 0, skip: 17, drop: 1 },
          { channel: 'suite:b', document: 1, skip: 17, drop: 1 },
        ],
      };
      const heard = await suite.harness.hear('suite:a', 1, async () => {
        await suite.commitOne(request);
        await suite.commitOne(request);
      });
      expect(heard).toEqual(['{"a":"ü"}']);
    });

    it('stores every part, and gives it all to the next owner', async () => {
      const partition = suite.freshPartition();
      const state = await suite.own(partition);
      const request = fullCommit(partition, state, 1);
      expect(await suite.commitOne(request)).toMatchObject({ kind: 'committed', repeated: false });
      const next = await suite.own(partition);
      expect(next).toEqual({
        epoch: next.epoch,
        commit: request.id,
        time: 777,
        inbox: '5-1',
        sources: { 'status:stream': { id: '9-0', watermark: 8, observed: 7 } },
        applied: { 3: 4 },
        sent: { 5: 6 },
        timers: [
          ['node/a |soon', 10],
          ['node/a |later', 20],
        ],
        liveness: [['node/a |offline', 30.5]],
        outbox: [[request.id, '["command"]']],
        retries: [],
        invoking: ['node/a'],
      });
      const [actors] = await suite.store.load([{ partition, keys: ['node/a', 'node/b', 'node/none'] }]);
      expect(actors).toEqual([
        { key: 'node/a', record: '{"revision":1}' },
        { key: 'node/b', record: '{"revision":2}' },
        { key: 'node/none', record: null },
      ]);
      expect(await suite.harness.feed(partition, 'node')).toEqual([[request.id, '["n1"]']]);
      expect(await suite.harness.feed(partition, 'fleet')).toEqual([[request.id, '["f1"]']]);
      expect(await suite.harness.deadLetters(partition)).toEqual(['{"code":"bad"}']);
      expect(await suite.harness.index(partition, 'node', 'online')).toEqual([
        ['node/a', 100],
        ['node/b', 200],
      ]);
      expect(await suite.harness.index(partition, 'node', '')).toEqual([['node/a', 50]]);
    });

    it('merges positions and removes what is named', async () => {
      const partition = suite.freshPartition();
      const state = await suite.own(partition);
      const first = fullCommit(partition, state, 1);
      await suite.commitOne(first);
      const second: CommitRequest = {
        ...emptyCommit(partition, state, 2),
        previous: first.id,
        inbox: '6-0',
        time: 800,
        sources: { other: { id: '1-0', watermark: 1, observed: 1 } },
        applied: { 7: 8 },
        sent: { 5: 9 },
        timers: { set: [['node/a |later', 25]], remove: ['node/a |soon', 'node/none |x'] },
        liveness: { set: [], remove: ['node/a |offline'] },
        index: { add: [['node', 'offline', 'node/b', 300]], remove: [['node', 'online', 'node/b']] },
        invoking: { add: [], remove: ['node/a'] },
      };
      expect(await suite.commitOne(second)).toMatchObject({ kind: 'committed' });
      const next = await suite.own(partition);
      expect(next.sources).toEqual({ 'status:stream': { id: '9-0', watermark: 8, observed: 7 }, other: { id: '1-0', watermark: 1, observed: 1 } });
      expect(next.applied).toEqual({ 3: 4, 7: 8 });
      expect(next.sent).toEqual({ 5: 9 });
      expect(next.timers).toEqual([['node/a |later', 25]]);
      expect(next.liveness).toEqual([]);
      expect(next.invoking).toEqual([]);
      expect(await suite.harness.index(partition, 'node', 'online')).toEqual([['node/a', 100]]);
      expect(await suite.harness.index(partition, 'node', 'offline')).toEqual([['node/b', 300]]);
    });

    it('answers a repeat as the first time, and stores it once', async () => {
      const partition = suite.freshPartition();
      const state = await suite.own(partition);
      const request = fullCommit(partition, state, 1);
      await suite.commitOne(request);
      expect(await suite.commitOne(request)).toMatchObject({ kind: 'committed', repeated: true });
      expect(await suite.harness.feed(partition, 'node')).toHaveLength(1);
      expect(await suite.harness.deadLetters(partition)).toHaveLength(1);
      expect((await suite.own(partition)).outbox).toHaveLength(1);
    });

    it('refuses a commit whose predecessor is not the newest, and writes nothing', async () => {
      const partition = suite.freshPartition();
      const state = await suite.own(partition);
      const first = emptyCommit(partition, state, 1);
      await suite.commitOne(first);
      await suite.commitOne({ ...emptyCommit(partition, state, 2), previous: first.id });
      const forked: CommitRequest = { ...fullCommit(partition, state, 3), previous: first.id };
      expect(await suite.commitOne(forked)).toEqual({ kind: 'diverged', stored: `${state.epoch}-2` });
      expect(await suite.harness.feed(partition, 'node')).toEqual([]);
      expect(await suite.store.load([{ partition, keys: ['node/a'] }])).toEqual([[{ key: 'node/a', record: null }]]);
    });

    it('refuses another owner and another epoch, and writes nothing', async () => {
      const partition = suite.freshPartition();
      const state = await suite.own(partition);
      expect(await suite.commitOne({ ...fullCommit(partition, state, 1), owner: 'engine-b' })).toEqual({ kind: 'fenced' });
      expect(await suite.commitOne({ ...fullCommit(partition, state, 1), epoch: state.epoch - 1 })).toEqual({ kind: 'fenced' });
      expect(await suite.harness.feed(partition, 'node')).toEqual([]);
    });

    it('refuses a fired timer that an unread entry precedes, and takes it when the entry is read', async () => {
      const actor = suite.actorFor('timer');
      const partition = partitionOf(actor);
      const state = await suite.own(partition);
      const [appended] = await suite.store.append([envelope(actor)]);
      if (!appended || appended instanceof Error) throw appended ?? new Error('Nothing was answered.');
      const ms = millisecondsOf(appended.id);
      const request = { ...emptyCommit(partition, state, 1), firedThrough: ms + 1 };
      expect(await suite.commitOne(request)).toEqual({ kind: 'overtaken', entry: appended.id });
      // At the same millisecond the timer goes first, so the entry does not precede it.
      expect(await suite.commitOne({ ...request, firedThrough: ms })).toMatchObject({ kind: 'committed' });
      const second = { ...emptyCommit(partition, state, 2), previous: `${state.epoch}-1`, firedThrough: ms + 1, inbox: appended.id };
      expect(await suite.commitOne(second)).toMatchObject({ kind: 'committed' });
    });

    it('commits several partitions in one call, each with its own answer', async () => {
      const [one, two] = [suite.freshPartition(), suite.freshPartition()];
      const [first, second] = [await suite.own(one), await suite.own(two)];
      const results = await suite.store.commit([emptyCommit(one, first, 1), { ...emptyCommit(two, second, 1), owner: 'engine-b' }]);
      expect(results).toMatchObject([{ kind: 'committed' }, { kind: 'fenced' }]);
    });

    it('stores more values than one Lua call may unpack', async () => {
      const partition = suite.freshPartition();
      const state = await suite.own(partition);
      const keys = Array.from({ length: 4_500 }, (_, index): ActorKey => `node/n${index}`);
      const request: CommitRequest = {
        ...emptyCommit(partition, state, 1),
        records: keys.map((key) => [key, `"${key}"`] as const),
        timers: { set: keys.map((key, index) => [`${key} |t`, index] as const), remove: [] },
        sent: Object.fromEntries(Array.from({ length: 64 }, (_, index) => [index, index])),
      };
      expect(await suite.commitOne(request)).toMatchObject({ kind: 'committed' });
      expect((await suite.own(partition)).timers).toHaveLength(4_500);
      const [actors] = await suite.store.load([{ partition, keys: [keys[0] as ActorKey, keys[4_499] as ActorKey] }]);
      expect(actors?.map(({ record }) => record)).toEqual(['"node/n0"', '"node/n4499"']);
    });
  });
}
