/**
 * What an engine needs to run jobs, and what runs beside it: the one place where machine, contracts and queues come together.
 *
 * 1. The types, sources and outlets belong to whoever runs the engine; warden and pump may run in any number of processes.
 * 2. Started after the engine's client and stopped before it: both send through it.
 */
import type { JobMachineSettings } from '../../machines/job/settings.ts';
import { DEFAULT_JOB_MACHINE } from '../../machines/job/settings.ts';
import type { PlaceInput, Placement } from '../../machines/job/events.ts';
import { announceTasks } from '../contracts/tasks.ts';
import { dlqOutlet, jobReportsSource, queueOutlet, workerQueueContract } from '../contracts/worker-jobs.ts';
import type { Client } from '../engine/client.ts';
import type { EngineOptions } from '../engine/engine.ts';
import type { Clock } from '../engine/ports.ts';
import { systemClock } from '../engine/system-clock.ts';
import { jobTypes, type JobHost } from '../jobs/hosted-types.ts';
import { jobIdSource } from '../jobs/job-ids.ts';
import { createJobs, type JobPorts } from '../jobs/jobs.ts';
import { nextTick } from '../jobs/next-tick.ts';
import { QueuePump } from '../jobs/queue-pump.ts';
import { QueueWarden, type QueueWardenPorts } from '../jobs/queue-warden.ts';
import type { JobSettings } from '../jobs/settings.ts';
import type { Jobs } from '../protocol/job.ts';
import type { RedisConnections } from '../redis/connect.ts';

export interface JobHostOptions {
  readonly redis: RedisConnections;
  readonly clock: Clock;
  /** Finds a node for a job that requires something of it. */
  readonly place: (input: PlaceInput, signal: AbortSignal) => Promise<Placement>;
  readonly settings?: JobSettings;
  readonly machine?: JobMachineSettings;
  readonly rebalance?: JobHost['rebalance'];
  /** Streams of other systems whose consumers are observed as those of worker queues are. */
  readonly observed?: QueueWardenPorts['others'];
  /** Told of a failed look at the queues; the next one comes by itself. */
  readonly warn: (message: string) => void;
}

export interface HostedJobs {
  readonly engine: Required<Pick<EngineOptions, 'types' | 'sources' | 'outlets'>>;
  /** `ring`: what is held back in a queue may go. */
  readonly ring: (queue: string) => void;
  /** Begins to watch the queues, through this client. (2) */
  start(client: Client): void;
  stop(): Promise<void>;
}

export function hostJobs({ redis, clock, place, settings, machine = DEFAULT_JOB_MACHINE, rebalance, observed, warn }: JobHostOptions): HostedJobs {
  const time = (): Promise<number> => redis.store.time();
  const onError = (error: Error): void => warn(`The worker queues could not be looked at: ${error.message}`);
  const pump = new QueuePump({ queues: redis.queues, clock, onError });
  let warden: QueueWarden | undefined;
  return {
    engine: {
      types: jobTypes({
        queues: redis.queues,
        place,
        nextTick: nextTick(time),
        announce: announceTasks,
        machine,
        ...(rebalance === undefined ? {} : { rebalance }),
        ...(settings === undefined ? {} : { settings }),
      }),
      sources: [jobReportsSource],
      outlets: [queueOutlet, dlqOutlet],
    },
    ring: (queue) => pump.ring(queue),
    start(client) {
      warden = new QueueWarden({
        queues: redis.queues,
        observer: redis.queueObserver,
        contract: workerQueueContract,
        client,
        reject: (letters) => redis.store.reject(letters),
        time,
        progress: redis.jobProgress,
        clock,
        leaseMs: machine.leaseMs,
        onHeld: (queue) => pump.ring(queue),
        onError,
        ...(observed === undefined ? {} : { others: observed }),
      });
      pump.start();
      warden.start();
    },
    async stop() {
      await Promise.all([warden?.stop(), pump.stop()]);
    },
  };
}

export type JobServiceOptions = Pick<JobPorts, 'client' | 'source' | 'confirmMs' | 'stopped' | 'ring'> & { readonly redis: RedisConnections };

/** The job service of a process that is connected, whether it runs the engine or not. */
export function openJobs({ redis, ...options }: JobServiceOptions): Jobs {
  const { reader, queues, jobLogs: logs } = redis;
  const time = (): Promise<number> => redis.store.time();
  const makeId = jobIdSource({ now: Date.now });
  return createJobs({ ...options, arrivals: redis.arrivals, reader, queues, logs, clock: systemClock, time, now: Date.now, makeId });
}
