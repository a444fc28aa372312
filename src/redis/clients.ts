/**
 * Connections to Redis, each set up for its one use.
 *
 * 1. A command is sent once. ioredis resends nothing and queues nothing while the link is down: whoever called knows whether a repeat is safe (I1).
 * 2. No command waits for ever: each has a timeout, and a link that answers nothing is cut, so that a half-open one is noticed.
 * 3. What blocks has a connection of its own and a finite BLOCK; what only listens is pinged.
 * 4. Every client has an error handler; a lost link is reported and comes back by itself, with spread delays.
 */
import { Redis, type RedisOptions } from 'ioredis';
import { RedisUnusableError } from '../protocol/errors.ts';
import { describeTarget, type RedisTarget } from './target.ts';

/** A commit of 500 events takes a few ms; seconds without an answer mean that the link or Redis is gone. */
export const COMMAND_TIMEOUT_MS = 5_000;
const CONNECT_TIMEOUT_MS = 5_000;
/** Longest BLOCK of a blocking read, so that its watchdog can be short too. */
export const BLOCK_MS_MAX = 5_000;
/** How long after a BLOCK has ended the answer may still be on its way. */
const BLOCK_GRACE_MS = 2_000;
const LISTEN_PING_MS = 5_000;
/** Reconnect delay without jitter: doubles from the first to the last. */
const RECONNECT_MS_FIRST = 50;
const RECONNECT_MS_LAST = 2_000;

export interface ClientContext {
  /** Told of every failure of a link; must not throw. */
  readonly onError?: (error: Error, client: string) => void;
  /** Uniform in [0, 1): spreads the reconnects of many processes. */
  readonly random?: () => number;
}

/** For commands that answer at once: commits, appends, reads. */
export function createWriteClient(target: RedisTarget, context: ClientContext = {}): Redis {
  return createClient(target, 'write', context, { commandTimeout: COMMAND_TIMEOUT_MS, socketTimeout: COMMAND_TIMEOUT_MS });
}

/** For reads with a BLOCK of at most {@link BLOCK_MS_MAX}: one at a time. */
export function createBlockingClient(target: RedisTarget, context: ClientContext = {}): Redis {
  const limit = BLOCK_MS_MAX + BLOCK_GRACE_MS;
  return createClient(target, 'block', context, { commandTimeout: limit, socketTimeout: limit });
}

/** For subscriptions, made with {@link keepSubscribed}. A ping finds a link that silently died (3). */
export function createSubscriber(target: RedisTarget, context: ClientContext = {}): Redis {
  const client = createClient(target, 'listen', context, { commandTimeout: COMMAND_TIMEOUT_MS, socketTimeout: COMMAND_TIMEOUT_MS, autoResubscribe: false });
  const pulse = setInterval(() => {
    // A ping that fails has already cut the link through socketTimeout, or the link is being restored.
    if (client.status === 'ready') client.ping().catch(() => undefined);
  }, LISTEN_PING_MS);
  pulse.unref();
  client.once('end', () => clearInterval(pulse));
  return client;
}

/**
 * Subscribes, and again after every reconnect, until the function that it resolves with is called. Rejects when the first time fails.
 *
 * ioredis would subscribe again by itself, but nobody handles its failure: a link that breaks a second time meanwhile
 * would end the process, and leave channels unheard. `restored` is called when all is heard again.
 */
export async function keepSubscribed(client: Redis, subscribe: () => Promise<unknown>, restored: () => void = () => undefined): Promise<() => void> {
  // When it fails the link has broken again, and comes back with another 'ready'.
  const onReady = (): void => void subscribe().then(restored, () => undefined);
  await subscribe();
  client.on('ready', onReady);
  return () => void client.off('ready', onReady);
}

function createClient(target: RedisTarget, name: string, context: ClientContext, options: Omit<RedisOptions, 'replyMapping'>): Redis {
  const random = context.random ?? Math.random;
  const all: RedisOptions & { replyMapping?: 'legacy' } = {
    host: target.host,
    port: target.port,
    db: target.db,
    ...(target.username === undefined ? {} : { username: target.username }),
    ...(target.password === undefined ? {} : { password: target.password }),
    ...(target.tls ? { tls: {} } : {}),
    connectionName: `castellan-${name}`,
    // Without HELLO 3 the reply shapes are those of every Redis since 2.0, and one round trip less at connect.
    protocol: 2,
    lazyConnect: true,
    connectTimeout: CONNECT_TIMEOUT_MS,
    enableOfflineQueue: false,
    enableAutoPipelining: false,
    autoResendUnfulfilledCommands: false,
    // Rejects what was under way at once when the link breaks; without it those promises would wait for their timeout.
    maxRetriesPerRequest: 0,
    retryStrategy: (attempt: number) => reconnectDelay(attempt, random),
    ...options,
  };
  const client = new Redis(all);
  client.on('error', (error: Error) => context.onError?.(error, name));
  return client;
}

/** Half to one and a half of a delay that doubles up to its cap: the jitter lies outside the cap, or it would clamp to nothing. */
export function reconnectDelay(attempt: number, random: () => number): number {
  const delay = Math.min(RECONNECT_MS_LAST, RECONNECT_MS_FIRST * 2 ** Math.min(attempt - 1, 10));
  return Math.round(delay * (0.5 + random()));
}

/** Connects for the first time. Throws RedisUnusableError with the way out; the client is closed then. */
export async function connectFirst(client: Redis, target: RedisTarget): Promise<void> {
  let last: Error | undefined;
  const note = (error: Error): void => void (last = error);
  client.on('error', note);
  try {
    await client.connect();
  } catch (error) {
    client.disconnect();
    const cause = last ?? (error as Error);
    const why = (cause as { code?: string }).code ?? cause.message;
    throw new RedisUnusableError(
      `Failed to connect to Redis at ${describeTarget(target)} (${why}). Start a Redis there, set REDIS_URL, or set neither REDIS_URL nor REDIS_HOST to use the embedded one.`,
      { cause },
    );
  } finally {
    client.off('error', note);
  }
}

/** Ends a client for good: no more reconnects, and the socket is closed. */
export async function closeClient(client: Redis): Promise<void> {
  if (client.status === 'end') return;
  const hasSocket = client.status !== 'wait' && client.status !== 'close' && client.status !== 'reconnecting';
  const ended = new Promise<void>((resolve) => client.once('end', () => resolve()));
  client.disconnect();
  // Between two attempts ioredis only drops its timer and tells nobody; the ping of a subscriber ends at this event.
  if (!hasSocket) client.emit('end');
  await ended;
}
