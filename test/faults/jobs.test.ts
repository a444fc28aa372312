/**
 * Five thousand jobs, twenty workers on twenty nodes, and what befalls them: workers killed and frozen at random, the engine killed in the
 * middle of handing jobs out, Redis killed. Every job ends exactly once, as done.
 *
 * Frozen workers come back when their jobs are somebody else's already: what they then report is late, refused, and counted.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { simulatedNodeId } from '../../bench/simulated-status.ts';
import type { JobContext } from '../../machines/job/context.ts';
import { jobType } from '../../machines/job/definition.ts';
import { DEFAULT_QUEUE, WORKER_GROUP } from '../../src/protocol/job-progress.ts';
import { actorKey, type ActorKey } from '../../src/protocol/ids.ts';
import { createKeys } from '../../src/redis/keys.ts';
import { createRedisStore } from '../../src/redis/store.ts';
import { until } from '../agent/until.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import { Beats } from './beats.ts';
import { Child } from './child.ts';
import { Journal, type JournalEntry } from './journal.ts';
import { KillProxy, type KillPoint } from './kill-proxy.ts';
import type { JobsEngineOptions } from './jobs-engine.ts';
import { RUNS, type JobsWorkerOptions } from './jobs-worker-process.ts';
import { JobsWorld } from './jobs-world.ts';
import { SeededRandom } from './seeded-random.ts';

const SEED = Number(process.env['CASTELLAN_SEED'] ?? 20_260_202);
const JOBS = 5_000;
const WORKERS = 20;
const CONCURRENCY = 4;
/** A job lasts between these, so that most that are killed are in the middle of one. */
const JOB_MS = [50, 900] as const;
const HEARTBEAT_MS = 500;
const LEASE_MS = 1_500;
const PACE_MS = 2_000;
/** Longer than a lease, the doubt after it, and the pace of handing out again. */
const FROZEN_MS = 6_000;
const KILLS = 22;
const FREEZES = 5;
/** Where an engine is killed: on either side of a commit, which hands out and ends jobs, or anywhere. */
const ENGINE_KILLS: readonly (KillPoint | undefined)[] = [
  { functionName: 'commit', side: 'after', skip: 2 },
  undefined,
  { functionName: 'commit', side: 'after', skip: 20 },
  { functionName: 'commit', side: 'before', skip: 2 },
];
/** A named call that does not come in this time: the engine is killed all the same. */
const NAMED_CALL_MS_MAX = 3_000;
const PAUSE_MS = [500, 1_100] as const;
const REDIS_AWAY_MS = 1_000;
const SUBMITTED_AT_ONCE = 100;
const SUBMIT_EVERY_MS = 400;

type Act = 'kill' | 'freeze' | 'kill the engine' | 'kill Redis';

describe('jobs whose workers, engine and Redis are killed', () => {
  const random = new SeededRandom(SEED);
  const between = ([least, most]: readonly [number, number]): number => least + random.below(most - least);
  const keys = createKeys();
  const children = new Set<Child>();
  const workers: Child[] = [];
  const namedKills: string[] = [];
  const done: Record<Act, number> = { kill: 0, freeze: 0, 'kill the engine': 0, 'kill Redis': 0 };
  let redis: TestRedis;
  let client: Redis;
  let world: JobsWorld;
  let beats: Beats;
  let engine: { readonly child: Child; readonly proxy: KillProxy };
  let journal: Journal;

  const killAll = (): void => {
    for (const child of children) child.signal('SIGKILL');
  };

  beforeAll(async () => {
    redis = await startTestRedis(['--appendonly', 'yes', '--appendfsync', 'always']);
    client = new Redis(redis.url, { retryStrategy: () => 20, autoResendUnfulfilledCommands: false, maxRetriesPerRequest: 0 });
    client.on('error', () => undefined);
    world = new JobsWorld(client, await createRedisStore(client, keys));
    process.on('exit', killAll);
    beats = new Beats(client, HEARTBEAT_MS);
    beats.start(Array.from({ length: WORKERS }, (_, node) => node));
    engine = await launchEngine();
    for (let node = 0; node < WORKERS; node++) workers.push(launchWorker(node));
    await engine.child.started();
    for (const worker of workers) await worker.started();
  });
  afterAll(async () => {
    await beats?.stop();
    for (const child of children) await child.end('SIGKILL');
    process.off('exit', killAll);
    client?.disconnect();
    await redis?.stop();
  });

  function launch(program: string, options: JobsEngineOptions | JobsWorkerOptions): Child {
    const child = Child.launch(program, options);
    children.add(child);
    return child;
  }
  async function launchEngine(): Promise<typeof engine> {
    let child: Child | undefined;
    const proxy = await KillProxy.listen(redis.port, () => child?.signal('SIGKILL'));
    child = launch('jobs-engine-process.ts', { url: proxy.url, heartbeatMs: HEARTBEAT_MS, leaseMs: LEASE_MS, paceMs: PACE_MS, engine: { leaseMs: 500 } });
    return { child, proxy };
  }
  const launchWorker = (node: number): Child =>
    launch('jobs-worker-process.ts', { url: redis.url, nodeId: simulatedNodeId(node), concurrency: CONCURRENCY, heartbeatMs: HEARTBEAT_MS });

  async function submitAll(): Promise<void> {
    for (let first = 0; first < JOBS; first += SUBMITTED_AT_ONCE) {
      const jobs = Array.from({ length: SUBMITTED_AT_ONCE }, (_, index) => [`job-${first + index}`, { type: 'WORK', payload: { ms: between(JOB_MS) } }]);
      await world.submit(Object.fromEntries(jobs) as Parameters<JobsWorld['submit']>[0]);
      await sleep(SUBMIT_EVERY_MS);
    }
  }

  /** Kills and engine kills in the order of chance; Redis goes in the middle. */
  function plan(): readonly Act[] {
    const acts = ([['kill', KILLS], ['freeze', FREEZES], ['kill the engine', ENGINE_KILLS.length]] as const).flatMap(([act, times]) => Array<Act>(times).fill(act)); // prettier-ignore
    const shuffled = acts.map((act) => [random.next(), act] as const).toSorted(([left], [right]) => left - right);
    return shuffled.map(([, act]) => act).toSpliced(acts.length / 2, 0, 'kill Redis');
  }

  async function carryOut(act: Act, thawing: Promise<void>[]): Promise<void> {
    const node = random.below(WORKERS);
    const worker = workers[node] as Child;
    done[act]++;
    switch (act) {
      case 'kill':
        workers[node] = launchWorker(node);
        return await worker.end('SIGKILL');
      case 'freeze':
        worker.signal('SIGSTOP');
        thawing.push(sleep(FROZEN_MS).then(() => worker.signal('SIGCONT')));
        return;
      case 'kill the engine':
        return await killEngine();
      case 'kill Redis':
        await redis.kill();
        await sleep(REDIS_AWAY_MS);
        return await redis.start();
    }
  }

  /** The next engine is there already and waits for the leases. */
  async function killEngine(): Promise<void> {
    const point = ENGINE_KILLS[done['kill the engine'] - 1];
    const { child, proxy } = engine;
    engine = await launchEngine();
    if (point !== undefined) {
      const late = sleep(NAMED_CALL_MS_MAX).then(() => false);
      if (await Promise.race([proxy.killAt(point).then(() => true), late])) namedKills.push(`${point.side} ${point.functionName}`);
    }
    await child.end('SIGKILL');
    proxy.close();
  }

  it('all are done, whatever is killed', { timeout: 180_000 }, async () => {
    const began = performance.now();
    const submitted = submitAll();
    const thawing: Promise<void>[] = [];
    for (const act of plan()) {
      await sleep(between(PAUSE_MS));
      await carryOut(act, thawing);
    }
    await submitted;
    await Promise.all(thawing);
    const chaosMs = performance.now() - began;
    await until('all jobs are done', async () => (await world.count('job', 'done').catch(() => 0)) === JOBS, 90_000).catch(async (error: unknown) => {
      for (const path of ['queued', 'processing', 'retrying', 'error']) console.log(path, await world.count('job', path));
      throw error;
    });
    // What is late comes after the end of its job, too.
    let seen = -1;
    await until('nothing comes any more', async () => {
      const before = seen;
      const partitions = await world.reader.partitions();
      seen = partitions.reduce((sum, { lag, outbox, retries }) => sum + lag + outbox + retries, 0);
      const [pending] = (await client.xpending(DEFAULT_QUEUE, WORKER_GROUP)) as [number];
      return seen === 0 && before === 0 && pending === 0;
    });
    for (const worker of workers) await worker.end('SIGTERM');
    await engine.child.end('SIGTERM');
    engine.proxy.close();
    // A call that never came would prove nothing of the kill beside it.
    expect(namedKills).toEqual(ENGINE_KILLS.flatMap((point) => (point === undefined ? [] : [`${point.side} ${point.functionName}`])));
    journal = await Journal.read(client, keys, jobType({ place: () => Promise.reject(new Error('Only read.')) }));
    console.log(
      `seed ${SEED}: ${JOBS} jobs done; ${JSON.stringify(done)}, of the engine ${namedKills.join(', ')}; ${Math.round(chaosMs / 1000)} s of chaos, ${Math.round((performance.now() - began) / 1000)} s in all`,
    );
  });

  /** Every job's transitions, with its attempts as they were posted. */
  function histories(): ReadonlyMap<ActorKey, { readonly entries: readonly JournalEntry[]; readonly posted: readonly number[] }> {
    return new Map(
      [...journal.byActor].map(([key, entries]) => {
        const commands = entries.flatMap(({ transition }) => transition.commands);
        const posted = commands.flatMap((command) =>
          command.kind === 'message' && command.to === `queue/${DEFAULT_QUEUE}` ? [command.event['attempt'] as number] : [],
        );
        return [key, { entries, posted }];
      }),
    );
  }

  it('each ended exactly once, with the result of its newest attempt', async () => {
    let late = 0;
    const attempts: Record<number, number> = {};
    const all = histories();
    expect(all.size).toBe(JOBS);
    for (let job = 0; job < JOBS; job++) {
      const key = actorKey('job', `job-${job}`);
      const { entries, posted } = all.get(key) ?? { entries: [], posted: [] };
      expect(entries.map(({ transition }) => transition.revision), key).toEqual(entries.map((_, index) => index + 1)); // prettier-ignore
      expect(entries.filter(({ transition: { from, to } }) => to === 'done' && from !== 'done'), key).toHaveLength(1); // prettier-ignore
      const record = await journal.stored(client, keys, key);
      expect(journal.fold(key), key).toEqual(record);
      const { value, context } = record.snapshot as unknown as { readonly value: string; readonly context: JobContext };
      expect(value, key).toBe('done');
      expect(posted, key).toEqual(Array.from({ length: context.attempt ?? 0 }, (_, index) => index + 1));
      expect(context.result, key).toEqual({ attempt: context.attempt });
      late += context.late ?? 0;
      attempts[context.attempt ?? 0] = (attempts[context.attempt ?? 0] ?? 0) + 1;
    }
    console.log(`jobs by attempts: ${JSON.stringify(attempts)}; ${late} late reports refused`);
    expect(late).toBeGreaterThan(0);
  });

  it('each attempt stood in the queue once and was run at most once', async () => {
    const posts = [...histories().values()].reduce((sum, { posted }) => sum + posted.length, 0);
    const info = (await client.xinfo('STREAM', DEFAULT_QUEUE)) as readonly unknown[];
    const runs = (await client.smembers(RUNS)).map((run) => run.slice(0, run.lastIndexOf(' ')));
    console.log(`${posts} attempts handed out, ${runs.length} begun`);
    expect(info[info.indexOf('entries-added') + 1]).toBe(posts);
    expect(runs.filter((run, index) => runs.indexOf(run) !== index)).toEqual([]);
  });

  it('left nothing behind', async () => {
    expect(await world.reader.countDeadLetters()).toBe(0);
    expect(await client.xlen(DEFAULT_QUEUE)).toBe(0);
  });
});
