/**
 * The peer of the job benchmark: BullMQ as its documentation shows it, in one role a process, driven over IPC.
 *
 * `worker`: a Worker with the given concurrency whose handler returns at once. `submitter`: adds in bulk, or one at a time waiting for each.
 */
import { Queue, QueueEvents, Worker } from 'bullmq';
import { jobPayload, jobResult } from './job-payload.ts';
import type { ProcessReport } from './process-report.ts';

export interface BullmqOptions {
  readonly port: number;
  readonly role: 'worker' | 'submitter';
  readonly concurrency?: number;
}

/** Jobs of one addBulk call. */
const BULK = 1_000;
const QUEUE = 'bench';

const options = JSON.parse(process.argv[2] ?? '{}') as BullmqOptions;
const connection = { host: '127.0.0.1', port: options.port, maxRetriesPerRequest: null };
let done = 0;
const worker =
  options.role === 'worker'
    ? new Worker(
        QUEUE,
        async (job) => {
          done++;
          return jobResult(job.data.number as number);
        },
        { connection, concurrency: options.concurrency ?? 100 },
      )
    : undefined;
const queue = options.role === 'submitter' ? new Queue(QUEUE, { connection }) : undefined;
const events = options.role === 'submitter' ? new QueueEvents(QUEUE, { connection }) : undefined;
await worker?.waitUntilReady();
await queue?.waitUntilReady();
await events?.waitUntilReady();

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
    const jobs = Array.from({ length: Math.min(BULK, count - from) }, (_, index) => ({ name: 'ECHO', data: jobPayload(from + index) }));
    await queue?.addBulk(jobs);
  }
  process.send?.(report());
}

/** One job at a time, from `add` to its result: took, ms, each. */
async function single(count: number): Promise<void> {
  if (queue === undefined || events === undefined) return;
  const took: number[] = [];
  for (let number = 0; number < count; number++) {
    const began = performance.now();
    const job = await queue.add('ECHO', jobPayload(number));
    await job.waitUntilFinished(events);
    took.push(performance.now() - began);
  }
  process.send?.({ ...report(), took });
}

function report(): ProcessReport {
  const { user, system } = process.cpuUsage();
  return { done, cpuMs: (user + system) / 1_000, rssBytes: process.memoryUsage.rss() };
}

async function stop(): Promise<void> {
  await worker?.close();
  await events?.close();
  await queue?.close();
  process.disconnect();
}
