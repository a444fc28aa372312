/**
 * `castellan work`: the node agent of this machine.
 *
 * Settings, the first that is given wins: flag, environment variable, default.
 */
import { Command, InvalidArgumentError } from 'commander';
import { createAgent } from '../agent/create-agent.ts';
import { redisPublisher } from '../agent/redis-publisher.ts';
import { InvalidSettingError } from '../protocol/errors.ts';
import { parseRedisUrl, redisOptionsFrom, type RedisTarget } from '../redis/target.ts';
import { agentInterval } from './agent-interval.ts';
import { createLog, readLogLevel, type Environment } from './settings.ts';
import { untilAskedToStop } from './signals.ts';
import type { Agent } from '../agent/agent.ts';
import type { Logger } from 'pino';

const DEFAULT_QUEUE = 'jobs:v1:gpu-general';
const DEFAULT_STATUS_PORT = 8080;

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
  readonly log: Logger;
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
  readonly queue: string;
  readonly redisStatus: boolean;
  readonly nodeId?: string;
  readonly statusPort: number;
}

export function workCommand(): Command {
  return new Command('work')
    .description('run the agent of this node: report its status, serve it on a port')
    .option('--mode <mode>', 'how to reach the control plane: redis, or api (not available yet)', 'redis')
    .option('--redis-url <url>', 'Redis of the control plane (REDIS_URL)')
    .option('--api-url <url>', 'control plane for --mode=api')
    .option('--queue <stream>', 'queue to take jobs from (accepted, not consumed yet)', DEFAULT_QUEUE)
    .option('--redis-status [on]', 'publish the status: true or false', parseSwitch, true)
    .option('--node-id <id>', 'id of this node (default: its hostname)')
    .option('--status-port <port>', 'port of /status, /health and /metrics on loopback and the mesh address; 0 for any', parsePort, DEFAULT_STATUS_PORT)
    .action(async (flags: WorkFlags) => runWork(flags, process.env));
}

async function runWork(flags: WorkFlags, env: Environment): Promise<void> {
  const log = createLog('agent', readLogLevel(env, 'info'));
  const askedToStop = untilAskedToStop();
  const agent = await startAgent({ ...workSettings(flags, env), log });
  log.info({ queue: flags.queue }, 'No job handler is registered: the queue is not consumed');
  await askedToStop;
  await agent.stop();
}

/** Flags before environment before defaults. Throws InvalidSettingError. */
export function workSettings(flags: WorkFlags, env: Environment): Omit<WorkSettings, 'log'> {
  if (flags.mode === 'api') throw new InvalidSettingError('--mode', 'is "api", which is not available yet. Use --mode=redis with --redis-url.');
  if (flags.mode !== 'redis') throw new InvalidSettingError('--mode', `is ${JSON.stringify(flags.mode)}; it must be "redis".`);
  const redis = flags.redisUrl === undefined ? redisOptionsFrom(env) : parseRedisUrl(flags.redisUrl, '--redis-url');
  if (flags.redisStatus && redis === undefined) {
    throw new InvalidSettingError('--redis-url', 'is missing. Give the URL that the control plane printed, or set REDIS_URL.');
  }
  return {
    ...(flags.redisStatus && redis !== undefined ? { redis } : {}),
    ...(flags.nodeId === undefined ? {} : { nodeId: flags.nodeId }),
    statusPort: flags.statusPort,
    intervalMs: agentInterval(env),
    ...(env['CITADEL_DEVICE_CODE'] ? { deviceCode: env['CITADEL_DEVICE_CODE'] } : {}),
    ...(env['DOCKER_HOST'] ? { dockerHost: env['DOCKER_HOST'] } : {}),
  };
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
