import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { millisecondsOf } from '../../src/protocol/ids.ts';
import { until } from '../agent/until.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import { connectionChanges, DEGRADED_MS, historyOf, INTERVAL_MS, nodeOf, OFFLINE_MS, startServe, type ServeProcess } from './serve-process.ts';

const TOLERANCE_MS = 300;

describe('a node whose statuses are added by hand', () => {
  let redis: TestRedis;
  let client: Redis;
  let listener: Redis;
  let folder: string;
  let serve: ServeProcess;
  const heard: { readonly channel: string; readonly message: string }[] = [];

  beforeAll(async () => {
    redis = await startTestRedis(['--appendonly', 'yes']);
    client = new Redis(redis.url);
    listener = new Redis(redis.url);
    listener.on('pmessage', (_pattern, channel: string, message: string) => heard.push({ channel, message }));
    await listener.psubscribe('node:state:*', 'node:status:*');
    folder = await mkdtemp(join(tmpdir(), 'castellan-heartbeat-'));
    serve = await startServe(redis.url, folder);
  });
  afterAll(async () => {
    await serve?.end('SIGKILL');
    listener?.disconnect();
    client?.disconnect();
    await redis?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  /** One status in the documented shape. Resolves with its entry's ms: Redis's time at which it was accepted. */
  async function beat(nodeId: string, cpu: number): Promise<number> {
    const timestamp = new Date().toISOString();
    const status = {
      version: '1.0',
      timestamp,
      node: { name: 'By hand', tailscale_ip: '100.64.0.7', uptime_seconds: 60 },
      system: { cpu_percent: cpu, memory_used_gb: 4, memory_total_gb: 16, disk_used_gb: 100, disk_total_gb: 500 },
      gpu: [],
      services: [],
    };
    const payload = JSON.stringify({ version: '1.0', timestamp, nodeId, status });
    const id = await client.xadd('node:status:stream', 'MAXLEN', '~', 10_000, '*', 'nodeId', nodeId, 'timestamp', timestamp, 'payload', payload);
    return millisecondsOf(id as string);
  }

  it('goes online, degraded and offline in time, with the causes in its history, and comes back with the second beat', async () => {
    for (let number = 1; number <= 3; number++) {
      await beat('hand-1', number);
      await until('the node is online', async () => (await nodeOf(serve, 'hand-1'))?.state === 'online');
      await sleep(INTERVAL_MS); // the rhythm of the beats is what is tested
    }
    const last = await beat('hand-1', 4);
    await until('the node is offline', async () => (await nodeOf(serve, 'hand-1'))?.state === 'offline');

    const silent = connectionChanges(await historyOf(serve, 'hand-1'));
    expect(silent.map(({ to }) => to)).toEqual(['online', 'degraded', 'offline']);
    const [online, degraded, offline] = silent as [(typeof silent)[0], (typeof silent)[0], (typeof silent)[0]];
    expect(Math.abs(degraded.at - last - DEGRADED_MS)).toBeLessThanOrEqual(TOLERANCE_MS);
    expect(Math.abs(offline.at - last - OFFLINE_MS)).toBeLessThanOrEqual(TOLERANCE_MS);
    expect(online.transition.cause).toMatchObject({ source: 'stream:node:status:stream', ref: expect.stringMatching(/^\d+-\d+$/) });
    expect(degraded.transition.cause.source).toBe('timer');
    expect(offline.transition.cause).toMatchObject({ source: 'actor:fleet/default', causation: expect.stringMatching(/^\d+:/) });
    expect(offline.transition.event).toMatchObject({ type: 'verdict', verdict: 'offline' });

    await beat('hand-1', 5);
    await until('the first beat is taken', async () => (await historyOf(serve, 'hand-1')).some(({ to }) => JSON.stringify(to).includes('"recovering"')));
    expect((await nodeOf(serve, 'hand-1'))?.state).toBe('offline');
    await beat('hand-1', 6);
    await until('the node is back', async () => (await nodeOf(serve, 'hand-1'))?.state === 'online');
    const node = await nodeOf(serve, 'hand-1');
    expect(node).toMatchObject({ nodeId: 'hand-1', name: 'By hand', state: 'online', status: { system: { cpu_percent: 6 } } });
  });

  it('is told of on node:state and node:status:org, and never in the name of the node', async () => {
    const states = (): string[] =>
      heard.filter(({ channel }) => channel === 'node:state:hand-1').map(({ message }) => (JSON.parse(message) as { readonly state: string }).state);
    await until('all changes were published', () => states().length >= 4);
    expect(states()).toEqual(['online', 'degraded', 'offline', 'online']);
    const reasons = heard
      .filter(({ channel }) => channel === 'node:state:hand-1')
      .map(({ message }) => (JSON.parse(message) as { readonly reason: string }).reason);
    expect(reasons[1]).toContain('no status for 2.5 s');
    expect(reasons[2]).toContain('no status for 3.5 s');

    const statuses = heard.filter(({ channel }) => channel === 'node:status:org:default:hand-1');
    expect(statuses).toHaveLength(6);
    expect(JSON.parse(statuses[5]?.message ?? '')).toMatchObject({ nodeId: 'hand-1', status: { system: { cpu_percent: 6 } } });
    expect(heard.filter(({ channel }) => channel === 'node:status:hand-1')).toEqual([]);
  });

  it('ends cleanly', async () => {
    expect(await serve.end('SIGTERM')).toBe(0);
  });
});
