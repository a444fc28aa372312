/**
 * Nobody is declared degraded, offline or unknown because we were away. (I6)
 *
 * Fifty nodes beat every second from a process of their own. One after the other the control plane is killed, Redis is killed,
 * and the control plane is stopped in mid-work: each time for twice the offline time, and each time one node really dies meanwhile.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { simulatedNodeId } from '../../bench/simulated-status.ts';
import type { NodeView } from '../../src/protocol/control-plane.ts';
import { until } from '../agent/until.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import { connectionChanges, DEGRADED_MS, historyOf, INTERVAL_MS, nodeOf, OFFLINE_MS, startServe, type ServeProcess } from './serve-process.ts';

const NODES = 50;
const ABSENCE_MS = 2 * OFFLINE_MS;
/** A node that died while we were away is offline at most so long after its deadline has passed since the reopening. */
const GRACE_MS = 1_000;

describe('while we are away', () => {
  let redis: TestRedis;
  let client: Redis;
  let folder: string;
  let serve: ServeProcess;
  let fleet: ChildProcess;
  const died = new Set<number>();

  beforeAll(async () => {
    redis = await startTestRedis(['--appendonly', 'yes']);
    client = new Redis(redis.url, { retryStrategy: () => 10, maxRetriesPerRequest: null });
    client.on('error', () => undefined);
    folder = await mkdtemp(join(tmpdir(), 'castellan-absence-'));
    serve = await startServe(redis.url, folder);
    fleet = fork(join(import.meta.dirname, 'beater-process.ts'), [redis.url, String(NODES), String(INTERVAL_MS)]);
    await until('all nodes are online', async () => (await nodes()).filter(({ state }) => state === 'online').length === NODES);
  });
  afterAll(async () => {
    fleet?.kill('SIGKILL');
    await serve?.end('SIGKILL');
    client?.disconnect();
    await redis?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  async function nodes(): Promise<readonly NodeView[]> {
    return (await serve.get<{ readonly items: readonly NodeView[] }>(`/api/fabric/nodes?limit=${NODES}`))?.items ?? [];
  }

  async function redisTime(): Promise<number> {
    const [seconds, microseconds] = await client.time();
    return Number(seconds) * 1_000 + Number(microseconds) / 1_000;
  }

  function die(node: number): void {
    died.add(node);
    fleet.send({ die: node });
  }

  /** Every living node was heard after `at` and is shown online. */
  async function heardAgainSince(at: number): Promise<void> {
    const late = async (): Promise<readonly NodeView[]> => {
      const living = (await nodes()).filter(({ nodeId }) => !isDead(nodeId));
      return living.filter(({ lastSeenAt, state }) => state !== 'online' || Date.parse(lastSeenAt ?? '') <= at);
    };
    await until('all living nodes were heard again', async () => (await late()).length === 0);
  }

  function isDead(nodeId: string): boolean {
    return [...died].some((node) => simulatedNodeId(node) === nodeId);
  }

  /** The node is declared offline, not before it died, and at most its full deadline and a grace after the reopening. */
  async function isDeclaredOffline(node: number, diedAt: number, reopenedAt: number): Promise<void> {
    const nodeId = simulatedNodeId(node);
    await until(`${nodeId} is offline`, async () => (await nodeOf(serve, nodeId))?.state === 'offline');
    expect(await redisTime()).toBeLessThanOrEqual(reopenedAt + OFFLINE_MS + GRACE_MS);
    const changes = connectionChanges(await historyOf(serve, nodeId));
    expect(changes.map(({ to }) => to)).toEqual(['online', 'degraded', 'offline']);
    // Its newest status may be as old as the moment of its death, never younger than an interval before.
    expect(changes[1]?.at).toBeGreaterThanOrEqual(diedAt - INTERVAL_MS + DEGRADED_MS);
    expect(changes[2]?.at).toBeGreaterThanOrEqual(diedAt - INTERVAL_MS + OFFLINE_MS);
  }

  /** The whole history of each living node shows one change only, that to online; checked when every deadline could have passed. */
  async function nobodyWasAccused(reopenedAt: number): Promise<void> {
    await sleep(Math.max(0, reopenedAt + OFFLINE_MS + GRACE_MS - (await redisTime()))); // nothing may happen: there is nothing to wait for
    await heardAgainSince(reopenedAt);
    for (let node = 0; node < NODES; node++) {
      if (died.has(node)) continue;
      const changes = connectionChanges(await historyOf(serve, simulatedNodeId(node)));
      expect(changes.map(({ to, at }) => `${simulatedNodeId(node)} ${to} ${to === 'online' ? '' : at - reopenedAt}`.trim())).toEqual([
        `${simulatedNodeId(node)} online`,
      ]);
    }
  }

  it('kill -9 of the control plane accuses nobody', async () => {
    await serve.end('SIGKILL');
    const diedAt = await redisTime();
    die(49);
    await sleep(ABSENCE_MS);
    serve = await startServe(redis.url, folder);
    const reopenedAt = await redisTime();
    await heardAgainSince(reopenedAt);
    await isDeclaredOffline(49, diedAt, reopenedAt);
    await nobodyWasAccused(reopenedAt);
  });

  it('kill -9 of Redis, so that no node can publish, accuses nobody', async () => {
    const diedAt = await redisTime();
    die(48);
    await redis.kill();
    await sleep(ABSENCE_MS);
    expect(serve.running()).toBe(true);
    await redis.start();
    const reopenedAt = await redisTime();
    await heardAgainSince(reopenedAt);
    await isDeclaredOffline(48, diedAt, reopenedAt);
    await nobodyWasAccused(reopenedAt);
    // It had its full deadline again, from the reopening on: nothing was heard of anybody meanwhile.
    const offline = connectionChanges(await historyOf(serve, simulatedNodeId(48)))[2];
    expect(offline?.at).toBeGreaterThanOrEqual(reopenedAt + OFFLINE_MS - INTERVAL_MS);
  });

  it('a control plane stopped by SIGSTOP and continued accuses nobody', async () => {
    serve.signal('SIGSTOP');
    const diedAt = await redisTime();
    die(47);
    await sleep(ABSENCE_MS);
    serve.signal('SIGCONT');
    const reopenedAt = await redisTime();
    await heardAgainSince(reopenedAt);
    await isDeclaredOffline(47, diedAt, reopenedAt);
    await nobodyWasAccused(reopenedAt);
  });
});
