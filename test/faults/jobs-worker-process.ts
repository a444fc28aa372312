/**
 * A worker in a process of its own, to be killed or frozen: does jobs of type `WORK`, which last as long as they say (`ms`)
 * and tell progress as often as they say (`tellMs`).
 *
 * Argument: JSON of {@link JobsWorkerOptions}. Ends with its parent; SIGTERM stops the worker properly.
 * Each run is put into the set {@link RUNS} as `<job> <attempt> <id of its own>` before anything else is done: a repeat after a lost reply adds nothing.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { DEFAULT_QUEUE } from '../../src/protocol/job-progress.ts';
import { createJobTransport, workerConsumer } from '../../src/redis/job-transport.ts';
import { parseRedisUrl } from '../../src/redis/target.ts';
import { defineJob } from '../../src/worker/define-job.ts';
import { Worker } from '../../src/worker/worker.ts';

export interface JobsWorkerOptions {
  readonly url: string;
  readonly nodeId: string;
  readonly concurrency: number;
  readonly heartbeatMs: number;
}

export const RUNS = 'runs';

if (import.meta.main) {
  process.once('disconnect', () => process.exit(0));
  const { url, nodeId, concurrency, heartbeatMs } = JSON.parse(process.argv[2] ?? '{}') as JobsWorkerOptions;
  const redis = new Redis(url, { retryStrategy: () => 50, maxRetriesPerRequest: null });
  redis.on('error', () => undefined);
  const work = defineJob({
    type: 'WORK',
    handler: async ({ id, attempt, payload, progress }) => {
      const { ms, tellMs } = payload as { readonly ms: number; readonly tellMs?: number };
      await redis.sadd(RUNS, `${id} ${attempt} ${randomUUID()}`);
      const telling = tellMs === undefined ? undefined : setInterval(() => progress(1), tellMs);
      await sleep(ms);
      clearInterval(telling);
      return { attempt };
    },
  });
  const worker = new Worker({
    transport: createJobTransport(parseRedisUrl(url), { consumer: workerConsumer(nodeId, String(process.pid)), nodeId }),
    queues: [DEFAULT_QUEUE],
    jobs: [work],
    concurrency,
    nodeId,
    heartbeatMs,
    log: { warn: (message) => console.warn(message) },
  });
  process.once('SIGTERM', () => void worker.stop().then(() => process.exit(0)));
  worker.start();
  process.send?.('started');
}
