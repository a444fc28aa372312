/**
 * What `castellan work` was asked for: flags before environment before the node's credentials before defaults.
 *
 * 1. Over HTTP a node is who its token says: another `--node-id` is refused, not ignored.
 * 2. Over HTTP no device code is sent but the one of the credentials: the control plane takes no other from this node.
 */
import { hostname } from 'node:os';
import { nodeIdFrom } from '../agent/identity.ts';
import type { Credentials } from '../agent/credentials.ts';
import { InvalidSettingError } from '../protocol/errors.ts';
import { DEFAULT_QUEUE, tagQueue } from '../protocol/job-progress.ts';
import { parseRedisUrl, redisOptionsFrom, type RedisTarget } from '../redis/target.ts';
import { agentInterval } from './agent-interval.ts';
import { readApiUrl } from './api-url.ts';
import type { Environment } from './settings.ts';

export interface WorkFlags {
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

/** How the control plane is reached. */
export type Way =
  | { readonly kind: 'redis'; readonly redis: RedisTarget }
  | { readonly kind: 'api'; readonly url: URL; readonly credentials: Credentials }
  | { readonly kind: 'none' };

export interface WorkSettings {
  readonly way: Way;
  /** Otherwise the agent only answers on its status port. */
  readonly reportsStatus: boolean;
  readonly nodeId: string;
  /** 0: any free port. */
  readonly statusPort: number;
  readonly intervalMs: number;
  /** That of the environment, which wins over that of the credentials. */
  readonly deviceCode?: string;
  readonly dockerHost?: string;
  /** What jobs may ask for of this node; reported with its status. */
  readonly tags: readonly string[];
}

/** How many jobs are taken, and from where. */
export interface JobSettings {
  /** Undefined: those that the control plane names. */
  readonly queues: readonly string[] | undefined;
  readonly concurrency: number;
  readonly graceMs: number;
}

/** Throws InvalidSettingError or InvalidIdError. */
export function workSettings(flags: WorkFlags, env: Environment, credentials: Credentials | undefined): WorkSettings {
  const way = wayOf(flags, env, credentials);
  const nodeId = nodeIdOf(flags, way, credentials);
  const deviceCode = way.kind === 'api' ? undefined : env['CITADEL_DEVICE_CODE']; // (2)
  return {
    way,
    reportsStatus: flags.redisStatus && way.kind !== 'none',
    nodeId,
    statusPort: flags.statusPort,
    intervalMs: agentInterval(env),
    tags: flags.tag ?? [],
    ...(deviceCode ? { deviceCode } : {}),
    ...(env['DOCKER_HOST'] ? { dockerHost: env['DOCKER_HOST'] } : {}),
  };
}

/** Undefined when no jobs are to be taken. */
export function jobSettings(flags: WorkFlags, way: Way): JobSettings | undefined {
  if (way.kind === 'none' || flags.concurrency === 0) return undefined;
  const tags = (flags.tag ?? []).map(tagQueue);
  // Over HTTP the control plane names the queues, those of the node's tags among them.
  const named = flags.queue ?? (way.kind === 'api' ? undefined : [DEFAULT_QUEUE]);
  const queues = named === undefined ? undefined : [...new Set([...named, ...tags])];
  return { queues, concurrency: flags.concurrency, graceMs: flags.grace * 1_000 };
}

function wayOf(flags: WorkFlags, env: Environment, credentials: Credentials | undefined): Way {
  switch (flags.mode) {
    case 'redis': {
      const redis = flags.redisUrl === undefined ? redisOptionsFrom(env) : parseRedisUrl(flags.redisUrl, '--redis-url');
      if (redis !== undefined) return { kind: 'redis', redis };
      if (flags.redisStatus)
        throw new InvalidSettingError(
          '--redis-url',
          'is missing. Give the URL that the control plane printed, or set REDIS_URL; an enrolled node needs none with --mode=api.',
        );
      return { kind: 'none' };
    }
    case 'api':
      if (credentials === undefined) throw new InvalidSettingError('--mode', 'is "api", but this node is not enrolled. Run castellan init first.');
      return { kind: 'api', url: readApiUrl(flags.apiUrl, env, credentials.apiUrl), credentials };
    default:
      throw new InvalidSettingError('--mode', `is ${JSON.stringify(flags.mode)}; it must be "redis" or "api".`);
  }
}

function nodeIdOf(flags: WorkFlags, way: Way, credentials: Credentials | undefined): string {
  if (way.kind === 'api' && flags.nodeId !== undefined && flags.nodeId !== way.credentials.nodeId)
    throw new InvalidSettingError(
      '--node-id',
      `is not ${way.credentials.nodeId}, as which this node is enrolled. Leave it out, or run castellan init --force.`,
    ); // (1)
  return nodeIdFrom(flags.nodeId ?? credentials?.nodeId, hostname());
}
