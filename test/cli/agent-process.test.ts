import { tmpdir } from 'node:os';
import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { AgentProcess } from '../../src/cli/agent-process.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';

/** Starting a process and its first beat, on a loaded machine. */
const PATIENCE = { timeout: 20_000, interval: 50 };

describe('the agent as a child process', () => {
  let redis: TestRedis;
  let client: Redis;
  let agent: AgentProcess | undefined;

  beforeAll(async () => {
    redis = await startTestRedis();
    client = new Redis(redis.url);
  });
  afterEach(async () => {
    await agent?.stop();
    await client.flushall();
  });
  afterAll(async () => {
    client.disconnect();
    await redis.stop();
  });

  const beats = async (nodeId: string): Promise<number> => {
    const entries = await client.xrange('node:status:stream', '-', '+');
    return entries.filter(([, fields]) => fields[fields.indexOf('nodeId') + 1] === nodeId).length;
  };
  const environment = (): { readonly [name: string]: string | undefined } => ({
    ...process.env,
    REDIS_URL: redis.url,
    HEARTBEAT_INTERVAL_MS: '250',
    LOG_LEVEL: 'error',
  });

  it('reports, is started again when it dies, and is gone after stop', async () => {
    agent = new AgentProcess({
      nodeId: 'child',
      statusPort: 0,
      environment: environment(),
      cacheDir: join(tmpdir(), 'castellan-test-cache'),
      log: pino({ level: 'silent' }),
    });
    agent.start();
    await vi.waitUntil(async () => (await beats('child')) > 0, PATIENCE);

    const first = agent.pid!;
    process.kill(first, 'SIGKILL');
    await vi.waitUntil(() => agent!.pid !== undefined && agent!.pid !== first, PATIENCE);
    const before = await beats('child');
    await vi.waitUntil(async () => (await beats('child')) > before, PATIENCE);

    const second = agent.pid!;
    await agent.stop();
    expect(agent.pid).toBeUndefined();
    expect(isAlive(second)).toBe(false);
  });

  it('ends by itself when it is asked to, although its parent keeps the channel open', async () => {
    const child = spawn(process.execPath, [join(import.meta.dirname, '../../src/cli/main.ts'), 'work', '--node-id=asked', '--status-port=0'], {
      env: environment(),
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
    await vi.waitUntil(async () => (await beats('asked')) > 0, PATIENCE);
    child.kill('SIGTERM');
    expect(await ended).toBe(0);
  });

  it('does not outlive its parent, even one that was killed', async () => {
    const parent = spawn(process.execPath, [join(import.meta.dirname, 'agent-parent.ts')], {
      env: environment(),
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    const child = await firstMessage(parent);
    await vi.waitUntil(async () => (await beats('orphan')) > 0, PATIENCE);

    parent.kill('SIGKILL');
    await vi.waitUntil(() => !isAlive(child), PATIENCE);
    expect(isAlive(child)).toBe(false);
  });
});

async function firstMessage(parent: ChildProcess): Promise<number> {
  return await new Promise((resolve, reject) => {
    parent.once('message', (pid) => resolve(Number(pid)));
    parent.once('exit', (code) => reject(new Error(`The parent ended with ${code}.`)));
  });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
