/** The agent's parts over HTTP, against the control plane's real routes and a real Redis. */
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createApiCaller } from '../../src/agent/api-call.ts';
import { ApiClient } from '../../src/agent/api-client.ts';
import { createApiJobTransport } from '../../src/agent/api-job-transport.ts';
import { apiPublisher } from '../../src/agent/api-publisher.ts';
import { systemClock } from '../../src/agent/clock.ts';
import { awaitApproval, machineIdOf, rotateToken, startEnrolment } from '../../src/agent/enrol.ts';
import { apiConfigSource } from '../../src/agent/config-source-api.ts';
import { nodeStatus, statusMessage } from '../../src/agent/status.ts';
import { encodeJobEntry, type JobEntry, type ProgressType } from '../../src/protocol/job-progress.ts';
import type { FabricRedis } from '../../src/protocol/fabric-redis.ts';
import type { JobReport } from '../../src/protocol/worker.ts';
import { createFabricRedis } from '../../src/redis/fabric-redis.ts';
import { createJobTransport, workerConsumer } from '../../src/redis/job-transport.ts';
import { parseRedisUrl } from '../../src/redis/target.ts';
import { defineJob } from '../../src/worker/define-job.ts';
import { Worker } from '../../src/worker/worker.ts';
import { createScriptedDevices, type ScriptedDevices } from '../http/scripted-devices.ts';
import { startFixture } from '../http/server-fixture.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import { until } from './until.ts';

const GPU = 'jobs:v1:gpu-general';
const GROUP = 'citadel-workers';
const CONFIG = 'jobs:v1:config';
const CONFIG_GROUP = 'citadel-config-consumers';
const log = pino({ level: 'silent' });
const never = new AbortController().signal;

let redisServer: TestRedis;
let redis: Redis;
let fabric: FabricRedis;
let devices: ScriptedDevices;
let url: string;
let node: { readonly token: string; readonly code: string };
const clients: ApiClient[] = [];

beforeAll(async () => {
  redisServer = await startTestRedis();
  redis = new Redis(redisServer.url);
  fabric = await createFabricRedis(parseRedisUrl(redisServer.url));
});
beforeEach(async () => {
  await redis.flushall();
  devices = createScriptedDevices();
  node = devices.admit('node-a', 'acme', ['vision']);
  url = await (await startFixture({ devices: { devices, catalogue: [], defaultOrg: 'default', redis: fabric } })).listen();
});
afterEach(() => {
  for (const each of clients.splice(0)) each.close();
});
afterAll(async () => {
  await fabric.close();
  redis.disconnect();
  await redisServer.stop();
});

function client(): ApiClient {
  const made = new ApiClient({ api: createApiCaller(new URL(url)), token: async () => node.token, clock: systemClock(), log });
  clients.push(made);
  return made;
}
const transportOf = (queues: readonly string[] = [GPU], unique = '1') =>
  createApiJobTransport({ client: client(), nodeId: 'node-a', unique, queues: () => queues, clock: systemClock(), log });
const take = async (
  transport: ReturnType<typeof transportOf>,
  more: { readonly count?: number; readonly signal?: AbortSignal; readonly blockMs?: number } = {},
) => await transport.consume({ queues: [GPU], count: 10, blockMs: 0, signal: never, ...more });
const post = async (queue: string, jobId: string, more: Partial<JobEntry> = {}) =>
  (await redis.xadd(queue, '*', ...encodeJobEntry({ jobId, type: 'ECHO', payload: '{}', attempt: 1, ...more }))) as string;
const entries = async (stream: string) =>
  (await redis.xrange(stream, '-', '+')).map(([, fields]) =>
    Object.fromEntries(fields.flatMap((name, at) => (at % 2 === 0 ? [[name, fields[at + 1] as string]] : []))),
  );
const pending = async (queue: string, group: string) => ((await redis.xpending(queue, group, '-', '+', 100)) as [string, string][]).map(([id]) => id);
const report = (jobId: string, type: ProgressType, options: Partial<JobReport> = {}): JobReport => ({
  message: { version: '1.0', type, jobId, timestamp: '2030-01-01T00:00:00.000Z', data: { attempt: 1 } },
  counts: true,
  logged: false,
  ...options,
});

describe('enrolment', () => {
  test('goes the whole way over the real routes: codes, pending, slow down, the grant once', async () => {
    const api = createApiCaller(new URL(url));
    const started = await startEnrolment(api, { clientVersion: '1.0.0', hostname: 'gpu-1', machineId: machineIdOf('m'), forceNew: false });
    expect(started).toMatchObject({ kind: 'codes', codes: { userCode: 'BCDF-GHJK', verificationUriComplete: `${url}/device?code=BCDF-GHJK`, intervalS: 5 } });
    if (started.kind !== 'codes') return;
    const grant = { kind: 'granted', token: 'cdt_new', deviceId: 'abcdefghij0123456789', nodeId: 'gpu-1', orgId: 'acme', configKey: 'key' } as const;
    devices.answers.set(started.codes.deviceCode, [{ kind: 'pending' }, { kind: 'slow-down', intervalS: 10 }, grant]);
    const waits: number[] = [];
    const clock = { now: () => 0, random: () => 0, sleep: async (ms: number) => void waits.push(ms) };
    const options = { api, codes: started.codes, hostname: 'gpu-1', clock, signal: never, onOutage: () => undefined };
    expect(await awaitApproval(options)).toMatchObject({ kind: 'granted', credentials: { token: 'cdt_new', nodeId: 'gpu-1', apiUrl: url, configKey: 'key' } });
    expect(waits).toEqual([5_000, 5_000, 10_000]);
    expect(await awaitApproval(options)).toEqual({ kind: 'expired' });
    devices.answers.set(started.codes.deviceCode, [{ kind: 'denied' }]);
    expect(await awaitApproval(options)).toEqual({ kind: 'denied' });
    expect(await rotateToken(api, node.token)).toEqual({ kind: 'rotated', token: `${node.token}-2` });
    expect(await rotateToken(api, 'cdt_unknown')).toMatchObject({ kind: 'failed', reason: expect.stringContaining('castellan init') });
    api.close();
  });
});

describe('a status', () => {
  test('is stored with its device code, which is redeemed then, and announced without it', async () => {
    const heard: string[] = [];
    const listener = redis.duplicate();
    await listener.psubscribe('node:status:*');
    listener.on('pmessage', (_pattern, _channel, message) => heard.push(message));
    const redeemed: string[] = [];
    const publisher = apiPublisher({ client: client(), intervalMs: 30_000, onRedeemed: (code) => redeemed.push(code), log });
    const status = nodeStatus({ node: { name: 'a', uptime_seconds: 1 }, system: {}, gpu: [], services: [] }, new Date());
    await publisher.publish(statusMessage('node-a', status, node.code));
    expect(redeemed).toEqual([node.code]);
    expect(await entries('node:status:stream')).toMatchObject([{ nodeId: 'node-a', orgId: 'acme', deviceCode: node.code }]);
    await until('it is announced', () => heard.length > 0);
    expect(JSON.parse(heard[0] as string)).toMatchObject({ nodeId: 'node-a', status: { node: { name: 'a' } } });
    expect(heard.join()).not.toContain(node.code);
    await publisher.publish(statusMessage('node-a', status));
    expect(redeemed).toHaveLength(1);
    listener.disconnect();
  });
});

describe('jobs', () => {
  test('are taken, told of and acknowledged, under a consumer of ours', async () => {
    const transport = transportOf();
    const id = await post(GPU, 'j1');
    const [entry] = await take(transport);
    expect(entry).toMatchObject({ queue: GPU, entryId: id, jobId: 'j1', type: 'ECHO', attempt: 1 });
    expect((await redis.xpending(GPU, GROUP, '-', '+', 1))[0]).toEqual(expect.arrayContaining([id, transport.consumer]));
    const chunk = report('j1', 'chunk', { counts: false, logged: true });
    await transport.report([chunk, report('j1', 'end')], [entry as JobEntry]);
    expect((await entries('job:reports')).map(({ jobId, progress = '' }) => [jobId, JSON.parse(progress).type])).toEqual([['j1', 'end']]);
    expect((await entries('stream:v1:j1')).map(({ progress = '' }) => JSON.parse(progress).type)).toEqual(['chunk']);
    expect(await pending(GPU, GROUP)).toEqual([]);
  });

  test('are waited for', async () => {
    const taken = take(transportOf(), { blockMs: 10_000 });
    await post(GPU, 'later');
    expect(await taken).toMatchObject([{ jobId: 'later' }]);
  });

  test('come from all queues of the day in one request', async () => {
    let queues = [GPU];
    const transport = createApiJobTransport({ client: client(), nodeId: 'node-a', unique: '1', queues: () => queues, clock: systemClock(), log });
    await post('jobs:v1:tag:vision', 'tagged');
    expect(await take(transport)).toEqual([]);
    queues = [GPU, 'jobs:v1:cpu-general', 'jobs:v1:tag:vision'];
    await post('jobs:v1:cpu-general', 'cpu');
    expect((await take(transport)).map(({ queue, jobId }) => [queue, jobId])).toEqual([
      ['jobs:v1:cpu-general', 'cpu'],
      ['jobs:v1:tag:vision', 'tagged'],
    ]);
  });

  test('for this node that a worker with credentials came upon are taken too', async () => {
    const other = createJobTransport(parseRedisUrl(redisServer.url), { consumer: workerConsumer('node-b', '1'), nodeId: 'node-b' });
    const id = await post(GPU, 'targeted', { targetNode: 'node-a' });
    await until('the other has read it', async () => (await other.consume({ queues: [GPU], count: 1, blockMs: 100, signal: never })).length > 0);
    expect(await take(transportOf(), { blockMs: 10_000 })).toMatchObject([{ entryId: id, jobId: 'targeted' }]);
    await other.close();
  });

  test('of an answer that nobody read come again, and what is in hand does not', async () => {
    const transport = transportOf();
    await post(GPU, 'in-hand');
    expect(await take(transport, { count: 1 })).toMatchObject([{ jobId: 'in-hand' }]);
    // As if the answer with it had been lost: given to this consumer, and never seen.
    await post(GPU, 'unseen');
    await redis.xreadgroup('GROUP', GROUP, transport.consumer, 'STREAMS', GPU, '>');
    expect(await take(transport)).toEqual([]);
    const leaving = new AbortController();
    const cut = take(transport, { blockMs: 10_000, signal: leaving.signal });
    leaving.abort();
    expect(await cut).toEqual([]);
    expect(await take(transport)).toMatchObject([{ jobId: 'unseen' }]);
    expect(await take(transport)).toEqual([]);
  });

  test('that were handed out elsewhere meanwhile hold up nothing: their reports are left', async () => {
    const transport = transportOf();
    const gone = await post(GPU, 'gone');
    await post(GPU, 'mine');
    const taken = await take(transport);
    await redis.xack(GPU, GROUP, gone);
    await transport.report([report('gone', 'end'), report('mine', 'end')], taken);
    expect((await entries('job:reports')).map(({ jobId }) => jobId)).toEqual(['mine']);
    expect(await pending(GPU, GROUP)).toEqual([]);
  });

  test('what was stored before a call failed is not stored twice by its repeat', async () => {
    const transport = transportOf();
    await post(GPU, 'j1');
    const [entry] = await take(transport);
    const reports = [report('j1', 'claimed')];
    await transport.report(reports, []);
    await transport.report([...reports, report('j1', 'end')], [entry as JobEntry]);
    expect((await entries('job:reports')).map(({ progress = '' }) => JSON.parse(progress).type)).toEqual(['claimed', 'end']);
  });

  test('are cancelled by their flag, for the attempt that it names', async () => {
    const transport = transportOf();
    await post(GPU, 'a', { attempt: 2 });
    await post(GPU, 'b', { attempt: 2 });
    await take(transport);
    await redis.set('job:cancelled:a', '1');
    await redis.set('job:cancelled:b', '2');
    expect(
      await transport.cancelled([
        { jobId: 'a', attempt: 2 },
        { jobId: 'b', attempt: 2 },
      ]),
    ).toEqual([false, true]);
  });

  test('a worker over it runs them: results, failures, a log', async () => {
    const echo = defineJob({ type: 'ECHO', handler: async (job) => (job.log('seen'), job.payload) });
    const worker = new Worker({ transport: transportOf(), queues: [GPU], jobs: [echo], nodeId: 'node-a', log: { warn: () => undefined } });
    worker.start();
    for (let index = 0; index < 20; index++) await post(GPU, `j${index}`, { payload: JSON.stringify({ index }) });
    await post(GPU, 'unknown', { type: 'WHAT' });
    await until('all are told', async () => (await entries('job:reports')).filter(({ progress = '' }) => /"type":"(end|error)"/.test(progress)).length === 21);
    await worker.stop();
    const told = (await entries('job:reports')).map(({ jobId, progress = '' }) => ({ jobId, ...JSON.parse(progress) }));
    expect(told.find(({ jobId, type }) => jobId === 'j7' && type === 'end').data).toMatchObject({ result: { index: 7 }, attempt: 1, nodeId: 'node-a' });
    expect(told.find(({ jobId }) => jobId === 'unknown').data.code).toBe('unknown_type');
    expect(await entries('stream:v1:j7')).not.toEqual([]);
    expect(await pending(GPU, GROUP)).toEqual([]);
  });
});

describe('configurations', () => {
  const configure = async (jobId: string, fields: readonly string[] = []) =>
    (await redis.xadd(CONFIG, '*', 'jobId', jobId, 'type', 'APPLY_DEVICE_CONFIG', 'payload', '{"services":["ollama"]}', ...fields)) as string;
  const applied = { phase: 'applied', desiredRevision: 1, appliedRevision: 1, services: [], timestamp: '2030-01-01T00:00:00.000Z' } as const;

  test('are given until they are acknowledged, to the next process too, and reported as the node’s', async () => {
    const id = await configure('c1');
    await configure('c2', ['target_node', 'node-b']);
    const source = apiConfigSource({ client: client(), nodeId: 'node-a', log });
    const [first] = await source.next(never);
    expect(first).toMatchObject({ entryId: id, jobId: 'c1', content: { kind: 'payload', payload: { services: ['ollama'] } } });
    const later = apiConfigSource({ client: client(), nodeId: 'node-a', log });
    const [again] = await later.next(never);
    expect(again).toEqual(first);
    await later.report(applied, again);
    await later.acknowledge(again as NonNullable<typeof again>);
    expect(await entries('device:reports')).toMatchObject([{ nodeId: 'node-a', report: JSON.stringify(applied) }]);
    expect((await entries('job:reports')).map(({ jobId, progress = '' }) => [jobId, JSON.parse(progress).type])).toEqual([['c1', 'end']]);
    // The other node's entry is left to it.
    expect(await pending(CONFIG, CONFIG_GROUP)).not.toContain(id);
    const leaving = new AbortController();
    const nothing = later.next(leaving.signal);
    leaving.abort();
    expect(await nothing).toEqual([]);
  });

  test('a report without a job, and one that cannot be read, do not stop it', async () => {
    await redis.xadd(CONFIG, '*', 'jobId', 'bad', 'type', 'APPLY_DEVICE_CONFIG', 'payload', 'not json');
    const source = apiConfigSource({ client: client(), nodeId: 'node-a', log });
    expect(await source.next(never)).toMatchObject([{ jobId: 'bad', content: { kind: 'unreadable', field: 'payload' } }]);
    await source.report({ ...applied, phase: 'drifted' }, undefined);
    expect(await entries('device:reports')).toHaveLength(1);
    await source.close();
  });
});
