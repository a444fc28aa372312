/**
 * All that an engine and its readers need of one Redis: connected clients and the ports over them.
 *
 * Three connections beside the loop's own: reads for people must not stand in line behind commits, a blocking read holds
 * its connection, and a subscriber may do nothing else.
 */
import type { Redis } from 'ioredis';
import type { Doorbell, EngineStore, Intake } from '../engine/ports.ts';
import type { Arrivals, ReplyListener } from '../engine/read-ports.ts';
import type { Enrolment } from '../protocol/enrolment.ts';
import type { JobLogs } from '../protocol/job-log.ts';
import type { ProgressListener, QueueObserver, Queues } from '../protocol/queues.ts';
import type { RebalanceWriter } from '../protocol/rebalance.ts';
import type { UserEvents } from '../protocol/user-events.ts';
import { createArrivals } from './arrivals.ts';
import { checkServer, type ServerReport } from './check-server.ts';
import { closeClient, connectFirst, createBlockingClient, createSubscriber, createWriteClient, type ClientContext } from './clients.ts';
import { checkFormat } from './format.ts';
import { createDoorbell } from './doorbell.ts';
import { createEnrolment } from './enrolment.ts';
import { ensureGroupStreams, type GroupStream } from './group-streams.ts';
import { createIntake } from './intake.ts';
import { createJobLogs } from './job-log.ts';
import { createKeys, type Keys } from './keys.ts';
import { createProgressListener } from './progress-listener.ts';
import { createQueueObserver } from './queue-observer.ts';
import { createQueues } from './queues.ts';
import { createRedisReader, type RedisReader } from './reader.ts';
import { createReplyListener } from './replies.ts';
import { createRedisStore, type StoreSettings } from './store.ts';
import { takeSeal } from './seal.ts';
import { createUserEvents } from './user-events.ts';
import type { RedisTarget } from './target.ts';

export interface RedisConnections {
  readonly keys: Keys;
  /** For the engine's loop alone. */
  readonly engineStore: EngineStore;
  /** For everyone else: appends, publishes. */
  readonly store: EngineStore;
  readonly reader: RedisReader;
  readonly doorbell: Doorbell;
  readonly replies: ReplyListener;
  readonly arrivals: Arrivals;
  /** Lists and channels of other systems, for the engine. */
  readonly intake: Intake;
  /** Worker queues, and what workers wrote of their jobs. */
  readonly queues: Queues;
  readonly queueObserver: QueueObserver;
  readonly jobProgress: ProgressListener;
  readonly jobLogs: JobLogs;
  /** Makes streams and their groups where they are missing; throws RedisUnusableError when a key of that name holds something else. */
  ensureGroupStreams(streams: readonly GroupStream[]): Promise<void>;
  /** Events for users' sockets, and the keys of the rebalance agent. */
  readonly userEvents: UserEvents & RebalanceWriter;
  /** Codes and tokens of devices. */
  readonly enrolment: Enrolment;
  readonly server: ServerReport;
  close(): Promise<void>;
}

export interface ConnectOptions extends ClientContext {
  /** Of all keys; default `castellan`. */
  readonly prefix?: string;
  readonly settings?: Partial<StoreSettings>;
}

/** Throws RedisUnusableError with the way out when Redis cannot be reached or must not be used. */
export async function connectRedis(target: RedisTarget, { prefix, settings, ...context }: ConnectOptions = {}): Promise<RedisConnections> {
  const keys = createKeys(prefix);
  const loop = createWriteClient(target, context);
  const shared = createWriteClient(target, context);
  const blocking = createBlockingClient(target, context);
  const subscriber = createSubscriber(target, context);
  const clients: readonly Redis[] = [loop, shared, blocking, subscriber];
  const close = async (): Promise<void> => {
    await Promise.all(clients.map(closeClient));
  };
  try {
    await connectFirst(loop, target);
    const server = await checkServer(loop);
    await checkFormat(loop, keys);
    await Promise.all([shared, blocking, subscriber].map((client) => connectFirst(client, target)));
    const intake = await createIntake(shared, subscriber, keys);
    const open = await takeSeal(shared, keys);
    return {
      keys,
      engineStore: await createRedisStore(loop, keys, settings),
      store: await createRedisStore(shared, keys, settings),
      reader: createRedisReader({ client: shared, blocking, keys }),
      doorbell: createDoorbell(subscriber, keys, open),
      replies: createReplyListener(subscriber, keys),
      arrivals: createArrivals(intake, keys, open),
      intake,
      queues: createQueues(shared),
      queueObserver: createQueueObserver(shared),
      jobProgress: createProgressListener(subscriber),
      jobLogs: createJobLogs(shared),
      ensureGroupStreams: async (streams) => await ensureGroupStreams(shared, streams),
      userEvents: createUserEvents({ client: shared, subscriber, keys }),
      enrolment: createEnrolment({ client: shared, subscriber, keys }),
      server,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
