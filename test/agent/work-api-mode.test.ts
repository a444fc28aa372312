/** `castellan work --mode=api` as a process: no Redis credentials on the node, everything over the control plane's real routes. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { credentialsFile, readCredentials, writeCredentials, type Credentials } from '../../src/agent/credentials.ts';
import { encodeJobEntry } from '../../src/protocol/job-progress.ts';
import type { FabricRedis } from '../../src/protocol/fabric-redis.ts';
import { createFabricRedis } from '../../src/redis/fabric-redis.ts';
import { parseRedisUrl } from '../../src/redis/target.ts';
import { createScriptedDevices, type ScriptedDevices } from '../http/scripted-devices.ts';
import { startFixture } from '../http/server-fixture.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import { until } from './until.ts';

const RUN_WORK = `
  import { workCommand } from ${JSON.stringify(new URL('../../src/cli/work.ts', import.meta.url).href)};
  await workCommand().parseAsync(process.argv.slice(1), { from: 'user' }).catch((error) => { console.error(error.message); process.exitCode = 1; });
`;
const GPU = 'jobs:v1:gpu-general';

let redisServer: TestRedis;
let redis: Redis;
let fabric: FabricRedis;
let devices: ScriptedDevices;
let folder: string;
let credentials: Credentials;
const children: ChildProcess[] = [];

beforeAll(async () => {
  redisServer = await startTestRedis();
  redis = new Redis(redisServer.url);
  fabric = await createFabricRedis(parseRedisUrl(redisServer.url));
});
beforeEach(async () => {
  await redis.flushall();
  folder = await mkdtemp(join(tmpdir(), 'castellan-api-'));
  devices = createScriptedDevices();
  const { token, deviceId, code } = devices.admit('node-a');
  const url = await (await startFixture({ devices: { devices, catalogue: [], defaultOrg: 'default', redis: fabric } })).listen();
  credentials = { apiUrl: url, deviceId, nodeId: 'node-a', orgId: 'acme', token, configKey: 'AAAA', deviceCode: code };
  await writeCredentials(folder, credentials);
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await rm(folder, { recursive: true, force: true });
});
afterAll(async () => {
  await fabric.close();
  redis.disconnect();
  await redisServer.stop();
});

function work(args: readonly string[] = []) {
  const child = spawn(process.execPath, ['--input-type=module', '-e', RUN_WORK, '--', '--mode=api', '--status-port=0', ...args], {
    env: { PATH: process.env['PATH'] ?? '', HEARTBEAT_INTERVAL_MS: '1000', DOCKER_HOST: 'unix:///nonexistent.sock', CASTELLAN_AGENT_DIR: folder },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const exited = new Promise<number | NodeJS.Signals | null>((resolve) => child.once('close', (code, signal) => resolve(code ?? signal)));
  return { child, exited, output: () => output };
}
const statuses = async () => (await redis.xrange('node:status:stream', '-', '+')).map(([, fields]) => fields);
const ends = async () => (await redis.xrange('job:reports', '-', '+')).filter(([, fields]) => /"type":"(end|error)"/.test(fields[3] ?? ''));

test('reports, sends its device code once, takes jobs, refuses a configuration by hand, and ends with 0', async () => {
  const agent = work();
  await until('several statuses are stored', async () => (await statuses()).length >= 3);
  expect((await statuses()).filter((fields) => fields.includes('deviceCode'))).toHaveLength(1);
  await until('the code is out of the file', async () => !(await readFile(credentialsFile(folder), 'utf8')).includes(credentials.deviceCode as string));
  expect(await readCredentials(folder, () => undefined)).toMatchObject({ token: credentials.token, deviceId: credentials.deviceId });

  await redis.xadd(GPU, '*', ...encodeJobEntry({ jobId: 'j1', type: 'CAPABILITIES', payload: '{}', attempt: 1 }));
  const [, told] = await until<[string, string[]]>('the job has ended', async () => (await ends())[0]);
  expect(told[1]).toBe('j1');

  await redis.xadd('jobs:v1:config', '*', 'jobId', 'c1', 'type', 'APPLY_DEVICE_CONFIG', 'payload', '{"services":["ollama"]}');
  const report = await until('it is answered', async () =>
    (await redis.xrange('device:reports', '-', '+')).find(([, fields]) => fields[5]?.includes('rejected')),
  );
  expect(report[1].slice(0, 4)).toEqual(['nodeId', 'node-a', 'deviceId', credentials.deviceId]);
  await until('nothing is pending', async () => ((await redis.xpending('jobs:v1:config', 'citadel-config-consumers')) as [number])[0] === 0);

  agent.child.kill('SIGTERM');
  expect(await agent.exited).toBe(0);
  expect(agent.output()).not.toContain(credentials.token);
  expect(agent.output()).not.toContain(credentials.deviceCode);
});

test('a revoked node says so, takes nothing, and still ends with 0', async () => {
  const agent = work();
  await until('a status is stored', async () => (await statuses()).length > 0);
  await devices.revoke(credentials.deviceId, 'operator');
  await until('it says so', () => agent.output().includes('castellan init --force'));
  const stored = (await statuses()).length;
  await redis.xadd(GPU, '*', ...encodeJobEntry({ jobId: 'j1', type: 'CAPABILITIES', payload: '{}', attempt: 1 }));
  const failed = async () => Number(/statuses_failed_total (\d+)/.exec(await (await fetch(`http://127.0.0.1:${portOf(agent.output())}/metrics`)).text())?.[1]);
  await until('further beats have failed', async () => (await failed()) >= 3);
  expect((await statuses()).length).toBe(stored);
  expect(await ends()).toEqual([]);
  agent.child.kill('SIGTERM');
  expect(await agent.exited).toBe(0);
});

test('another node id, and a node that was not enrolled, are refused', async () => {
  const other = work(['--node-id=node-b']);
  expect(await other.exited).toBe(1);
  expect(other.output()).toContain('node-a');
  await rm(credentialsFile(folder));
  const stranger = work();
  expect(await stranger.exited).toBe(1);
  expect(stranger.output()).toContain('castellan init');
});

test('waits for a control plane that is away, and ends with 0 while it waits', async () => {
  const agent = work(['--api-url=http://127.0.0.1:1']);
  await until('it says so', () => agent.output().includes('cannot be reached'));
  agent.child.kill('SIGINT');
  expect(await agent.exited).toBe(0);
});

function portOf(output: string): number {
  return Number(/"statusPort":(\d+)/.exec(output)?.[1]);
}
