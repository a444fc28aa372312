/** One control plane's engine with contracts over a real Redis, as `serve` wires them; several may share one Redis. */
import { setTimeout as sleep } from 'node:timers/promises';
import { onTestFinished } from 'vitest';
import { jobType } from '../../machines/job/definition.ts';
import { announceTasks } from '../../src/contracts/tasks.ts';
import { registerActorType } from '../../src/core/kernel.ts';
import type { HostedType } from '../../src/engine/actor-types.ts';
import { Client } from '../../src/engine/client.ts';
import { Engine, type EngineOptions } from '../../src/engine/engine.ts';
import { Hub } from '../../src/engine/hub.ts';
import { systemClock } from '../../src/engine/system-clock.ts';
import { jobView } from '../../src/jobs/views.ts';
import type { DeadLetter } from '../../src/protocol/dead-letter.ts';
import { actorKey } from '../../src/protocol/ids.ts';
import type { JobView } from '../../src/protocol/job.ts';
import { closeClient, connectFirst, createSubscriber, createWriteClient } from '../../src/redis/clients.ts';
import { connectRedis, type RedisConnections } from '../../src/redis/connect.ts';
import { createIntake } from '../../src/redis/intake.ts';
import { parseRedisUrl } from '../../src/redis/target.ts';
import type { TestRedis } from '../redis-server.ts';

const LIMIT_MS = 20_000;
const nothing = async (): Promise<void> => undefined;

/** Jobs that are only followed, and told as tasks. */
export const followedJobs: HostedType = {
  registered: registerActorType(jobType({ place: async () => ({ reason: 'there are no nodes here' }) })),
  executors: { withdrawJob: nothing, pushRebalance: nothing, tellRebalance: nothing },
  announce: announceTasks,
};

export interface EngineWorld {
  readonly redis: RedisConnections;
  readonly engine: Engine;
  readonly client: Client;
  job(jobId: string): Promise<JobView | undefined>;
  deadLetters(): Promise<readonly DeadLetter[]>;
  stop(): Promise<void>;
}

let worlds = 0;

export async function startEngineWorld(
  server: TestRedis,
  options: Pick<EngineOptions, 'types' | 'sources' | 'lists' | 'channels' | 'outlets' | 'settings'>,
): Promise<EngineWorld> {
  const target = parseRedisUrl(server.url);
  const redis = await connectRedis(target);
  const [calls, subscriber] = [createWriteClient(target), createSubscriber(target)];
  await Promise.all([connectFirst(calls, target), connectFirst(subscriber, target)]);
  const engine = new Engine({
    store: redis.engineStore,
    doorbell: redis.doorbell,
    clock: systemClock,
    owner: `world-${process.pid}-${++worlds}`,
    intake: await createIntake(calls, subscriber, redis.keys),
    ...options,
  });
  const hub = new Hub(redis.reader, systemClock);
  const client = new Client({ store: redis.store, reader: redis.reader, replies: redis.replies, hub, types: engine.types, clock: systemClock });
  await client.start();
  // A second one on the same Redis stands by until partitions are free.
  const started = engine.start();
  await Promise.race([started, sleep(1_000)]);
  let stopping: Promise<void> | undefined;
  const end = async (): Promise<void> => {
    await engine.stop();
    await client.stop();
    await Promise.all([calls, subscriber].map(closeClient));
    await redis.close();
  };
  const stop = (): Promise<void> => (stopping ??= end());
  onTestFinished(stop);
  return {
    redis,
    engine,
    client,
    job: async (jobId) => {
      const stored = await redis.reader.getActor(actorKey('job', jobId));
      return stored === undefined ? undefined : jobView(stored);
    },
    deadLetters: async () => (await redis.reader.listDeadLetters(undefined, 100)).items,
    stop,
  };
}

export async function until<Value>(what: string, look: () => Promise<Value | undefined | false> | Value | undefined | false): Promise<Value> {
  for (const deadline = performance.now() + LIMIT_MS; performance.now() < deadline; await sleep(10)) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
  }
  throw new Error(`not within ${LIMIT_MS} ms: ${what}`);
}
