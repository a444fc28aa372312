/** Task updates over a real Redis: several services tell and hear, foreign ones too, and listening survives a Redis that restarts. */
import { execFile } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createTaskUpdates, type TaskUpdates } from '../../src/library/task-updates.ts';
import { redisTargetOf } from '../../src/library/redis-option.ts';
import { freePort, startTestRedis, type TestRedis } from '../redis-server.ts';

const run = promisify(execFile);
let redis: TestRedis;
const open: TaskUpdates[] = [];
const warnings: string[] = [];

beforeAll(async () => {
  redis = await startTestRedis();
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((each) => each.stop()));
  warnings.length = 0;
});
afterAll(async () => {
  await redis.stop();
});

function service(source?: string): TaskUpdates {
  const updates = createTaskUpdates({
    redis: redis.url,
    ...(source === undefined ? {} : { source }),
    log: { warn: (message) => void warnings.push(message) },
  });
  open.push(updates);
  return updates;
}

async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (const deadline = performance.now() + 20_000; performance.now() < deadline; await sleep(10)) if (await condition()) return;
  throw new Error(`not within 20 s: ${what}`);
}

describe('task updates', () => {
  it('told by one service are heard by the others, with every field of the contract', async () => {
    const [api, worker, dashboard] = [service('api'), service('worker'), service()];
    const heard: object[] = [];
    await api.subscribeToChannel('task_updates', (message) => void heard.push({ by: 'api', ...message }));
    await dashboard.subscribeToChannel('task_updates', async (message) => void heard.push(await Promise.resolve({ by: 'dashboard', ...message })));
    await Promise.all([api.startListening(), dashboard.startListening()]);

    expect(await worker.publishTaskUpdate('task-123', { status: 'in_progress', message: 'Processing commission...', progress: 50 })).toBe(2);
    await until(() => heard.length === 2, 'both hear');
    const message = {
      ...{ type: 'task_update', task_id: 'task-123', source: 'worker', timestamp: expect.stringMatching(/^\d{4}-.*Z$/) as string },
      data: { status: 'in_progress', message: 'Processing commission...', progress: 50 },
    };
    expect(heard).toEqual(
      expect.arrayContaining([
        { by: 'api', ...message },
        { by: 'dashboard', ...message },
      ]),
    );
  });

  it('lie on the channel as anybody reads them', async () => {
    const foreign = new Redis(redis.url);
    const texts: string[] = [];
    foreign.on('message', (_channel, text: string) => void texts.push(text));
    await foreign.subscribe('task_updates', 'general_updates');
    await service('api').publishTaskUpdate('t', { status: 'failed', message: 'no credit', code: 402 });
    await service().publishGeneralUpdate({ type: 'system_notification', message: 'System maintenance scheduled' });
    await until(() => texts.length === 2, 'the foreign service hears');
    foreign.disconnect();
    const timestamp = expect.any(String) as string;
    expect(texts.map((text) => JSON.parse(text) as object)).toEqual([
      { type: 'task_update', task_id: 't', data: { status: 'failed', message: 'no credit', code: 402 }, timestamp, source: 'api' },
      { type: 'general_update', data: { type: 'system_notification', message: 'System maintenance scheduled' }, timestamp, source: 'library' },
    ]);
  });

  it('of a foreign service are heard wrapped and flat; what is none is told to the log and stops nobody', async () => {
    const api = service();
    const heard: object[] = [];
    const fails = (): void => {
      throw new Error('a bad handler');
    };
    await api.subscribeToChannel('task_updates', fails);
    await api.subscribeToChannel('task_updates', (message) => void heard.push(message));
    await api.startListening();
    const publish = async (message: string): Promise<unknown> => await run('redis-cli', ['-u', redis.url, 'PUBLISH', 'task_updates', message]);
    await publish('nothing');
    await publish('{"task_id":"t","status":"paused"}');
    await publish('{"task_id":"t","status":"completed","progress":100}');
    await until(() => heard.length === 1, 'the third is heard');
    expect(heard).toEqual([{ type: 'task_update', task_id: 't', data: { status: 'completed', progress: 100 } }]);
    expect(warnings).toEqual([
      expect.stringContaining('The message is not a JSON object'),
      expect.stringContaining('The field status must be one of'),
      expect.stringContaining('A handler of task_updates failed: a bad handler'),
    ]);
  });

  it('that nobody could read are not published', async () => {
    const api = service();
    await expect(api.publishTaskUpdate('a/b', { status: 'pending' })).rejects.toMatchObject({ code: 'invalid_event', field: 'task_id' });
    await expect(api.publishTaskUpdate('t', { status: 'paused' as 'pending' })).rejects.toMatchObject({ field: 'data.status' });
    expect(() => createTaskUpdates({ redis: redis.url, source: 'castellan' })).toThrow(/source must be a name of your own/);
  });

  it('may be subscribed to while listening, on any channel, and left', async () => {
    const api = service();
    await api.startListening();
    const heard: unknown[] = [];
    const leave = await api.subscribeToChannel('news', (message, channel) => void heard.push([channel, message]));
    const foreign = new Redis(redis.url);
    await foreign.publish('news', '{"a":1}');
    await until(() => heard.length === 1, 'the channel is heard');
    expect(heard).toEqual([['news', { a: 1 }]]);
    await leave();
    expect(await foreign.publish('news', '{}')).toBe(0);
    foreign.disconnect();
  });

  it('are heard again after Redis was away', async () => {
    const [api, worker] = [service(), service('worker')];
    const heard: string[] = [];
    await api.subscribeToChannel('task_updates', ({ task_id }) => void heard.push(task_id));
    await api.startListening();
    await worker.publishTaskUpdate('before', { status: 'pending' });
    await redis.kill();
    await redis.start();
    await until(async () => (await worker.publishTaskUpdate('after', { status: 'pending' }).catch(() => 0)) > 0, 'somebody listens again');
    await until(() => heard.includes('after'), 'heard after the restart');
    expect(heard[0]).toBe('before');
    await until(() => warnings.some((each) => each.includes('are heard again')), 'the gap is told');
  });

  it('without a Redis say where it was looked for and what to do', async () => {
    const port = await freePort();
    const api = createTaskUpdates({ redis: { host: '127.0.0.1', port }, log: { warn: (message) => void warnings.push(message) } });
    await expect(api.startListening()).rejects.toThrow(`Failed to connect to Redis at 127.0.0.1:${port}/0 (ECONNREFUSED). Start a Redis there, set REDIS_URL`);
    await expect(api.publishTaskUpdate('t', { status: 'pending' })).rejects.toMatchObject({ code: 'redis_unusable' });
    await api.stop();
  });
});

describe('which Redis', () => {
  it('is what is given, else what the environment names, else the one on this machine', () => {
    const parts = { REDIS_HOST: 'b', REDIS_PORT: '7', REDIS_DB: '2', REDIS_PASSWORD: '', REDIS_SSL: 'true' };
    expect(redisTargetOf('redis://a', parts)).toMatchObject({ host: 'a', port: 6379 });
    expect(redisTargetOf({ host: 'a', port: 1 }, parts)).toEqual({ host: 'a', port: 1, db: 0, tls: false });
    expect(redisTargetOf(undefined, { ...parts, REDIS_URL: 'redis://c:6/1' })).toEqual({ host: 'c', port: 6, db: 1, tls: false });
    expect(redisTargetOf(undefined, parts)).toEqual({ host: 'b', port: 7, db: 2, tls: true });
    expect(redisTargetOf(undefined, {})).toEqual({ host: '127.0.0.1', port: 6379, db: 0, tls: false });
  });
});
