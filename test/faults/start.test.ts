/**
 * Everything on one machine, as its user sees it: the real `castellan start`, redis-cli against the printed URL, the other commands, Ctrl-C.
 *
 * Ctrl-C reaches every process of the terminal's foreground group, so the signal is sent to the whole group.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nodeIdFrom } from '../../src/agent/identity.ts';
import type { ActorView, HistoryPage } from '../../src/protocol/control-plane.ts';
import { castellan, REPOSITORY } from '../cli/program.ts';
import { freePort } from '../redis-server.ts';
import { until } from '../agent/until.ts';

const run = promisify(execFile);
const NODE_ID = nodeIdFrom(undefined, hostname());

describe('castellan start', () => {
  let folder: string;
  let port: number;
  let started: { readonly child: ChildProcess; readonly ended: Promise<number | null>; readonly output: () => string } | undefined;
  let redisUrl: string;

  const environment = (): { readonly [name: string]: string } => ({
    CASTELLAN_DATA_DIR: join(folder, 'data'),
    CASTELLAN_URL: `http://127.0.0.1:${port}`,
    PORT: String(port),
    HEARTBEAT_INTERVAL_MS: '1000',
    DOCKER_HOST: 'unix:///nonexistent.sock',
  });

  async function start(): Promise<void> {
    const child = spawn(process.execPath, [join(REPOSITORY, 'src/cli/main.ts'), 'start'], {
      cwd: folder,
      env: { PATH: process.env['PATH'], ...environment() },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true, // a process group of its own, as a shell gives it
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
    const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
    started = { child, ended, output: () => output };
    await until('the banner is printed', () => {
      if (child.exitCode !== null) throw new Error(output);
      return output.includes('Ctrl-C');
    });
    expect(output).toMatch(new RegExp(`Inspector +http://127\\.0\\.0\\.1:${port}/#link=\\S+`));
    redisUrl = /Redis +(redis:\/\/\S+)/.exec(output)?.[1] ?? '';
  }

  async function ctrlC(): Promise<number | null> {
    process.kill(-(started?.child.pid as number), 'SIGINT');
    return await (started?.ended as Promise<number | null>);
  }

  /** Processes that were given our data folder, which no other process knows. */
  async function processesLeft(): Promise<string[]> {
    const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name) && name !== String(process.pid));
    const found = await Promise.all(
      pids.map(async (pid) => {
        const text = `${await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '')}${await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')}`;
        return text.includes(folder) ? [`${pid} ${await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')}`] : [];
      }),
    );
    return found.flat();
  }

  async function get<Answer>(path: string): Promise<Answer> {
    const token = (await readFile(join(folder, 'data', 'auth', 'admin-token'), 'utf8')).trim();
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { headers: { authorization: `Bearer ${token}` } });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return (await response.json()) as Answer;
  }

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'castellan-user-'));
    port = await freePort();
    await start();
  });
  afterAll(async () => {
    if (started?.child.exitCode === null) await ctrlC();
    await rm(folder, { recursive: true, force: true });
  });

  it('lets redis-cli see the status of this machine in the documented shape, in the stream and on its channel', async () => {
    const shape = {
      version: '1.0',
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/),
      nodeId: NODE_ID,
      status: {
        version: expect.any(String),
        timestamp: expect.any(String),
        node: expect.objectContaining({ name: expect.any(String), uptime_seconds: expect.any(Number), status_port: expect.any(Number) }),
        system: expect.objectContaining({ cpu_percent: expect.any(Number), memory_used_gb: expect.any(Number), memory_total_gb: expect.any(Number) }),
        gpu: expect.any(Array),
        services: expect.any(Array),
      },
    };
    await until('a status is in the stream', async () => (await run('redis-cli', ['-u', redisUrl, 'XLEN', 'node:status:stream'])).stdout.trim() !== '0');
    const { stdout } = await run('redis-cli', ['-u', redisUrl, 'XREAD', 'STREAMS', 'node:status:stream', '0']);
    const [stream, id, ...fields] = stdout.split('\n');
    expect(stream).toBe('node:status:stream');
    expect(id).toMatch(/^\d+-\d+$/);
    expect(fields.slice(0, 4)).toEqual(['nodeId', NODE_ID, 'timestamp', expect.any(String)]);
    expect(fields[4]).toBe('payload');
    expect(JSON.parse(fields[5] ?? '')).toMatchObject(shape);

    const listener = spawn('redis-cli', ['-u', redisUrl, 'PSUBSCRIBE', 'node:status:*'], { stdio: ['ignore', 'pipe', 'ignore'] });
    let heard = '';
    listener.stdout.on('data', (chunk: Buffer) => (heard += chunk.toString()));
    const messages = (): string[][] =>
      heard
        .split('pmessage\n')
        .slice(1)
        .map((message) => message.split('\n'))
        .filter((lines) => lines.length > 3);
    await until('the agent and the control plane were heard', () => new Set(messages().map(([, channel]) => channel)).size === 2);
    listener.kill('SIGKILL');
    const byChannel = new Map(messages().map(([, channel = '', message = '']) => [channel, message]));
    expect(new Set(byChannel.keys())).toEqual(new Set([`node:status:${NODE_ID}`, `node:status:org:default:${NODE_ID}`]));
    for (const message of byChannel.values()) expect(JSON.parse(message)).toMatchObject(shape);
  });

  it('is shown by castellan nodes, actors and doctor', async () => {
    await until('the node is online', async () => (await castellan(['nodes'], environment(), folder)).stdout.includes('online'));
    const nodes = await castellan(['nodes'], environment(), folder);
    expect(nodes).toMatchObject({ code: 0, stderr: '' });
    expect(nodes.stdout.split('\n')[0]).toMatch(/^node +name +state +since/i);
    expect(nodes.stdout).toMatch(new RegExp(`^${NODE_ID} .* online `, 'm'));
    const actors = await castellan(['actors'], environment(), folder);
    expect(actors).toMatchObject({ code: 0, stderr: '' });
    expect(actors.stdout).toMatch(new RegExp(`^node/${NODE_ID} `, 'm'));
    expect(actors.stdout).toMatch(/^fleet\/default /m);
    const doctor = await castellan(['doctor', '--json'], { ...environment(), REDIS_URL: redisUrl, PORT: '0' }, folder);
    expect(doctor.code).toBe(0);
  });

  it('ends with 0 at Ctrl-C, leaves no process, and goes on at the next start', async () => {
    const before = await get<ActorView>(`/api/actors/node/${NODE_ID}`);
    expect(await ctrlC()).toBe(0);
    await until('no process is left', async () => (await processesLeft()).length === 0);

    await start();
    await until('the node is online', async () => (await castellan(['nodes'], environment(), folder)).stdout.includes('online'));
    const after = await get<ActorView>(`/api/actors/node/${NODE_ID}`);
    expect(after.revision).toBeGreaterThanOrEqual(before.revision);
    const history = await get<HistoryPage>(`/api/actors/node/${NODE_ID}/history?limit=100`);
    expect(history).toMatchObject({ next: null, truncated: false });
    expect(history.items.map(({ revision }) => revision)).toEqual(Array.from({ length: after.revision }, (_, index) => after.revision - index));
    expect(await ctrlC()).toBe(0);
    expect(await processesLeft()).toEqual([]);
  });
});
