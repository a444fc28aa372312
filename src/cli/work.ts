/**
 * `castellan work`: the node agent of this machine, which reports its status and takes jobs.
 *
 * 1. Settings, the first that is given wins: flag, environment variable, default.
 * 2. Asked to stop it takes no more jobs, lets the running ones end up to `--grace`, gives the others back, and ends with 0. It reports its
 *    status until then.
 */
import { hostname } from 'node:os';
import { Command, InvalidArgumentError } from 'commander';
import { createAgent } from '../agent/create-agent.ts';
import { redisPublisher } from '../agent/redis-publisher.ts';
import { nodeIdFrom } from '../agent/identity.ts';
import { InvalidSettingError } from '../protocol/errors.ts';
import { DEFAULT_QUEUE, QUEUE_NAME, tagQueue } from '../protocol/job-progress.ts';
import { parseRedisUrl, redisOptionsFrom, type RedisTarget } from '../redis/target.ts';
import { agentInterval } from './agent-interval.ts';
import { createLog, readLogLevel, type Environment } from './settings.ts';
import { untilAskedToStop } from './signals.ts';
import type { Agent } from '../agent/agent.ts';
import type { Logger } from 'pino';

const DEFAULT_STATUS_PORT = 8080;
/** Most jobs of an agent wait for a service of its node. */
const DEFAULT_CONCURRENCY = 8;
const CONCURRENCY_MAX = 1_000;
/** Below the 30 s that orchestrators give a process. */
const DEFAULT_GRACE_S = 20;
const TAG = /^[A-Za-z0-9._:-]{1,64}$/;

export interface WorkSettings {
  /** Absent: nothing is reported, the agent only answers on its status port. */
  readonly redis?: RedisTarget;
  /** Default: the hostname, sanitised. */
  readonly nodeId?: string;
  /** 0: any free port. */
  readonly statusPort: number;
  readonly intervalMs: number;
  readonly deviceCode?: string;
  readonly dockerHost?: string;
  /** What jobs may ask for of this node; reported with its status. */
  readonly tags?: readonly string[];
  readonly log: Logger;
}

/** Where and how jobs are taken. */
export interface JobSettings {
  readonly redis: RedisTarget;
  readonly queues: readonly string[];
  readonly concurrency: number;
  readonly graceMs: number;
}

/** Starts the agent in this process. Throws InvalidSettingError or InvalidIdError; a Redis that is away is waited for. */
export async function startAgent({ redis, ...settings }: WorkSettings): Promise<Agent> {
  const { intervalMs, log } = settings;
  const publisher = redis === undefined ? undefined : redisPublisher({ redis, intervalMs, random: () => Math.random(), log });
  try {
    const agent = createAgent({ ...settings, ...(publisher === undefined ? {} : { publisher }) });
    await agent.start();
    return agent;
  } catch (error) {
    await publisher?.close();
    throw error;
  }
}

interface WorkFlags {
  readonly mode: string;
  readonly redisUrl?: string;
  readonly apiUrl?: string;
  readonly queue?: readonly string[];
  readonly tag?: readonly string[];
  readonly concurrency: number;
  readonly grace: number;
  readonly redisStatus: boolean;
  readonly nodeId?: string;
  readonly statusPort: number;
}

export function workCommand(): Command {
  return new Command('work')
    .description('run the agent of this node: report its status, serve it on a port, take jobs')
    .option('--mode <mode>', 'how to reach the control plane: redis, or api (not available yet)', 'redis')
    .option('--redis-url <url>', 'Redis of the control plane (REDIS_URL)')
    .option('--api-url <url>', 'control plane for --mode=api')
    .option('--queue <stream>', `queue to take jobs from; repeatable, or a list with commas (default: ${DEFAULT_QUEUE})`, collectQueues)
    .option('--tag <tag>', 'tag of this node, reported with its status; takes jobs from jobs:v1:tag:<tag> too; repeatable', collectTags)
    .option('--concurrency <n>', 'jobs at once; 0 takes none', parseConcurrency, DEFAULT_CONCURRENCY)
    .option('--grace <seconds>', 'how long running jobs are waited for when it stops', parseSeconds, DEFAULT_GRACE_S)
    .option('--redis-status [on]', 'publish the status: true or false', parseSwitch, true)
    .option('--node-id <id>', 'id of this node (default: its hostname)')
    .option('--status-port <port>', 'port of /status, /health and /metrics on loopback and the mesh address; 0 for any', parsePort, DEFAULT_STATUS_PORT)
    .action(async (flags: WorkFlags) => runWork(flags, process.env));
}

async function runWork(flags: WorkFlags, env: Environment): Promise<void> {
  const log = createLog('agent', readLogLevel(env, 'info'));
  const settings = workSettings(flags, env);
  const jobs = jobSettings(flags, env);
  const nodeId = nodeIdFrom(settings.nodeId, hostname());
  const askedToStop = untilAskedToStop();
  const agent = await startAgent({ ...settings, nodeId, log });
  const worker =
    jobs === undefined ? undefined : (await import('./work-jobs.ts')).startJobs({ ...settings, ...jobs, nodeId, statusPort: () => agent.statusPort, log });
  if (worker === undefined) log.info('No jobs are taken');
  await askedToStop;
  await worker?.stop(); // (2)
  await agent.stop();
}

/** Flags before environment before defaults. Throws InvalidSettingError. */
export function workSettings(flags: WorkFlags, env: Environment): Omit<WorkSettings, 'log'> {
  checkMode(flags.mode);
  const redis = redisOf(flags, env);
  if (flags.redisStatus && redis === undefined) {
    throw new InvalidSettingError('--redis-url', 'is missing. Give the URL that the control plane printed, or set REDIS_URL.');
  }
  return {
    ...(flags.redisStatus && redis !== undefined ? { redis } : {}),
    ...(flags.nodeId === undefined ? {} : { nodeId: flags.nodeId }),
    statusPort: flags.statusPort,
    intervalMs: agentInterval(env),
    ...(flags.tag === undefined ? {} : { tags: flags.tag }),
    ...(env['CITADEL_DEVICE_CODE'] ? { deviceCode: env['CITADEL_DEVICE_CODE'] } : {}),
    ...(env['DOCKER_HOST'] ? { dockerHost: env['DOCKER_HOST'] } : {}),
  };
}

/** Undefined when no jobs are to be taken, or there is no Redis to take them from. */
export function jobSettings(flags: WorkFlags, env: Environment): JobSettings | undefined {
  const redis = redisOf(flags, env);
  if (redis === undefined || flags.concurrency === 0) return undefined;
  const queues = [...(flags.queue ?? [DEFAULT_QUEUE]), ...(flags.tag ?? []).map(tagQueue)];
  return { redis, queues: [...new Set(queues)], concurrency: flags.concurrency, graceMs: flags.grace * 1_000 };
}

function checkMode(mode: string): void {
  if (mode === 'api') throw new InvalidSettingError('--mode', 'is "api", which is not available yet. Use --mode=redis with --redis-url.');
  if (mode !== 'redis') throw new InvalidSettingError('--mode', `is ${JSON.stringify(mode)}; it must be "redis".`);
}

function redisOf(flags: WorkFlags, env: Environment): RedisTarget | undefined {
  return flags.redisUrl === undefined ? redisOptionsFrom(env) : parseRedisUrl(flags.redisUrl, '--redis-url');
}

function collectQueues(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, ...listed(text, QUEUE_NAME)];
}

function collectTags(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, ...listed(text, TAG)];
}

function listed(text: string, pattern: RegExp): readonly string[] {
  const names = text.split(',').map((name) => name.trim());
  for (const name of names) if (!pattern.test(name)) throw new InvalidArgumentError(`${JSON.stringify(name)} must match ${pattern.source}.`);
  return names;
}

function parseConcurrency(text: string): number {
  if (!/^\d+$/.test(text) || Number(text) > CONCURRENCY_MAX) throw new InvalidArgumentError(`It must be a whole number from 0 to ${CONCURRENCY_MAX}.`);
  return Number(text);
}

function parseSeconds(text: string): number {
  if (!/^\d{1,5}$/.test(text)) throw new InvalidArgumentError('It must be a whole number of seconds.');
  return Number(text);
}

function parseSwitch(text: string): boolean {
  if (/^(true|1|on|yes)$/i.test(text)) return true;
  if (/^(false|0|off|no)$/i.test(text)) return false;
  throw new InvalidArgumentError('It must be true or false.');
}

function parsePort(text: string): number {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port > 65_535) throw new InvalidArgumentError('It must be a whole number from 0 to 65535.');
  return port;
}
