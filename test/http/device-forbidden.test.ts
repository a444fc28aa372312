/**
 * What the token of node A tries on node B and on what is nobody's: each attempt with its answer, over a real Redis that stays as it was.
 * docs/security.md shows the same table.
 */
import { readFile } from 'node:fs/promises';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { encodeJobEntry } from '../../src/protocol/job-progress.ts';
import type { FabricRedis } from '../../src/protocol/fabric-redis.ts';
import { createFabricRedis } from '../../src/redis/fabric-redis.ts';
import { parseRedisUrl } from '../../src/redis/target.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import { createScriptedDevices, type ScriptedDevices } from './scripted-devices.ts';
import { startFixture, type Fixture } from './server-fixture.ts';

const GPU = 'jobs:v1:gpu-general';
const GROUP = 'citadel-workers';
const AT = '2030-01-01T00:00:00.000Z';

interface Attempt {
  readonly what: string;
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly path: string;
  readonly body?: object;
  readonly answer: `${number} ${string}`;
}
/** Ids that are known only when the entries stand. */
interface Ids {
  readonly jobOfB: string;
  readonly configOfB: string;
  readonly jobOfA: string;
}

const status = (nodeId: string, more: object = {}) => JSON.stringify({ version: '1.0', timestamp: AT, nodeId, status: {}, ...more });
const progress = (jobId: string, type: string, data: object = {}) => JSON.stringify({ version: '1.0', type, jobId, timestamp: AT, data });
const publish = (channel: string, message: string): Pick<Attempt, 'method' | 'path' | 'body'> => ({
  ...{ method: 'POST', path: 'redis/pubsub/publish', body: { channel, message } },
});
const add = (stream: string, values: object): Pick<Attempt, 'method' | 'path' | 'body'> => ({
  method: 'POST',
  path: 'redis/streams/add',
  body: { stream, values },
});
const consume = (queue: string, group = GROUP, more: object = {}): Pick<Attempt, 'method' | 'path' | 'body'> => ({
  ...{ method: 'POST', path: 'redis/jobs/consume', body: { queue, group, consumer: 'castellan:node-b:1', count: 10, ...more } },
});
const acknowledge = (queue: string, group: string, messageId: string): Pick<Attempt, 'method' | 'path' | 'body'> => ({
  ...{ method: 'POST', path: 'redis/jobs/acknowledge', body: { queue, group, messageId } },
});
const NODE = 'not_for_this_node';
const HELD = 'job_not_held';

const attempts = ({ jobOfB, configOfB }: Ids): readonly Attempt[] => [
  { what: 'store a status of node B', ...add('node:status:stream', { nodeId: 'node-b', payload: status('node-b') }), answer: `403 ${NODE}` },
  { what: 'the same in the payload alone', ...add('node:status:stream', { payload: status('node-b') }), answer: `403 ${NODE}` },
  {
    what: 'pass for the device of B with its device code',
    ...add('node:status:stream', { payload: status('node-a'), deviceCode: 'code-of-node-b' }),
    answer: `403 ${NODE}`,
  },
  { what: 'publish a status of B', ...publish('node:status:node-b', status('node-b')), answer: `403 ${NODE}` },
  { what: 'publish B’s status on its own channel', ...publish('node:status:node-a', status('node-b')), answer: `403 ${NODE}` },
  { what: 'say that a node is offline', ...publish('node:state:node-b', '{"state":"offline"}'), answer: `403 ${NODE}` },
  { what: 'send B a configuration by its channel', ...publish('config:node:node-b', '{"type":"config_updated"}'), answer: `403 ${NODE}` },
  { what: 'put a configuration for B into the queue', ...add('jobs:v1:config', { type: 'APPLY_DEVICE_CONFIG', target_node: 'node-b' }), answer: `403 ${NODE}` },
  { what: 'put a job into a worker queue', ...add(GPU, { jobId: 'evil', type: 'SHELL_COMMAND', payload: '{}' }), answer: `403 ${NODE}` },
  { what: 'read the queue of a tag that only B has', ...consume('jobs:v1:tag:secret'), answer: `403 ${NODE}` },
  { what: 'read it beside one of its own', ...consume(GPU, GROUP, { queues: ['jobs:v1:tag:secret'] }), answer: `403 ${NODE}` },
  { what: 'read any stream as if it were a queue', ...consume('shield:events', 'metrics-collector'), answer: `403 ${NODE}` },
  { what: 'read a queue as another group', ...consume(GPU, 'my-own-group'), answer: `403 ${NODE}` },
  { what: 'acknowledge B’s job', ...acknowledge(GPU, GROUP, jobOfB), answer: `403 ${NODE}` },
  {
    what: 'acknowledge B’s configuration',
    ...acknowledge('jobs:v1:config', 'citadel-config-consumers', configOfB),
    answer: `403 ${NODE}`,
  },
  { what: 'end B’s job', ...add('job:reports', { jobId: 'job-of-b', progress: progress('job-of-b', 'end') }), answer: `403 ${HELD}` },
  {
    what: 'end it in the report of a job of its own',
    ...add('job:reports', { jobId: 'job-of-a', progress: progress('job-of-b', 'end') }),
    answer: `403 ${NODE}`,
  },
  {
    what: 'send a timer as a report of its own job',
    ...add('job:reports', { jobId: 'job-of-a', progress: progress('job-of-a', 'xstate.after.lease.job.processing') }),
    answer: `403 ${NODE}`,
  },
  {
    what: 'send an internal event of the machine',
    ...add('job:reports', { jobId: 'job-of-a', progress: progress('job-of-a', 'xstate.done.actor.place') }),
    answer: `403 ${NODE}`,
  },
  { what: 'tell on the channel of B’s job', ...publish('stream:v1:job-of-b', progress('job-of-b', 'error')), answer: `403 ${HELD}` },
  { what: 'write the log of B’s job', ...add('stream:v1:job-of-b', { progress: progress('job-of-b', 'chunk') }), answer: `403 ${HELD}` },
  { what: 'report a configuration as B', ...add('device:reports', { nodeId: 'node-b', report: '{"phase":"applied"}' }), answer: `403 ${NODE}` },
  { what: 'append to an actor’s inbox', ...add('castellan:{p0}:inbox', { actor: 'node/node-b' }), answer: `403 ${NODE}` },
  { what: 'write dead letters', ...add('dlq:v1:gpu-general', { jobId: 'x' }), answer: `403 ${NODE}` },
  { what: 'read B’s keys', method: 'GET', path: 'redis/kv?key=node:node-b:note', answer: `403 ${NODE}` },
  { what: 'climb out of its own keys', method: 'GET', path: 'redis/kv?key=node:node-a:%7Bp0%7D', answer: `403 ${NODE}` },
  { what: 'read what is stored of tokens', method: 'GET', path: 'redis/kv?key=castellan:enrol:tokens', answer: `403 ${NODE}` },
  { what: 'read the status of B’s job', method: 'GET', path: 'redis/kv?key=job:job-of-b:status', answer: `403 ${HELD}` },
  { what: 'cancel B’s job', method: 'POST', path: 'redis/kv', body: { key: 'job:cancelled:job-of-b', value: '1' }, answer: `403 ${NODE}` },
  { what: 'take back the cancelling of its own', method: 'DELETE', path: 'redis/kv?key=job:cancelled:job-of-a', answer: `403 ${NODE}` },
  { what: 'delete B’s keys', method: 'DELETE', path: 'redis/kv?key=node:node-b:note', answer: `403 ${NODE}` },
  { what: 'send B’s heartbeat', method: 'POST', path: 'nodes/node-b/heartbeat', body: { version: '1.0' }, answer: `403 ${NODE}` },
];

let redisServer: TestRedis;
let redis: Redis;
let fabric: FabricRedis;
let server: Fixture;
let devices: ScriptedDevices;
let ids: Ids;
let authorization: string;

beforeAll(async () => {
  redisServer = await startTestRedis();
  redis = new Redis(redisServer.url);
  fabric = await createFabricRedis(parseRedisUrl(redisServer.url));
});
afterAll(async () => {
  await fabric.close();
  redis.disconnect();
  await redisServer.stop();
});
beforeEach(async () => {
  await redis.flushall();
  devices = createScriptedDevices();
  const a = devices.admit('node-a', 'acme', ['vision']);
  const b = devices.admit('node-b', 'umbrella', ['secret']);
  server = await startFixture({ devices: { devices, catalogue: [], defaultOrg: 'default', redis: fabric } });
  authorization = `Bearer ${a.token}`;
  const job = async (jobId: string) => (await redis.xadd(GPU, '*', ...encodeJobEntry({ jobId, type: 'ECHO', payload: '{}', attempt: 1 }))) as string;
  const take = async (token: string, body: object) =>
    await server.app.inject({ method: 'POST', url: '/api/fabric/redis/jobs/consume', headers: { authorization: `Bearer ${token}` }, payload: body });
  const jobOfB = await job('job-of-b');
  await take(b.token, { queue: GPU, group: GROUP, consumer: '' });
  const jobOfA = await job('job-of-a');
  await take(a.token, { queue: GPU, group: GROUP, consumer: '' });
  const configOfB = (await redis.xadd(
    'jobs:v1:config',
    '*',
    'jobId',
    'cfg-b',
    'type',
    'APPLY_DEVICE_CONFIG',
    'payload',
    '{}',
    'target_node',
    'node-b',
  )) as string;
  await take(b.token, { queue: 'jobs:v1:config', group: 'citadel-config-consumers', consumer: '' });
  await redis.mset('node:node-b:note', 'b', 'job:job-of-b:status', '{}', 'job:cancelled:job-of-a', '1', 'castellan:enrol:tokens', 'x');
  ids = { jobOfB, configOfB, jobOfA };
});

const attempt = async ({ method, path, body }: Attempt) =>
  await server.app.inject({ method, url: `/api/fabric/${path}`, headers: { authorization }, ...(body === undefined ? {} : { payload: body }) });

/** Everything that stands in Redis. */
async function contents(): Promise<readonly string[]> {
  const keys = (await redis.keys('*')).toSorted();
  return await Promise.all(keys.map(async (key) => `${key} ${(await redis.dumpBuffer(key))?.toString('base64')}`));
}

/** The table of docs/security.md. */
function rowOf({ what, method, path, answer }: Attempt): string {
  return `| ${what} | \`${method} …/${path.replace('redis/', '').split('?')[0]}\` | ${answer.replace(' ', ' `')}\` |`;
}

describe('node A’s token', () => {
  it('is answered so, and Redis stays as it was', async () => {
    const before = await contents();
    const answers: string[] = [];
    for (const each of attempts(ids)) {
      const response = await attempt(each);
      answers.push(`${each.what}: ${response.statusCode} ${response.json().error}`);
      expect(response.json().detail).not.toBe('');
    }
    expect(answers).toEqual(attempts(ids).map(({ what, answer }) => `${what}: ${answer}`));
    expect(answers.length).toBeGreaterThanOrEqual(20);
    expect(await contents()).toEqual(before);
  });

  it('as docs/security.md tells', async () => {
    const text = await readFile(new URL('../../docs/security.md', import.meta.url), 'utf8');
    const cells = (line: string) => line.replaceAll(/ +/g, ' ').trim();
    const rows = text.split('\n').map(cells);
    expect(
      attempts(ids)
        .map(rowOf)
        .map(cells)
        .filter((row) => !rows.includes(row)),
    ).toEqual([]);
  });

  it('tells nobody whether a node, a job or a key of others exists', async () => {
    const pairs: readonly (readonly [string, string])[] = [
      ['redis/kv?key=node:node-b:note', 'redis/kv?key=node:nobody:note'],
      ['redis/kv?key=job:job-of-b:status', 'redis/kv?key=job:no-job:status'],
    ];
    for (const [there, not] of pairs) {
      const answers = await Promise.all([there, not].map(async (path) => await attempt({ what: '', method: 'GET', path, answer: '0 ' })));
      expect(answers[0]?.statusCode).toBe(answers[1]?.statusCode);
      expect(answers[0]?.json().code).toBe(answers[1]?.json().code);
    }
  });

  it('is no token for anybody else', async () => {
    for (const header of ['Bearer cdt_node-c-secret', 'Bearer cdt_', 'Basic Y2R0Xw==', '', `Bearer ${await server.token('admin')}`]) {
      const response = await server.app.inject({ url: '/api/fabric/redis/ping', headers: { authorization: header } });
      expect(response.statusCode).toBe(401);
    }
    const cookie = await server.app.inject({ url: '/api/fabric/redis/ping', headers: { cookie: `castellan_session=${authorization.slice(7)}` } });
    expect(cookie.statusCode).toBe(401);
    const query = await server.app.inject({ url: `/api/fabric/redis/ping?token=${authorization.slice(7)}` });
    expect(query.statusCode).toBe(401);
  });
});
