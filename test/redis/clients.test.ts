import { connect, createServer, type Server, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Redis } from 'ioredis';
import { partitionOf, type ActorKey } from '../../src/protocol/ids.ts';
import { checkServer } from '../../src/redis/check-server.ts';
import { closeClient, connectFirst, createSubscriber, createWriteClient, reconnectDelay } from '../../src/redis/clients.ts';
import { createDoorbell } from '../../src/redis/doorbell.ts';
import { createKeys } from '../../src/redis/keys.ts';
import { createReplyListener } from '../../src/redis/replies.ts';
import { createRedisStore } from '../../src/redis/store.ts';
import { parseRedisUrl, type RedisTarget } from '../../src/redis/target.ts';
import { emptyCommit } from '../ports/requests.ts';
import { freePort, startTestRedis, type TestRedis } from '../redis-server.ts';

const KEYS = createKeys('clients');

describe('clients', () => {
  let server: TestRedis;
  let target: RedisTarget;
  const open: Redis[] = [];
  const closing: (() => Promise<void>)[] = [];
  const connected = async (client: Redis, to: RedisTarget = target): Promise<Redis> => {
    open.push(client);
    await connectFirst(client, to);
    return client;
  };

  beforeAll(async () => {
    server = await startTestRedis();
    target = parseRedisUrl(server.url);
  });
  afterAll(() => server.stop());
  afterEach(async () => {
    await Promise.all(open.splice(0).map(closeClient));
    for (const close of closing.splice(0)) await close();
  });

  it('say where Redis was looked for and the way out when there is none', async () => {
    const nowhere = { ...target, port: await freePort() };
    await expect(connected(createWriteClient(nowhere), nowhere)).rejects.toMatchObject({
      code: 'redis_unusable',
      message: expect.stringMatching(/^Failed to connect to Redis at 127\.0\.0\.1:\d+\/0 \(ECONNREFUSED\)\. .*REDIS_URL/),
    });
  });

  it('commit what they may not post with the posts in the outbox: a stream that is barred holds up itself alone', async () => {
    const admin = await connected(createWriteClient(target));
    await admin.call('ACL', 'SETUSER', 'narrow', 'on', '>secret', '+@all', `~${KEYS.prefix}*`, '~open*', '~{open*', '&*');
    const narrow = { ...target, username: 'narrow', password: 'secret' };
    const store = await createRedisStore(await connected(createWriteClient(narrow), narrow), KEYS);
    const acquired = await store.acquire(2, 'engine-a', 60_000);
    if (acquired.kind !== 'acquired') throw new Error('held');
    const post = (stream: string, number: number) => ({ stream, from: 2, number: `1-${number}`, fields: ['n', String(number)] });
    const first = { ...emptyCommit(2, acquired.state, 1), outbox: '["a command"]', posts: [post('open', 1), post('barred', 2)] };
    expect(await store.commit([first])).toMatchObject([{ kind: 'committed', repeated: false, refused: true }]);
    expect(await store.commit([first])).toMatchObject([{ kind: 'committed', repeated: true, refused: true }]);
    const second = { ...emptyCommit(2, acquired.state, 2), previous: first.id, posts: [post('open', 3)] };
    expect(await store.commit([second])).toMatchObject([{ kind: 'committed', refused: false }]);
    expect((await admin.xrange('open', '-', '+')).map(([, fields]) => fields[1])).toEqual(['3']);
    const again = await store.acquire(2, 'engine-a', 60_000);
    const outbox = again.kind === 'acquired' ? again.state.outbox.map(([, pack]) => JSON.parse(pack) as unknown) : [];
    expect(outbox).toEqual([['a command', { post: post('open', 1) }, { post: post('barred', 2) }]]);
  });

  it('send a command once when its reply is lost, and the repeated commit is recognised', async () => {
    const proxy = await startProxy(server.port);
    closing.push(() => proxy.close());
    const through = { ...target, port: proxy.port };
    const client = await connected(createWriteClient(through), through);
    const direct = await connected(createWriteClient(target));
    const store = await createRedisStore(client, KEYS);
    const acquired = await store.acquire(1, 'engine-a', 60_000);
    if (acquired.kind !== 'acquired') throw new Error('held');
    const request = { ...emptyCommit(1, acquired.state, 1), feed: [{ type: 'node', count: 1, pack: '[]' }], deadLetters: ['{}'] };

    proxy.loseReplies();
    const [lost] = await store.commit([request]);
    expect(lost).toMatchObject({ code: 'redis_unusable', retryable: true });
    await ready(client);
    expect(await store.commit([request])).toMatchObject([{ kind: 'committed', repeated: true }]);
    expect(await direct.xlen(KEYS.partition(1).feed('node'))).toBe(1);
    expect(await direct.xlen(KEYS.partition(1).dead)).toBe(1);
  });

  it('append a lost dedupe id once', async () => {
    const proxy = await startProxy(server.port);
    closing.push(() => proxy.close());
    const through = { ...target, port: proxy.port };
    const client = await connected(createWriteClient(through), through);
    const store = await createRedisStore(client, KEYS);
    const actor: ActorKey = 'node/lost';
    const envelope = { actor, event: { type: 'go' }, source: 'http', dedupeId: 'one' } as const;
    proxy.loseReplies();
    expect((await store.append([envelope]))[0]).toMatchObject({ code: 'redis_unusable' });
    await ready(client);
    expect(await store.append([envelope])).toMatchObject([{ repeated: true }]);
    expect(await client.xlen(KEYS.partition(partitionOf(actor)).inbox)).toBe(1);
  });

  it('load the functions again after they were flushed, without the caller noticing', async () => {
    const client = await connected(createWriteClient(target));
    const store = await createRedisStore(client, createKeys('flushed'));
    await client.call('FUNCTION', 'FLUSH');
    const actors = Array.from({ length: 20 }, (_, index): ActorKey => `node/f${index}`);
    const results = await store.append(actors.map((actor) => ({ actor, event: { type: 'go' }, source: 'library' })));
    expect(results.filter((result) => result instanceof Error)).toEqual([]);
    const lengths = await Promise.all([...new Set(actors.map(partitionOf))].map((partition) => client.xlen(createKeys('flushed').partition(partition).inbox)));
    expect(lengths.reduce((sum, length) => sum + length, 0)).toBe(20);
  });

  it('ring every partition after the link of the bell was lost', async () => {
    const proxy = await startProxy(server.port);
    closing.push(() => proxy.close());
    const through = { ...target, port: proxy.port };
    const subscriber = await connected(createSubscriber(through), through);
    const bell = createDoorbell(subscriber, KEYS, () => undefined);
    const rung = new Set<number>();
    const all = Promise.withResolvers<void>();
    await bell.listen(
      (partition) => {
        if (rung.add(partition).size === 64) all.resolve();
      },
      () => undefined,
    );
    proxy.cut();
    await all.promise;
    const again = Promise.withResolvers<void>();
    const actor: ActorKey = 'node/bell';
    await ready(subscriber);
    rung.delete(partitionOf(actor));
    const store = await createRedisStore(await connected(createWriteClient(target)), KEYS);
    const poll = setInterval(() => {
      if (rung.has(partitionOf(actor))) again.resolve();
    }, 5);
    // Subscribing anew takes a round trip that nobody announces: ring until it is heard.
    const ringing = setInterval(() => void store.append([{ actor, event: { type: 'go' }, source: 'library' }]), 20);
    await again.promise;
    clearInterval(poll);
    clearInterval(ringing);
    await bell.close();
  });

  it('hear again when the link breaks a second time, just as they subscribe again', async () => {
    const proxy = await startProxy(server.port);
    closing.push(() => proxy.close());
    const through = { ...target, port: proxy.port };
    const subscriber = await connected(createSubscriber(through), through);
    const bell = createDoorbell(subscriber, KEYS, () => undefined);
    const replies = createReplyListener(subscriber, KEYS, 'twice');
    const restored = Promise.withResolvers<void>();
    const rung = new Set<number>();
    await bell.listen(
      (partition) => {
        if (rung.add(partition).size === 64) restored.resolve();
      },
      () => undefined,
    );
    const told = Promise.withResolvers<string>();
    await replies.listen((entry) => told.resolve(entry));
    proxy.cutAt('ssubscribe');
    proxy.cut();
    await restored.promise; // and a rejection that nobody handles would fail this file
    const store = await createRedisStore(await connected(createWriteClient(target)), KEYS);
    // Its own subscription is another command, and nobody announces when it is done: tell until it is heard.
    const telling = setInterval(() => void store.reply([{ to: 'twice', entry: '1:1-1', outcome: { kind: 'ignored' } }]), 20);
    expect(await told.promise).toBe('1:1-1');
    clearInterval(telling);
    await replies.close();
    await bell.close();
  });

  it('spread their reconnects, also at the cap', () => {
    expect(reconnectDelay(1, () => 0)).toBe(25);
    expect(reconnectDelay(50, () => 0)).toBe(1_000);
    expect(reconnectDelay(50, () => 0.999)).toBe(2_998);
  });
});

describe('the check of a server', () => {
  const report = async (args: readonly string[]): Promise<unknown> => {
    const server = await startTestRedis(args);
    const target = parseRedisUrl(server.url);
    const client = createWriteClient(target);
    try {
      await connectFirst(client, target);
      return await checkServer(client);
    } finally {
      await closeClient(client);
      await server.stop();
    }
  };

  it('takes one that keeps its data', async () => {
    expect(await report(['--appendonly', 'yes'])).toMatchObject({ product: 'redis', warnings: [] });
  });
  it('warns without an append-only file', async () => {
    expect(await report([])).toMatchObject({ warnings: [expect.stringContaining('appendonly')] });
  });
  it('refuses one that evicts', async () => {
    await expect(report(['--maxmemory-policy', 'allkeys-lru'])).rejects.toMatchObject({
      code: 'redis_unusable',
      message: expect.stringContaining('allkeys-lru'),
    });
  });
  it('refuses a replica', async () => {
    await expect(report(['--replicaof', '127.0.0.1', '1'])).rejects.toMatchObject({ code: 'redis_unusable', message: expect.stringContaining('replica') });
  });
});

function ready(client: Redis): Promise<void> {
  return client.status === 'ready' ? Promise.resolve() : new Promise((resolve) => client.once('ready', () => resolve()));
}

interface Proxy {
  readonly port: number;
  /** The next reply of the server is dropped and the links are reset: the command ran, its answer is lost. */
  loseReplies(): void;
  /** Resets the links. */
  cut(): void;
  /** Resets the links when a client next sends this text, which does not reach the server. */
  cutAt(text: string): void;
  close(): Promise<void>;
}

/** A TCP proxy to the server that loses what it is told to. */
async function startProxy(port: number): Promise<Proxy> {
  const pairs = new Set<readonly [Socket, Socket]>();
  let losing = false;
  let cuttingAt: string | undefined;
  const cut = (): void => {
    for (const pair of pairs) for (const socket of pair) socket.destroy();
    pairs.clear();
  };
  const server: Server = createServer((inbound) => {
    const outbound = connect(port, '127.0.0.1');
    pairs.add([inbound, outbound]);
    inbound.on('data', (data) => {
      if (cuttingAt === undefined || !data.toString().includes(cuttingAt)) return void outbound.write(data);
      cuttingAt = undefined;
      cut();
    });
    outbound.on('data', (data) => {
      if (!losing) return void inbound.write(data);
      losing = false;
      cut();
    });
    for (const [one, other] of [
      [inbound, outbound],
      [outbound, inbound],
    ] as const) {
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('No port.');
  return {
    port: address.port,
    loseReplies: () => void (losing = true),
    cutAt: (text) => void (cuttingAt = text),
    cut,
    close: async () => {
      cut();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
