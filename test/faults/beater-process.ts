/**
 * A fleet of simulated nodes in a process of its own: each beats once an interval, whatever becomes of the control plane.
 *
 * 1. As a real agent, it reconnects with a spread delay that is shorter than the interval and sends only the newest status.
 * 2. The parent ends single nodes with the message `{ "die": <number> }`.
 *
 * Arguments: redis URL, number of nodes, interval in ms.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { simulatedStatus, statusEntryFields } from '../../bench/simulated-status.ts';

const [url = '', nodes = '0', interval = '0'] = process.argv.slice(2);
const nodeCount = Number(nodes);
const intervalMs = Number(interval);
const dead = new Set<number>();
process.on('message', (message: { readonly die: number }) => void dead.add(message.die));
process.once('disconnect', () => process.exit(0));

const redis = new Redis(url, {
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  commandTimeout: intervalMs,
  retryStrategy: () => intervalMs * (0.1 + Math.random() * 0.3),
});
redis.on('error', () => undefined);

async function live(node: number): Promise<void> {
  await sleep((node * intervalMs) / nodeCount); // spread, as those of a real fleet are
  const born = performance.now();
  for (let beat = 0; !dead.has(node); beat++) {
    const fields = statusEntryFields(simulatedStatus(node, beat, Date.now()));
    let sent = false;
    while (!sent && performance.now() < born + (beat + 1) * intervalMs) {
      sent = await redis.xadd('node:status:stream', 'MAXLEN', '~', 10_000, '*', ...fields).then(
        () => true,
        () => false,
      );
      if (!sent) await sleep(intervalMs / 20);
    }
    await sleep(Math.max(0, born + (beat + 1) * intervalMs - performance.now()));
  }
}

await Promise.all(Array.from({ length: nodeCount }, (_, node) => live(node)));
