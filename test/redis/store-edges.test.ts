/** The engine's store where Redis refuses: all of a call is written, or nothing. */
import { createHash } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EngineStore, Glance } from '../../src/engine/ports.ts';
import { actorKey, partitionOf } from '../../src/protocol/ids.ts';
import { createDoorbell } from '../../src/redis/doorbell.ts';
import { createKeys } from '../../src/redis/keys.ts';
import { takeSeal } from '../../src/redis/seal.ts';
import { createRedisStore } from '../../src/redis/store.ts';
import { emptyCommit } from '../ports/requests.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';

const keys = createKeys('edges');
let server: TestRedis;
let redis: Redis;
let store: EngineStore;
const others: Redis[] = [];

beforeAll(async () => {
  server = await startTestRedis();
  redis = new Redis(server.url);
  store = await createRedisStore(redis, keys);
});
afterAll(async () => {
  for (const each of [redis, ...others]) each.disconnect();
  await server.stop();
});

async function storeOf(user: string, ...rights: readonly string[]): Promise<EngineStore> {
  await redis.call('ACL', 'SETUSER', user, 'on', '>secret', '&*', '+@all', ...rights);
  const other = new Redis(server.url.replace('redis://', `redis://${user}:secret@`));
  others.push(other);
  return await createRedisStore(other, keys);
}

describe('a commit that the feed cannot be lined up for', () => {
  it('writes nothing, and is written when the stream is mended', async () => {
    const acquired = await store.acquire(3, 'engine-a', 60_000);
    if (acquired.kind !== 'acquired') throw new Error('held');
    const own = keys.partition(3);
    const feed = ['one', 'two'].map((type) => ({ type, count: 1, pack: '[]' }));
    const request = { ...emptyCommit(3, acquired.state, 1), feed, records: [[actorKey('one', 'a'), '[]'] as const] };
    await redis.xadd(keys.cursor, '18446744073709551615-18446744073709551615', 'p', 'x');
    const [refused] = await store.commit([request]);
    expect(refused).toBeInstanceOf(Error);
    expect([await redis.exists(own.feed('one'), own.feed('two'), own.records), await redis.hget(own.meta, 'commit')]).toEqual([0, null]);
    await redis.del(keys.cursor);

    await redis.xadd(own.feed('two'), `${acquired.state.epoch}-9`, 'p', 'x');
    const [again] = await store.commit([request]);
    expect(again).toBeInstanceOf(Error);
    expect([await redis.xlen(keys.cursor), await redis.exists(own.records)]).toEqual([0, 0]);
    await redis.del(own.feed('one'), own.feed('two'));

    expect(await store.commit([request])).toMatchObject([{ kind: 'committed', repeated: false }]);
    expect(await redis.xlen(keys.cursor)).toBe(2);
  });
});

describe('a user with few rights', () => {
  it('reads a source that it may only read, also in a quiet round', async () => {
    const id = await redis.xadd('edges:beats', '*', 'nodeId', 'a');
    const reader = await storeOf('reader', '~edges:{*', '%R~edges:beats');
    const request = { inboxes: [{ partition: 1, after: '0-0' }], sources: [{ stream: 'edges:beats', after: '0-0' }], count: 10, sourceCount: 10 };
    for (const withActors of [false, true]) {
      const { sources } = await reader.read({ ...request, withActors });
      expect(sources).toEqual([{ entries: [[id, ['nodeId', 'a']]], firstId: id }]);
    }
  });

  it('appends where it may not look, once, and rings', async () => {
    const actor = actorKey('job', 'unseen');
    const partition = partitionOf(actor);
    await store.acquire(partition, 'engine-a', 60_000, ['elsewhere']);
    const blind = await storeOf('blind', '~edges:*', '-hexists');
    const subscriber = new Redis(server.url);
    others.push(subscriber);
    const rung = Promise.withResolvers<Glance | undefined>();
    const doorbell = createDoorbell(subscriber, keys, await takeSeal(redis, keys));
    await doorbell.listen(
      (number, glance) => {
        if (number === partition) rung.resolve(glance);
      },
      () => undefined,
    );
    expect(await blind.append([{ actor, event: { type: 'go' }, source: 'library' }])).toMatchObject([{ repeated: false }]);
    expect(await rung.promise).toBeUndefined();
    expect(await redis.xlen(keys.partition(partition).inbox)).toBe(1);
    await doorbell.close();
  });
});

describe('a secret that is no text', () => {
  it('stops nothing: rings are plain, and who came to rest is told by the address', async () => {
    const actor = actorKey('node', 'unsealed');
    const partition = partitionOf(actor);
    const acquired = await store.acquire(partition, 'engine-a', 60_000);
    if (acquired.kind !== 'acquired') throw new Error('held');
    const listener = new Redis(server.url);
    others.push(listener);
    const heard: string[] = [];
    for (const event of ['message', 'smessage'] as const) listener.on(event, (_channel: string, message: string) => heard.push(message));
    await listener.subscribe(keys.arrivals('node'));
    await listener.ssubscribe(keys.partition(partition).bell);
    const secret = (await redis.get(keys.secret)) ?? '';
    await redis.del(keys.secret);
    await redis.lpush(keys.secret, 'no text');
    expect(await store.append([{ actor, event: { type: 'go' }, source: 'library' }])).toMatchObject([{ repeated: false }]);
    const request = { ...emptyCommit(partition, acquired.state, 1), records: [[actor, '[]'] as const], arrivals: [{ type: 'node', record: 0 }] };
    expect(await store.commit([request])).toMatchObject([{ kind: 'committed', repeated: false }]);
    while (heard.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(heard).toEqual(['1', actor]);
    await redis.del(keys.secret);
    await redis.set(keys.secret, secret);
  });
});

describe('a bell', () => {
  const heard: (readonly [number | 'sources', Glance | undefined])[] = [];
  const seal = (secret: string, text: string): string =>
    createHash('sha1')
      .update(secret + text + secret)
      .digest('hex') + text;
  const told = (partition: number, stream: string): string =>
    JSON.stringify([partition, Date.now(), '', '0-0', ['job:reports', '0-0', 'beats', '0-0'], stream, '5-0', ['job/a', '{}'], false]);

  it('is believed of what belongs to it, and rings for the rest', async () => {
    const subscriber = new Redis(server.url);
    others.push(subscriber);
    const doorbell = createDoorbell(subscriber, keys, await takeSeal(redis, keys));
    await doorbell.listen(
      (number, glance) => heard.push([number, glance]),
      () => heard.push(['sources', undefined]),
    );
    const { bell } = keys.partition(7);
    const secret = (await redis.get(keys.secret)) ?? '';
    await redis.spublish(bell, seal(secret, told(7, '')));
    await redis.spublish(bell, seal(secret, told(8, '')));
    await redis.spublish(bell, seal(secret, told(7, 'job:reports')));
    await redis.spublish(keys.sourcesBell, seal(secret, told(9, 'job:reports')));
    await redis.spublish(keys.sourcesBell, seal(secret, told(9, '')));
    await redis.spublish(keys.sourcesBell, seal(secret, told(9, 'beats')));
    // Of nobody who may read our keys, as of another database of this server.
    await redis.spublish(bell, told(7, ''));
    await redis.spublish(bell, seal('guessed', told(7, '')));
    await redis.spublish(keys.sourcesBell, seal('guessed', told(9, 'job:reports')));
    await redis.spublish(bell, '1');
    while (heard.length < 10) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(heard.map(([number, glance]) => [number, glance !== undefined])).toEqual([
      [7, true],
      [7, false],
      [7, false],
      [9, true],
      ['sources', false],
      ['sources', false],
      [7, false],
      [7, false],
      ['sources', false],
      [7, false],
    ]);
    await doorbell.close();
  });
});
