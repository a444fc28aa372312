/** The one suite of the EngineStore port: it holds for Redis and for the simulator's memory. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CommitRequest, EngineStore, PartitionState } from '../../src/engine/ports.ts';
import type { Envelope } from '../../src/protocol/envelope.ts';
import { actorKey, millisecondsOf, partitionOf, type ActorKey } from '../../src/protocol/ids.ts';
import { SUITE_DEDUPE, type StoreHarness } from './store-harness.ts';

const LEASE_MS = 60_000;

export function storeSuite(name: string, open: () => Promise<{ readonly harness: StoreHarness; close(): Promise<void> }>): void {
  describe(`the store over ${name}`, () => {
    let harness: StoreHarness;
    let store: EngineStore;
    let close: () => Promise<void>;
    let nextPartition = 0;
    const freshPartition = (): number => nextPartition++;

    beforeAll(async () => {
      const opened = await open();
      harness = opened.harness;
      store = harness.store;
      close = () => opened.close();
    });
    afterAll(() => close());

    const own = async (partition: number, owner = 'engine-a'): Promise<PartitionState> => {
      const result = await store.acquire(partition, owner, LEASE_MS);
      if (result.kind !== 'acquired') throw new Error(`Partition ${partition} is held by ${result.owner}.`);
      return result.state;
    };
    const commitOne = async (request: CommitRequest): Promise<unknown> => (await store.commit([request]))[0];

    describe('leases', () => {
      it('gives a free partition with its empty state', async () => {
        const before = await store.time();
        const state = await own(freshPartition());
        expect(state.epoch).toBeGreaterThanOrEqual(before);
        expect(state).toEqual({ ...EMPTY_STATE, epoch: state.epoch });
      });

      it('refuses another owner while the lease runs, and tells who holds it', async () => {
        const partition = freshPartition();
        await own(partition);
        const result = await store.acquire(partition, 'engine-b', LEASE_MS);
        expect(result).toMatchObject({ kind: 'held', owner: 'engine-a' });
        expect(result.kind === 'held' && result.remainingMs).toBeGreaterThan(0);
        expect(result.kind === 'held' && result.remainingMs).toBeLessThanOrEqual(LEASE_MS);
      });

      it('gives a higher epoch at every taking, also to the same owner and after a release', async () => {
        const partition = freshPartition();
        const first = await own(partition);
        const second = await own(partition);
        await store.release('engine-a', [{ partition, epoch: second.epoch }]);
        const third = await own(partition, 'engine-b');
        expect(second.epoch).toBeGreaterThan(first.epoch);
        expect(third.epoch).toBeGreaterThan(second.epoch);
      });

      it('lets another owner take an expired lease, and then refuses the first', async () => {
        const partition = freshPartition();
        const short = await store.acquire(partition, 'engine-a', 20);
        if (short.kind !== 'acquired') throw new Error('not acquired');
        await harness.passTime(25);
        await own(partition, 'engine-b');
        expect(await store.renew('engine-a', [{ partition, epoch: short.state.epoch }], LEASE_MS)).toEqual([false]);
        expect(await commitOne(emptyCommit(partition, short.state, 1))).toEqual({ kind: 'fenced' });
      });

      it('renews an expired lease that nobody took, and several at once', async () => {
        const [one, two] = [freshPartition(), freshPartition()];
        const short = await store.acquire(one, 'engine-a', 20);
        const other = await own(two, 'engine-b');
        if (short.kind !== 'acquired') throw new Error('not acquired');
        await harness.passTime(25);
        const leases = [
          { partition: one, epoch: short.state.epoch },
          { partition: two, epoch: other.epoch },
        ];
        expect(await store.renew('engine-a', leases, LEASE_MS)).toEqual([true, false]);
        expect(await store.acquire(one, 'engine-b', LEASE_MS)).toMatchObject({ kind: 'held' });
      });

      it('does not release what another epoch holds', async () => {
        const partition = freshPartition();
        const first = await own(partition);
        await own(partition);
        await store.release('engine-a', [{ partition, epoch: first.epoch }]);
        expect(await store.acquire(partition, 'engine-b', LEASE_MS)).toMatchObject({ kind: 'held' });
      });

      it('refuses the commit of an owner that released', async () => {
        const partition = freshPartition();
        const state = await own(partition);
        await store.release('engine-a', [{ partition, epoch: state.epoch }]);
        expect(await commitOne(emptyCommit(partition, state, 1))).toEqual({ kind: 'fenced' });
      });
    });

    describe('commits', () => {
      it('stores every part, and gives it all to the next owner', async () => {
        const partition = freshPartition();
        const state = await own(partition);
        const request = fullCommit(partition, state, 1);
        expect(await commitOne(request)).toMatchObject({ kind: 'committed', repeated: false });
        const next = await own(partition);
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
        const [actors] = await store.load([{ partition, keys: ['node/a', 'node/b', 'node/none'] }]);
        expect(actors).toEqual([
          { key: 'node/a', record: '{"revision":1}', document: '"doc"' },
          { key: 'node/b', record: '{"revision":2}', document: null },
          { key: 'node/none', record: null, document: null },
        ]);
        expect(await harness.feed(partition, 'node')).toEqual([[request.id, '["n1"]']]);
        expect(await harness.feed(partition, 'fleet')).toEqual([[request.id, '["f1"]']]);
        expect(await harness.deadLetters(partition)).toEqual(['{"code":"bad"}']);
        expect(await harness.index(partition, 'node', 'online')).toEqual([
          ['node/a', 100],
          ['node/b', 200],
        ]);
        expect(await harness.index(partition, 'node', '')).toEqual([['node/a', 50]]);
      });

      it('merges positions and removes what is named', async () => {
        const partition = freshPartition();
        const state = await own(partition);
        const first = fullCommit(partition, state, 1);
        await commitOne(first);
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
        expect(await commitOne(second)).toMatchObject({ kind: 'committed' });
        const next = await own(partition);
        expect(next.sources).toEqual({ 'status:stream': { id: '9-0', watermark: 8, observed: 7 }, other: { id: '1-0', watermark: 1, observed: 1 } });
        expect(next.applied).toEqual({ 3: 4, 7: 8 });
        expect(next.sent).toEqual({ 5: 9 });
        expect(next.timers).toEqual([['node/a |later', 25]]);
        expect(next.liveness).toEqual([]);
        expect(next.invoking).toEqual([]);
        expect(await harness.index(partition, 'node', 'online')).toEqual([['node/a', 100]]);
        expect(await harness.index(partition, 'node', 'offline')).toEqual([['node/b', 300]]);
      });

      it('answers a repeat as the first time, and stores it once', async () => {
        const partition = freshPartition();
        const state = await own(partition);
        const request = fullCommit(partition, state, 1);
        await commitOne(request);
        expect(await commitOne(request)).toMatchObject({ kind: 'committed', repeated: true });
        expect(await harness.feed(partition, 'node')).toHaveLength(1);
        expect(await harness.deadLetters(partition)).toHaveLength(1);
        expect((await own(partition)).outbox).toHaveLength(1);
      });

      it('refuses a commit whose predecessor is not the newest, and writes nothing', async () => {
        const partition = freshPartition();
        const state = await own(partition);
        const first = emptyCommit(partition, state, 1);
        await commitOne(first);
        await commitOne({ ...emptyCommit(partition, state, 2), previous: first.id });
        const forked: CommitRequest = { ...fullCommit(partition, state, 3), previous: first.id };
        expect(await commitOne(forked)).toEqual({ kind: 'diverged', stored: `${state.epoch}-2` });
        expect(await harness.feed(partition, 'node')).toEqual([]);
        expect(await store.load([{ partition, keys: ['node/a'] }])).toEqual([[{ key: 'node/a', record: null, document: null }]]);
      });

      it('refuses another owner and another epoch, and writes nothing', async () => {
        const partition = freshPartition();
        const state = await own(partition);
        expect(await commitOne({ ...fullCommit(partition, state, 1), owner: 'engine-b' })).toEqual({ kind: 'fenced' });
        expect(await commitOne({ ...fullCommit(partition, state, 1), epoch: state.epoch - 1 })).toEqual({ kind: 'fenced' });
        expect(await harness.feed(partition, 'node')).toEqual([]);
      });

      it('refuses a fired timer that an unread entry precedes, and takes it when the entry is read', async () => {
        const actor = actorFor('timer');
        const partition = partitionOf(actor);
        const state = await own(partition);
        const [appended] = await store.append([envelope(actor)]);
        if (appended instanceof Error || !appended) throw appended;
        const ms = millisecondsOf(appended.id);
        const request = { ...emptyCommit(partition, state, 1), firedThrough: ms + 1 };
        expect(await commitOne(request)).toEqual({ kind: 'overtaken', entry: appended.id });
        // At the same millisecond the timer goes first, so the entry does not precede it.
        expect(await commitOne({ ...request, firedThrough: ms })).toMatchObject({ kind: 'committed' });
        const second = { ...emptyCommit(partition, state, 2), previous: `${state.epoch}-1`, firedThrough: ms + 1, inbox: appended.id };
        expect(await commitOne(second)).toMatchObject({ kind: 'committed' });
      });

      it('commits several partitions in one call, each with its own answer', async () => {
        const [one, two] = [freshPartition(), freshPartition()];
        const [first, second] = [await own(one), await own(two)];
        const results = await store.commit([emptyCommit(one, first, 1), { ...emptyCommit(two, second, 1), owner: 'engine-b' }]);
        expect(results).toMatchObject([{ kind: 'committed' }, { kind: 'fenced' }]);
      });

      it('stores more values than one Lua call may unpack', async () => {
        const partition = freshPartition();
        const state = await own(partition);
        const keys = Array.from({ length: 4_500 }, (_, index): ActorKey => `node/n${index}`);
        const request: CommitRequest = {
          ...emptyCommit(partition, state, 1),
          records: keys.map((key) => [key, `"${key}"`] as const),
          timers: { set: keys.map((key, index) => [`${key} |t`, index] as const), remove: [] },
          sent: Object.fromEntries(Array.from({ length: 64 }, (_, index) => [index, index])),
        };
        expect(await commitOne(request)).toMatchObject({ kind: 'committed' });
        expect((await own(partition)).timers).toHaveLength(4_500);
        const [actors] = await store.load([{ partition, keys: [keys[0] as ActorKey, keys[4_499] as ActorKey] }]);
        expect(actors?.map(({ record }) => record)).toEqual(['"node/n0"', '"node/n4499"']);
      });
    });

    describe('appends and reads', () => {
      it('gives back what was appended, in order, after a position', async () => {
        const actor = actorFor('read');
        const partition = partitionOf(actor);
        const results = await store.append([
          envelope(actor, { event: { type: 'first', n: 1 } }),
          envelope(actor, { causation: '1:2-3:4', traceparent: '00-ab', replyTo: 'me', dedupeId: 'fields' }),
        ]);
        const [one, two] = results.map((result) => (result instanceof Error ? '' : result.id)) as [string, string];
        const before = await store.time();
        const { time, inboxes } = await store.read({ inboxes: [{ partition, after: '0-0' }], sources: [], count: 10, sourceCount: 10 });
        expect(time).toBeGreaterThanOrEqual(before);
        expect(inboxes).toEqual([
          [
            [one, ['a', actor, 'e', '{"type":"first","n":1}', 's', 'library']],
            [two, ['a', actor, 'e', '{"type":"go"}', 's', 'library', 'd', 'fields', 'c', '1:2-3:4', 't', '00-ab', 'r', 'me']],
          ],
        ]);
        const later = await store.read({ inboxes: [{ partition, after: one }], sources: [], count: 1, sourceCount: 10 });
        expect(later.inboxes[0]?.map(([id]) => id)).toEqual([two]);
        const short = await store.read({ inboxes: [{ partition, after: '0-0' }], sources: [], count: 1, sourceCount: 10 });
        expect(short.inboxes[0]?.map(([id]) => id)).toEqual([one]);
      });

      it('keeps an entry until the position has passed it', async () => {
        const actor = actorFor('keep');
        const partition = partitionOf(actor);
        const state = await own(partition);
        const results = await store.append(Array.from({ length: 300 }, () => envelope(actor)));
        const ids = results.map((result) => (result instanceof Error ? '' : result.id));
        await commitOne({ ...emptyCommit(partition, state, 1), inbox: ids[199] as string });
        const { inboxes } = await store.read({ inboxes: [{ partition, after: ids[199] as string }], sources: [], count: 500, sourceCount: 10 });
        expect(inboxes[0]?.map(([id]) => id)).toEqual(ids.slice(200));
      });

      it('reads sources in place and tells their oldest id', async () => {
        const one = await harness.addToSource('suite:source', ['nodeId', 'a', 'payload', '{}']);
        const two = await harness.addToSource('suite:source', ['nodeId', 'b', 'payload', '{}']);
        const { sources } = await store.read({
          inboxes: [],
          sources: [
            { stream: 'suite:source', after: one },
            { stream: 'suite:missing', after: '0-0' },
          ],
          count: 1,
          sourceCount: 10,
        });
        expect(sources).toEqual([
          { entries: [[two, ['nodeId', 'b', 'payload', '{}']]], firstId: one },
          { entries: [], firstId: null },
        ]);
      });

      it('appends a dedupe id once, also within one call', async () => {
        const actor = actorFor('dedupe');
        const same = envelope(actor, { dedupeId: 'once' });
        const results = await store.append([same, envelope(actor), same]);
        const again = await store.append([same]);
        const [first, , third, fourth] = [...results, ...again].map((result) => (result instanceof Error ? undefined : result));
        expect(first).toMatchObject({ partition: partitionOf(actor), repeated: false });
        expect(third).toEqual({ ...first, repeated: true });
        expect(fourth).toEqual({ ...first, repeated: true });
        const { inboxes } = await store.read({ inboxes: [{ partition: partitionOf(actor), after: '0-0' }], sources: [], count: 10, sourceCount: 10 });
        expect(inboxes[0]).toHaveLength(2);
      });

      it('forgets a dedupe id after the window', async () => {
        const same = envelope(actorFor('window'), { dedupeId: 'old' });
        const [first] = await store.append([same]);
        await harness.passTime(SUITE_DEDUPE.windowMs + 5);
        const [second, third] = await store.append([same, same]);
        expect(second).toMatchObject({ repeated: false });
        expect(third).toEqual({ ...(second as object), repeated: true });
        expect(second).not.toEqual(first);
      });

      it('forgets the oldest dedupe ids beyond the limit', async () => {
        const actor = actorFor('limit');
        const ids = Array.from({ length: SUITE_DEDUPE.idsMax + 2 }, (_, index) => `id-${index}`);
        const results = await store.append(ids.map((dedupeId) => envelope(actor, { dedupeId })));
        // Asked for newest first: an id that was forgotten is remembered anew and pushes out another.
        const repeated = await store.append([...ids].reverse().map((dedupeId) => envelope(actor, { dedupeId })));
        expect(results.every((result) => !(result instanceof Error) && !result.repeated)).toBe(true);
        expect(repeated.map((result) => !(result instanceof Error) && result.repeated)).toEqual([true, true, true, true, true, false, false]);
      });

      it('refuses a larger event than 1 MiB and takes its neighbours', async () => {
        const actor = actorFor('large');
        const [small, large] = await store.append([envelope(actor), envelope(actor, { event: { type: 'go', text: 'ä'.repeat(600_000) } })]);
        expect(small).toMatchObject({ repeated: false });
        expect(large).toMatchObject({ code: 'invalid_event', field: 'event' });
      });

      it('appends numbered messages with their source and number', async () => {
        const actor = actorFor('message');
        await store.appendMessages([
          { envelope: envelope(actor, { source: 'actor:node/a' }), from: 3, number: 41 },
          { envelope: envelope(actor, { source: 'actor:node/a' }), from: 3, number: 42 },
        ]);
        const { inboxes } = await store.read({ inboxes: [{ partition: partitionOf(actor), after: '0-0' }], sources: [], count: 10, sourceCount: 10 });
        expect(inboxes[0]?.map(([, fields]) => fields.slice(6))).toEqual([
          ['f', '3', 'n', '41'],
          ['f', '3', 'n', '42'],
        ]);
      });

      it('rings the partition at an append', async () => {
        const actor = actorFor('ring');
        const rung = Promise.withResolvers<number>();
        await harness.doorbell.listen((partition) => {
          if (partition === partitionOf(actor)) rung.resolve(partition);
        });
        await store.append([envelope(actor)]);
        expect(await rung.promise).toBe(partitionOf(actor));
        await harness.doorbell.close();
      });
    });

    describe('the outbox', () => {
      const withOutbox = async (partition: number, commits: number): Promise<PartitionState> => {
        const state = await own(partition);
        let previous = state.commit;
        for (let number = 1; number <= commits; number++) {
          const request = { ...emptyCommit(partition, state, number), previous, outbox: `[${number}]` };
          await commitOne(request);
          previous = request.id;
        }
        return state;
      };
      const NOTHING = { through: null, retriesSet: [], retriesRemoved: [], deadLetters: [] };

      it('drops what was delivered and keeps retries', async () => {
        const partition = freshPartition();
        const { epoch } = await withOutbox(partition, 3);
        const retry = { key: 'node/a#1-1-0', value: '{"attempts":1}' };
        const request = { ...NOTHING, partition, owner: 'engine-a', epoch, through: `${epoch}-2`, retriesSet: [retry, { key: 'x', value: '1' }] };
        expect(await store.acknowledge(request)).toBe(true);
        expect(await store.acknowledge({ ...NOTHING, partition, owner: 'engine-a', epoch, retriesRemoved: ['x', 'unknown'] })).toBe(true);
        const next = await own(partition);
        expect(next.outbox).toEqual([[`${epoch}-3`, '[3]']]);
        expect(next.retries).toEqual([retry]);
      });

      it('refuses a stale owner', async () => {
        const partition = freshPartition();
        const { epoch } = await withOutbox(partition, 1);
        await own(partition);
        expect(await store.acknowledge({ ...NOTHING, partition, owner: 'engine-a', epoch, through: `${epoch}-1` })).toBe(false);
        expect((await own(partition)).outbox).toHaveLength(1);
      });

      it('stores the dead letters of a repeated call once', async () => {
        const partition = freshPartition();
        const { epoch } = await withOutbox(partition, 1);
        const request = { ...NOTHING, partition, owner: 'engine-a', epoch, through: `${epoch}-1`, deadLetters: ['{"code":"parked"}'] };
        expect(await store.acknowledge(request)).toBe(true);
        expect(await store.acknowledge(request)).toBe(true);
        expect(await harness.deadLetters(partition)).toEqual(['{"code":"parked"}']);
      });
    });

    describe('the feed', () => {
      const withFeed = async (partition: number, commits: number, type: string): Promise<PartitionState> => {
        const state = await own(partition);
        let previous = state.commit;
        for (let number = 1; number <= commits; number++) {
          const feed = [{ type, count: number, pack: JSON.stringify('x'.repeat(1_000)) }];
          const request = { ...emptyCommit(partition, state, number), previous, time: number, feed };
          await commitOne(request);
          previous = request.id;
        }
        return state;
      };
      const idsOf = async (partition: number, type: string): Promise<string[]> => (await harness.feed(partition, type)).map(([id]) => id);

      it('lines packs up once, in the order of the calls', async () => {
        const partition = freshPartition();
        const { epoch } = await withFeed(partition, 3, 'line');
        const [one, two, three] = [1, 2, 3].map((number) => ({ partition, type: 'line', id: `${epoch}-${number}`, count: number }));
        if (!one || !two || !three) throw new Error('unreachable');
        await store.sequence([one, two]);
        await store.sequence([one, two]);
        expect(await store.unsequenced(partition, ['line', 'unknown'])).toEqual([three]);
        await store.sequence([two, three]);
        expect(await store.unsequenced(partition, ['line'])).toEqual([]);
        const lined = (await harness.cursor()).filter((address) => address.startsWith(`${partition}:line:`));
        expect(lined).toEqual([one, two, three].map(({ id, count }) => `${partition}:line:${id}:${count}`));
      });

      it('finds all packs that were not lined up, however many', async () => {
        const partition = freshPartition();
        await withFeed(partition, 230, 'many');
        const found = await store.unsequenced(partition, ['many']);
        expect(found.map(({ count }) => count)).toEqual(Array.from({ length: 230 }, (_, index) => index + 1));
      });

      it('keeps what is young and small', async () => {
        const partition = freshPartition();
        const { epoch } = await withFeed(partition, 3, 'keep');
        await store.trim(partition, {
          keep: { maxBytes: 1_000_000, maxAgeMs: Number.MAX_SAFE_INTEGER, through: `${epoch}-3` },
          none: { maxBytes: 1, maxAgeMs: 1, through: '0-0' },
        });
        expect(await idsOf(partition, 'keep')).toHaveLength(3);
      });

      it('drops by age, never beyond what is lined up', async () => {
        const partition = freshPartition();
        const { epoch } = await withFeed(partition, 3, 'old');
        await store.trim(partition, { old: { maxBytes: 1_000_000, maxAgeMs: 1_000, through: `${epoch}-2` } });
        expect(await idsOf(partition, 'old')).toEqual([`${epoch}-3`]);
      });

      it('drops by bytes, oldest first', async () => {
        const partition = freshPartition();
        const { epoch } = await withFeed(partition, 100, 'big');
        await store.trim(partition, { big: { maxBytes: 50_000, maxAgeMs: Number.MAX_SAFE_INTEGER, through: `${epoch}-100` } });
        const kept = await idsOf(partition, 'big');
        expect(kept.length).toBeGreaterThan(20);
        expect(kept.length).toBeLessThan(60);
        expect(kept.at(-1)).toBe(`${epoch}-100`);
      });
    });

    describe('best-effort messages', () => {
      it('publishes', async () => {
        const heard = await harness.hear('suite:channel', 2, () =>
          store.publish([
            ['suite:channel', 'one'],
            ['suite:channel', 'two'],
          ]),
        );
        expect(heard).toEqual(['one', 'two']);
      });

      it('tells a waiting sender the outcome', async () => {
        const heard = await harness.hear(harness.replyChannel('sender'), 1, () => store.reply([{ to: 'sender', entry: '1-0', outcome: { kind: 'ignored' } }]));
        expect(heard.map((text) => JSON.parse(text))).toEqual([{ entry: '1-0', outcome: { kind: 'ignored' } }]);
      });
    });

    /** An actor whose partition no other test uses: found by trying names. */
    const used = new Set<number>();
    function actorFor(test: string): ActorKey {
      for (let attempt = 0; ; attempt++) {
        const key = actorKey('node', `${test}-${attempt}`);
        const partition = partitionOf(key);
        // freshPartition counts up from 0; these come from the upper half.
        if (partition < 40 || used.has(partition)) continue;
        used.add(partition);
        return key;
      }
    }
  });
}

const EMPTY_STATE = {
  commit: '0-0',
  time: 0,
  inbox: '0-0',
  sources: {},
  applied: {},
  sent: {},
  timers: [],
  liveness: [],
  outbox: [],
  retries: [],
  invoking: [],
};

function envelope(actor: ActorKey, fields: Partial<Envelope> = {}): Envelope {
  return { actor, event: { type: 'go' }, source: 'library', ...fields };
}

/** The commit with that number in the state's epoch, following the state's newest, that changes nothing. */
export function emptyCommit(partition: number, state: PartitionState, number: number): CommitRequest {
  return {
    partition,
    owner: 'engine-a',
    epoch: state.epoch,
    previous: state.commit,
    id: `${state.epoch}-${number}`,
    time: 0,
    inbox: '0-0',
    sources: {},
    applied: {},
    sent: {},
    records: [],
    documents: [],
    timers: { set: [], remove: [] },
    liveness: { set: [], remove: [] },
    index: { add: [], remove: [] },
    invoking: { add: [], remove: [] },
    feed: [],
    deadLetters: [],
  };
}

function fullCommit(partition: number, state: PartitionState, number: number): CommitRequest {
  return {
    ...emptyCommit(partition, state, number),
    time: 777,
    inbox: '5-1',
    sources: { 'status:stream': { id: '9-0', watermark: 8, observed: 7 } },
    applied: { 3: 4 },
    sent: { 5: 6 },
    records: [
      ['node/a', '{"revision":1}'],
      ['node/b', '{"revision":2}'],
    ],
    documents: [['node/a', '"doc"']],
    timers: {
      set: [
        ['node/a |later', 20],
        ['node/a |soon', 10],
      ],
      remove: [],
    },
    liveness: { set: [['node/a |offline', 30.5]], remove: [] },
    index: {
      add: [
        ['node', 'online', 'node/a', 100],
        ['node', 'online', 'node/b', 200],
        ['node', '', 'node/a', 50],
      ],
      remove: [['node', 'online', 'node/c']],
    },
    invoking: { add: ['node/a'], remove: [] },
    feed: [
      { type: 'node', count: 1, pack: '["n1"]' },
      { type: 'fleet', count: 1, pack: '["f1"]' },
    ],
    outbox: '["command"]',
    deadLetters: ['{"code":"bad"}'],
  };
}
