import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

/** Redis, a control plane and an agent come up, on a loaded machine. */
const PATIENCE = { timeout: 30_000, interval: 50 };

interface Started {
  readonly process: ChildProcess;
  readonly output: () => string;
  /** Resolves with the exit code. */
  readonly ended: Promise<number | null>;
}

function startIn(folder: string, environment: { readonly [name: string]: string } = {}): Started {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'start-process.ts')], {
    cwd: folder,
    env: { PATH: process.env['PATH'], PORT: '0', HEARTBEAT_INTERVAL_MS: '250', LOG_LEVEL: 'error', ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  return { process: child, output: () => output, ended };
}

/** The Redis URL of the banner. */
async function redisOf(started: Started): Promise<string> {
  await vi.waitUntil(() => started.output().includes('Ctrl-C') || started.process.exitCode !== null, PATIENCE);
  const url = /redis:\/\/\S+/.exec(started.output())?.[0];
  if (url === undefined) throw new Error(started.output());
  return url;
}

async function beats(url: string): Promise<number> {
  const client = new Redis(url, { lazyConnect: true });
  await client.connect();
  const length = await client.xlen('node:status:stream');
  client.disconnect();
  return length;
}

async function answers(url: string): Promise<boolean> {
  const client = new Redis(url, { lazyConnect: true, retryStrategy: null });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return (await client.ping()) === 'PONG';
  } catch {
    return false;
  } finally {
    client.disconnect();
  }
}

describe('castellan start', () => {
  let folder: string;
  let started: Started | undefined;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'castellan-start-'));
  });
  afterEach(async () => {
    if (started?.process.exitCode === null) started.process.kill('SIGTERM');
    await started?.ended;
    await rm(folder, { recursive: true, force: true });
  });

  it.each(['SIGINT', 'SIGTERM'] as const)('brings up Redis and an agent, prints the way in, and on %s stops all of it with 0', async (signal) => {
    started = startIn(folder);
    const url = await redisOf(started);
    expect(started.output()).toMatch(/Inspector +http:\/\/127\.0\.0\.1:\d+\/#link=once/);
    expect(started.output()).toContain(join(folder, '.castellan'));
    await vi.waitUntil(async () => (await beats(url)) > 0, PATIENCE);

    started.process.kill(signal);
    expect(await started.ended).toBe(0);
    expect(await answers(url)).toBe(false);
  });

  it('goes on with the data of the start before', async () => {
    started = startIn(folder);
    const first = await redisOf(started);
    await vi.waitUntil(async () => (await beats(first)) > 2, PATIENCE);
    const before = await beats(first);
    started.process.kill('SIGTERM');
    await started.ended;

    started = startIn(folder);
    expect(await beats(await redisOf(started))).toBeGreaterThanOrEqual(before);
  });

  it('says which setting to change when the port is taken, and leaves nothing running', async () => {
    const occupant = createServer();
    await new Promise<void>((resolve) => occupant.listen(0, '127.0.0.1', resolve));
    const port = (occupant.address() as AddressInfo).port;
    started = startIn(folder, { PORT: String(port) });
    expect(await started.ended).toBe(1);
    occupant.close();
    expect(started.output()).toContain(`The setting PORT is ${port}, which another program already uses on 127.0.0.1.`);
  });

  it.each([
    ['HEARTBEAT_INTERVAL_MS', '100', /HEARTBEAT_INTERVAL_MS must be a whole number from 250/],
    ['HEARTBEAT_SKEW_MS', 'soon', /HEARTBEAT_SKEW_MS is "soon"/],
    ['LIVE_NETWORKS', 'my-network', /LIVE_NETWORKS must list networks/],
  ])('refuses an unusable %s before it starts anything', async (name, value, message) => {
    started = startIn(folder, { [name]: value });
    expect(await started.ended).toBe(1);
    expect(started.output()).toMatch(message);
    expect(await readdir(folder)).toEqual([]);
  });
});
