/**
 * The embedded Redis: a redis-server of our own on loopback, with its append-only file in the data folder.
 *
 * 1. One server per data folder. A server that an earlier run left behind is found by its port file and its folder, and adopted.
 * 2. It has a session of its own: a Ctrl-C for us does not reach it, so it outlives the engine that still writes to it.
 * 3. It is stopped by SHUTDOWN, which flushes the append-only file; it is killed only when it does not answer, and only if we started it.
 * 4. A server whose starter still runs is used but not stopped: it is the other's.
 */
import { spawn } from 'node:child_process';
import { mkdir, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { RedisUnusableError } from '../protocol/errors.ts';
import { findServerProgram } from './server-program.ts';

export interface EmbeddedRedisOptions {
  /** The server's files lie in `<dataDir>/redis`. */
  readonly dataDir: string;
  readonly log?: { info(message: string): void; warn(message: string): void };
  /** Where programs are searched. Default: PATH. */
  readonly path?: string;
  /** May a missing server be installed with the system's package manager? Default: yes. */
  readonly install?: boolean;
}

export interface EmbeddedRedis {
  readonly url: string;
  readonly port: number;
  /** `started` now, `adopted` from a run that has ended, `shared` with one that still runs. */
  readonly origin: 'started' | 'adopted' | 'shared';
  /** Flushes and ends the server, unless it is shared. */
  stop(): Promise<void>;
}

const LOOPBACK = '127.0.0.1';
/** From the start of the process to its first answer; loading a large file afterwards is not limited. */
const ANSWER_TIMEOUT_MS = 15_000;
const STOP_TIMEOUT_MS = 15_000;
const POLL_MS = 20;
/** Between looking for a free port and taking it, another process may take it. */
const START_ATTEMPTS_MAX = 3;

/** Throws RedisUnusableError when no server can be found, installed or started. */
export async function startEmbeddedRedis(options: EmbeddedRedisOptions): Promise<EmbeddedRedis> {
  const made = join(options.dataDir, 'redis');
  await mkdir(made, { recursive: true, mode: 0o700 });
  const folder = await realpath(made);
  const storedPort = Number(await readText(join(folder, 'port')));
  if (storedPort > 0) {
    const running = await findRunning(folder, storedPort, options);
    if (running) return running;
    await refuseHanging(folder, storedPort);
  }
  const program = await findServerProgram({
    path: options.path ?? process.env['PATH'] ?? '',
    install: options.install ?? true,
    isRoot: process.getuid?.() === 0,
    tell: (message) => options.log?.warn(message),
  });
  for (let attempt = 1; ; attempt++) {
    const port = attempt === 1 && storedPort > 0 && (await isFree(storedPort)) ? storedPort : await freePort();
    try {
      return await launch(program.path, folder, port);
    } catch (error) {
      if (attempt === START_ATTEMPTS_MAX) throw error;
    }
  }
}

/** Invariants 1 and 4. */
async function findRunning(folder: string, port: number, { log }: EmbeddedRedisOptions): Promise<EmbeddedRedis | undefined> {
  const servedFolder = await ask(port, async (client) => (await client.config('GET', 'dir'))[1]);
  if (servedFolder !== folder) return undefined;
  const starter = Number(await readText(join(folder, 'starter')));
  if (starter > 0 && starter !== process.pid && isAlive(starter)) {
    log?.warn(`Process ${starter} runs on the same data folder; its Redis on port ${port} is used too, and is left running at the end.`);
    return { url: urlOf(port), port, origin: 'shared', stop: async () => undefined };
  }
  await writeFile(join(folder, 'starter'), String(process.pid));
  await untilLoaded(port);
  return { url: urlOf(port), port, origin: 'adopted', stop: () => shutDown(folder, port) };
}

/** Two servers on one append-only file would destroy it: one that is there and does not answer has to be ended first (1). */
async function refuseHanging(folder: string, port: number): Promise<void> {
  const pid = Number(await readText(join(folder, 'pid')));
  if (!(pid > 0) || !isAlive(pid) || (await isFree(port))) return;
  throw new RedisUnusableError(
    `The embedded Redis of an earlier run (process ${pid}, port ${port}) does not answer. End it with "kill -9 ${pid}" and start again.`,
  );
}

async function launch(program: string, folder: string, port: number): Promise<EmbeddedRedis> {
  const settings = {
    bind: LOOPBACK,
    port: String(port),
    dir: folder,
    daemonize: 'no',
    logfile: join(folder, 'redis.log'),
    loglevel: 'notice',
    save: '',
    appendonly: 'yes',
    // With everysec, Redis answers before it has written while a fsync runs: killed then, it forgets what was accepted.
    appendfsync: 'always',
    'maxmemory-policy': 'noeviction',
  };
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
  // No pipes to us: the server must survive our death (1), and its own session keeps our Ctrl-C from it (2).
  const child = spawn(program, args, { detached: true, stdio: 'ignore' });
  let failure: string | undefined;
  child.once('error', (error) => (failure = error.message));
  child.once('exit', (code, signal) => (failure ??= `it ended with ${code ?? signal}`));
  child.unref();
  const deadline = performance.now() + ANSWER_TIMEOUT_MS;
  while ((await ask(port, (client) => client.ping())) === undefined) {
    if (failure === undefined && performance.now() > deadline) {
      child.kill('SIGKILL');
      failure = `it did not answer within ${ANSWER_TIMEOUT_MS} ms`;
    }
    if (failure !== undefined) {
      throw new RedisUnusableError(`The embedded Redis (${program}) did not start: ${failure}. Its log: ${join(folder, 'redis.log')}`);
    }
    await sleep(POLL_MS);
  }
  await writeFile(join(folder, 'port'), String(port));
  await writeFile(join(folder, 'pid'), String(child.pid));
  await writeFile(join(folder, 'starter'), String(process.pid));
  await untilLoaded(port);
  const stop = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    await shutDown(folder, port, () => void child.kill('SIGKILL'));
  };
  return { url: urlOf(port), port, origin: 'started', stop };
}

/** A server that reads its append-only file answers LOADING; the file's size is not ours to limit. */
async function untilLoaded(port: number): Promise<void> {
  for (;;) {
    const answer = await ask(port, (client) => client.ping());
    if (answer === 'PONG') return;
    if (answer === undefined) throw new RedisUnusableError(`The embedded Redis on port ${port} ended while it was loading its data.`);
    await sleep(POLL_MS);
  }
}

/** Invariant 3. */
async function shutDown(folder: string, port: number, kill?: () => void): Promise<void> {
  await ask(port, async (client) => {
    // No reply comes when it works: the server is gone.
    await client.shutdown('NOSAVE').catch(() => undefined);
    return 'asked';
  });
  const deadline = performance.now() + STOP_TIMEOUT_MS;
  while ((await ask(port, (client) => client.ping())) !== undefined) {
    if (performance.now() > deadline) {
      kill?.();
      break;
    }
    await sleep(POLL_MS);
  }
  await Promise.all(['starter', 'pid'].map((name) => rm(join(folder, name), { force: true })));
}

/** One question on a connection of its own. An error that the server answers (LOADING) is its message; undefined: nobody answers. */
async function ask(port: number, question: (client: Redis) => Promise<string | undefined>): Promise<string | undefined> {
  const client = new Redis({
    host: LOOPBACK,
    port,
    protocol: 2,
    lazyConnect: true,
    enableReadyCheck: false,
    disableClientInfo: true,
    retryStrategy: null,
    connectTimeout: 1_000,
    commandTimeout: 2_000,
  });
  // Every failure also rejects what was asked; an error event without a listener would be thrown.
  client.on('error', () => undefined);
  try {
    await client.connect();
    return await question(client);
  } catch (error) {
    return (error as Error).name === 'ReplyError' ? (error as Error).message : undefined;
  } finally {
    // To end a socket that the server has closed would start a timer that keeps the process for two seconds.
    if (client.status !== 'end' && client.status !== 'close') client.disconnect();
  }
}

function urlOf(port: number): string {
  return `redis://${LOOPBACK}:${port}/0`;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch {
    return undefined;
  }
}

function isFree(port: number): Promise<boolean> {
  return listenOnce(port).then(
    () => true,
    () => false,
  );
}

function freePort(): Promise<number> {
  return listenOnce(0);
}

function listenOnce(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(port, LOOPBACK, () => {
      const address = server.address();
      server.close(() => (address === null || typeof address === 'string' ? reject(new Error('No port.')) : resolve(address.port)));
    });
  });
}
