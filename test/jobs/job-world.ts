/** An engine that runs jobs, a job service and workers, all over one real Redis. */
import { onTestFinished } from 'vitest';
import { DEFAULT_JOB_MACHINE, type JobMachineSettings } from '../../machines/job/settings.ts';
import type { PlaceInput, Placement } from '../../machines/job/events.ts';
import { announceTasks } from '../../src/contracts/tasks.ts';
import { dlqOutlet, jobReportsSource, queueOutlet } from '../../src/contracts/worker-jobs.ts';
import { Client } from '../../src/engine/client.ts';
import { Engine } from '../../src/engine/engine.ts';
import { Hub } from '../../src/engine/hub.ts';
import { systemClock } from '../../src/engine/system-clock.ts';
import { jobTypes } from '../../src/jobs/hosted-types.ts';
import { nextTick } from '../../src/jobs/next-tick.ts';
import { QueuePump } from '../../src/jobs/queue-pump.ts';
import type { JobSettings } from '../../src/jobs/settings.ts';
import { openJobs } from '../../src/library/job-host.ts';
import { JobWorker, type CreateWorkerOptions } from '../../src/library/worker.ts';
import type { JobState, Jobs, JobView } from '../../src/protocol/job.ts';
import { connectRedis, type RedisConnections } from '../../src/redis/connect.ts';
import { parseRedisUrl } from '../../src/redis/target.ts';
import type { TestRedis } from '../redis-server.ts';

export interface JobWorldOptions {
  readonly settings?: JobSettings;
  readonly machine?: Partial<JobMachineSettings>;
  readonly place?: (input: PlaceInput) => Promise<Placement>;
  readonly confirmMs?: number;
  /** Of the engine's sweep. */
  readonly sweepMs?: number;
}

export interface JobWorld {
  readonly prefix: string;
  readonly redis: RedisConnections;
  readonly client: Client;
  readonly jobs: Jobs;
  worker(options: Omit<CreateWorkerOptions, 'redis' | 'prefix'>): Promise<JobWorker>;
  /** Looks until the job is in the state. */
  untilState(jobId: string, state: JobState): Promise<JobView>;
}

/** Bounded: a test that waits for what never comes fails with what there is. */
const UNTIL_MS = 20_000;
const LOOK_MS = 10;

export async function until<Value>(look: () => Promise<Value | undefined>, what: () => string): Promise<Value> {
  const end = Date.now() + UNTIL_MS;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (Date.now() > end) throw new Error(`Waited in vain: ${what()}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

/** Each world has a prefix of its own; queues and reports are shared by all worlds of a server, so tests use queues of their own. */
export async function startJobWorld(server: TestRedis, prefix: string, options: JobWorldOptions = {}): Promise<JobWorld> {
  const redis = await connectRedis(parseRedisUrl(server.url), { prefix });
  const { place = async () => ({ reason: 'no fleet' }), settings, machine, confirmMs = 0 } = options;
  const engine = new Engine({
    store: redis.engineStore,
    doorbell: redis.doorbell,
    clock: systemClock,
    types: jobTypes({
      queues: redis.queues,
      announce: announceTasks,
      place,
      nextTick: nextTick(() => redis.store.time()),
      machine: { ...DEFAULT_JOB_MACHINE, ...machine },
      ...(settings === undefined ? {} : { settings }),
    }),
    sources: [jobReportsSource],
    outlets: [queueOutlet, dlqOutlet],
    owner: `test-${prefix}`,
    ...(options.sweepMs === undefined ? {} : { settings: { trimEveryMs: options.sweepMs } }),
  });
  const hub = new Hub(redis.reader, systemClock);
  const client = new Client({ store: redis.store, reader: redis.reader, replies: redis.replies, hub, types: engine.types, clock: systemClock });
  const pump = new QueuePump({ queues: redis.queues, clock: systemClock });
  const jobs = openJobs({ redis, client, source: 'test', confirmMs, ring: (queue) => pump.ring(queue) });
  await client.start();
  await engine.start();
  pump.start();
  onTestFinished(async () => {
    await pump.stop();
    await client.stop();
    await engine.stop();
    await redis.close();
  });
  return {
    prefix,
    redis,
    client,
    jobs,
    async worker(worker) {
      const started = await new JobWorker({ ...worker, redis: server.url, prefix }).start();
      onTestFinished(() => started.stop());
      return started;
    },
    async untilState(jobId, state) {
      let last: JobView | undefined;
      return await until(
        async () => ((last = await jobs.get(jobId)) !== undefined && last.state === state ? last : undefined),
        () => `${jobId} is ${JSON.stringify(last)}, not ${state}`,
      );
    },
  };
}
