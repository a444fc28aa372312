/**
 * What becomes of jobs when nodes and workers are lost: the real engine over a real Redis, simulated nodes, times scaled down.
 *
 * Workers are in the test's hand, except where it matters that a real process dies.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { jobType } from '../../machines/job/definition.ts';
import { actorKey } from '../../src/protocol/ids.ts';
import type { JobEntry } from '../../src/protocol/job-progress.ts';
import type { JobView } from '../../src/protocol/job.ts';
import { createKeys } from '../../src/redis/keys.ts';
import { createRedisStore } from '../../src/redis/store.ts';
import { until } from '../agent/until.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import { Beats } from './beats.ts';
import { Child } from './child.ts';
import { HandWorker } from './hand-worker.ts';
import { Journal } from './journal.ts';
import { startJobsEngine, type JobsEngine } from './jobs-engine.ts';
import { RUNS, type JobsWorkerOptions } from './jobs-worker-process.ts';
import { JobsWorld } from './jobs-world.ts';

/** Without skew: degraded after two intervals, offline after three. */
const HEARTBEAT_MS = 500;
/** About one interval, as in production: a worker is doubted before its node is. */
const LEASE_MS = 600;
const PACE_MS = 1_000;
/** Longer than everything that could lead to a second run: lease, question, doubt, pace. */
const NOTHING_MORE_MS = 3 * LEASE_MS + PACE_MS;

describe('the fleet reacts', () => {
  const keys = createKeys();
  let redis: TestRedis;
  let client: Redis;
  let world: JobsWorld;
  let engine: JobsEngine;
  let beats: Beats;
  let workers: HandWorker[];
  let children: Child[];

  beforeAll(async () => {
    redis = await startTestRedis();
    client = new Redis(redis.url);
  });
  afterAll(async () => {
    client?.disconnect();
    await redis?.stop();
  });
  beforeEach(async () => {
    await client.flushall();
    world = new JobsWorld(client, await createRedisStore(client, keys));
    engine = await startJobsEngine({ url: redis.url, heartbeatMs: HEARTBEAT_MS, leaseMs: LEASE_MS, paceMs: PACE_MS });
    beats = new Beats(client, HEARTBEAT_MS);
    workers = [];
    children = [];
  });
  afterEach(async () => {
    for (const worker of workers) worker.stop();
    for (const child of children) await child.end('SIGKILL');
    await beats.stop();
    await engine.stop();
  });

  async function startNodes(count: number): Promise<readonly string[]> {
    const nodes = beats.start(Array.from({ length: count }, (_, node) => node));
    await until('all nodes are online', async () => (await world.count('node', 'connection.online')) === count);
    return nodes;
  }

  async function workerOn(nodeId: string | undefined): Promise<HandWorker> {
    const worker = await HandWorker.start(client, { name: `hand-${workers.length}`, ...(nodeId === undefined ? {} : { nodeId }), aliveMs: LEASE_MS / 3 });
    workers.push(worker);
    return worker;
  }

  /** Submits a job and gives it to this worker. */
  async function give(worker: HandWorker, jobId: string, spec: object = {}): Promise<JobEntry> {
    await world.submit({ [jobId]: { type: 'WORK', ...spec } });
    const entry = await until(`${jobId} is taken`, () => worker.take());
    expect(entry.jobId).toBe(jobId);
    await until(`${jobId} is in processing`, () => world.isIn(jobId, 'processing'));
    return entry;
  }

  /** The states in which the job was shown, in order, and when it entered them. */
  async function lifeOf(jobId: string): Promise<readonly { readonly state: string; readonly at: number }[]> {
    const journal = await Journal.read(client, keys, jobType({ place: () => Promise.reject(new Error('Only read.')) }));
    const life: { state: string; at: number }[] = [];
    for (const { transition } of journal.byActor.get(actorKey('job', jobId)) ?? []) {
      const state = typeof transition.to === 'string' ? transition.to : (Object.keys(transition.to as object)[0] as string);
      if (life.at(-1)?.state !== state) life.push({ state, at: transition.at });
    }
    return life;
  }
  const statesOf = async (jobId: string): Promise<readonly string[]> => (await lifeOf(jobId)).map(({ state }) => state);

  const connection = async (nodeId: string, state: string): Promise<boolean> => (await engine.nodes.getNode(nodeId))?.state === state;

  it('a node goes offline: its jobs are handed out again once, each at its own moment, and what its worker still reports is refused', async () => {
    const [lost, kept] = (await startNodes(4)) as [string, string];
    const cutOff = await workerOn(lost);
    const other = await workerOn(kept);
    const jobs = Array.from({ length: 12 }, (_, job) => `job-${job}`);
    const held: JobEntry[] = [];
    for (const jobId of jobs) held.push(await give(cutOff, jobId));

    cutOff.dumb(); // the node and its worker are cut off together
    beats.silence(lost);
    await until('the node is offline', () => connection(lost, 'offline'));

    const again = new Map<string, JobEntry>();
    await until('all jobs are taken again', async () => {
      const entry = await other.take();
      if (entry !== undefined) {
        expect(again.has(entry.jobId)).toBe(false);
        again.set(entry.jobId, entry);
      }
      return again.size === jobs.length;
    });
    for (const entry of again.values()) expect(entry.attempt).toBe(2);

    // The old claims come back before the new ones have ended, and after.
    for (const entry of held.slice(0, 6)) await cutOff.finish(entry, 'too late');
    for (const entry of again.values()) await other.finish(entry, 'in time');
    for (const jobId of jobs) await until(`${jobId} is done`, () => world.isIn(jobId, 'done'));
    for (const entry of held.slice(6)) await cutOff.finish(entry, 'much too late');
    for (const jobId of jobs) await until(`the late report of ${jobId} is counted`, async () => (await world.job(jobId)).lateReports === 1);

    const handedOutAt: number[] = [];
    for (const jobId of jobs) {
      expect(await world.job(jobId)).toMatchObject({ state: 'done', result: 'in time', attempt: 2, nodeId: kept });
      const life = await lifeOf(jobId);
      expect(life.map(({ state }) => state)).toEqual(['queued', 'processing', 'retrying', 'queued', 'processing', 'done']);
      handedOutAt.push(life[3]?.at ?? 0);
    }
    // Paced: spread over the time set for it, not in one burst.
    expect(Math.max(...handedOutAt) - Math.min(...handedOutAt)).toBeGreaterThan(PACE_MS / 4);
    expect(Math.max(...handedOutAt) - Math.min(...handedOutAt)).toBeLessThanOrEqual(PACE_MS + LEASE_MS);
    expect(((await client.xpending('jobs:v1:gpu-general', 'citadel-workers')) as readonly unknown[])[0]).toBe(0);
  });

  it('a job that must not run twice ends in error and among the dead letters instead', async () => {
    const [lost, kept] = (await startNodes(4)) as [string, string];
    const cutOff = await workerOn(lost);
    const other = await workerOn(kept);
    const entry = await give(cutOff, 'once', { requeue: 'never', payload: { transfer: 7 } });
    cutOff.dumb();
    beats.silence(lost);
    const job = await until('the job has ended', () => world.isIn('once', 'error'));
    expect(job).toMatchObject({ attempt: 1, error: { code: expect.any(String) as string, message: expect.stringContaining(lost) as string } });
    expect(await other.take()).toBeUndefined();

    const [letter] = await until('the dead letter is there', async () => {
      const letters = await client.xrange('dlq:v1:gpu-general', '-', '+');
      return letters.length > 0 && letters;
    });
    const [, fields] = letter as [string, string[]];
    const named = Object.fromEntries(Array.from({ length: fields.length / 2 }, (_, index) => [fields[2 * index], fields[2 * index + 1]]));
    expect(named).toMatchObject({
      original_message_id: entry.entryId,
      original_queue: 'jobs:v1:gpu-general',
      worker_id: cutOff.consumer,
      jobId: 'once',
      type: 'WORK',
      payload: '{"transfer":7}',
      attempts: '1',
    });
    // It has ended: even the result that comes now is late.
    await cutOff.finish(entry, 'it did happen');
    await until('the late report is counted', async () => (await world.job('once')).lateReports === 1);
    expect(await world.job('once')).toMatchObject({ state: 'error', result: null });
  });

  it('a worker that is cut off for less than the grace keeps its job', async () => {
    const [shaky, kept] = (await startNodes(4)) as [string, string];
    const cutOff = await workerOn(shaky);
    const other = await workerOn(kept);
    const entry = await give(cutOff, 'job');
    cutOff.dumb();
    beats.silence(shaky);
    await until('the node is degraded', () => connection(shaky, 'degraded'));
    await until('its worker is doubted', async () => (await world.job('job')).reason?.includes('silent') ?? false);
    beats.wake(shaky);
    await cutOff.speak();
    await until('the node is online', () => connection(shaky, 'online'));
    await sleep(NOTHING_MORE_MS); // nothing may happen: there is nothing to wait for
    expect(await other.take()).toBeUndefined();
    await cutOff.finish(entry, 'by the first');
    await until('the job is done', () => world.isIn('job', 'done'));
    expect(await world.job('job')).toMatchObject({ result: 'by the first', attempt: 1, lateReports: 0 });
    expect(await statesOf('job')).toEqual(['queued', 'processing', 'done']);
  });

  it('most of the fleet falls silent at once: nothing is handed out again, and there is one incident', async () => {
    const nodes = await startNodes(10);
    const silenced = nodes.slice(0, 6);
    const incidents: string[] = [];
    const subscriber = client.duplicate();
    subscriber.on('message', (_channel, message: string) => incidents.push((JSON.parse(message) as { readonly incident: string }).incident));
    await subscriber.subscribe('fleet:incident:default');
    const entries = new Map<HandWorker, JobEntry>();
    for (const [index, nodeId] of nodes.entries()) {
      const worker = await workerOn(nodeId);
      entries.set(worker, await give(worker, `job-${index}`));
    }

    beats.silence(...silenced);
    for (const worker of workers.slice(0, 6)) worker.dumb();
    await until('the brake is pulled', () => incidents.length > 0);
    for (const nodeId of silenced) await until(`${nodeId} is unknown`, () => connection(nodeId, 'unknown'));
    await sleep(NOTHING_MORE_MS); // nothing may happen: there is nothing to wait for
    const idle = await workerOn(nodes[9]);
    expect(await idle.take()).toBeUndefined();
    expect(await world.count('job', 'queued')).toBe(0);
    expect(incidents).toHaveLength(1);

    beats.wake(...silenced);
    for (const worker of workers) await worker.speak();
    for (const nodeId of silenced) await until(`${nodeId} is online`, () => connection(nodeId, 'online'));
    for (const [worker, entry] of entries) await worker.finish(entry, worker.consumer);
    for (const [index, worker] of [...entries.keys()].entries()) {
      const job: JobView = await until(`job-${index} is done`, () => world.isIn(`job-${index}`, 'done'));
      expect(job).toMatchObject({ result: worker.consumer, attempt: 1, lateReports: 0 });
    }
    await until('the incident is resolved', () => incidents.length === 2);
    subscriber.disconnect();
  });

  it('a worker dies while its node lives: its jobs are handed out again when their lease is over', async () => {
    const [nodeId, kept] = (await startNodes(4)) as [string, string];
    const options: JobsWorkerOptions = { url: redis.url, nodeId, concurrency: 4, heartbeatMs: HEARTBEAT_MS };
    const dying = Child.launch('jobs-worker-process.ts', options);
    children.push(dying);
    await dying.started();
    const jobs = ['one', 'two', 'three'];
    await world.submit(Object.fromEntries(jobs.map((jobId) => [jobId, { type: 'WORK', payload: { ms: 60_000, tellMs: LEASE_MS / 3 } }])));
    for (const jobId of jobs) await until(`${jobId} is in processing`, () => world.isIn(jobId, 'processing'));
    await sleep(NOTHING_MORE_MS); // nothing may happen: there is nothing to wait for
    for (const jobId of jobs) expect(await world.job(jobId)).toMatchObject({ state: 'processing', attempt: 1 });
    await dying.end('SIGKILL');

    const other = await workerOn(kept);
    for (let taken = 0; taken < jobs.length; taken++) {
      const entry = await until('a job is taken again', () => other.take());
      expect(entry.attempt).toBe(2);
      await other.finish(entry, 'by the other');
    }
    for (const jobId of jobs) {
      await until(`${jobId} is done`, () => world.isIn(jobId, 'done'));
      expect(await world.job(jobId)).toMatchObject({ result: 'by the other', attempt: 2, lateReports: 0 });
    }
    expect(await connection(nodeId, 'online')).toBe(true);
  });

  it('a degraded node is given nothing: its worker takes no jobs, and none is placed there', async () => {
    const nodes = await startNodes(4);
    const [shaky, kept] = nodes as [string, string];
    const worker = Child.launch('jobs-worker-process.ts', { url: redis.url, nodeId: shaky, concurrency: 1, heartbeatMs: 20 * HEARTBEAT_MS });
    children.push(worker);
    await worker.started();
    await world.submit({ before: { type: 'WORK', payload: { ms: 1 } } });
    await until('it does a job', () => world.isIn('before', 'done'));

    beats.silence(shaky);
    await until('the node is degraded', () => connection(shaky, 'degraded'));
    await sleep(50); // its worker is told on a channel
    await world.submit({ during: { type: 'WORK', payload: { ms: 1 } }, pinned: { type: 'WORK', payload: { ms: 1 }, requires: { node: shaky } } });
    const waiting = await until('the pinned job says why it waits', async () => {
      const job = await world.job('pinned').catch(() => undefined);
      return job?.reason !== null && job;
    });
    expect(waiting).toMatchObject({ state: 'placing', reason: expect.stringMatching(new RegExp(`node ${shaky} is (degraded|offline)`)) as string });
    await until('the node is offline', () => connection(shaky, 'offline'));
    expect(await world.job('during')).toMatchObject({ state: 'queued' });
    expect((await client.smembers(RUNS)).filter((run) => run.startsWith('during '))).toEqual([]);

    beats.wake(shaky);
    await until('the node is online', () => connection(shaky, 'online'));
    for (const jobId of ['during', 'pinned']) await until(`${jobId} is done`, () => world.isIn(jobId, 'done'));
    expect(await world.job('pinned')).toMatchObject({ nodeId: shaky });
    expect(await connection(kept, 'online')).toBe(true);
  });

  it('a job that was placed on a node which is lost before it took it is placed on another', async () => {
    const [first, second] = (await startNodes(2)) as [string, string];
    await world.submit({ job: { type: 'WORK', requires: { service: 'vllm' } } });
    const placed = await until('the job is placed', async () => {
      const job = await world.isIn('job', 'queued');
      return job?.nodeId !== null && job;
    });
    const lost = placed.nodeId as string;
    const kept = lost === first ? second : first;
    beats.silence(lost);
    await until('it is offline', () => connection(lost, 'offline'));
    await until('the job is placed elsewhere', async () => {
      const job = await world.isIn('job', 'queued');
      return job?.nodeId === kept;
    });
    const worker = await workerOn(kept);
    const entry = await until('it is taken', () => worker.take());
    expect(entry).toMatchObject({ jobId: 'job', targetNode: kept });
    await worker.finish(entry, 'there');
    await until('it is done', () => world.isIn('job', 'done'));
  });

  it('a busy node is not taken for a dead one by the jobs that wait for it there', async () => {
    const [busy, other] = (await startNodes(2)) as [string, string];
    // A worker reads for up to 5 s at a time and says once a second that it lives, so here a lease is longer than that.
    await engine.stop();
    engine = await startJobsEngine({ url: redis.url, heartbeatMs: HEARTBEAT_MS, leaseMs: 6_000, paceMs: PACE_MS, placedMs: 60_000 });
    for (const [nodeId, concurrency] of [
      [busy, 1],
      [other, 10],
    ] as const) {
      // prettier-ignore
      const worker = Child.launch('jobs-worker-process.ts', { url: redis.url, nodeId, concurrency, heartbeatMs: HEARTBEAT_MS });
      children.push(worker);
      await worker.started();
    }
    const jobs = Array.from({ length: 35 }, (_, job) => `pinned-${job}`);
    await world.submit(Object.fromEntries(jobs.map((jobId) => [jobId, { type: 'WORK', payload: { ms: 300 }, requires: { node: busy }, requeue: 'never' }])));
    for (const jobId of jobs) {
      await until(`${jobId} has ended`, async () => ['done', 'error'].includes((await world.job(jobId).catch(() => undefined))?.state ?? ''));
      expect(await world.job(jobId)).toMatchObject({ state: 'done', attempt: 1, nodeId: busy, lateReports: 0 });
    }
  });
});
