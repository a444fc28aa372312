/** The way to the control plane over its Redis (`--mode=redis`). */
import { randomBytes } from 'node:crypto';
import { redisPublisher } from '../agent/redis-publisher.ts';
import { configChannel } from '../protocol/device-config.ts';
import { DEFAULT_QUEUE } from '../protocol/job-progress.ts';
import { closeClient, createSubscriber } from '../redis/clients.ts';
import { createJobTransport, workerConsumer } from '../redis/job-transport.ts';
import { describeTarget, type RedisTarget } from '../redis/target.ts';
import type { NodeLink } from './node-link.ts';
import type { Logger } from 'pino';

export interface RedisLinkOptions {
  readonly redis: RedisTarget;
  readonly nodeId: string;
  readonly intervalMs: number;
  readonly log: Logger;
}

export function redisLink({ redis, nodeId, intervalMs, log }: RedisLinkOptions): NodeLink {
  let fault: string | undefined;
  // Once an outage: each of the links tells each of its tries.
  const onError = (error: Error): void => {
    const code = (error as { readonly code?: string }).code ?? error.message;
    if (code !== fault) log.debug({ redis: describeTarget(redis), fault: code }, 'A link to Redis failed and is restored');
    fault = code;
  };
  let stopWatching: (() => Promise<void>) | undefined;
  return {
    name: describeTarget(redis),
    publisher: () => redisPublisher({ redis, intervalMs, random: () => Math.random(), log }),
    jobTransport: () => createJobTransport(redis, { consumer: workerConsumer(nodeId, `${process.pid}-${randomBytes(4).toString('hex')}`), nodeId, onError }),
    queues: async (wanted = [DEFAULT_QUEUE]) => wanted,
    onRedeemed: (told) => void (stopWatching ??= watchRedemption(redis, nodeId, onError, told)),
    close: async () => await stopWatching?.(),
  };
}

/**
 * Listens until the node's channel says that its device is known. A message that is missed costs nothing but further statuses with a
 * code that is worthless by then.
 */
function watchRedemption(redis: RedisTarget, nodeId: string, onError: (error: Error) => void, told: () => void): () => Promise<void> {
  const subscriber = createSubscriber(redis, { onError });
  const channel = configChannel(nodeId);
  let redeemed = false;
  subscriber.on('ready', () => void subscriber.subscribe(channel).catch(() => undefined));
  subscriber.on('message', (_channel: string, message: string) => {
    if (redeemed || !isRedemption(message)) return;
    redeemed = true;
    told();
    void closeClient(subscriber);
  });
  subscriber.connect().catch(() => undefined);
  return () => closeClient(subscriber);
}

/** A configuration for this node can only come after its code was seen. */
function isRedemption(message: string): boolean {
  try {
    const { type } = (JSON.parse(message) ?? {}) as { readonly type?: unknown };
    return type === 'device_redeemed' || type === 'config_updated';
  } catch {
    return false;
  }
}
