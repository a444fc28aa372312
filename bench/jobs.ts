/**
 * A whole job life – submitted, taken by a worker, done, with its notifications – against BullMQ in the same run, on a Redis of
 * the same settings: a submitter, a worker and, for Castellan, an engine, each a process of its own.
 *
 * CPU is that of all processes together, Redis included, because a queue that is fast by burning its neighbours is not.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { PARTITION_COUNT } from '../src/protocol/ids.ts';
import { JOB_REPORTS } from '../src/protocol/job-progress.ts';
import { createKeys } from '../src/redis/keys.ts';
import { startTestRedis } from '../test/redis-server.ts';
import { figure, median, percentile, type Figure } from './figures.ts';
import { MeasuredProcess } from './process-report.ts';
import { redisCpuMs } from './transitions.ts';

const LIVES = 40_000;
/** Enough for V8 to have compiled what either needs: what is compared is the going rate. */
const WARM_UP = 10_000;
const SINGLES = 500;
const CONCURRENCY = 200;
const WORK_MS_MAX = 180_000;
const LOOK_EVERY_MS = 20;
const BULLMQ_COMPLETED = 'bull:bench:completed';
const keys = createKeys();
/** Redis trims whole nodes of a stream. */
const REPORTS_LEFT_MAX = 200;

type Appendfsync = 'everysec' | 'always';
type Peer = 'castellan' | 'bullmq';

interface Run {
  readonly perSecond: number;
  readonly cpuMicroseconds: number;
  readonly redisMicroseconds: number;
  readonly p50: number;
  readonly p99: number;
  readonly bytes: number;
}

export async function jobs(runs: number): Promise<readonly Figure[]> {
  const figures: Figure[] = [];
  for (const appendfsync of ['everysec', 'always'] as const) {
    const ours: Run[] = [];
    const theirs: Run[] = [];
    for (let run = 0; run < runs; run++) {
      theirs.push(await measure('bullmq', appendfsync));
      ours.push(await measure('castellan', appendfsync));
    }
    figures.push(...compared(appendfsync, ours, theirs));
  }
  return figures;
}

function compared(appendfsync: Appendfsync, ours: readonly Run[], theirs: readonly Run[]): readonly Figure[] {
  const of = (pick: (run: Run) => number): readonly [readonly number[], number, number] => {
    const values = ours.map(pick);
    return [values, median(values), median(theirs.map(pick))];
  };
  const line = (name: string, unit: string, pick: (run: Run) => number, goal?: (own: number, peer: number) => { text: string; reached: boolean }): Figure => {
    const [values, own, peer] = of(pick);
    return figure(`${name}, appendfsync ${appendfsync}`, unit, values, {
      reference: { name: 'BullMQ', value: peer, unit },
      ...(goal === undefined ? {} : { goal: goal(own, peer) }),
    });
  };
  const times = (ratio: number): string => `${ratio.toFixed(2)} ×`;
  return [
    line(
      'job lives/s',
      '/s',
      (run) => run.perSecond,
      (own, peer) => ({ text: `≥ 2 × BullMQ (is ${times(own / peer)})`, reached: own >= 2 * peer }),
    ),
    line(
      'CPU of 1,000 lives, all processes',
      'ms',
      (run) => run.cpuMicroseconds,
      (own, peer) => ({ text: `≤ half of BullMQ's (is ${times(own / peer)})`, reached: own <= peer / 2 }),
    ),
    line('of it in Redis', 'ms', (run) => run.redisMicroseconds),
    line(
      'one job, p50',
      'ms',
      (run) => run.p50,
      (own) => ({ text: '≤ 2 ms', reached: own <= 2 }),
    ),
    line('one job, p99', 'ms', (run) => run.p99),
    line(
      'Redis bytes per retained job',
      'B',
      (run) => run.bytes,
      (own, peer) => ({ text: `fewer than BullMQ's (is ${times(own / peer)})`, reached: own < peer }),
    ),
  ];
}

async function measure(peer: Peer, appendfsync: Appendfsync): Promise<Run> {
  const redis = await startTestRedis(['--appendonly', 'yes', '--appendfsync', appendfsync]);
  const client = new Redis(redis.url);
  const processes = await start(peer, redis);
  const submitter = processes[0] as MeasuredProcess;
  const lives = async (count: number): Promise<void> => {
    const before = await doneJobs(client, peer);
    await submitter.ask({ submit: count });
    await until(`${count} more jobs are done`, async () => (await doneJobs(client, peer)) >= before + count);
  };
  try {
    await lives(WARM_UP);
    await settled(client);
    const bytesBefore = await usedBytes(client);
    const cpuBefore = await cpuMs(client, processes);
    const began = performance.now();
    await lives(LIVES);
    const ms = performance.now() - began;
    const cpuAfter = await cpuMs(client, processes);
    await settled(client);
    const bytesAfter = await usedBytes(client);
    const { took = [] } = await submitter.ask({ single: SINGLES });
    return {
      perSecond: (LIVES / ms) * 1_000,
      cpuMicroseconds: ((cpuAfter.all - cpuBefore.all) / LIVES) * 1_000,
      redisMicroseconds: ((cpuAfter.redis - cpuBefore.redis) / LIVES) * 1_000,
      p50: percentile(took, 0.5),
      p99: percentile(took, 0.99),
      bytes: (bytesAfter - bytesBefore) / LIVES,
    };
  } finally {
    for (const process of processes) await process.stop();
    client.disconnect();
    await redis.stop();
  }
}

/** The submitter first, then the worker. */
async function start(peer: Peer, { port, url }: { readonly port: number; readonly url: string }): Promise<readonly MeasuredProcess[]> {
  if (peer === 'bullmq') {
    return [
      await MeasuredProcess.start('./bullmq-process.ts', { port, role: 'submitter' }),
      await MeasuredProcess.start('./bullmq-process.ts', { port, role: 'worker', concurrency: CONCURRENCY }),
    ];
  }
  const engine = await MeasuredProcess.start('./engine-process.ts', { url, machine: 'jobs' });
  return [
    await MeasuredProcess.start('./job-process.ts', { url, role: 'submitter' }),
    await MeasuredProcess.start('./job-process.ts', { url, role: 'worker', concurrency: CONCURRENCY }),
    engine,
  ];
}

/** Jobs whose end is stored, not only those that their worker is done with: a queue that lags behind its workers is not faster for it. */
async function doneJobs(client: Redis, peer: Peer): Promise<number> {
  if (peer === 'bullmq') return await client.zcard(BULLMQ_COMPLETED);
  const pipeline = client.pipeline();
  for (let partition = 0; partition < PARTITION_COUNT; partition++) pipeline.zcard(keys.partition(partition).index('job', 'done'));
  return ((await pipeline.exec()) ?? []).reduce((sum, [, count]) => sum + Number(count), 0);
}

async function until(what: string, reached: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + WORK_MS_MAX;
  while (!(await reached())) {
    if (performance.now() > end) throw new Error(`Within ${WORK_MS_MAX} ms it did not come about that ${what}.`);
    await sleep(LOOK_EVERY_MS);
  }
}

async function cpuMs(client: Redis, processes: readonly MeasuredProcess[]): Promise<{ readonly all: number; readonly redis: number }> {
  const redis = await redisCpuMs(client);
  const reports = await Promise.all(processes.map((process) => process.report()));
  return { redis, all: redis + reports.reduce((sum, { cpuMs: ms }) => sum + ms, 0) };
}

/** What was reported is dropped within seconds of being applied; the peer's events are bounded by its own default. */
async function settled(client: Redis): Promise<void> {
  await until(`the stream ${JOB_REPORTS} is trimmed`, async () => (await client.xlen(JOB_REPORTS)) <= REPORTS_LEFT_MAX);
}

async function usedBytes(client: Redis): Promise<number> {
  // What clients' buffers hold is not the data's.
  return Number(/^used_memory_dataset:(\d+)/m.exec(await client.info('memory'))?.[1]);
}
