/**
 * Heartbeats through the whole engine (decode, validate, step, commit, document, publish) against a bare consumer loop
 * on the same messages in the same run.
 *
 * The messages are written under another name and renamed into place, so that writing them is no part of the figure.
 */
import { Redis } from 'ioredis';
import { startTestRedis } from '../test/redis-server.ts';
import { figure, median, type Figure } from './figures.ts';
import { MeasuredProcess } from './process-report.ts';
import { simulatedStatus, statusEntryFields } from './simulated-status.ts';

const STREAM = 'node:status:stream';
const NODES = 5_000;
const BEATS = 12;
const PIPELINE = 1_000;

interface Run {
  readonly perSecond: number;
  readonly cpuMicroseconds: number;
}

export async function heartbeats(runs: number): Promise<readonly Figure[]> {
  const engine: Run[] = [];
  const bare: Run[] = [];
  for (let run = 0; run < runs; run++) {
    bare.push(await measure('./bare-consumer-process.ts', { stream: STREAM }));
    engine.push(await measure('./engine-process.ts', { machine: 'fleet', intervalMs: 30_000 }));
  }
  const bareRate = median(bare.map((run) => run.perSecond));
  const ratios = engine.map((run, index) => run.perSecond / (bare[index] as Run).perSecond);
  return [
    figure(
      'heartbeats/s, engine',
      '/s',
      engine.map((run) => run.perSecond),
      { reference: { name: 'bare consumer', value: bareRate, unit: '/s' } },
    ),
    figure('engine / bare consumer', '×', ratios, { goal: { text: '≥ 0.5', reached: median(ratios) >= 0.5 } }),
    figure(
      'process CPU per heartbeat, engine',
      'µs',
      engine.map((run) => run.cpuMicroseconds),
      { reference: { name: 'bare consumer', value: median(bare.map((run) => run.cpuMicroseconds)), unit: 'µs' } },
    ),
  ];
}

/** The nodes are known before the measured beats: what is measured is the steady state of a fleet. */
async function measure(file: string, options: object): Promise<Run> {
  const redis = await startTestRedis(['--appendonly', 'yes', '--appendfsync', 'everysec']);
  const client = new Redis(redis.url);
  const process = await MeasuredProcess.start(file, { ...options, url: redis.url });
  try {
    const bare = file.includes('bare');
    await write(client, STREAM, 1, 0);
    const before = await process.until(NODES);
    const first = await client.xinfo('GROUPS', STREAM);
    await write(client, 'bench:messages', BEATS, 1);
    // A renamed stream brings its own groups: the consumer's must stand in it, before the first message.
    if (bare && Array.isArray(first)) await client.xgroup('CREATE', 'bench:messages', 'bare', '0');
    const began = performance.now();
    await client.rename('bench:messages', STREAM);
    const after = await process.until(before.done + NODES * BEATS);
    const ms = performance.now() - began;
    const beats = NODES * BEATS;
    return { perSecond: (beats / ms) * 1_000, cpuMicroseconds: ((after.cpuMs - before.cpuMs) / beats) * 1_000 };
  } finally {
    await process.stop();
    client.disconnect();
    await redis.stop();
  }
}

async function write(client: Redis, stream: string, beats: number, firstBeat: number): Promise<void> {
  for (let beat = firstBeat; beat < firstBeat + beats; beat++) {
    for (let from = 0; from < NODES; from += PIPELINE) {
      const pipeline = client.pipeline();
      for (let node = from; node < Math.min(NODES, from + PIPELINE); node++)
        pipeline.xadd(stream, '*', ...statusEntryFields(simulatedStatus(node, beat, Date.now())));
      await pipeline.exec();
    }
  }
}
