/**
 * From a client's append to the transition's arrival at a subscriber of the feed, at a steady 1,000 events a second,
 * and one event at a time from a send to its told outcome. Client and subscriber live in this process, the engine in another.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { createKeys } from '../src/redis/keys.ts';
import { connectRedis } from '../src/redis/connect.ts';
import { parseRedisUrl } from '../src/redis/target.ts';
import { Hub } from '../src/engine/hub.ts';
import { systemClock } from '../src/engine/system-clock.ts';
import { startTestRedis } from '../test/redis-server.ts';
import { figure, median, percentile, type Figure } from './figures.ts';
import { MeasuredProcess } from './process-report.ts';

const PER_SECOND = 1_000;
const SECONDS = 5;
/** Left out: compiling, connecting. */
const WARM_UP = 1_000;

interface Run {
  readonly p50: number;
  readonly p99: number;
}

export async function latency(runs: number): Promise<readonly Figure[]> {
  const measured: Run[] = [];
  for (let run = 0; run < runs; run++) measured.push(await measure());
  const p50 = measured.map((run) => run.p50);
  const p99 = measured.map((run) => run.p99);
  return [
    figure('append → feed, p50', 'ms', p50, { goal: { text: '≤ 3 ms', reached: median(p50) <= 3 } }),
    figure('append → feed, p99', 'ms', p99, { goal: { text: '≤ 15 ms', reached: median(p99) <= 15 } }),
  ];
}

async function measure(): Promise<Run> {
  const redis = await startTestRedis(['--appendonly', 'yes', '--appendfsync', 'everysec']);
  const engine = await MeasuredProcess.start('./engine-process.ts', { url: redis.url, machine: 'job' });
  const connections = await connectRedis(parseRedisUrl(redis.url), { prefix: createKeys().prefix });
  const hub = new Hub(connections.reader, systemClock);
  await hub.start();
  const stop = new AbortController();
  try {
    const sentAt = new Map<string, number>();
    const took: number[] = [];
    const total = WARM_UP + PER_SECOND * SECONDS;
    const transitions = await hub.follow('new', { signal: stop.signal });
    const received = (async () => {
      for await (const { transition } of transitions) {
        took.push(performance.now() - (sentAt.get(transition.key) ?? Number.NaN));
        if (took.length === total) return;
      }
    })();
    const began = performance.now();
    for (let number = 0; number < total; number++) {
      const dueMs = (number * 1_000) / PER_SECOND;
      const early = dueMs - (performance.now() - began);
      if (early > 0) await sleep(early);
      const actor = `job/latency-${number}` as const;
      sentAt.set(actor, performance.now());
      void connections.store.append([{ actor, event: { type: 'submit' }, source: 'library' }]);
    }
    await received;
    const steady = took.slice(WARM_UP);
    return { p50: percentile(steady, 0.5), p99: percentile(steady, 0.99) };
  } finally {
    stop.abort();
    hub.stop();
    await connections.close();
    await engine.stop();
    await redis.stop();
  }
}
