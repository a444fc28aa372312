/**
 * What a node costs in Redis beyond its status: all of Redis's memory for a fleet that is online, minus what the same
 * statuses take in a bare hash, divided by the nodes. The shared status stream is left out on both sides.
 */
import { Redis } from 'ioredis';
import { startTestRedis } from '../test/redis-server.ts';
import { figure, median, type Figure } from './figures.ts';
import { MeasuredProcess } from './process-report.ts';
import { simulatedNodeId, simulatedStatus, statusEntryFields } from './simulated-status.ts';

const STREAM = 'node:status:stream';
const NODES = 10_000;
const PIPELINE = 1_000;
const BYTES_GOAL = 1_536;

export async function memory(runs: number): Promise<readonly Figure[]> {
  const beyond: number[] = [];
  const statuses: number[] = [];
  for (let run = 0; run < runs; run++) {
    const status = await bareBytes();
    statuses.push(status);
    beyond.push((await engineBytes()) - status);
  }
  return [
    figure('Redis bytes per node beyond its status', 'B', beyond, {
      reference: { name: 'its status in a bare hash', value: median(statuses), unit: 'B' },
      goal: { text: '≤ 1.5 KB', reached: median(beyond) <= BYTES_GOAL },
    }),
  ];
}

async function bareBytes(): Promise<number> {
  return await withRedis(async (client) => {
    const before = await usedBytes(client);
    await inPipelines(client, (pipeline, node) => pipeline.hset('bare:nodes', simulatedNodeId(node), simulatedStatus(node, 1, Date.now()).payload));
    return ((await usedBytes(client)) - before) / NODES;
  });
}

/** Two statuses each: the first makes the node, the second is the steady state. */
async function engineBytes(): Promise<number> {
  return await withRedis(async (client, url) => {
    const engine = await MeasuredProcess.start('./engine-process.ts', { url, machine: 'fleet', intervalMs: 30_000 });
    const before = await usedBytes(client);
    for (let beat = 0; beat < 2; beat++) {
      await inPipelines(client, (pipeline, node) => pipeline.xadd(STREAM, '*', ...statusEntryFields(simulatedStatus(node, beat, Date.now()))));
      await engine.until(NODES * (beat + 1));
    }
    await engine.stop();
    await client.del(STREAM);
    return ((await usedBytes(client)) - before) / NODES;
  });
}

async function withRedis(measure: (client: Redis, url: string) => Promise<number>): Promise<number> {
  const redis = await startTestRedis();
  const client = new Redis(redis.url);
  try {
    return await measure(client, redis.url);
  } finally {
    client.disconnect();
    await redis.stop();
  }
}

async function inPipelines(client: Redis, add: (pipeline: ReturnType<Redis['pipeline']>, node: number) => unknown): Promise<void> {
  for (let from = 0; from < NODES; from += PIPELINE) {
    const pipeline = client.pipeline();
    for (let node = from; node < from + PIPELINE; node++) add(pipeline, node);
    await pipeline.exec();
  }
}

async function usedBytes(client: Redis): Promise<number> {
  // What clients' buffers hold is not the data's.
  const dataset = /^used_memory_dataset:(\d+)/m.exec(await client.info('memory'))?.[1];
  return Number(dataset);
}
