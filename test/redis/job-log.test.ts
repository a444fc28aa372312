import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Redis } from 'ioredis';
import { progressKey } from '../../src/protocol/job-progress.ts';
import { closeClient, connectFirst, createWriteClient } from '../../src/redis/clients.ts';
import { createJobLogs } from '../../src/redis/job-log.ts';
import { parseRedisUrl } from '../../src/redis/target.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';

describe('a job’s log', () => {
  let server: TestRedis;
  let client: Redis;
  beforeAll(async () => {
    server = await startTestRedis();
    const target = parseRedisUrl(server.url);
    client = createWriteClient(target);
    await connectFirst(client, target);
  });
  afterAll(async () => {
    await closeClient(client);
    await server.stop();
  });

  const write = async (jobId: string, ...fields: readonly string[]): Promise<string> => (await client.xadd(progressKey(jobId), '*', ...fields)) as string;
  const message = (type: string, data: object) => JSON.stringify({ version: '1.0', type, jobId: 'a', timestamp: '2030-01-01T00:00:01.500Z', data });

  it('is read in pages, and on from its last line', async () => {
    for (const line of ['one', 'two', 'three']) await write('a', 'progress', message('chunk', { log: line }));
    const logs = createJobLogs(client);
    const first = await logs.page('a', { limit: 2 });
    expect(first.items.map(({ type, at, data }) => [type, at, data])).toEqual([
      ['chunk', '2030-01-01T00:00:01.500Z', { log: 'one' }],
      ['chunk', '2030-01-01T00:00:01.500Z', { log: 'two' }],
    ]);
    const second = await logs.page('a', { limit: 2, cursor: first.next as string });
    expect(second.items.map(({ data }) => data)).toEqual([{ log: 'three' }]);
    expect(second.next).toBeNull();
    expect((await logs.page('a', { limit: 2, cursor: second.items[0]?.id as string })).items).toEqual([]);
  });

  it('shows what workers of others write in their own shapes', async () => {
    await write('b', 'type', 'start', 'timestamp', '2030-01-01T00:00:00Z', 'data', '{"model":"x"}');
    await write('b', 'data', message('end', { result: 1 }));
    const odd = await write('b', 'note', 'hello');
    const { items } = await createJobLogs(client).page('b', { limit: 10 });
    expect(items.map(({ type, data }) => [type, data])).toEqual([
      ['start', { model: 'x' }],
      ['end', { result: 1 }],
      ['entry', { note: 'hello' }],
    ]);
    expect(Date.parse(items[2]?.at as string)).toBe(Number(odd.split('-')[0]));
  });

  it('is empty where there is none, or something else has its name, and refuses a cursor that is none', async () => {
    await client.set(progressKey('c'), 'a string');
    const logs = createJobLogs(client);
    expect(await logs.page('nobody', { limit: 5 })).toEqual({ items: [], next: null });
    expect(await logs.page('c', { limit: 5 })).toEqual({ items: [], next: null });
    await expect(logs.page('a', { limit: 5, cursor: '$' })).rejects.toMatchObject({ code: 'cursor_gone' });
  });
});
