import type { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { closeClient, connectFirst, createWriteClient } from '../../src/redis/clients.ts';
import { connectRedis } from '../../src/redis/connect.ts';
import { STORED_FORMAT } from '../../src/redis/format.ts';
import { createKeys } from '../../src/redis/keys.ts';
import { parseRedisUrl } from '../../src/redis/target.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';

const keys = createKeys();
let server: TestRedis;
let client: Redis;

beforeAll(async () => {
  server = await startTestRedis();
  client = createWriteClient(parseRedisUrl(server.url));
  await connectFirst(client, parseRedisUrl(server.url));
});
afterAll(async () => {
  await closeClient(client);
  await server.stop();
});

it('marks new data with its form and takes it again', async () => {
  for (let start = 0; start < 2; start++) {
    const redis = await connectRedis(parseRedisUrl(server.url));
    expect(await client.get(keys.format)).toBe(STORED_FORMAT);
    await redis.close();
  }
});

it('refuses data of another form and says the way out', async () => {
  await client.set(keys.format, '999');
  await expect(connectRedis(parseRedisUrl(server.url))).rejects.toMatchObject({
    code: 'redis_unusable',
    message: expect.stringMatching(/stored form 999.*Use the version that wrote it/) as string,
  });
  expect(await client.get(keys.format)).toBe('999');
});
