/** The agent as a worker: its built-in jobs, taken from queues. Loaded only when there is a control plane to take them from. */
import { builtInJobs } from '../agent/jobs/built-in-jobs.ts';
import { Worker } from '../worker/worker.ts';
import type { AnyJobDefinition } from '../protocol/job-handler.ts';
import type { NodeLink } from './node-link.ts';
import type { Logger } from 'pino';

export interface WorkJobsSettings {
  readonly link: NodeLink;
  readonly nodeId: string;
  /** Undefined: those that the control plane names. */
  readonly queues: readonly string[] | undefined;
  readonly concurrency: number;
  readonly graceMs: number;
  readonly intervalMs: number;
  readonly dockerHost?: string;
  readonly statusPort: () => number | undefined;
  /** Beside the built-in ones. */
  readonly jobs?: readonly AnyJobDefinition[];
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/** Takes jobs from now on; a control plane that is away is waited for. Undefined when the signal aborts before the queues are known. */
export async function startJobs(settings: WorkJobsSettings): Promise<Worker | undefined> {
  const { link, nodeId, concurrency, graceMs, intervalMs, dockerHost, statusPort, jobs = [], signal, log } = settings;
  const queues = await link.queues(settings.queues, signal);
  if (queues === undefined || signal.aborted) return undefined;
  const transport = link.jobTransport();
  const worker = new Worker({
    transport,
    queues,
    jobs: [...builtInJobs({ statusPort, ...(dockerHost === undefined ? {} : { dockerHost }) }), ...jobs],
    concurrency,
    nodeId,
    graceMs,
    heartbeatMs: intervalMs,
    log: { warn: (message) => log.warn(message), info: (message) => log.info(message) },
  });
  worker.start();
  log.info({ queues, concurrency, consumer: transport.consumer, from: link.name }, 'Jobs are taken');
  return worker;
}
