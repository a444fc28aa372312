import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { simulateFleet } from '../../bench/simulated-fleet.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import { until } from './until.ts';

let server: TestRedis;
let reader: Redis;
beforeAll(async () => {
  server = await startTestRedis();
  reader = new Redis(server.url);
});
beforeEach(async () => void (await reader.flushall()));
afterAll(async () => {
  reader.disconnect();
  await server.stop();
});

const stored = async (): Promise<readonly [string, string[]][]> => reader.xrange('node:status:stream', '-', '+');

test('each node beats in turn, with a status of realistic size, until the signal', async () => {
  const stop = new AbortController();
  const fleet = simulateFleet({ redisUrl: server.url, nodes: 20, intervalMs: 200, signal: stop.signal, streamLength: 0 });
  await until('each node has beaten twice', async () => (await stored()).length >= 40);
  stop.abort();
  const result = await fleet;
  const entries = await stored();
  expect(result).toMatchObject({ sent: entries.length, failed: 0 });
  expect(entries.slice(0, 40).map(([, fields]) => fields[1])).toEqual(Array.from({ length: 40 }, (_, index) => `sim-${String(index % 20).padStart(6, '0')}`));
  expect(result.payloadBytesMean).toBeGreaterThan(700);
  expect(result.payloadBytesMean).toBeLessThan(820);
  const [, fields] = entries[0]!;
  expect(JSON.parse(fields[5]!)).toMatchObject({ nodeId: fields[1], timestamp: fields[3], status: { version: '1.0' } });
});

test('silenced nodes do not beat', async () => {
  const stop = new AbortController();
  const fleet = simulateFleet({ redisUrl: server.url, nodes: 10, intervalMs: 100, firstNode: 100, beats: (node) => node % 2 === 0, signal: stop.signal });
  await until('some have beaten', async () => (await stored()).length >= 10);
  stop.abort();
  await fleet;
  expect(new Set((await stored()).map(([, fields]) => fields[1]))).toEqual(new Set(['sim-000100', 'sim-000102', 'sim-000104', 'sim-000106', 'sim-000108']));
});

test('it ends when its time is over', async () => {
  const result = await simulateFleet({ redisUrl: server.url, nodes: 5, intervalMs: 100, durationMs: 50 });
  expect(result.sent).toBeGreaterThan(0);
});
