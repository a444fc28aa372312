/** The agent as a worker: its built-in jobs, taken from queues over Redis. Loaded only when there is a Redis to take them from. */
import { randomBytes } from 'node:crypto';
import { builtInJobs } from '../agent/jobs/built-in-jobs.ts';
import { createJobTransport, workerConsumer } from '../redis/job-transport.ts';
import { describeTarget, type RedisTarget } from '../redis/target.ts';
import { Worker } from '../worker/worker.ts';
import type { Logger } from 'pino';

export interface WorkJobsSettings {
  readonly redis: RedisTarget;
  readonly nodeId: string;
  readonly queues: readonly string[];
  readonly concurrency: number;
  readonly graceMs: number;
  readonly intervalMs: number;
  readonly dockerHost?: string;
  readonly statusPort: () => number | undefined;
  readonly log: Logger;
}

/** Takes jobs from now on; a Redis that is away is waited for. */
export function startJobs({ redis, nodeId, queues, concurrency, graceMs, intervalMs, dockerHost, statusPort, log }: WorkJobsSettings): Worker {
  let fault: string | undefined;
  const transport = createJobTransport(redis, {
    consumer: workerConsumer(nodeId, `${process.pid}-${randomBytes(4).toString('hex')}`),
    nodeId,
    // Once an outage: each of three links tells each of its tries.
    onError: (error) => {
      const code = (error as { readonly code?: string }).code ?? error.message;
      if (code !== fault) log.debug({ redis: describeTarget(redis), fault: code }, 'A link for jobs failed and is restored');
      fault = code;
    },
  });
  const worker = new Worker({
    transport,
    queues,
    jobs: builtInJobs({ statusPort, ...(dockerHost === undefined ? {} : { dockerHost }) }),
    concurrency,
    nodeId,
    graceMs,
    heartbeatMs: intervalMs,
    log: { warn: (message) => log.warn(message), info: (message) => log.info(message) },
  });
  worker.start();
  log.info({ queues, concurrency, consumer: transport.consumer }, 'Jobs are taken');
  return worker;
}
