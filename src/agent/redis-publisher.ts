/**
 * Publishes statuses to Redis: the stream first, then the node's channel.
 *
 * 1. The stream entry is the status; the channel message is a courtesy, and its failure is none.
 * 2. A device code is a bearer secret: it goes into the stream, which the control plane reads, never onto the channel,
 *    which anyone may watch.
 * 3. Nothing waits in a queue inside the client: a status that cannot be sent now is the caller's to replace by a newer one.
 * 4. A connection on which a command timed out is given up (half-open links do not recover by themselves).
 */
import { Redis } from 'ioredis';
import { backoffDelayMs, connectionTimings } from './schedule.ts';
import { STATUS_STREAM, STATUS_STREAM_LENGTH, statusChannel, type StatusMessage } from './status.ts';
import type { Publisher } from './publisher.ts';
import type { Logger } from 'pino';

export interface RedisAddress {
  readonly host: string;
  readonly port: number;
  readonly db: number;
  readonly tls: boolean;
  readonly username?: string;
  readonly password?: string;
}

export interface RedisPublisherOptions {
  readonly redis: RedisAddress;
  readonly intervalMs: number;
  readonly random: () => number;
  readonly log: Logger;
}

export function redisPublisher({ redis, intervalMs, random, log }: RedisPublisherOptions): Publisher {
  const { commandTimeoutMs, connectTimeoutMs, reconnectDelayMsMax } = connectionTimings(intervalMs);
  const { tls, ...address } = redis;
  const client = new Redis({
    ...address,
    ...(tls ? { tls: {} } : {}),
    autoResendUnfulfilledCommands: false,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout: commandTimeoutMs,
    connectTimeout: connectTimeoutMs,
    disconnectTimeout: commandTimeoutMs,
    retryStrategy: (attempt) => backoffDelayMs(attempt, reconnectDelayMsMax, random()),
    connectionName: 'castellan-agent',
  });
  const server = `${redis.host}:${redis.port}`; // The password stays out of the log.
  let lastFault: string | undefined;
  client.on('error', (error: NodeJS.ErrnoException) => {
    const fault = error.code ?? error.message;
    if (fault !== lastFault) log.warn({ redis: server, fault }, 'Redis cannot be reached; the newest status is kept and sent when it can');
    lastFault = fault;
  });
  client.on('ready', () => {
    lastFault = undefined;
    log.info({ redis: server }, 'Connected to Redis');
  });

  return {
    async publish(message) {
      try {
        await client.xadd(STATUS_STREAM, 'MAXLEN', '~', STATUS_STREAM_LENGTH, '*', ...entryFields(message));
      } catch (error) {
        if (isTimeout(error) && client.status === 'ready') client.disconnect(true); // (4)
        throw error;
      }
      await client.publish(statusChannel(message.nodeId), JSON.stringify({ ...message, deviceCode: undefined })).catch((error: Error) => {
        log.debug({ reason: error.message }, 'The status is in the stream, but was not announced on the channel'); // (1)
      });
    },
    onReady: (listener) => void client.on('ready', listener),
    async close() {
      client.disconnect();
    },
  };
}

function entryFields(message: StatusMessage): readonly string[] {
  const { nodeId, timestamp, deviceCode } = message;
  return ['nodeId', nodeId, 'timestamp', timestamp, 'payload', JSON.stringify(message), ...(deviceCode === undefined ? [] : ['deviceCode', deviceCode])];
}

function isTimeout(error: unknown): boolean {
  return error instanceof Error && error.message === 'Command timed out';
}
