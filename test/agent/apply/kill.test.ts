/**
 * `kill -9` of the agent at every step of an apply: the next start ends in one of the two revisions, never between.
 *
 * The agent has no hook for it: its journal is watched from outside, and the process is killed as soon as the journal names the step.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { startTestRedis, type TestRedis } from '../../redis-server.ts';
import { ENGINE_TIMEOUT_MS, whyNoEngine } from '../docker-engine.ts';
import { until } from '../until.ts';
import { Agents, type TestAgent } from './agents.ts';
import { startWorld, type World } from './world.ts';
import type { ConfigReport } from '../../../src/protocol/device-config.ts';

const missing = await whyNoEngine();
const STEP_TIMEOUT_MS = 30_000;
/** Looks at the journal between two at the reports. */
const LOOKS_BETWEEN = 500;
/** On a busy machine a step may be over before it is seen: then another revision is killed there. */
const TRIES = 5;

describe.skipIf(missing !== undefined)('a real engine and a real Redis', () => {
  let world: World;
  let server: TestRedis;
  let redis: Redis;
  let agents: Agents;
  beforeAll(async () => {
    [world, server] = await Promise.all([startWorld(), startTestRedis()]);
    redis = new Redis(server.url);
    agents = new Agents(world, server.url);
  }, ENGINE_TIMEOUT_MS);
  afterAll(async () => {
    redis.disconnect();
    await Promise.all([world.stop(), server.stop()]);
  });
  afterEach(async () => {
    await agents.stop();
    await world.clean();
    await redis.flushall();
  });

  const push = async (jobId: string, reply: string, mode = 'well'): Promise<void> => {
    const services = [
      { name: 'alpha', parameters: { reply } },
      { name: 'beta', parameters: { reply, mode } },
    ];
    await redis.xadd('jobs:v1:config', '*', 'jobId', jobId, 'type', 'APPLY_DEVICE_CONFIG', 'payload', JSON.stringify({ services }));
  };
  /** What became of a revision, once its order is acknowledged. */
  const endOf = async (jobId: string): Promise<ConfigReport | undefined> => {
    // The agent makes the group.
    const [pending] = (await redis.xpending('jobs:v1:config', 'citadel-config-consumers').catch(() => [-1])) as [number];
    if (pending !== 0) return undefined;
    const entries = await redis.xrange('device:reports', '-', '+');
    const reports = entries.map(([, fields]) => JSON.parse(fields.at(-1) as string) as ConfigReport);
    return reports.find((each) => each.jobId === jobId && each.phase !== 'applying');
  };
  const ended = async (jobId: string): Promise<ConfigReport> =>
    await until(`${jobId} has ended and is acknowledged`, async () => (await endOf(jobId)) ?? false, 60_000);
  const replies = async (): Promise<readonly string[]> => {
    const ask = async (port: number): Promise<string> => (await (await fetch(`http://127.0.0.1:${port}/health`)).text()).trim();
    return await Promise.all([ask(world.ports['alpha'] as number), ask(world.ports['beta'] as number)]);
  };
  /** Kills the agent when its journal says so; returns what it said, or undefined when the apply was over before that was seen. */
  const killAt = async (agent: TestAgent, jobId: string, state: string, index: number): Promise<string | undefined> => {
    const path = join(agent.folder, 'nodes', 'node-1', 'apply.json');
    const deadline = performance.now() + STEP_TIMEOUT_MS;
    for (let look = 1; performance.now() < deadline; look++) {
      await turn();
      if (look % LOOKS_BETWEEN === 0 && (await endOf(jobId)) !== undefined) return undefined;
      let text: string;
      try {
        text = readFileSync(path, 'utf8');
      } catch {
        continue;
      }
      const { value, context } = JSON.parse(text) as { readonly value: string; readonly context: { readonly index: number } };
      if (value !== state || context.index !== index) continue;
      await agent.kill();
      const left = JSON.parse(readFileSync(path, 'utf8')) as typeof context & { readonly value: string; readonly context: { readonly index: number } };
      return `${left.value} ${left.context.index}`;
    }
    throw new Error(`The journal never said ${state} ${index}.`);
  };

  /** Pushes revisions until one is killed at that step. */
  const killedAt = async (
    agent: TestAgent,
    state: string,
    index: number,
    revision: (attempt: number) => readonly [jobId: string, reply: string],
    mode?: string,
  ): Promise<readonly [jobId: string, reply: string, place: string]> => {
    for (let attempt = 0; attempt < TRIES; attempt++) {
      const [jobId, reply] = revision(attempt);
      await push(jobId, reply, mode);
      const place = await killAt(agent, jobId, state, index);
      if (place !== undefined) return [jobId, reply, place];
    }
    throw new Error(`${TRIES} times ${state} ${index} was over before it was seen.`);
  };

  test('at each step of an apply that succeeds', { timeout: 280_000 }, async () => {
    let agent = await agents.start();
    await push('first', 'r0');
    expect(await ended('first')).toMatchObject({ phase: 'applied' });
    // Of two services that are replaced: pull, pull, park, park, create, start, create, start.
    const places = [
      ...['validating', 'planning'].map((state) => [state, 0] as const),
      ...[0, 1, 2, 3, 4, 5, 6, 7].map((index) => ['applying', index] as const),
      ...[['gating', 0] as const, ['committing', 0] as const, ['cleaning', 0] as const, ['cleaning', 1] as const],
    ];
    const left: string[] = [];
    for (const [round, [state, index]] of places.entries()) {
      const [jobId, reply, place] = await killedAt(agent, state, index, (attempt) => [`round-${round}-${attempt}`, `r${round + 1}x${attempt}`]);
      left.push(place);
      agent = await agents.start({ folder: agent.folder });
      expect(await ended(jobId), `killed at ${state} ${index}`).toMatchObject({ phase: 'applied' });
      expect(await replies(), `killed at ${state} ${index}`).toEqual([reply, reply]);
      expect(Object.keys(await world.containers()).toSorted()).toEqual(['citadel-alpha', 'citadel-beta']);
    }
    console.info(`killed at: ${left.join(', ')}`);
    expect(new Set(left).size).toBeGreaterThan(places.length / 2);
  });

  test('at each step of the way back', { timeout: 280_000 }, async () => {
    let agent = await agents.start();
    await push('first', 'r0');
    await ended('first');
    const before = await world.containers();
    const places = [['gating', 0] as const, ...[0, 1, 2, 3].map((index) => ['rollingBack', index] as const)];
    for (const [round, [state, index]] of places.entries()) {
      const [jobId] = await killedAt(agent, state, index, (attempt) => [`round-${round}-${attempt}`, `s${round}x${attempt}`], 'sick');
      agent = await agents.start({ folder: agent.folder });
      expect(await ended(jobId), `killed at ${state} ${index}`).toMatchObject({ phase: 'rolled-back', error: { code: 'service_unhealthy' } });
      expect(await world.containers()).toEqual(before);
      await until('both answer as before', async () => (await replies().catch(() => [])).join() === 'r0,r0');
    }
  });
});
