/** The reporter and its Redis publisher against a real Redis. */
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../src/agent/clock.ts';
import { redisPublisher } from '../../src/agent/redis-publisher.ts';
import { Reporter, type StatusSource } from '../../src/agent/reporter.ts';
import { nodeStatus, type ServiceStatus } from '../../src/agent/status.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import { until } from './until.ts';
import type { Publisher } from '../../src/agent/publisher.ts';

/** Long enough that only what a test provokes is sent, apart from the first two beats. */
const QUIET_MS = 3_600_000;
const ollama: ServiceStatus = { name: 'ollama', type: 'llm', status: 'running', port: 11_434, health: 'healthy' };

let server: TestRedis;
let reader: Redis;
let running: { readonly reporter: Reporter; readonly publisher: Publisher } | undefined;

beforeAll(async () => {
  server = await startTestRedis(['--appendonly', 'yes', '--appendfsync', 'always']);
  reader = new Redis(server.url, { retryStrategy: () => 50 });
  reader.on('error', () => undefined);
});
beforeEach(async () => void (await reader.flushall()));
afterEach(async () => {
  await Promise.all([running?.reporter.stop(), running?.publisher.close()]);
  running = undefined;
});
afterAll(async () => {
  reader.disconnect();
  await server.stop();
});

/** A machine whose services the test changes. */
class Machine implements StatusSource {
  list: readonly ServiceStatus[] = [];
  collected = 0;
  async services() {
    return this.list;
  }
  async collect() {
    this.collected++;
    const node = { name: 'gpu-1', uptime_seconds: this.collected };
    return nodeStatus({ node, system: { cpu_percent: 1 }, gpu: [], services: this.list }, new Date());
  }
}

function report(machine: Machine, options: { readonly intervalMs?: number; readonly deviceCode?: string } = {}): Reporter {
  const log = pino({ level: 'silent' });
  const intervalMs = options.intervalMs ?? QUIET_MS;
  const publisher = redisPublisher({ redis: { host: server.host, port: server.port, db: 0, tls: false }, intervalMs, random: () => Math.random(), log });
  const deviceCode = options.deviceCode === undefined ? {} : { deviceCode: options.deviceCode };
  const reporter = new Reporter({ nodeId: 'gpu-1', source: machine, publisher, intervalMs, watchMs: 20, clock: systemClock(), log, ...deviceCode });
  running = { reporter, publisher };
  reporter.start();
  return reporter;
}

interface Entry {
  readonly id: string;
  readonly fields: { readonly [name: string]: string };
  readonly payload: {
    readonly status: { readonly services: readonly ServiceStatus[]; readonly node: { readonly uptime_seconds: number } };
    readonly deviceCode?: string;
  };
}
async function entries(): Promise<readonly Entry[]> {
  const found = await reader.xrange('node:status:stream', '-', '+');
  return found.map(([id, flat]) => {
    const fields = Object.fromEntries(Array.from({ length: flat.length / 2 }, (_, index) => [flat[2 * index], flat[2 * index + 1]]));
    return { id, fields, payload: JSON.parse(fields['payload']) };
  });
}
const entryWhere = (awaited: string, matches: (entry: Entry) => boolean): Promise<Entry> => until(awaited, async () => (await entries()).find(matches));

test('the first beat goes out at once: an entry with its fields in order, then the same on the channel', async () => {
  const heard: string[] = [];
  const subscriber = reader.duplicate();
  await subscriber.psubscribe('node:status:*');
  subscriber.on('pmessage', (_pattern, channel, message) => heard.push(`${channel} ${message}`));
  report(new Machine());
  await until('the message was heard', () => heard.length > 0);
  const [first] = await reader.xrange('node:status:stream', '-', '+');
  expect(first?.[1].filter((_, index) => index % 2 === 0)).toEqual(['nodeId', 'timestamp', 'payload']);
  const [entry] = await entries();
  expect(entry?.fields['nodeId']).toBe('gpu-1');
  expect(entry?.fields['timestamp']).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  expect(heard).toEqual([`node:status:gpu-1 ${entry?.fields['payload']}`]);
  subscriber.disconnect();
});

test('beats go on at the interval', async () => {
  const reporter = report(new Machine(), { intervalMs: 250 });
  await until('five beats were stored', async () => (await entries()).length >= 5);
  expect(reporter.counts.failed).toBeLessThanOrEqual(1); // the first may come before the connection
});

test('a service, its state or its health that changes is reported at once', async () => {
  const machine = new Machine();
  report(machine);
  await entryWhere('the first beat is stored', () => true);
  machine.list = [ollama];
  await entryWhere('the new service is reported', ({ payload }) => payload.status.services[0]?.health === 'healthy');
  machine.list = [{ ...ollama, health: 'unhealthy' }];
  await entryWhere('its health is reported', ({ payload }) => payload.status.services[0]?.health === 'unhealthy');
  machine.list = [{ ...ollama, status: 'stopped' }];
  await entryWhere('its stop is reported', ({ payload }) => payload.status.services[0]?.status === 'stopped');
  expect((await entries()).length).toBe(4);
});

test('the device code is in the stream until it is redeemed, and never on the channel', async () => {
  const heard: string[] = [];
  const subscriber = reader.duplicate();
  await subscriber.psubscribe('node:status:*');
  subscriber.on('pmessage', (_pattern, _channel, message) => heard.push(message));
  const machine = new Machine();
  const reporter = report(machine, { deviceCode: 'abc123' });
  const first = await entryWhere('the first beat is stored', () => true);
  expect(first.fields['deviceCode']).toBe('abc123');
  expect(first.payload.deviceCode).toBe('abc123');
  reporter.setDeviceCode(undefined);
  machine.list = [ollama];
  const second = await entryWhere('the change is stored', ({ id }) => id !== first.id);
  expect(second.fields).not.toHaveProperty('deviceCode');
  expect(second.payload).not.toHaveProperty('deviceCode');
  await until('both were heard', () => heard.length === 2);
  expect(heard.join()).not.toContain('abc123');
  subscriber.disconnect();
});

test('while Redis is away only the newest status is kept, and it is sent when Redis is back', async () => {
  const machine = new Machine();
  const reporter = report(machine, { intervalMs: 1_000 });
  await entryWhere('the first beat is stored', () => true);
  await server.kill();
  const before = machine.collected;
  await until('three more statuses were collected in vain', () => machine.collected >= before + 3);
  const stored = machine.collected;
  await server.start();
  await until('a status is stored again', async () => (await entries().catch(() => [])).some(({ payload }) => payload.status.node.uptime_seconds >= stored));
  const kept = (await entries()).map(({ payload }) => payload.status.node.uptime_seconds);
  expect(kept.filter((number) => number > before && number < stored)).toEqual([]);
  expect(reporter.counts.dropped).toBeGreaterThanOrEqual(2);
});

test('a Redis that hangs is given up and found again', async () => {
  const machine = new Machine();
  const reporter = report(machine, { intervalMs: 1_000 });
  await entryWhere('the first beat is stored', () => true);
  server.pause();
  try {
    await until('a publish failed', () => reporter.counts.failed > 0);
  } finally {
    server.resume();
  }
  const { failed } = reporter.counts;
  const collected = machine.collected;
  await entryWhere('a later status is stored', ({ payload }) => payload.status.node.uptime_seconds > collected);
  expect(failed).toBeGreaterThan(0);
});

test('a stopped reporter sends nothing more', async () => {
  const machine = new Machine();
  const reporter = report(machine);
  await entryWhere('the first beat is stored', () => true);
  await reporter.stop();
  machine.list = [ollama];
  const collected = machine.collected;
  await reporter.stop();
  expect(machine.collected).toBe(collected);
  expect(await entries()).toHaveLength(1);
});
