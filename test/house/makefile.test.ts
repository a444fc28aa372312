/** The targets of the Makefile, on a machine without Docker, with a Redis that wants a password. */
import { execFile, type ExecFileException } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePort, startTestRedis, type TestRedis } from '../redis-server.ts';

const REPOSITORY = join(import.meta.dirname, '../..');
const PASSWORD = 'p w:1/é';
const LIMIT_MS = 60_000;
let redis: TestRedis;
let folder: string;

beforeAll(async () => {
  redis = await startTestRedis();
  const admin = new Redis(redis.url);
  await admin.config('SET', 'requirepass', PASSWORD);
  admin.disconnect();
  // A PATH without Docker.
  folder = await mkdtemp(join(tmpdir(), 'castellan-make-'));
  for (const program of ['make', 'sed', 'expand', 'redis-cli', 'sh']) await symlink(await pathOf(program), join(folder, program));
});
afterAll(async () => {
  await redis.stop();
  await rm(folder, { recursive: true });
});

async function pathOf(program: string): Promise<string> {
  return (await run('sh', ['-c', `command -v ${program}`], process.env)).out.trim();
}

async function run(program: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<{ code: number; out: string; said: string }> {
  return await new Promise((resolve) => {
    execFile(program, args, { cwd: REPOSITORY, env, timeout: LIMIT_MS }, (error: ExecFileException | null, out, said) =>
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), out, said }),
    );
  });
}

/** Settings are given in parts; an empty value keeps a `.env` of the checkout out. */
async function make(target: string, env: { readonly [name: string]: string } = {}): Promise<{ code: number; out: string; said: string }> {
  const parts = { REDIS_URL: '', REDIS_HOST: redis.host, REDIS_PORT: String(redis.port), REDIS_DB: '', REDIS_PASSWORD: PASSWORD, REDIS_SSL: 'false' };
  return await run('make', ['--no-print-directory', ...target.split(' ')], { PATH: folder, NODE: process.execPath, ...parts, ...env });
}

describe('make', () => {
  it('alone lists every target that operators know', async () => {
    const { out } = await make('help');
    for (const target of ['test-redis', 'redis-status', 'redis-cli', 'redis-logs', 'show-logs', 'health-check', 'docker-run-local'])
      expect(out).toMatch(new RegExp(`^${target} +\\S`, 'm'));
  });

  it('redis-status and test-redis look at the Redis that the settings name and leave nothing behind', async () => {
    const status = await make('redis-status');
    expect(status).toMatchObject({ code: 0, said: '' });
    expect(status.out).toContain(`address       127.0.0.1:${redis.port}/0`);
    expect(status.out).toMatch(/no append-only file/);
    const test = await make('test-redis', { REDIS_URL: `redis://:${encodeURIComponent(PASSWORD)}@${redis.host}:${redis.port}/3`, REDIS_HOST: 'nowhere' });
    expect(test).toMatchObject({ code: 0, said: '' });
    expect(test.out).toMatch(/\/3 answers: PONG[^]*written and read[^]*published and heard/);
    expect((await make('redis-cli ARGS=DBSIZE', { REDIS_DB: '3' })).out).toBe('0\n');
  });

  it('redis-cli runs one command, with its password out of sight', async () => {
    expect(await make('redis-cli ARGS=PING')).toMatchObject({ code: 0, out: 'PONG\n' });
  });

  it('health-check asks Redis and the control plane, and fails when one is not healthy', async () => {
    const server = createServer((_request, response) => response.end('{"status":"healthy"}'));
    const port = await freePort();
    const away = await make('health-check', { PORT: String(port) });
    expect(away.code).not.toBe(0);
    expect(away.out).toMatch(/Redis +PONG[^]*nothing answers at .*npm start/);
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    expect(await make('health-check', { PORT: String(port) })).toMatchObject({ code: 0, out: expect.stringContaining('{"status":"healthy"}') as string });
    expect((await make('health-check', { PORT: String(port), REDIS_PORT: '1' })).out).toMatch(/Redis +not healthy: Failed to connect to Redis at 127.0.0.1:1/);
    server.close();
  });

  it('redis-logs shows the log of the Redis of npm start; what needs Docker says so, and what to do without', async () => {
    await mkdir(join(folder, 'data/redis'), { recursive: true });
    await writeFile(join(folder, 'data/redis/redis.log'), 'Ready to accept connections\n');
    expect(await make('redis-logs', { REDIS_HOST: '', CASTELLAN_DATA_DIR: join(folder, 'data') })).toMatchObject({
      code: 0,
      out: 'Ready to accept connections\n',
    });
    for (const target of ['redis-logs', 'show-logs', 'docker-run-local']) {
      const { code, said } = await make(target);
      expect(code).not.toBe(0);
      expect(said).toMatch(/needs Docker with the compose plugin.*npm start/);
    }
  });
});

it('the Redis of docker-compose.yml and of k8s is one that Castellan accepts', async () => {
  for (const file of ['docker-compose.yml', 'k8s/redis-deployment.yaml']) {
    const text = await readFile(join(REPOSITORY, file), 'utf8');
    for (const part of ['redis:7-alpine', '6379', 'appendonly', 'noeviction', 'redis-cli']) expect(text).toContain(part);
  }
});
