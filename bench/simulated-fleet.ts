/**
 * A fleet of agents that exist only as their statuses: N nodes, each beating once an interval, into a real Redis.
 *
 * 1. Beats are spread evenly over the interval, as those of a real fleet are, and written in pipelines of at most {@link PIPELINE_MAX}.
 * 2. Bounded: in nodes, in time, and in what waits; a Redis that is too slow shows as lateness, never as a growing queue.
 * 3. The entries are those of a real agent, `MAXLEN ~ 10000` too.
 *
 * As a program: node bench/simulated-fleet.ts --redis-url=redis://127.0.0.1:6379 --nodes=1000 --interval-ms=30000 --duration-ms=60000
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Redis } from 'ioredis';
import { STATUS_STREAM, STATUS_STREAM_LENGTH } from '../src/agent/status.ts';
import { simulatedStatus, statusEntryFields } from './simulated-status.ts';

/** Some 400 KB a pipeline: large enough that the round trip does not count, small enough that Redis serves others between two. */
const PIPELINE_MAX = 500;
/** How finely the beats are spread. */
const TICK_MS = 10;
const NODES_MAX = 1_000_000;
const DURATION_MS_MAX = 3_600_000;

export interface SimulatedFleetOptions {
  readonly redisUrl: string;
  readonly nodes: number;
  readonly intervalMs: number;
  /** Default: until the signal aborts, at most an hour. */
  readonly durationMs?: number;
  readonly signal?: AbortSignal;
  /** Number of the first node; two fleets on one Redis must not overlap. Default 0. */
  readonly firstNode?: number;
  /** Approximate length to which the stream is trimmed. Default: as agents do; 0 does not trim. */
  readonly streamLength?: number;
  /** Which nodes beat at this moment: a test silences some. Default: all. */
  readonly beats?: (node: number) => boolean;
}

export interface SimulatedFleetResult {
  /** Entries that Redis confirmed. */
  readonly sent: number;
  /** Entries that were not confirmed; they may be in the stream. */
  readonly failed: number;
  readonly elapsedMs: number;
  /** How late the latest beat was written. Above a second the generator or Redis is overloaded. */
  readonly latenessMsMax: number;
  readonly payloadBytesMean: number;
}

/** Resolves when the time is over or the signal aborts. Rejects only when Redis cannot be reached at the start. */
export async function simulateFleet(options: SimulatedFleetOptions): Promise<SimulatedFleetResult> {
  const { redisUrl, nodes, intervalMs, signal, firstNode = 0, streamLength = STATUS_STREAM_LENGTH, beats = () => true } = options;
  if (!(nodes >= 1 && nodes <= NODES_MAX)) throw new RangeError(`nodes must be from 1 to ${NODES_MAX}.`);
  const durationMs = Math.min(options.durationMs ?? DURATION_MS_MAX, DURATION_MS_MAX);
  const redis = new Redis(redisUrl, { lazyConnect: true, enableOfflineQueue: false, autoResendUnfulfilledCommands: false, commandTimeout: 5_000 });
  redis.on('error', () => undefined);
  await redis.connect();

  const trim = streamLength === 0 ? [] : ['MAXLEN', '~', streamLength];
  const started = performance.now();
  let due = 0; // Beats of the fleet so far, all nodes together: beat number k is due at k × interval / nodes.
  let sent = 0;
  let failed = 0;
  let bytes = 0;
  let latenessMsMax = 0;

  const writeNext = async (count: number): Promise<void> => {
    const pipeline = redis.pipeline();
    const atMs = Date.now();
    for (let index = 0; index < count; index++, due++) {
      const node = firstNode + (due % nodes);
      if (!beats(node)) continue;
      const status = simulatedStatus(node, Math.floor(due / nodes), atMs);
      bytes += Buffer.byteLength(status.payload);
      pipeline.xadd(STATUS_STREAM, ...trim, '*', ...statusEntryFields(status));
    }
    const size = pipeline.length;
    if (size === 0) return;
    const replies = await pipeline.exec().catch(() => null);
    const refused = replies === null ? size : replies.filter(([error]) => error !== null).length;
    failed += refused;
    sent += size - refused;
  };

  try {
    for (;;) {
      const elapsed = performance.now() - started;
      if (elapsed >= durationMs || signal?.aborted === true) break;
      const owed = Math.floor((elapsed * nodes) / intervalMs) + 1 - due;
      if (owed <= 0) {
        await sleep(TICK_MS);
        continue;
      }
      latenessMsMax = Math.max(latenessMsMax, elapsed - (due * intervalMs) / nodes);
      await writeNext(Math.min(owed, PIPELINE_MAX));
    }
  } finally {
    redis.disconnect();
  }
  const elapsedMs = performance.now() - started;
  return { sent, failed, elapsedMs, latenessMsMax, payloadBytesMean: sent + failed === 0 ? 0 : bytes / (sent + failed) };
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      'redis-url': { type: 'string', default: 'redis://127.0.0.1:6379' },
      nodes: { type: 'string', default: '1000' },
      'interval-ms': { type: 'string', default: '30000' },
      'duration-ms': { type: 'string', default: '60000' },
      'first-node': { type: 'string', default: '0' },
    },
  });
  const aborted = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => aborted.abort());
  const result = await simulateFleet({
    redisUrl: values['redis-url'],
    nodes: Number(values.nodes),
    intervalMs: Number(values['interval-ms']),
    durationMs: Number(values['duration-ms']),
    firstNode: Number(values['first-node']),
    signal: aborted.signal,
  });
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
