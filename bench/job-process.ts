/**
 * Castellan in one role of the job benchmark, as a process of its own: the library's worker with a handler that returns at once, or its
 * job client, which submits in bulk, or one at a time waiting for each result.
 */
import { defineJob } from '../src/worker/define-job.ts';
import { JobClient } from '../src/library/jobs.ts';
import { JobWorker } from '../src/library/worker.ts';
import { jobPayload, jobResult } from './job-payload.ts';
import type { ProcessReport } from './process-report.ts';

export interface JobProcessOptions {
  readonly url: string;
  readonly role: 'worker' | 'submitter';
  readonly concurrency?: number;
}

/** Jobs of one bulk submission, as of the peer. */
const BULK = 1_000;

const options = JSON.parse(process.argv[2] ?? '{}') as JobProcessOptions;
let done = 0;
const echo = defineJob({
  type: 'ECHO',
  handler: async ({ payload }) => {
    done++;
    return jobResult((payload as { readonly number: number }).number);
  },
});
const log = { warn: (message: string) => console.error(message) };
const worker = options.role === 'worker' ? new JobWorker({ redis: options.url, jobs: [echo], concurrency: options.concurrency ?? 100, log }) : undefined;
const client = options.role === 'submitter' ? new JobClient({ redis: options.url, log }) : undefined;
await worker?.start();
await client?.start();

// A benchmark that fails leaves nobody behind.
process.once('disconnect', () => process.exit());
process.on('message', (message: 'report' | 'stop' | { readonly submit: number } | { readonly single: number }) => {
  if (message === 'report') process.send?.(report());
  else if (message === 'stop') void stop();
  else if ('submit' in message) void submit(message.submit);
  else void single(message.single);
});
process.send?.(report());

async function submit(count: number): Promise<void> {
  for (let from = 0; from < count; from += BULK) {
    await client?.addAll(Array.from({ length: Math.min(BULK, count - from) }, (_, index) => ({ type: 'ECHO', payload: jobPayload(from + index) })));
  }
  process.send?.(report());
}

/** One job at a time, from `add` to its result: took, ms, each. */
async function single(count: number): Promise<void> {
  const took: number[] = [];
  for (let number = 0; number < count; number++) {
    const began = performance.now();
    const job = await client?.add('ECHO', jobPayload(number));
    await job?.result();
    took.push(performance.now() - began);
  }
  process.send?.({ ...report(), took });
}

function report(): ProcessReport {
  const { user, system } = process.cpuUsage();
  return { done, cpuMs: (user + system) / 1_000, rssBytes: process.memoryUsage.rss() };
}

async function stop(): Promise<void> {
  await worker?.stop();
  await client?.stop();
  process.disconnect();
}
