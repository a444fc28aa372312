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
  const ended = async (jobId: string): Promise<ConfigReport> =>
    await until(
      `${jobId} has ended and is acknowledged`,
      async () => {
        // The agent makes the group.
        const [pending] = (await redis.xpending('jobs:v1:config', 'citadel-config-consumers').catch(() => [-1])) as [number];
        const entries = await redis.xrange('device:reports', '-', '+');
        const reports = entries.map(([, fields]) => JSON.parse(fields.at(-1) as string) as ConfigReport);
        return pending === 0 && reports.find((each) => each.jobId === jobId && each.phase !== 'applying');
      },
      60_000,
    );
  const replies = async (): Promise<readonly string[]> => {
    const ask = async (port: number): Promise<string> => (await (await fetch(`http://127.0.0.1:${port}/health`)).text()).trim();
    return await Promise.all([ask(world.ports['alpha'] as number), ask(world.ports['beta'] as number)]);
  };
  /** Kills the agent when its journal says so; returns what it said, or undefined when the apply was over before. */
  const killAt = async (agent: TestAgent, state: string, index: number): Promise<string | undefined> => {
    const path = join(agent.folder, 'nodes', 'node-1', 'apply.json');
    const deadline = performance.now() + STEP_TIMEOUT_MS;
    while (performance.now() < deadline) {
      await turn();
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
      const reply = `r${round + 1}`;
      await push(`round-${round}`, reply);
      left.push((await killAt(agent, state, index)) ?? '');
      agent = await agents.start({ folder: agent.folder });
      expect(await ended(`round-${round}`), `killed at ${state} ${index}`).toMatchObject({ phase: 'applied' });
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
      await push(`round-${round}`, `s${round}`, 'sick');
      await killAt(agent, state, index);
      agent = await agents.start({ folder: agent.folder });
      expect(await ended(`round-${round}`), `killed at ${state} ${index}`).toMatchObject({ phase: 'rolled-back', error: { code: 'service_unhealthy' } });
      expect(await world.containers()).toEqual(before);
      await until('both answer as before', async () => (await replies().catch(() => [])).join() === 'r0,r0');
    }
  });
});
