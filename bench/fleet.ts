/**
 * A large fleet in its steady state: 100,000 simulated nodes, a beat each every 30 s, and what engine and Redis spend on it.
 * One run of a minute and a half; the first interval, in which all nodes appear, is not measured.
 */
import { fork } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { startTestRedis } from '../test/redis-server.ts';
import { figure, type Figure } from './figures.ts';
import { MeasuredProcess } from './process-report.ts';
import { redisCpuMs } from './transitions.ts';

const NODES = 100_000;
const INTERVAL_MS = 30_000;
const MEASURED_MS = 45_000;
const SAMPLE_MS = 500;
const MEBIBYTE = 1_048_576;

export async function fleet(): Promise<readonly Figure[]> {
  const redis = await startTestRedis(['--appendonly', 'yes', '--appendfsync', 'everysec', '--save', '']);
  const client = new Redis(redis.url);
  const engine = await MeasuredProcess.start('./engine-process.ts', { url: redis.url, machine: 'fleet', intervalMs: INTERVAL_MS });
  const generator = fork(
    new URL('./simulated-fleet.ts', import.meta.url),
    [`--redis-url=${redis.url}`, `--nodes=${NODES}`, `--interval-ms=${INTERVAL_MS}`, `--duration-ms=${INTERVAL_MS + MEASURED_MS + 10_000}`],
    { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] },
  );
  try {
    // Each node's first status, and its message to the fleet.
    await engine.until(NODES * 2);
    await sleep(2_000);
    const before = await engine.report();
    const redisBefore = await redisCpuMs(client);
    const began = performance.now();
    const lags: number[] = [];
    while (performance.now() - began < MEASURED_MS) {
      lags.push(await lagMs(client));
      await sleep(SAMPLE_MS);
    }
    const ms = performance.now() - began;
    const after = await engine.report();
    const redisMs = (await redisCpuMs(client)) - redisBefore;
    const used = Number(/^used_memory:(\d+)/m.exec(await client.info('memory'))?.[1]);
    const perSecond = ((after.done - before.done) / ms) * 1_000;
    const worst = Math.max(...lags);
    const strays = after.counters?.['firings'] ?? 0;
    return [
      figure('beats/s worked off', '/s', [perSecond], { reference: { name: 'sent', value: NODES / (INTERVAL_MS / 1_000), unit: '/s' } }),
      figure('lag, worst of the samples', 'ms', [worst], { goal: { text: '< 1 s', reached: worst < 1_000 } }),
      figure('engine CPU', '% of a core', [((after.cpuMs - before.cpuMs) / ms) * 100]),
      figure('Redis CPU', '% of a core', [(redisMs / ms) * 100]),
      figure('engine memory (RSS)', 'MiB', [after.rssBytes / MEBIBYTE]),
      figure('Redis memory', 'MiB', [used / MEBIBYTE]),
      figure('deadlines that fired', '', [strays], { goal: { text: 'none', reached: strays === 0 } }),
    ];
  } finally {
    generator.kill();
    await engine.stop();
    client.disconnect();
    await redis.stop();
  }
}

/** How far the newest entry of the stream is ahead of what all partitions have committed, by the ids' time. */
async function lagMs(client: Redis): Promise<number> {
  const [newest] = await client.xrevrange('node:status:stream', '+', '-', 'COUNT', 1);
  const reads = await Promise.all(Array.from({ length: 64 }, (_, partition) => client.hget(`castellan:{p${partition}}:meta`, 'source:node:status:stream')));
  const oldest = Math.min(...reads.map((position) => Number((position ?? '0-0').split('-')[0])));
  return Math.max(0, Number((newest?.[0] ?? '0-0').split('-')[0]) - oldest);
}
