import { chmod, mkdtemp, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { closeClient, connectFirst, createWriteClient } from '../../src/redis/clients.ts';
import { startEmbeddedRedis, type EmbeddedRedis } from '../../src/redis/embedded.ts';
import { parseRedisUrl } from '../../src/redis/target.ts';
import type { Redis } from 'ioredis';

describe('the embedded Redis', () => {
  let dataDir: string;
  const running: EmbeddedRedis[] = [];
  const start = async (
    options: { path?: string; install?: boolean; log?: { info(message: string): void; warn(message: string): void } } = {},
  ): Promise<EmbeddedRedis> => {
    const embedded = await startEmbeddedRedis({ dataDir, ...options });
    running.push(embedded);
    return embedded;
  };
  const use = async <Value>(url: string, action: (client: Redis) => Promise<Value>): Promise<Value> => {
    const target = parseRedisUrl(url);
    const client = createWriteClient(target);
    await connectFirst(client, target);
    try {
      return await action(client);
    } finally {
      await closeClient(client);
    }
  };

  beforeEach(async () => {
    dataDir = await realpath(await mkdtemp(join(tmpdir(), 'castellan-embedded-')));
  });
  afterEach(async () => {
    for (const embedded of running.splice(0)) await embedded.stop();
    await rm(dataDir, { recursive: true, force: true });
  });

  it('goes on where it stopped, on the same port', async () => {
    const first = await start();
    expect(first.origin).toBe('started');
    await use(first.url, (client) => client.set('kept', 'yes'));
    await first.stop();
    await expect(use(first.url, (client) => client.ping())).rejects.toMatchObject({ code: 'redis_unusable' });
    const second = await start();
    expect(second.port).toBe(first.port);
    expect(await use(second.url, (client) => client.get('kept'))).toBe('yes');
  });

  it('listens on loopback only, with the append-only file on and nothing evicted', async () => {
    const { url } = await start();
    const settings = await use(url, (client) => client.config('GET', 'bind', 'appendonly', 'appendfsync', 'maxmemory-policy'));
    expect(asPairs(settings)).toEqual({ bind: '127.0.0.1', appendonly: 'yes', appendfsync: 'always', 'maxmemory-policy': 'noeviction' });
  });

  it('adopts the server of a run that has ended, and stops it', async () => {
    const first = await start();
    await use(first.url, (client) => client.set('kept', 'yes'));
    await writeFile(join(dataDir, 'redis', 'starter'), String(await endedProcess()));
    const second = await start();
    expect(second).toMatchObject({ origin: 'adopted', port: first.port });
    await second.stop();
    await expect(use(first.url, (client) => client.ping())).rejects.toMatchObject({ code: 'redis_unusable' });
  });

  it('shares the server of a run that is still there, says so, and leaves it running', async () => {
    const first = await start();
    // Our own parent is alive and is not us.
    await writeFile(join(dataDir, 'redis', 'starter'), String(process.ppid));
    const told: string[] = [];
    const second = await start({ log: { info: () => undefined, warn: (message) => told.push(message) } });
    expect(second.origin).toBe('shared');
    expect(told).toEqual([expect.stringContaining(`Process ${process.ppid}`)]);
    await second.stop();
    expect(await use(first.url, (client) => client.ping())).toBe('PONG');
  });

  it('takes another port when its old one is taken', async () => {
    const first = await start();
    await first.stop();
    const squatter = createServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => squatter.listen(first.port, '127.0.0.1', resolve));
    const second = await start();
    expect(second.port).not.toBe(first.port);
    await new Promise((resolve) => squatter.close(resolve));
  });

  it('refuses to start beside its own server that hangs', async () => {
    const first = await start();
    const pid = Number(await readFile(join(dataDir, 'redis', 'pid'), 'utf8'));
    process.kill(pid, 'SIGSTOP');
    try {
      await expect(start()).rejects.toMatchObject({ code: 'redis_unusable', message: expect.stringContaining(`kill -9 ${pid}`) });
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    expect(await use(first.url, (client) => client.ping())).toBe('PONG');
  });

  it('installs a missing server where it may', async () => {
    const programs = await mkdtemp(join(dataDir, 'bin-'));
    // Stands for the package manager: what it "installs" is the real server.
    await writeFile(join(programs, 'brew'), `#!/bin/sh\n[ "$1 $2" = "install redis" ] && /bin/ln -s "${await whichRedis()}" "${programs}/redis-server"\n`);
    await chmod(join(programs, 'brew'), 0o755);
    const told: string[] = [];
    const embedded = await start({ path: programs, log: { info: () => undefined, warn: (message) => told.push(message) } });
    expect(told).toEqual([expect.stringContaining('brew install redis')]);
    expect(await use(embedded.url, (client) => client.ping())).toBe('PONG');
  });

  it('prints the command that installs one where it may not', async () => {
    const programs = await mkdtemp(join(dataDir, 'bin-'));
    await writeFile(join(programs, 'brew'), '#!/bin/sh\nexit 1\n');
    await chmod(join(programs, 'brew'), 0o755);
    await expect(start({ path: programs, install: false })).rejects.toMatchObject({
      code: 'redis_unusable',
      message: expect.stringContaining('brew install redis'),
    });
    await expect(start({ path: '' })).rejects.toMatchObject({ code: 'redis_unusable', message: expect.stringContaining('REDIS_URL') });
  });
});

function asPairs(flat: unknown): { [name: string]: string } {
  const list = flat as string[];
  return Object.fromEntries(Array.from({ length: list.length / 2 }, (_, index) => [list[index * 2], list[index * 2 + 1]]));
}

/** The id of a process that was there and is gone. */
function endedProcess(): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn('/bin/sh', ['-c', 'exit 0']);
    child.once('exit', () => resolve(child.pid as number));
  });
}

function whichRedis(): Promise<string> {
  return new Promise((resolve) => {
    const child = spawn('/bin/sh', ['-c', 'command -v redis-server']);
    child.stdout.once('data', (chunk: Buffer) => resolve(chunk.toString().trim()));
  });
}
