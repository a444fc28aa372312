/** `castellan work` as a process, as an operator starts it. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { freePort, startTestRedis, type TestRedis } from '../redis-server.ts';
import { until } from './until.ts';

const RUN_WORK = `
  import { workCommand } from ${JSON.stringify(new URL('../../src/cli/work.ts', import.meta.url).href)};
  await workCommand().parseAsync(process.argv.slice(1), { from: 'user' }).catch((error) => { console.error(error.message); process.exitCode = 1; });
`;
let server: TestRedis;
let reader: Redis;
let folder: string;
const children: ChildProcess[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'castellan-work-'));
  server = await startTestRedis();
  reader = new Redis(server.url);
  await reader.config('SET', 'requirepass', 's3cret-word');
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});
afterAll(async () => {
  reader.disconnect();
  await server.stop();
  await rm(folder, { recursive: true, force: true });
});

function work(args: readonly string[], env: { readonly [name: string]: string } = {}) {
  const child = spawn(process.execPath, ['--input-type=module', '-e', RUN_WORK, '--', ...args], {
    env: {
      PATH: process.env['PATH'] ?? '',
      HEARTBEAT_INTERVAL_MS: '1000',
      DOCKER_HOST: 'unix:///nonexistent.sock',
      CASTELLAN_AGENT_DIR: folder,
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const exited = new Promise<number | NodeJS.Signals | null>((resolve) => child.once('close', (code, signal) => resolve(code ?? signal)));
  return { child, exited, output: () => output };
}
const withPassword = () => `redis://:s3cret-word@${server.host}:${server.port}`;

test.for(['SIGTERM', 'SIGINT'] as const)('reports and answers until %s, then ends with 0', async (signal) => {
  const port = await freePort();
  const agent = work(['--mode=redis', `--redis-url=${withPassword()}`, '--queue=jobs:v1:gpu-general', `--node-id=node-${signal}`, `--status-port=${port}`], {
    CITADEL_DEVICE_CODE: 'abc123',
  });
  const payload = await until('a status is stored', async () => {
    const entries = await reader.xrange('node:status:stream', '-', '+');
    return entries.find(([, fields]) => fields[1] === `node-${signal}`)?.[1][5];
  });
  const message = JSON.parse(payload);
  expect(message).toMatchObject({
    version: '1.0',
    nodeId: `node-${signal}`,
    deviceCode: 'abc123',
    status: { node: { name: `node-${signal}`, status_port: port } },
  });
  expect(message.status.system.cpu_percent).toBeGreaterThanOrEqual(0);
  const flat = (await (await fetch(`http://127.0.0.1:${port}/status`)).json()) as object;
  expect(Object.keys(flat)).toEqual(['version', 'timestamp', 'node', 'system', 'gpu', 'services']);
  agent.child.kill(signal);
  expect(await agent.exited).toBe(0);
  expect(agent.output()).toContain('Jobs are taken');
  expect(agent.output()).not.toContain('s3cret-word');
  expect(agent.output()).not.toContain('abc123');
});

test('takes jobs from its queues and the queues of its tags, reports the tags, and drains', async () => {
  const flags = ['--queue=jobs:v1:x,jobs:v1:y', '--queue=jobs:v1:z', '--tag=gpu', '--tag=a100', '--concurrency=3', '--node-id=worker-1', '--status-port=0'];
  const agent = work([`--redis-url=${withPassword()}`, ...flags]);
  const queues = ['jobs:v1:x', 'jobs:v1:y', 'jobs:v1:z', 'jobs:v1:tag:gpu', 'jobs:v1:tag:a100'];
  for (const [index, queue] of queues.entries()) {
    await reader.xadd(queue, '*', 'jobId', `job-${index}`, 'type', 'ECHO', 'payload', `{"n":${index}}`, 'attempt', '1');
  }
  const reports = await until('all are done', async () => {
    const entries = await reader.xrange('job:reports', '-', '+');
    return entries.length === queues.length && entries.map(([, fields]) => JSON.parse(fields[3] as string));
  });
  expect(reports.map(({ type, data }) => [type, data.nodeId, data.result.n]).toSorted((left, right) => left[2] - right[2])).toEqual(
    queues.map((_, index) => ['end', 'worker-1', index]),
  );
  const status = await until('its status is stored', async () => {
    const entries = await reader.xrange('node:status:stream', '-', '+');
    return entries.find(([, fields]) => fields[1] === 'worker-1')?.[1][5];
  });
  expect(JSON.parse(status).status.node.tags).toEqual(['gpu', 'a100']);
  agent.child.kill('SIGTERM');
  expect(await agent.exited).toBe(0);
  expect((await reader.xinfo('GROUPS', 'jobs:v1:x')) as unknown[]).toMatchObject([expect.arrayContaining(['citadel-workers'])]);
  expect(await reader.xinfo('CONSUMERS', 'jobs:v1:x', 'citadel-workers')).toEqual([]);
});

test('starts while Redis is away, says so without the password, and still ends with 0', async () => {
  const agent = work([`--redis-url=redis://:s3cret-word@127.0.0.1:${await freePort()}`, '--status-port=0']);
  await until('it says that Redis is away', () => agent.output().includes('ECONNREFUSED'));
  agent.child.kill('SIGTERM');
  expect(await agent.exited).toBe(0);
  expect(agent.output()).not.toContain('s3cret-word');
});

test('--redis-status=false only answers', async () => {
  const port = await freePort();
  const agent = work(['--redis-status=false', `--status-port=${port}`]);
  await until('it answers', async () => (await fetch(`http://127.0.0.1:${port}/health`).catch(() => undefined))?.ok);
  agent.child.kill('SIGTERM');
  expect(await agent.exited).toBe(0);
});

test.for([
  ['--mode=api', 'castellan init'],
  ['--mode=kafka', '--mode'],
  ['--redis-url=http://x', '--redis-url'],
  ['--node-id=a b', 'nodeId'],
  ['--status-port=70000', '--status-port'],
  ['--redis-status=perhaps', '--redis-status'],
  ['--queue=images', '--queue'],
  ['--tag=a b', '--tag'],
  ['--concurrency=many', '--concurrency'],
] as const)('%s is refused with a message that says %s', async ([flag, says]) => {
  const agent = work([flag], { REDIS_URL: withPassword() });
  expect(await agent.exited).toBe(1);
  expect(agent.output()).toContain(says);
});

test('without a Redis URL it says which flag is missing', async () => {
  const agent = work([]);
  expect(await agent.exited).toBe(1);
  expect(agent.output()).toContain('--redis-url');
});

test('a taken status port ends it with a message that names the flag', async () => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  const agent = work([`--redis-url=${withPassword()}`, `--status-port=${(other.address() as AddressInfo).port}`]);
  expect(await agent.exited).toBe(1);
  expect(agent.output()).toContain('--status-port');
  other.close();
});
