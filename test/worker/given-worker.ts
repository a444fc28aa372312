/** A worker over a scripted transport, with a job type that a test ends by hand. */
import type { AnyJobDefinition, Job } from '../../src/protocol/job-handler.ts';
import { Worker, type WorkerOptions } from '../../src/worker/worker.ts';
import { ScriptedTransport, TestClock } from './scripted-transport.ts';

/** Its handler ends when the test says so. */
export class Hand {
  readonly jobs = new Map<string, { readonly job: Job; readonly end: (result?: unknown) => void; readonly fail: (error: unknown) => void }>();
  readonly definition: AnyJobDefinition = {
    type: 'hand',
    handler: async (job: Job) => {
      const { promise, resolve, reject } = Promise.withResolvers<unknown>();
      this.jobs.set(job.id, { job, end: resolve, fail: reject });
      return await promise;
    },
  };

  of(jobId: string) {
    const found = this.jobs.get(jobId);
    if (found === undefined) throw new Error(`${jobId} was not begun.`);
    return found;
  }
}

export const echo: AnyJobDefinition = { type: 'echo', handler: ({ payload }: Job) => payload };

/** Runs already: queue `jobs:v1:q`, types `echo` and `hand`, two at once, node `here`. */
export function givenWorker(options: Partial<WorkerOptions> = {}) {
  const transport = new ScriptedTransport();
  const clock = new TestClock();
  const hand = new Hand();
  const warnings: string[] = [];
  const log = { warn: (message: string) => void warnings.push(message) };
  const worker = new Worker({ transport, clock, log, queues: ['jobs:v1:q'], jobs: [echo, hand.definition], concurrency: 2, nodeId: 'here', ...options });
  worker.start();
  return { transport, clock, hand, warnings, worker };
}
