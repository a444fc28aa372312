/** The way into Redis for nodes without credentials, over a real Redis: what each may, and what nobody may. */
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { encodeJobEntry, type JobEntry } from '../../src/protocol/job-progress.ts';
import type { FabricRedis } from '../../src/protocol/fabric-redis.ts';
import { createFabricRedis } from '../../src/redis/fabric-redis.ts';
import { createJobTransport, workerConsumer } from '../../src/redis/job-transport.ts';
import { parseRedisUrl } from '../../src/redis/target.ts';
import { until } from '../agent/until.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import { createScriptedDevices, type ScriptedDevices } from './scripted-devices.ts';
import { startFixture, type Fixture } from './server-fixture.ts';

const GPU = 'jobs:v1:gpu-general';
const GROUP = 'citadel-workers';
const CONFIG = { queue: 'jobs:v1:config', group: 'citadel-config-consumers' };
const AT = '2030-01-01T00:00:00.000Z';

let redisServer: TestRedis;
let redis: Redis;
let fabric: FabricRedis;
let server: Fixture;
let devices: ScriptedDevices;
let a: { readonly token: string; readonly deviceId: string; readonly code: string };
let b: typeof a;

beforeAll(async () => {
  redisServer = await startTestRedis();
  redis = new Redis(redisServer.url);
  fabric = await createFabricRedis(parseRedisUrl(redisServer.url));
});
beforeEach(async () => {
  await redis.flushall();
  devices = createScriptedDevices();
  a = devices.admit('node-a', 'acme', ['vision']);
  b = devices.admit('node-b', 'umbrella', ['secret']);
  server = await startFixture({ devices: { devices, catalogue: [], defaultOrg: 'default', redis: fabric } });
});
afterAll(async () => {
  await fabric.close();
  redis.disconnect();
  await redisServer.stop();
});

interface Answer {
  readonly status: number;
  readonly body: { readonly [field: string]: unknown };
}
const call = async (who: typeof a, method: 'GET' | 'POST' | 'DELETE', path: string, payload?: object): Promise<Answer> => {
  const response = await server.app.inject({
    method,
    url: `/api/fabric/${path}`,
    headers: { authorization: `Bearer ${who.token}` },
    ...(payload === undefined ? {} : { payload }),
  });
  return { status: response.statusCode, body: response.json() };
};
const consume = async (who: typeof a, more: object = {}) =>
  await call(who, 'POST', 'redis/jobs/consume', { queue: GPU, group: GROUP, consumer: 'castellan:x:1', count: 10, blockMs: 0, ...more });
const acknowledge = async (who: typeof a, messageId: string, more: object = {}) =>
  await call(who, 'POST', 'redis/jobs/acknowledge', { queue: GPU, group: GROUP, messageId, ...more });
const add = async (who: typeof a, stream: string, values: object) => await call(who, 'POST', 'redis/streams/add', { stream, values, maxLen: 5, approx: true });
const publish = async (who: typeof a, channel: string, message: object) =>
  await call(who, 'POST', 'redis/pubsub/publish', { channel, message: JSON.stringify(message) });
const post = async (queue: string, jobId: string, more: Partial<JobEntry> = {}): Promise<string> =>
  (await redis.xadd(queue, '*', ...encodeJobEntry({ jobId, type: 'ECHO', payload: '{}', attempt: 1, ...more }))) as string;
const progress = (jobId: string, type = 'end', data: object = {}) => ({ version: '1.0', type, jobId, timestamp: AT, data });
const status = (nodeId: string, more: object = {}) => ({ version: '1.0', timestamp: AT, nodeId, status: {}, ...more });
const pending = async (queue = GPU, group = GROUP) =>
  ((await redis.xpending(queue, group, '-', '+', 100)) as [string, string][]).map(([id, consumer]) => `${id} ${consumer}`);
const entries = async (stream: string) =>
  (await redis.xrange(stream, '-', '+')).map(([, fields]) => Object.fromEntries(fields.flatMap((name, at) => (at % 2 === 0 ? [[name, fields[at + 1]]] : []))));

describe('a node’s own', () => {
  it('token is good', async () => {
    expect(await call(a, 'GET', 'redis/ping')).toMatchObject({ status: 200, body: { pong: true } });
    expect((await call({ ...a, token: 'cdt_unknown' }, 'GET', 'redis/ping')).status).toBe(401);
  });

  it('queues are those of all nodes and those of the tags that a person gave it', async () => {
    expect((await call(a, 'GET', 'worker-config')).body).toEqual({
      queue: GPU,
      queue_names: [GPU, 'jobs:v1:cpu-general', 'jobs:v1:tag:vision'],
      consumer_group: GROUP,
      org_id: 'acme',
      node_id: 'node-a',
      config_queue: CONFIG.queue,
      config_group: CONFIG.group,
    });
  });

  it('status is stored with the node and organisation of the token, whatever the body says', async () => {
    const values = {
      nodeId: 'node-a',
      orgId: 'umbrella',
      org_id: 'umbrella',
      device: 'x',
      timestamp: AT,
      payload: JSON.stringify(status('node-a')),
      deviceCode: a.code,
    };
    expect(await add(a, 'node:status:stream', values)).toMatchObject({ status: 200, body: { success: true, messageId: expect.any(String), redeemed: true } });
    expect(await entries('node:status:stream')).toEqual([
      { nodeId: 'node-a', orgId: 'acme', timestamp: AT, payload: JSON.stringify(status('node-a')), deviceCode: a.code },
    ]);
  });

  it('status is published without the device code', async () => {
    const listener = redis.duplicate();
    const heard: string[] = [];
    listener.on('message', (_channel, message: string) => heard.push(message));
    await listener.subscribe('node:status:node-a');
    expect((await publish(a, 'node:status:node-a', status('node-a', { deviceCode: a.code }))).body).toEqual({ published: true, success: true });
    await until('it is heard', () => heard.length > 0);
    listener.disconnect();
    expect(JSON.parse(heard[0] as string)).toEqual(status('node-a'));
  });

  it('heartbeat of old agents is a status too', async () => {
    expect((await call(a, 'POST', 'nodes/node-a/heartbeat', { version: '1.0', node: { name: 'a' } })).status).toBe(200);
    expect(await entries('node:status:stream')).toMatchObject([{ nodeId: 'node-a', orgId: 'acme', payload: '{"version":"1.0","node":{"name":"a"}}' }]);
  });

  it('report about a configuration is stored as the node’s', async () => {
    expect((await add(a, 'device:reports', { report: '{"phase":"applied"}' })).status).toBe(200);
    expect(await entries('device:reports')).toEqual([{ nodeId: 'node-a', deviceId: a.deviceId, report: '{"phase":"applied"}' }]);
  });

  it('keys hold what it puts there, for a time', async () => {
    expect((await call(a, 'POST', 'redis/kv', { key: 'node:node-a:note', value: { x: 1 }, ttl: 60 })).body).toEqual({ success: true });
    expect((await call(a, 'GET', 'redis/kv?key=node:node-a:note')).body).toEqual({ key: 'node:node-a:note', value: '{"x":1}', ttl: 60, exists: true });
    expect((await call(a, 'POST', 'redis/kv', { key: 'node:node-a:for-ever', value: 'x' })).status).toBe(200);
    expect(await redis.ttl('node:node-a:for-ever')).toBeGreaterThan(0);
    expect((await call(a, 'POST', 'redis/kv', { key: 'node:node-a:big', value: 'x'.repeat(70_000) })).status).toBe(400);
    expect((await call(a, 'DELETE', 'redis/kv?key=node:node-a:note')).body).toEqual({ deleted: true });
    expect((await call(a, 'DELETE', 'redis/kv', { key: 'node:node-a:note' })).body).toEqual({ deleted: false });
    expect((await call(a, 'GET', 'redis/kv?key=node:node-a:note')).body).toEqual({ key: 'node:node-a:note', value: null, ttl: -2, exists: false });
  });
});

describe('jobs', () => {
  it('are taken, told of as the attempt that was given, and acknowledged', async () => {
    const id = await post(GPU, 'j1', { attempt: 3 });
    expect((await consume(a)).body).toEqual({ messages: [{ id, queue: GPU, data: { jobId: 'j1', type: 'ECHO', payload: '{}', attempt: '3' } }] });
    expect(await pending()).toEqual([`${id} castellan:node-a:1`]);
    const lie = progress('j1', 'end', { result: 42, attempt: 99, nodeId: 'node-b', worker: 'w', entry: '0-1', origin: { type: 'EVIL' } });
    expect((await add(a, 'job:reports', { jobId: 'j1', progress: JSON.stringify(lie) })).status).toBe(200);
    const [report] = await entries('job:reports');
    expect(report).toMatchObject({ jobId: 'j1' });
    expect(JSON.parse(report?.['progress'] as string).data).toEqual({ result: 42, attempt: 3, nodeId: 'node-a', worker: 'castellan:node-a:1', entry: id });
    expect((await acknowledge(a, id)).body).toEqual({ acknowledged: true, success: true });
    expect(await redis.xlen(GPU)).toBe(0);
    expect((await acknowledge(a, id)).body).toEqual({ acknowledged: false, success: true });
    expect((await add(a, 'job:reports', { jobId: 'j1', progress: JSON.stringify(lie) })).body).toMatchObject({ code: 'job_not_held' });
  });

  it('of others carry what they are, told from the entry', async () => {
    await redis.xadd(GPU, '*', 'jobId', 'f1', 'type', 'ECHO', 'payload', '{"x":1}');
    await consume(a);
    await add(a, 'job:reports', {
      jobId: 'f1',
      progress: JSON.stringify(progress('f1', 'claimed', { origin: { type: 'EVIL', via: 'queue', orgId: 'umbrella' } })),
    });
    const [report] = await entries('job:reports');
    expect(JSON.parse(report?.['progress'] as string).data.origin).toEqual({ type: 'ECHO', via: 'queue', queue: GPU, source: GPU, payload: { x: 1 } });
  });

  it('of a client that knows only the contract are under a name that is observed from outside', async () => {
    const id = await post(GPU, 'j1');
    await consume(a, { consumer: 'citadel-worker-7' });
    expect(await pending()).toEqual([`${id} fabric:node-a:citadel-worker-7`]);
    expect((await acknowledge(a, id)).body).toMatchObject({ acknowledged: true });
  });

  it('wake a request that waits', async () => {
    const waits = consume(a, { blockMs: 20_000 });
    await until('it waits', async () => ((await redis.client('LIST')) as string).includes('cmd=xread '));
    const id = await post(GPU, 'j1');
    expect((await waits).body['messages']).toMatchObject([{ id }]);
  });

  it('for another node are left pending, and taken by it', async () => {
    const waits = consume(b, { blockMs: 20_000 });
    await until('it waits', async () => ((await redis.client('LIST')) as string).includes('cmd=xread '));
    const id = await post(GPU, 'for-a', { payload: '{"target_node":"node-a"}' });
    const taken = await consume(a, { blockMs: 10_000 });
    expect(taken.body['messages']).toMatchObject([{ id }]);
    expect(await pending()).toEqual([`${id} castellan:node-a:1`]);
    await post(GPU, 'any');
    expect((await waits).body['messages']).toMatchObject([{ data: { jobId: 'any' } }]);
  });

  it('that a worker with credentials came upon are taken too', async () => {
    const transport = createJobTransport(parseRedisUrl(redisServer.url), { consumer: workerConsumer('node-c', '1'), nodeId: 'node-c' });
    await transport.connect();
    const id = await post(GPU, 'for-a', { targetNode: 'node-a' });
    await transport.consume({ queues: [GPU], count: 1, blockMs: 1_000, signal: new AbortController().signal });
    expect((await consume(a)).body['messages']).toMatchObject([{ id }]);
    await transport.close();
  });

  it('whose answer was lost are given again to a client that says what it has', async () => {
    const [one, two] = [await post(GPU, 'j1'), await post(GPU, 'j2')];
    await consume(a, { held: [] });
    expect((await consume(a, { held: [one] })).body['messages']).toMatchObject([{ id: two }]);
    expect((await consume(a, { held: [one, two] })).body['messages']).toEqual([]);
    expect((await consume(a)).body['messages']).toEqual([]);
    await redis.xack(GPU, GROUP, one);
    await redis.xdel(GPU, one);
    expect((await consume(a, { held: [two] })).body['messages']).toEqual([]);
  });

  it('have a log, a status and a cancel flag that the node that has them reaches', async () => {
    const id = await post(GPU, 'j1');
    await consume(a);
    await redis.set('job:cancelled:j1', '1');
    expect((await call(a, 'GET', 'redis/kv?key=job:cancelled:j1')).body).toMatchObject({ value: '1' });
    expect((await call(a, 'POST', 'redis/kv', { key: 'job:j1:status', value: { status: 'processing' }, ttl: 999_999 })).status).toBe(200);
    expect(await redis.get('job:j1:status')).toBe('{"status":"processing"}');
    expect(await redis.ttl('job:j1:status')).toBe(86_400);
    expect((await add(a, 'stream:v1:j1', { progress: JSON.stringify(progress('j1', 'chunk', { log: 'hello' })) })).status).toBe(200);
    expect(await redis.xlen('stream:v1:j1')).toBe(1);
    expect((await publish(a, 'stream:v1:j1', progress('j1', 'start'))).status).toBe(200);
    await acknowledge(a, id);
    expect((await call(a, 'GET', 'redis/kv?key=job:j1:status')).status).toBe(403);
  });

  it('configurations are the node’s, whichever of its processes asks', async () => {
    const id = await redis.xadd(CONFIG.queue, '*', 'jobId', 'cfg-1', 'type', 'APPLY_DEVICE_CONFIG', 'payload', '{}', 'target_node', 'node-a');
    expect((await consume(b, CONFIG)).body['messages']).toEqual([]);
    expect((await consume(a, { ...CONFIG, consumer: 'castellan:x:1' })).body['messages']).toMatchObject([{ id }]);
    expect((await consume(a, { ...CONFIG, consumer: 'castellan:x:2', held: [] })).body['messages']).toMatchObject([{ id }]);
    expect((await acknowledge(a, id as string, CONFIG)).body).toMatchObject({ acknowledged: true });
    expect(await pending(CONFIG.queue, CONFIG.group)).toEqual([]);
  });
});

describe('a token that is revoked', () => {
  it('ends requests that wait', async () => {
    const waits = consume(a, { blockMs: 20_000 });
    await until('it waits', async () => ((await redis.client('LIST')) as string).includes('cmd=xread '));
    await devices.revoke(a.deviceId, 'someone');
    expect((await waits).status).toBe(401);
    expect((await call(a, 'GET', 'redis/ping')).status).toBe(401);
  });

  it('ends them also when nobody told', async () => {
    const waits = consume(a, { blockMs: 20_000 });
    await until('it waits', async () => ((await redis.client('LIST')) as string).includes('cmd=xread '));
    devices.tokens.delete(a.token);
    expect((await waits).status).toBe(401);
  });
});

describe('too many requests', () => {
  it('are told the limit, its window and when to come again', async () => {
    const strict = await startFixture({
      devices: { devices, catalogue: [], defaultOrg: 'default', redis: fabric, requestsPerMinute: 2 },
      now: () => Date.parse(AT),
    });
    const ask = async (token: string) => await strict.app.inject({ url: '/api/fabric/redis/ping', headers: { authorization: `Bearer ${token}` } });
    for (let index = 0; index < 2; index++) expect((await ask(a.token)).statusCode).toBe(200);
    const over = await ask(a.token);
    expect(over.statusCode).toBe(429);
    expect(over.json()).toMatchObject({ error: 'rate_limited', limit: 2, window: 60, retry_after: 60, reset_at: '2030-01-01T00:01:00.000Z' });
    expect((await ask(b.token)).statusCode).toBe(200);
  });
});
