import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Redis } from 'ioredis';
import type { CommitRequest, EngineStore, PartitionState } from '../../src/engine/ports.ts';
import { partitionOf, type ActorKey } from '../../src/protocol/ids.ts';
import type { Outcome } from '../../src/protocol/envelope.ts';
import { closeClient, connectFirst, createBlockingClient, createSubscriber, createWriteClient } from '../../src/redis/clients.ts';
import { createKeys } from '../../src/redis/keys.ts';
import { createRedisReader, type RedisReader } from '../../src/redis/reader.ts';
import { createReplyListener } from '../../src/redis/replies.ts';
import { createRedisStore } from '../../src/redis/store.ts';
import { parseRedisUrl } from '../../src/redis/target.ts';
import { emptyCommit } from '../ports/requests.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import type { ActorRecord, TimerState } from '../../src/protocol/record.ts';
import { encodeRecord } from '../../src/protocol/stored-record.ts';

const RECORD: ActorRecord = {
  revision: 1,
  version: '1',
  status: 'active',
  snapshot: { status: 'active', value: 'on', context: {}, historyValue: {} },
  entered: { on: 1 },
  timers: {},
  children: {},
  invocations: {},
  createdAt: 1,
  updatedAt: 1,
  head: null,
};

describe('the read side over Redis', () => {
  let server: TestRedis;
  let clients: Redis[];
  let client: Redis;
  let subscriber: Redis;
  let store: EngineStore;
  let reader: RedisReader;
  const keys = createKeys('read');
  const states = new Map<number, { state: PartitionState; commits: number }>();

  const commit = async (partition: number, changes: Partial<CommitRequest>): Promise<string> => {
    let held = states.get(partition);
    if (!held) {
      const result = await store.acquire(partition, 'engine-a', 60_000);
      if (result.kind !== 'acquired') throw new Error('held');
      states.set(partition, (held = { state: result.state, commits: 0 }));
    }
    const number = ++held.commits;
    const previous = number === 1 ? held.state.commit : `${held.state.epoch}-${number - 1}`;
    const request = { ...emptyCommit(partition, held.state, number), previous, ...changes };
    const [result] = await store.commit([request]);
    expect(result).toMatchObject({ kind: 'committed' });
    return request.id;
  };

  beforeAll(async () => {
    server = await startTestRedis();
    const target = parseRedisUrl(server.url);
    client = createWriteClient(target);
    subscriber = createSubscriber(target);
    const blocking = createBlockingClient(target);
    clients = [client, subscriber, blocking];
    await Promise.all(clients.map((each) => connectFirst(each, target)));
    store = await createRedisStore(client, keys, { cursorLengthMax: 100 });
    reader = createRedisReader({ client, blocking, keys });
  });
  afterAll(async () => {
    await Promise.all(clients.map(closeClient));
    await server.stop();
  });

  it('gives an actor with its document and the due times of its timers', async () => {
    const key: ActorKey = 'node/gpu-1';
    const timer: TimerState = { event: { type: 'tick' }, clock: 'clock', delayMs: 1, armed: [1, 0] };
    const record = encodeRecord({ ...RECORD, timers: { '|soon': timer, '|offline': { ...timer, clock: 'liveness' }, '|unset': timer } });
    await commit(partitionOf(key), {
      records: [[key, record]],
      documents: [[key, '"newest"']],
      timers: { set: [[`${key} |soon`, 10]], remove: [] },
      liveness: { set: [[`${key} |offline`, 20]], remove: [] },
    });
    const expected = { key, record, document: '"newest"', dues: { '|soon': 10, '|offline': 20 } };
    expect(await reader.getActor(key)).toEqual(expected);
    expect(await reader.getActor('node/none')).toBeUndefined();
    expect(await reader.getActors(['node/none', key])).toEqual([undefined, expected]);
  });

  describe('lists of actors', () => {
    const all = Array.from({ length: 90 }, (_, index): ActorKey => `job/j${index}`);
    beforeAll(async () => {
      const byPartition = Map.groupBy(all, partitionOf);
      for (const [partition, members] of byPartition) {
        // Every third entered at the same time as many others, so that a page ends among equals.
        const add = members.map((key) => ['job', 'queued', key, Number(key.slice(5)) % 3 === 0 ? 500 : Number(key.slice(5))] as const);
        await commit(partition, { index: { add, remove: [] } });
      }
      const crowd = Array.from({ length: 25 }, (_, index): ActorKey => `crowd/c${index}`);
      await commit(3, { index: { add: crowd.map((key) => ['crowd', '', key, 7] as const), remove: [] } });
    });
    const listAll = async (query: { type: string; statePath?: string; enteredBefore?: number; limit: number }): Promise<string[]> => {
      const found: string[] = [];
      for (let cursor: string | null | undefined; cursor !== null;) {
        const page = await reader.listActors({ ...query, ...(cursor === undefined ? {} : { cursor }) });
        expect(page.items.length).toBeLessThanOrEqual(query.limit);
        found.push(...page.items.map(({ key }) => key));
        cursor = page.next;
      }
      return found;
    };

    it('lists each actor once over all pages, whatever the page size', async () => {
      for (const limit of [1, 7, 30, 89, 90, 200]) {
        const found = await listAll({ type: 'job', statePath: 'queued', limit });
        expect(found.length).toBe(all.length);
        expect(new Set(found)).toEqual(new Set(all));
      }
      expect(new Set(await listAll({ type: 'crowd', limit: 4 })).size).toBe(25);
    });

    it('lists only those that entered before a time, and nothing of other states', async () => {
      const old = await listAll({ type: 'job', statePath: 'queued', enteredBefore: 50, limit: 10 });
      expect(new Set(old)).toEqual(new Set(all.filter((key) => Number(key.slice(5)) % 3 !== 0 && Number(key.slice(5)) < 50)));
      expect(await listAll({ type: 'job', statePath: 'done', limit: 10 })).toEqual([]);
    });

    it('counts, and refuses a cursor that is none', async () => {
      expect(await reader.countActors('job', 'queued')).toBe(90);
      for (const cursor of ['x', '64~1~job/a', '1~~', '0~1~a b']) {
        await expect(reader.listActors({ type: 'job', cursor, limit: 1 })).rejects.toMatchObject({ code: 'cursor_gone' });
      }
    });
  });

  it('lists dead letters of all partitions newest first, page by page', async () => {
    for (const partition of [5, 2, 9, 2, 5, 1]) await commit(partition, { deadLetters: ['{"code":"bad"}', '{"code":"worse"}'] });
    const whole = await reader.listDeadLetters(undefined, 100);
    expect(whole.items).toHaveLength(12);
    expect(whole.next).toBeNull();
    const paged = [];
    for (let cursor: string | null | undefined; cursor !== null;) {
      const page = await reader.listDeadLetters(cursor, 5);
      paged.push(...page.items);
      cursor = page.next;
    }
    expect(paged).toEqual(whole.items);
    const times = whole.items.map(({ id }) => Number(id.split('-')[1]));
    expect(times).toEqual([...times].sort((left, right) => right - left));
    const [newest] = whole.items;
    expect(await reader.getDeadLetter(newest?.id ?? '')).toEqual(newest);
    expect(await reader.getDeadLetter('1-1-1')).toBeUndefined();
    expect(await reader.getDeadLetter('nonsense')).toBeUndefined();
    expect(await reader.countDeadLetters()).toBe(12);
    await expect(reader.listDeadLetters('nonsense', 5)).rejects.toMatchObject({ code: 'cursor_gone' });
  });

  it('follows the packs that are lined up, waits for new ones and reads them', async () => {
    expect(await reader.cursorRange()).toBeNull();
    expect(await reader.readCursor('0-0', 10, 0)).toEqual([]);
    const waiting = reader.readCursor('0-0', 10, 5_000);
    const one = await commit(7, { feed: [{ type: 'job', count: 2, pack: '["a","b"]' }] });
    const address = { partition: 7, type: 'job', id: one, count: 2 };
    const [entry] = await waiting;
    expect(entry?.address).toEqual(address);
    expect(await reader.cursorRange()).toEqual({ first: entry?.id, last: entry?.id, trimmed: false });
    expect(await reader.readPacks([address, { ...address, type: 'none' }])).toEqual(['["a","b"]', null]);
    expect(await reader.readPack(7, 'job', one)).toBe('["a","b"]');
    expect(await reader.readCursor(entry?.id ?? '', 10, 1)).toEqual([]);
  });

  it('passes over what a commit did not line up', async () => {
    await client.xadd(keys.cursor, '*', 'junk', 'x');
    await client.xadd(keys.cursor, '*', 'p', '64', 't', 'job', 'i', '1-1', 'n', '1');
    const id = await commit(9, { feed: [{ type: 'job', count: 1, pack: '[]' }] });
    const lined = (await reader.readCursor('0-0', 10, 0)).map(({ address }) => address);
    expect(lined.slice(-3)).toEqual([null, null, { partition: 9, type: 'job', id, count: 1 }]);
  });

  it('tells when the beginning of the cursor was trimmed', async () => {
    await commit(8, { feed: Array.from({ length: 500 }, (_, index) => ({ type: `t${index}`, count: 1, pack: '[]' })) });
    const range = await reader.cursorRange();
    expect(range?.trimmed).toBe(true);
    const kept = await reader.readCursor('0-0', 1_000, 0);
    expect(kept.length).toBeLessThan(300);
    expect(kept.at(-1)?.id).toBe(range?.last);
  });

  it('reports owner, position, lag, timers and outbox of each partition', async () => {
    const key: ActorKey = 'report/a';
    const partition = partitionOf(key);
    const before = (await reader.partitions())[partition];
    const results = await store.append(Array.from({ length: 250 }, () => ({ actor: key, event: { type: 'go' }, source: 'library' as const })));
    const ids = results.map((result) => (result instanceof Error ? '' : result.id));
    const id = await commit(partition, { inbox: ids[219] as string, outbox: '[]', timers: { set: [[`${key} |t`, 1]], remove: [] } });
    const reports = await reader.partitions();
    expect(reports).toHaveLength(64);
    expect(reports[partition]).toEqual({
      partition,
      owner: 'engine-a',
      epoch: states.get(partition)?.state.epoch,
      commit: id,
      position: ids[219],
      lag: 30,
      timers: (before?.timers ?? 0) + 1,
      outbox: 1,
      retries: 0,
    });
    const unused = reports.find((report) => !states.has(report.partition));
    expect(unused).toMatchObject({ owner: null, epoch: 0, commit: '0-0', position: '0-0', lag: 0, timers: 0, outbox: 0, retries: 0 });
  });

  it('hears the outcomes that are told to it, and nothing else', async () => {
    const listener = createReplyListener(subscriber, keys, 'me');
    const told: (readonly [string, Outcome])[] = [];
    const complete = Promise.withResolvers<void>();
    await listener.listen((entry, outcome) => {
      if (told.push([entry, outcome]) === 2) complete.resolve();
    });
    await client.publish(keys.reply('me'), 'not json');
    await store.reply([
      { to: 'other', entry: '1-0', outcome: { kind: 'ignored' } },
      { to: 'me', entry: '2-0', outcome: { kind: 'touch' } },
      { to: 'me', entry: '3-0', outcome: { kind: 'ignored' } },
    ]);
    await complete.promise;
    expect(told).toEqual([
      ['2-0', { kind: 'touch' }],
      ['3-0', { kind: 'ignored' }],
    ]);
    await listener.close();
  });
});
