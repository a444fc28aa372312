/**
 * What the targets of the Makefile do.
 *
 * 1. The settings are those of every command: the environment, else `.env`; see src/cli/settings.ts.
 * 2. A password is handed on in the environment, never on a command line that other users of the machine can list.
 * 3. A target that needs what is not there says what, and how to do without; its exit status is 1.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadEnvironmentFile, readDataDir } from '../src/cli/settings.ts';
import { ensureGroupStreams } from '../src/redis/group-streams.ts';
import { closeClient, connectFirst, createWriteClient } from '../src/redis/clients.ts';
import { createTaskUpdates } from '../src/library/task-updates.ts';
import { describeTarget, redisOptionsFrom, type RedisTarget } from '../src/redis/target.ts';

const LOG_LINES = 100;
/** A person waits. */
const HEALTH_MS_MAX = 5_000;
const HEARD_MS_MAX = 5_000;
const PORT = '3001';

type Client = ReturnType<typeof createWriteClient>;

const TARGETS: { readonly [target: string]: (args: readonly string[]) => Promise<void> } = {
  'test-redis': testRedis,
  'redis-status': redisStatus,
  'redis-cli': redisCli,
  'redis-logs': redisLogs,
  'show-logs': showLogs,
  'health-check': healthCheck,
  'docker-run-local': dockerRunLocal,
};

/** What a person can mend: told without a stack. */
class Trouble extends Error {}

async function testRedis(): Promise<void> {
  const target = redisTarget();
  const name = `castellan:test:${process.pid}`;
  await withRedis(target, async (client) => {
    console.log(`Redis at ${describeTarget(target)} answers: ${await client.ping()}`);
    await ensureGroupStreams(client, [{ stream: name, groups: ['test'] }]);
    try {
      const id = await client.xadd(name, 'MAXLEN', '~', 10, '*', 'field', 'value');
      const read = await client.xreadgroup('GROUP', 'test', 'test', 'COUNT', 1, 'STREAMS', name, '>');
      if (!JSON.stringify(read).includes(String(id))) throw new Trouble('A stream entry that was written was not read back.');
      console.log('Streams and groups: an entry was written and read.');
    } finally {
      await client.del(name);
    }
  });
  const updates = createTaskUpdates({ redis: target, source: name, log: { warn: () => undefined } });
  try {
    const { promise, resolve } = Promise.withResolvers<void>();
    // On a channel of its own: a real task must not be driven by a test.
    await updates.subscribeToChannel(name, () => resolve());
    await updates.startListening();
    await withRedis(target, async (client) => await client.publish(name, '{}'));
    await within(promise, HEARD_MS_MAX, 'A message that was published was not heard.');
    console.log('Pub/sub: a message was published and heard.');
  } finally {
    await updates.stop();
  }
}

async function redisStatus(): Promise<void> {
  const target = redisTarget();
  await withRedis(target, async (client) => {
    const info = Object.fromEntries((await client.info()).split(/\r?\n/).flatMap((line) => (line.includes(':') ? [line.split(/:(.*)/s).slice(0, 2)] : [])));
    const config = (await client.config('GET', 'appendfsync').catch(() => [])) as string[];
    const rows: readonly (readonly [name: string, value: unknown])[] = [
      ['address', describeTarget(target)],
      ['version', info['redis_version']],
      ['up for', `${info['uptime_in_seconds']} s`],
      ['memory', `${info['used_memory_human']}${info['maxmemory'] === '0' ? '' : ` of ${info['maxmemory_human']}`}, ${info['maxmemory_policy']}`],
      [
        'on disk',
        info['aof_enabled'] === '1' ? `append-only file, appendfsync ${config[1] ?? 'unknown'}` : 'no append-only file: what is accepted may be lost',
      ],
      ['clients', `${info['connected_clients']}, ${info['blocked_clients']} waiting`],
      ['commands', `${info['instantaneous_ops_per_sec']} a second`],
      ['task_updates', `${String((await client.pubsub('NUMSUB', 'task_updates'))[1])} listening`],
    ];
    for (const [name, value] of rows) console.log(`${name.padEnd(14)}${String(value)}`);
  });
}

async function redisCli(args: readonly string[]): Promise<void> {
  const { host, port, db, tls, username, password } = redisTarget();
  const all = ['-h', host, '-p', String(port), '-n', String(db), ...(tls ? ['--tls'] : []), ...(username === undefined ? [] : ['--user', username]), ...args];
  await run('redis-cli', all, password === undefined ? {} : { REDISCLI_AUTH: password }, 'Install it (Debian: redis-tools).'); // (2)
}

async function redisLogs(): Promise<void> {
  const file = join(readDataDir(process.env), 'redis', 'redis.log');
  if (redisOptionsFrom(process.env) !== undefined || !existsSync(file)) {
    await needDocker(`There is no ${file} of a Redis of "npm start" either.`);
    return await run('docker', ['compose', 'logs', '--tail', String(LOG_LINES), 'redis']);
  }
  console.log(readFileSync(file, 'utf8').trimEnd().split('\n').slice(-LOG_LINES).join('\n'));
}

async function showLogs(): Promise<void> {
  await needDocker('Without it, "npm start" logs to its own terminal.');
  await run('docker', ['compose', 'logs', '--tail', String(LOG_LINES)]);
}

async function dockerRunLocal(): Promise<void> {
  await needDocker('Without it, "npm start" runs Redis, control plane and agent on this machine.');
  await run('docker', ['compose', 'up', '--build', '--detach']);
  console.log(`The control plane is on http://127.0.0.1:${PORT}; its first lines hold the inspector's link: docker compose logs castellan`);
}

async function healthCheck(): Promise<void> {
  const target = redisTarget();
  const url = `${process.env['CASTELLAN_URL'] || `http://127.0.0.1:${process.env['PORT'] || PORT}`}/health`;
  const checks: readonly (readonly [name: string, check: () => Promise<string>])[] = [
    ['Redis', async () => `${await withRedis(target, async (client) => await client.ping())} from ${describeTarget(target)}`],
    ['control plane', async () => await askHealth(url)],
  ];
  let failed = 0;
  for (const [name, check] of checks) {
    const said = await check().catch((error: unknown) => {
      failed++;
      return `not healthy: ${(error as Error).message}`;
    });
    console.log(`${name.padEnd(14)}${said}`);
  }
  if (failed > 0) process.exitCode = 1;
}

async function askHealth(url: string): Promise<string> {
  const response = await fetch(url, { signal: AbortSignal.timeout(HEALTH_MS_MAX) }).catch(() => {
    throw new Trouble(`nothing answers at ${url}. Start it with "npm start" or "castellan serve".`);
  });
  const text = await response.text();
  if (!response.ok) throw new Trouble(`${response.status} ${text}`);
  return text;
}

/** (1) */
function redisTarget(): RedisTarget {
  const named = redisOptionsFrom(process.env);
  if (named !== undefined) return named;
  const file = join(readDataDir(process.env), 'redis', 'port');
  const port = existsSync(file) ? Number(readFileSync(file, 'utf8')) : 0;
  return { host: '127.0.0.1', port: port > 0 ? port : 6379, db: 0, tls: false };
}

async function withRedis<Value>(target: RedisTarget, use: (client: Client) => Promise<Value>): Promise<Value> {
  const client = createWriteClient(target);
  await connectFirst(client, target);
  try {
    return await use(client);
  } finally {
    await closeClient(client);
  }
}

async function within(promise: Promise<void>, ms: number, otherwise: string): Promise<void> {
  const limit = Promise.withResolvers<never>();
  const timer = setTimeout(() => limit.reject(new Trouble(otherwise)), ms);
  try {
    await Promise.race([promise, limit.promise]);
  } finally {
    clearTimeout(timer);
  }
}

async function hasDocker(): Promise<boolean> {
  const child = spawn('docker', ['compose', 'ps', '--quiet'], { stdio: 'ignore' });
  return await new Promise((resolve) => {
    child.once('error', () => resolve(false));
    child.once('exit', (code) => resolve(code === 0));
  });
}

/** (3) */
async function needDocker(instead: string): Promise<void> {
  if (!(await hasDocker())) throw new Trouble(`This needs Docker with the compose plugin and a daemon that runs. ${instead}`);
}

async function run(program: string, args: readonly string[], more: { readonly [name: string]: string } = {}, missing = 'Install it.'): Promise<void> {
  const child = spawn(program, args, { stdio: 'inherit', env: { ...process.env, ...more } });
  // Ctrl-C is the child's to handle: redis-cli ends a SUBSCRIBE with it.
  process.on('SIGINT', () => undefined);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', () => reject(new Trouble(`There is no program ${program}. ${missing}`)));
    child.once('exit', resolve);
  });
  process.exitCode = code ?? 1;
}

async function main([name = '', ...args]: readonly string[]): Promise<void> {
  const target = Object.hasOwn(TARGETS, name) ? TARGETS[name] : undefined;
  try {
    if (target === undefined) throw new Trouble(`There is no target "${name}". There are: ${Object.keys(TARGETS).join(', ')}.`);
    loadEnvironmentFile();
    await target(args);
  } catch (error) {
    console.error((error as Error).message);
    process.exitCode = 1;
  }
}

await main(process.argv.slice(2));
