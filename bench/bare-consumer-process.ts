/**
 * The bare limit: a consumer that does nothing durable but remember the newest message of each node.
 * XREADGROUP, JSON.parse, HSET, XACK, pipelined by 500, over the same client library as the engine.
 */
import { Redis } from 'ioredis';
import type { ProcessReport } from './process-report.ts';

const { url, stream } = JSON.parse(process.argv[2] ?? '{}') as { readonly url: string; readonly stream: string };
const COUNT = 500;
const GROUP = 'bare';
const redis = new Redis(url, { autoResendUnfulfilledCommands: false, protocol: 2 } as never);
await redis.xgroup('CREATE', stream, GROUP, '$', 'MKSTREAM');

let done = 0;
const stop = new AbortController();
process.on('message', (message) => {
  if (message === 'report') process.send?.(report());
  if (message === 'stop') stop.abort();
});
process.send?.(report());
await consume();
redis.disconnect();
process.disconnect();

function report(): ProcessReport {
  const { user, system } = process.cpuUsage();
  return { done, cpuMs: (user + system) / 1_000, rssBytes: process.memoryUsage.rss() };
}

async function consume(): Promise<void> {
  while (!stop.signal.aborted) {
    const reply = (await redis.xreadgroup('GROUP', GROUP, 'one', 'COUNT', COUNT, 'BLOCK', 50, 'STREAMS', stream, '>')) as
      [string, [string, string[]][]][] | null;
    const entries = reply?.[0]?.[1];
    if (entries === undefined || entries.length === 0) continue;
    const pipeline = redis.pipeline();
    for (const [id, fields] of entries) {
      const payload = fields[fields.indexOf('payload') + 1] ?? '{}';
      const { nodeId } = JSON.parse(payload) as { readonly nodeId: string };
      pipeline.hset('bare:nodes', nodeId, payload);
      pipeline.xack(stream, GROUP, id);
    }
    await pipeline.exec();
    done += entries.length;
  }
}
