import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect } from 'node:net';
import type { RebalanceWriter } from '../../../src/protocol/rebalance.ts';
import { startTestRedis, type TestRedis } from '../../redis-server.ts';
import { connectClient, openClient, refusalOf, startApi, tokenOf, until, type Api } from './socket-fixture.ts';

let redis: TestRedis;
beforeAll(async () => void (redis = await startTestRedis()));
afterAll(() => redis.stop());

let users = 0;
/** Nobody else's in this file. */
const newUser = (): string => `user-${++users}`;

let revision = 0;
function tell(writer: RebalanceWriter, userId: string, jobId: string, status: string, order = ++revision): Promise<{ written: boolean; sockets: number }> {
  return writer.tell({
    jobId,
    userId,
    order: [1, order, 0],
    createdAt: '2026-01-01T00:00:00.000Z',
    updatedAt: '2026-01-01T00:00:00.000Z',
    record: { jobId, status },
    recordKey: `agent:rebalance:job:${jobId}`,
    recordKeptMs: 60_000,
    event: { name: `rebalance:${status}`, data: { jobId, status } },
  });
}

/** Redis says that some socket has all that the user was told. */
async function allReached(api: Api, userId: string): Promise<void> {
  const probe = { userId, socket: 'looks only' };
  await until(async () => {
    const [beginning, newest] = [await api.redis.userEvents.begin(probe), await api.redis.userEvents.read(userId, '0-0', 1_000)];
    await api.redis.userEvents.end(probe);
    return beginning.kind === 'from' && (newest.length === 0 || beginning.cursor === newest.at(-1)?.cursor);
  }, 'all to be reached');
}

describe('who is admitted', () => {
  it.each([
    ['without a token', undefined, 'unauthorized'],
    ['with nonsense', 'nonsense', 'unauthorized'],
  ])('%s nobody', async (_what, token, code) => {
    const api = await startApi(redis);
    expect((await refusalOf(openClient(api.url, token))).data).toMatchObject({ code, status: 401 });
  });

  it('nobody whose token has expired, and a socket ends with its token', async () => {
    const api = await startApi(redis);
    expect((await refusalOf(openClient(api.url, await tokenOf('late', '-1m')))).data?.code).toBe('unauthorized');
    const ending = await connectClient(api.url, await tokenOf('short', Math.floor(Date.now() / 1000) + 2));
    await new Promise<void>((resolve) => ending.socket.once('disconnect', () => resolve()));
  });

  it('a token without a role may listen, and nothing else', async () => {
    const api = await startApi(redis);
    const token = await tokenOf('somebody');
    await connectClient(api.url, token);
    const status = async (path: string) => (await fetch(`${api.url}${path}`, { headers: { authorization: `Bearer ${token}` } })).status;
    expect([await status('/api/fabric/nodes'), await status('/api/v1/rebalance/none')]).toEqual([403, 404]);
  });

  it.each(['polling', 'websocket'] as const)('no page of a foreign origin, by %s', async (transport) => {
    const api = await startApi(redis, { settings: { corsOrigins: ['https://ours.example'] } });
    const open = async (origin: string) =>
      openClient(api.url, await tokenOf('page'), { transports: [transport], extraHeaders: { origin }, reconnection: false });
    expect((await refusalOf(await open('https://evil.example'))).message).toMatch(/error/);
    for (const origin of ['https://ours.example', api.url]) {
      const client = await open(origin);
      await new Promise<void>((resolve, reject) => {
        client.socket.once('connect', () => resolve());
        client.socket.once('connect_error', reject);
      });
    }
  });

  it('no more sockets of one user than 32', async () => {
    const api = await startApi(redis);
    const token = await tokenOf('many');
    await Promise.all(Array.from({ length: 32 }, () => connectClient(api.url, token, { transports: ['websocket'] })));
    expect((await refusalOf(openClient(api.url, token))).data?.code).toBe('too_many_sockets');
  });

  it('a cursor that is none is refused, and one that is not held as well', async () => {
    const api = await startApi(redis);
    const token = await tokenOf(newUser());
    expect((await refusalOf(openClient(api.url, token, { cursor: 'yesterday' }))).data?.code).toBe('invalid_cursor');
    expect((await refusalOf(openClient(api.url, token, { cursor: '1-0' }))).data).toEqual({ code: 'cursor_gone', status: 410 });
  });
});

describe('events of a user', () => {
  it.each(['polling', 'websocket'] as const)('reach all sockets of that user over all processes, once, and nobody else, by %s', async (transport) => {
    const [one, two] = [await startApi(redis), await startApi(redis)];
    const [user, other] = [newUser(), newUser()];
    const token = await tokenOf(user);
    const clients = [
      await connectClient(one.url, token, { transports: [transport] }),
      await connectClient(one.url, token),
      await connectClient(two.url, token),
    ];
    const stranger = await connectClient(two.url, await tokenOf(other));
    for (let job = 0; job < 20; job++) expect((await tell(one.redis.userEvents, user, `j${job}`, 'done')).sockets).toBe(3);
    await tell(one.redis.userEvents, other, 'theirs', 'done');
    await Promise.all(clients.map((client) => client.hears(20)));
    await stranger.hears(1);
    await allReached(two, user);
    for (const { told } of clients) expect(told).toEqual(Array.from({ length: 20 }, (_, job) => `done j${job}`));
    expect(stranger.told).toEqual(['done theirs']);
  });

  it('are told once however often the effect is delivered', async () => {
    const api = await startApi(redis);
    const user = newUser();
    const client = await connectClient(api.url, await tokenOf(user));
    const first = await tell(api.redis.userEvents, user, 'again', 'processing', 1_001);
    const repeats = [await tell(api.redis.userEvents, user, 'again', 'processing', 1_001), await tell(api.redis.userEvents, user, 'again', 'created', 1_000)];
    await tell(api.redis.userEvents, user, 'again', 'done', 1_002);
    expect([first, ...repeats].map(({ written }) => written)).toEqual([true, false, false]);
    await client.hears(2);
    expect(client.told).toEqual(['processing again', 'done again']);
  });

  it('wait when there is no socket, and go once to the next one', async () => {
    const [one, two] = [await startApi(redis), await startApi(redis)];
    const user = newUser();
    const token = await tokenOf(user);
    await tell(one.redis.userEvents, user, 'a', 'processing');
    await tell(one.redis.userEvents, user, 'a', 'done');
    const clients = await Promise.all([one, two, one, two].map(({ url }) => connectClient(url, token)));
    await until(() => clients.some(({ heard }) => heard.length === 2));
    await tell(two.redis.userEvents, user, 'b', 'done');
    await until(() => clients.every(({ told }) => told.includes('done b')));
    expect(clients.map(({ told }) => told.length).toSorted((left, right) => left - right)).toEqual([1, 1, 1, 3]);
    await allReached(one, user);
  });

  it('are not told again after a reconnect, and those missed meanwhile are told once', async () => {
    const [one, two] = [await startApi(redis), await startApi(redis)];
    const user = newUser();
    const token = await tokenOf(user);
    const before = await connectClient(one.url, token);
    await tell(one.redis.userEvents, user, 'a', 'done');
    await before.hears(1);
    await allReached(one, user);
    before.socket.disconnect();
    await tell(one.redis.userEvents, user, 'b', 'done');
    const after = await connectClient(two.url, token);
    await after.hears(1);
    await allReached(two, user);
    after.socket.disconnect();
    const last = await connectClient(one.url, token);
    await tell(one.redis.userEvents, user, 'c', 'done');
    await last.hears(1);
    expect([...before.told, ...after.told, ...last.told]).toEqual(['done a', 'done b', 'done c']);
  });

  it('a client that disconnects in its listener loses nothing, and hears no other event again', async () => {
    const api = await startApi(redis);
    const user = newUser();
    const token = await tokenOf(user);
    const before = await connectClient(api.url, token);
    before.socket.once('rebalance:done', () => before.socket.disconnect());
    await tell(api.redis.userEvents, user, 'zero', 'processing');
    await before.hears(1);
    await allReached(api, user);
    await tell(api.redis.userEvents, user, 'a', 'done');
    await before.hears(2);
    const after = await connectClient(api.url, token);
    await tell(api.redis.userEvents, user, 'b', 'done');
    await until(() => after.told.includes('done b'));
    // Whether the event crossed the goodbye cannot always be known.
    expect([['done b'], ['done a', 'done b']]).toContainEqual(after.told);
  });

  it('after a cursor come exactly', async () => {
    const api = await startApi(redis);
    const user = newUser();
    const token = await tokenOf(user);
    const first = await connectClient(api.url, token);
    for (const job of ['a', 'b', 'c']) await tell(api.redis.userEvents, user, job, 'done');
    const [, b, c] = await first.hears(3);
    const after = async (cursor: string | undefined): Promise<string[]> => {
      const client = await connectClient(api.url, token, cursor === undefined ? {} : { cursor });
      const mark = `mark-${revision}`;
      await tell(api.redis.userEvents, user, mark, 'done');
      await until(() => client.told.includes(`done ${mark}`));
      client.socket.disconnect();
      return client.told.slice(0, -1);
    };
    expect(await after(c?.data.cursor)).toEqual([]);
    expect((await after(b?.data.cursor)).slice(0, 1)).toEqual(['done c']);
    expect((await after(b?.data.cursor)).slice(0, 1)).toEqual(['done c']);
  });

  it('that were written into a dead link go to the next socket', async () => {
    const api = await startApi(redis);
    const user = newUser();
    const token = await tokenOf(user);
    // Speaks Engine.IO by hand over WebSocket until it is admitted, then reads and answers nothing more.
    const dead = await deadClient(api.url, token);
    for (let job = 0; job < 100; job++) await tell(api.redis.userEvents, user, `j${job}`, 'done');
    dead.destroy();
    await until(async () => (await tell(api.redis.userEvents, user, `later-${revision}`, 'done')).sockets === 0);
    const next = await connectClient(api.url, token);
    await until(() => next.told.includes('done j99'));
    expect(next.told.slice(0, 100)).toEqual(Array.from({ length: 100 }, (_, job) => `done j${job}`));
  });

  it('beyond a thousand are dropped, and a cursor before them is gone', async () => {
    const api = await startApi(redis);
    const user = newUser();
    const token = await tokenOf(user);
    const first = await connectClient(api.url, token);
    await tell(api.redis.userEvents, user, 'first', 'done');
    const [{ data } = { data: undefined }] = await first.hears(1);
    first.socket.disconnect();
    for (let job = 0; job < 1_010; job++) await tell(api.redis.userEvents, user, `j${job}`, 'done');
    expect((await refusalOf(openClient(api.url, token, { cursor: data?.cursor ?? '' }))).data?.code).toBe('cursor_gone');
    const next = await connectClient(api.url, token);
    await next.hears(1_000);
    expect([next.told[0], next.told.at(-1), next.told.length]).toEqual(['done j10', 'done j1009', 1_000]);
  });

  it('go on after Redis was away', async () => {
    const own = await startTestRedis(['--appendonly', 'yes', '--appendfsync', 'always']);
    try {
      const api = await startApi(own);
      const user = newUser();
      const client = await connectClient(api.url, await tokenOf(user));
      await tell(api.redis.userEvents, user, 'before', 'done');
      await client.hears(1);
      await own.kill();
      await own.start();
      await until(async () => {
        try {
          return (await tell(api.redis.userEvents, user, 'after', 'done')).written;
        } catch {
          return false;
        }
      });
      await client.hears(2);
      expect(client.told).toEqual(['done before', 'done after']);
      await api.close();
    } finally {
      await own.stop();
    }
  });
});

it('a stopping server lets its sockets go at once', async () => {
  const api = await startApi(redis);
  const client = await connectClient(api.url, await tokenOf(newUser()), { reconnection: false });
  const polling = await connectClient(api.url, await tokenOf(newUser()), { reconnection: false, transports: ['polling'] });
  const dead = await deadClient(api.url, await tokenOf(newUser()));
  const ended = Promise.all([client, polling].map(({ socket }) => new Promise<void>((resolve) => socket.once('disconnect', () => resolve()))));
  await api.close();
  await ended;
  dead.destroy();
});

async function deadClient(url: string, token: string): Promise<ReturnType<typeof connect>> {
  const { hostname, port } = new URL(url);
  const link = connect(Number(port), hostname);
  link.on('error', () => undefined);
  const key = Buffer.from('sixteen bytes ok').toString('base64');
  link.write(
    `GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: ${hostname}:${port}\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: ${key}\r\n\r\n`,
  );
  let seen = '';
  link.on('data', (data) => void (seen += data.toString('latin1')));
  await until(() => seen.includes('"sid"'), 'the handshake');
  link.write(frame(`40${JSON.stringify({ token })}`));
  await until(() => seen.includes('40{'), 'the admission');
  link.pause();
  return link;
}

/** A masked text frame (RFC 6455, 5.2), its mask zero. */
function frame(text: string): Buffer {
  const body = Buffer.from(text);
  const head = body.length < 126 ? [0x81, 0x80 | body.length] : [0x81, 0x80 | 126, body.length >> 8, body.length & 0xff];
  return Buffer.concat([Buffer.from([...head, 0, 0, 0, 0]), body]);
}
