/**
 * What `castellan doctor` looks at.
 *
 * 1. A check changes nothing on the machine and ends within {@link CHECK_MS_MAX}.
 * 2. `missing` is what Castellan cannot start without; what it only does less without is `warn`.
 */
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Redis } from 'ioredis';
import { containerObserver } from '../agent/observe-containers.ts';
import { gpuObserver } from '../agent/observe-gpu.ts';
import { heartbeatSettingsFrom } from '../fleet/heartbeat-settings.ts';
import { readHttpSettings, readListenAddress, readTokenKeys } from '../http/settings.ts';
import { InvalidSettingError } from '../protocol/errors.ts';
import { closeClient, connectFirst, createWriteClient } from '../redis/clients.ts';
import { serverProgramOutlook } from '../redis/server-program.ts';
import { describeTarget, redisOptionsFrom } from '../redis/target.ts';
import { agentInterval } from './agent-interval.ts';
import { portTrouble } from './port.ts';
import { readDataDir, readLogLevel, type Environment } from './settings.ts';

export interface Finding {
  readonly status: 'ok' | 'warn' | 'missing';
  readonly detail: string;
  /** One command or one step. */
  readonly fix?: string;
}

export interface DoctorCheck {
  readonly name: string;
  readonly run: (environment: Environment) => Promise<Finding>;
}

/** A person waits for the table. */
const CHECK_MS_MAX = 3_000;
const NODE_OLDEST: readonly [major: number, minor: number] = [22, 18];
const REDIS_MAJOR_OLDEST = 7;
/** A difference to Redis's clock that a person would notice in a history. */
const CLOCK_DIFFERENCE_MS_MAX = 1_000;
const AGENT_STATUS_PORT = 8080;
/** Nobody's clock is before this program was written. */
const CLOCK_OLDEST = Date.parse('2026-01-01T00:00:00Z');

const NO_PROGRAM = `neither redis-server nor valkey-server ${REDIS_MAJOR_OLDEST}.0 or newer`;

export const DOCTOR_CHECKS: readonly DoctorCheck[] = [
  { name: 'Node', run: checkNode },
  { name: 'Settings', run: checkSettings },
  { name: 'Redis', run: checkRedis },
  { name: 'Port', run: checkPort },
  { name: 'Agent port', run: checkAgentPort },
  { name: 'Data folder', run: checkDataDir },
  { name: 'Clock', run: checkClock },
  { name: 'Docker', run: checkDocker },
  { name: 'GPU', run: checkGpu },
];

async function checkNode(): Promise<Finding> {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const [oldestMajor, oldestMinor] = NODE_OLDEST;
  if (major > oldestMajor || (major === oldestMajor && minor >= oldestMinor)) return { status: 'ok', detail: process.version };
  return { status: 'missing', detail: `${process.version} is older than ${NODE_OLDEST.join('.')}`, fix: 'npm ci, then "npm start": it brings its own Node' };
}

/** What a start would refuse. A setting that another check reads is told there. */
async function checkSettings(environment: Environment): Promise<Finding> {
  try {
    heartbeatSettingsFrom(environment);
    agentInterval(environment);
    readHttpSettings(environment);
    readTokenKeys(environment, new Uint8Array());
    readLogLevel(environment, 'info');
    return { status: 'ok', detail: 'all of them can be used' };
  } catch (error) {
    if (!(error instanceof InvalidSettingError)) throw error;
    return { status: 'missing', detail: error.message, fix: 'change it in the environment or in .env' };
  }
}

async function checkRedis(environment: Environment): Promise<Finding> {
  const target = redisOptionsFrom(environment);
  return target === undefined ? await checkRedisProgram() : await withRedis(environment, (client) => checkRedisServer(client, describeTarget(target)));
}

/** No Redis is named, so Castellan will start its own. */
async function checkRedisProgram(): Promise<Finding> {
  const outlook = await serverProgramOutlook({ path: process.env['PATH'] ?? '', isRoot: process.getuid?.() === 0 });
  switch (outlook.kind) {
    case 'found':
      return { status: 'ok', detail: `${outlook.program.path} ${outlook.program.version}, started by npm start` };
    case 'installable':
      return { status: 'warn', detail: `${NO_PROGRAM}; npm start installs one`, fix: outlook.command };
    case 'missing':
      return { status: 'missing', detail: NO_PROGRAM, fix: outlook.command ?? `install Redis ${REDIS_MAJOR_OLDEST}.0 or newer, or set REDIS_URL` };
  }
}

async function checkRedisServer(client: Redis, where: string): Promise<Finding> {
  const info = await client.info();
  const field = (name: string): string => new RegExp(`^${name}:(.*)$`, 'm').exec(info)?.[1]?.trim() ?? '';
  const valkey = field('valkey_version');
  const version = valkey || field('redis_version');
  const detail = `${where}, ${valkey ? 'Valkey' : 'Redis'} ${version}`;
  if (Number.parseInt(version, 10) < REDIS_MAJOR_OLDEST) return { status: 'missing', detail, fix: `use Redis ${REDIS_MAJOR_OLDEST}.0 or newer, or Valkey` };
  const policy = field('maxmemory_policy');
  if (policy !== 'noeviction') {
    return { status: 'missing', detail: `${detail}, evicts keys (${policy})`, fix: 'redis-cli CONFIG SET maxmemory-policy noeviction' };
  }
  if (field('aof_enabled') !== '1') return { status: 'warn', detail: `${detail}, keeps no append-only file`, fix: 'redis-cli CONFIG SET appendonly yes' };
  return { status: 'ok', detail: `${detail}, noeviction, append-only file` };
}

async function checkPort(environment: Environment): Promise<Finding> {
  const { host, port } = readListenAddress(environment);
  const trouble = await portTrouble(host, port);
  if (trouble === undefined) return { status: 'ok', detail: `${host}:${port} is free` };
  if (trouble === 'EADDRINUSE' && (await isCastellan(host, port))) return { status: 'ok', detail: `${host}:${port}, a Castellan answers there` };
  return { status: 'missing', detail: `${host}:${port} cannot be had (${trouble})`, fix: `PORT=${port + 1} npm start` };
}

async function checkAgentPort(): Promise<Finding> {
  const trouble = await portTrouble('127.0.0.1', AGENT_STATUS_PORT);
  if (trouble === undefined) return { status: 'ok', detail: `127.0.0.1:${AGENT_STATUS_PORT} is free` };
  return {
    status: 'warn',
    detail: `127.0.0.1:${AGENT_STATUS_PORT} is taken (${trouble}); npm start takes any free one`,
    fix: 'castellan work --status-port=0',
  };
}

async function checkDataDir(environment: Environment): Promise<Finding> {
  const folder = readDataDir(environment);
  const existing = await nearestFolder(folder);
  try {
    await access(existing, constants.W_OK | constants.X_OK);
    return { status: 'ok', detail: existing === folder ? folder : `${folder}, to be made` };
  } catch {
    return { status: 'missing', detail: `${existing} may not be written`, fix: `CASTELLAN_DATA_DIR="$HOME/.castellan" npm start` };
  }
}

async function checkClock(environment: Environment): Promise<Finding> {
  const now = new Date();
  if (now.getTime() < CLOCK_OLDEST) return { status: 'missing', detail: `${now.toISOString()} is in the past`, fix: 'sudo timedatectl set-ntp true' };
  const difference = redisOptionsFrom(environment) === undefined ? undefined : await withRedis(environment, clockDifference).catch(() => undefined);
  if (difference === undefined) return { status: 'ok', detail: now.toISOString() };
  const detail = `${Math.abs(Math.round(difference))} ms ${difference < 0 ? 'behind' : 'ahead of'} Redis`;
  if (Math.abs(difference) <= CLOCK_DIFFERENCE_MS_MAX) return { status: 'ok', detail };
  return { status: 'warn', detail: `${detail}; Redis's clock decides, logs will disagree`, fix: 'sudo timedatectl set-ntp true' };
}

async function clockDifference(client: Redis): Promise<number> {
  const before = Date.now();
  const [seconds, microseconds] = await client.time();
  return (before + Date.now()) / 2 - (Number(seconds) * 1_000 + Number(microseconds) / 1_000);
}

async function checkDocker(environment: Environment): Promise<Finding> {
  const outcome = await containerObserver(environment['DOCKER_HOST'] || undefined).observe();
  if (outcome.kind === 'listed') return { status: 'ok', detail: `an engine answers, with ${outcome.containers.length} services of this node` };
  if (outcome.kind === 'absent')
    return { status: 'warn', detail: 'no engine; containers are not reported', fix: 'install Docker, or start it: sudo systemctl start docker' };
  const fix = outcome.reason === 'EACCES' ? 'sudo usermod -aG docker "$USER", then log in again' : 'sudo systemctl restart docker';
  return { status: 'warn', detail: `the engine does not answer us (${outcome.reason}); containers are not reported`, fix };
}

async function checkGpu(): Promise<Finding> {
  const gpus = await gpuObserver().observe();
  if (gpus.length > 0) return { status: 'ok', detail: gpus.map(({ name }) => name).join(', ') };
  return { status: 'ok', detail: 'none seen; a node needs none' };
}

async function withRedis<Result>(environment: Environment, use: (client: Redis) => Promise<Result>): Promise<Result> {
  const target = redisOptionsFrom(environment);
  if (target === undefined) throw new Error('No Redis is named.');
  const client = createWriteClient(target);
  await connectFirst(client, target);
  try {
    return await use(client);
  } finally {
    await closeClient(client);
  }
}

async function isCastellan(host: string, port: number): Promise<boolean> {
  try {
    const response = await fetch(`http://${host}:${port}/health`, { signal: AbortSignal.timeout(CHECK_MS_MAX), redirect: 'error' });
    const health: unknown = await response.json();
    return typeof health === 'object' && health !== null && 'uptime_seconds' in health;
  } catch {
    return false;
  }
}

async function nearestFolder(folder: string): Promise<string> {
  try {
    await access(folder, constants.F_OK);
    return folder;
  } catch {
    return dirname(folder) === folder ? folder : await nearestFolder(dirname(folder));
  }
}
