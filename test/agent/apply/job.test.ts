/** A configuration as a job on a queue that the node's worker takes from; no engine is needed for a name. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../../src/agent/clock.ts';
import { redisConfigSource } from '../../../src/agent/config-source-redis.ts';
import { Provisioning } from '../../../src/agent/provisioning.ts';
import { catalogueOf } from '../../../src/provisioning/node-catalogue.ts';
import { createJobTransport, workerConsumer } from '../../../src/redis/job-transport.ts';
import { parseRedisUrl } from '../../../src/redis/target.ts';
import { Worker } from '../../../src/worker/worker.ts';
import { startTestRedis, type TestRedis } from '../../redis-server.ts';
import { until } from '../until.ts';

const QUEUE = 'jobs:v1:cpu-general';
let server: TestRedis;
let redis: Redis;
let folder: string;
let provisioning: Provisioning;
let worker: Worker;
beforeAll(async () => {
  server = await startTestRedis();
  redis = new Redis(server.url);
  folder = await mkdtemp(join(tmpdir(), 'castellan-job-'));
  const target = parseRedisUrl(server.url);
  const log = pino({ level: 'silent' });
  const random = (): number => Math.random();
  provisioning = new Provisioning({
    nodeId: 'node-1',
    folder,
    source: redisConfigSource({ redis: target, nodeId: 'node-1', deviceId: () => 'device-1', bell: 'castellan:bell:sources', random, log }),
    catalogue: catalogueOf(),
    enrolled: () => undefined,
    allowManual: false,
    onRedeemed: () => undefined,
    dockerHost: 'unix:///nonexistent/docker.sock',
    clock: systemClock(),
    log,
  });
  await provisioning.start();
  const transport = createJobTransport(target, { consumer: workerConsumer('node-1', 'test'), nodeId: 'node-1' });
  worker = new Worker({ transport, queues: [QUEUE], jobs: [provisioning.job()], nodeId: 'node-1', log: { warn: () => undefined } });
  worker.start();
});
afterAll(async () => {
  await worker.stop();
  await provisioning.stop();
  redis.disconnect();
  await server.stop();
  await rm(folder, { recursive: true, force: true });
});
const ended = async (jobId: string) =>
  await until(`${jobId} has ended`, async () => {
    const messages = (await redis.xrange('job:reports', '-', '+')).map(([, fields]) => JSON.parse(fields[3] as string));
    return messages.find((each) => each.jobId === jobId && ['end', 'error'].includes(each.type));
  });
const post = async (jobId: string, payload: object) =>
  await redis.xadd(QUEUE, '*', 'jobId', jobId, 'type', 'APPLY_DEVICE_CONFIG', 'payload', JSON.stringify(payload), 'attempt', '1');

test('its report is the result of the job, and is told of the device', async () => {
  await post('q-1', { config: { deviceName: 'Rack 4' } });
  expect(await ended('q-1')).toMatchObject({ type: 'end', data: { result: { phase: 'applied', jobId: 'q-1' } } });
  expect(provisioning.profile()).toEqual({ name: 'Rack 4' });
  await until('the device is told', async () => {
    const entries = await redis.xrange('device:reports', '-', '+');
    return entries.some(([, [, , , deviceId, , report]]) => deviceId === 'device-1' && JSON.parse(report ?? '{}').phase === 'applied');
  });
});

test('a refusal fails the job for good, by the name of the field', async () => {
  await post('q-2', { services: ['docker.io/attacker/miner'] });
  expect(await ended('q-2')).toMatchObject({ type: 'error', data: { code: 'invalid_config', retryable: false } });
});

test('by the channel too, for a node that was never enrolled', async () => {
  await redis.publish('config:node:node-1', JSON.stringify({ type: 'config_updated', nodeId: 'node-1', config: { customTags: ['lab'] }, updatedAt: 'now' }));
  await until('the tags are there', () => provisioning.profile().tags?.[0] === 'lab');
});
