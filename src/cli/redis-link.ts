/** The way to the control plane over its Redis (`--mode=redis`). */
import { randomBytes } from 'node:crypto';
import { redisConfigSource } from '../agent/config-source-redis.ts';
import { redisPublisher } from '../agent/redis-publisher.ts';
import { DEFAULT_QUEUE } from '../protocol/job-progress.ts';
import { createJobTransport, workerConsumer } from '../redis/job-transport.ts';
import { createKeys } from '../redis/keys.ts';
import { describeTarget, type RedisTarget } from '../redis/target.ts';
import type { EnrolledNode } from '../agent/enrolled-node.ts';
import type { NodeLink } from './node-link.ts';
import type { Logger } from 'pino';

export interface RedisLinkOptions {
  readonly redis: RedisTarget;
  readonly nodeId: string;
  readonly node: EnrolledNode;
  readonly intervalMs: number;
  readonly log: Logger;
}

export function redisLink({ redis, nodeId, node, intervalMs, log }: RedisLinkOptions): NodeLink {
  let fault: string | undefined;
  // Once an outage: each of the links tells each of its tries.
  const onError = (error: Error): void => {
    const code = (error as { readonly code?: string }).code ?? error.message;
    if (code !== fault) log.debug({ redis: describeTarget(redis), fault: code }, 'A link to Redis failed and is restored');
    fault = code;
  };
  return {
    name: describeTarget(redis),
    publisher: () => redisPublisher({ redis, intervalMs, random: Math.random, log }),
    jobTransport: () => createJobTransport(redis, { consumer: workerConsumer(nodeId, `${process.pid}-${randomBytes(4).toString('hex')}`), nodeId, onError }),
    queues: async (wanted = [DEFAULT_QUEUE]) => wanted,
    configSource: () =>
      redisConfigSource({ redis, nodeId, deviceId: () => node.credentials?.deviceId, bell: createKeys().sourcesBell, random: Math.random, log }),
    close: async () => undefined,
  };
}
