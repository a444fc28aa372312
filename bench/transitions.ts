/**
 * Durable transitions a second of one engine process on a job-like machine of three events, over 64 partitions,
 * with `appendfsync everysec` and `always` in the same run.
 *
 * The events are appended under another prefix and renamed into the inboxes, so that appending is no part of the figure.
 */
import { Redis } from 'ioredis';
import { partitionOf, PARTITION_COUNT } from '../src/protocol/ids.ts';
import { createKeys } from '../src/redis/keys.ts';
import { startTestRedis } from '../test/redis-server.ts';
import { figure, median, type Figure } from './figures.ts';
import { MeasuredProcess } from './process-report.ts';

const JOBS = 40_000;
const EVENTS = ['submit', 'claim', 'finish'] as const;
const PIPELINE = 2_000;

interface Run {
  readonly perSecond: number;
  readonly engineMicroseconds: number;
  readonly redisMicroseconds: number;
}

export async function transitions(runs: number): Promise<readonly Figure[]> {
  const everysec: Run[] = [];
  const always: Run[] = [];
  for (let run = 0; run < runs; run++) {
    everysec.push(await measure('everysec'));
    always.push(await measure('always'));
  }
  const rates = everysec.map((run) => run.perSecond);
  const costs = always.map((run, index) => 100 * (1 - run.perSecond / (everysec[index] as Run).perSecond));
  return [
    figure('durable transitions/s', '/s', rates, { goal: { text: '≥ 50,000/s (60,000 the goal)', reached: median(rates) >= 50_000 } }),
    figure(
      'engine CPU per transition',
      'µs',
      everysec.map((run) => run.engineMicroseconds),
    ),
    figure(
      'Redis CPU per transition',
      'µs',
      everysec.map((run) => run.redisMicroseconds),
    ),
    figure(
      'with appendfsync always',
      '/s',
      always.map((run) => run.perSecond),
    ),
    figure('cost of appendfsync always', '%', costs, { goal: { text: '< 20 %', reached: median(costs) < 20 } }),
  ];
}

async function measure(appendfsync: 'everysec' | 'always'): Promise<Run> {
  const redis = await startTestRedis(['--appendonly', 'yes', '--appendfsync', appendfsync]);
  const client = new Redis(redis.url);
  const engine = await MeasuredProcess.start('./engine-process.ts', { url: redis.url, machine: 'job' });
  try {
    await load(client);
    const keys = createKeys();
    const before = await engine.report();
    const redisBefore = await redisCpuMs(client);
    const began = performance.now();
    const rename = client.multi();
    for (let partition = 0; partition < PARTITION_COUNT; partition++) rename.rename(loaded(partition), keys.partition(partition).inbox);
    await rename.exec();
    const total = JOBS * EVENTS.length;
    const after = await engine.until(before.done + total);
    const ms = performance.now() - began;
    if (after.counters?.['transitions'] !== total) throw new Error(`Of ${total} events ${after.counters?.['transitions']} became transitions.`);
    return {
      perSecond: (total / ms) * 1_000,
      engineMicroseconds: ((after.cpuMs - before.cpuMs) / total) * 1_000,
      redisMicroseconds: (((await redisCpuMs(client)) - redisBefore) / total) * 1_000,
    };
  } finally {
    await engine.stop();
    client.disconnect();
    await redis.stop();
  }
}

function loaded(partition: number): string {
  return `load:{p${partition}}:inbox`;
}

async function load(client: Redis): Promise<void> {
  for (const event of EVENTS) {
    for (let from = 0; from < JOBS; from += PIPELINE) {
      const pipeline = client.pipeline();
      for (let job = from; job < Math.min(JOBS, from + PIPELINE); job++) {
        const key = `job/j-${job}` as const;
        pipeline.xadd(loaded(partitionOf(key)), '*', key, `{"type":"${event}"}`);
      }
      await pipeline.exec();
    }
  }
}

/** CPU of the Redis process so far, user and system. */
export async function redisCpuMs(client: Redis): Promise<number> {
  const info = await client.info('cpu');
  const seconds = (name: string): number => Number(new RegExp(`^${name}:([0-9.]+)`, 'm').exec(info)?.[1] ?? 0);
  return (seconds('used_cpu_user') + seconds('used_cpu_sys')) * 1_000;
}
