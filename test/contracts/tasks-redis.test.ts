/** Task updates over a real Redis: foreign services drive jobs and hear them, whoever brought them; two control planes share the channel. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { taskUpdatesSource } from '../../src/contracts/tasks.ts';
import { createTaskUpdates } from '../../src/library/task-updates.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import { followedJobs, startEngineWorld, until, type EngineWorld } from './engine-world.ts';

let server: TestRedis;
let foreign: Redis;

beforeAll(async () => {
  server = await startTestRedis();
  foreign = new Redis(server.url);
});
afterAll(async () => {
  foreign.disconnect();
  await server.stop();
});

async function world(): Promise<EngineWorld> {
  const started = await startEngineWorld(server, {
    types: [followedJobs],
    channels: [taskUpdatesSource],
    outlets: [{ type: 'queue', encode: (id) => ({ stream: id, fields: ['field', 'value'] }) }],
  });
  await until('the channel is read', async () => (await listeners()) > 0);
  return started;
}

async function listeners(): Promise<number> {
  return Number((await foreign.pubsub('NUMSUB', 'task_updates'))[1]);
}

const told = (message: object): Promise<number> => foreign.publish('task_updates', JSON.stringify(message));

describe('a service that knows only the channel', () => {
  it('drives its task from pending to completed; nobody else had submitted it', async () => {
    const { job } = await world();
    await promisify(execFile)('redis-cli', [
      '-u',
      server.url,
      'PUBLISH',
      'task_updates',
      '{"type":"task_update","task_id":"a1","data":{"status":"pending"},"timestamp":"2026-01-01T00:00:00Z","source":"api"}',
    ]);
    expect(await until('queued', async () => (await job('a1'))?.state === 'queued' && (await job('a1')))).toMatchObject({ type: 'task', attempt: 0 });
    await told({ task_id: 'a1', status: 'in_progress', progress: 50, message: 'Processing commission...', source: 'worker' });
    const processing = await until('processing', async () => (await job('a1'))?.state === 'processing' && (await job('a1')));
    expect(processing).toMatchObject({ progress: 50, worker: 'worker' });
    await told({ task_id: 'a1', data: { status: 'in_progress', progress: 80 } });
    await until('progress', async () => (await job('a1'))?.progress === 80);
    await told({ task_id: 'a1', status: 'completed', result: { url: '/a.png' } });
    expect(await until('done', async () => (await job('a1'))?.state === 'done' && (await job('a1')))).toMatchObject({ result: { url: '/a.png' } });
  });

  it('is told which field of a bad message is wrong, in the dead letters', async () => {
    const { deadLetters, job } = await world();
    for (const bad of ['{', '{"status":"pending"}', '{"task_id":"b1","status":"paused"}', '{"task_id":"a/b","status":"pending"}'])
      await foreign.publish('task_updates', bad);
    await told({ task_id: 'b2', status: 'failed', message: 'no credit' });
    expect(await until('the good one', async () => (await job('b2'))?.state === 'error' && (await job('b2')))).toMatchObject({
      error: { message: 'no credit' },
    });
    const letters = (await deadLetters()).filter(({ source }) => source.includes('task_updates'));
    expect(letters.map(({ code, field }) => [code, field]).toReversed()).toEqual([
      ['invalid_json', 'message'],
      ['missing_field', 'task_id'],
      ['invalid_field', 'status'],
      ['invalid_task_id', 'task_id'],
    ]);
  });
});

describe('two control planes on one Redis', () => {
  it('read each update once, ignore their own, and tell each transition once', async () => {
    const one = await world();
    await world();
    expect(await listeners()).toBe(1);
    const heard: [status: string, source: string | undefined][] = [];
    const dashboard = createTaskUpdates({ redis: server.url, log: { warn: () => undefined } });
    await dashboard.subscribeToChannel('task_updates', ({ task_id, data, source }) => {
      if (task_id === 'c1') heard.push([data.status, source]);
    });
    await dashboard.startListening();
    await dashboard.publishTaskUpdate('c1', { status: 'in_progress', progress: 10 });
    await until('processing', async () => (await one.job('c1'))?.state === 'processing');
    await dashboard.publishTaskUpdate('c1', { status: 'completed' });
    await until('done', async () => (await one.job('c1'))?.state === 'done');
    await until('the last is told', () => heard.length === 4);
    await dashboard.stop();
    expect(heard.filter(([, source]) => source === 'castellan')).toEqual([
      ['in_progress', 'castellan'],
      ['completed', 'castellan'],
    ]);
    expect(heard.filter(([, source]) => source === 'library')).toHaveLength(2);
    expect((await one.job('c1'))?.lateReports).toBe(0);
  });

  it('take over from each other', async () => {
    const first = await world();
    const second = await world();
    await first.stop();
    await until('the second reads the channel', async () => {
      await told({ task_id: 'd1', status: 'completed' });
      return (await second.job('d1').catch(() => undefined))?.state === 'done';
    });
  });
});

it('a job that somebody submitted is told as its task, also when it takes no time', async () => {
  const { client } = await world();
  const heard: object[] = [];
  const dashboard = createTaskUpdates({ redis: server.url });
  await dashboard.subscribeToChannel('task_updates', ({ task_id, data, source }) => void (source === 'castellan' && heard.push({ task_id, ...data })));
  await dashboard.startListening();
  await client.send('job', 'e1', { type: 'submit', spec: { type: 'ECHO', via: 'queue' } });
  await client.send('job', 'e1', { type: 'end', attempt: 1, worker: 'castellan:n:1' });
  await client.send('job', 'e2', { type: 'submit', spec: { type: 'ECHO', via: 'queue' } });
  await client.send('job', 'e2', { type: 'cancel', reason: 'a mistake' });
  await until('both ended', () => heard.length === 5);
  await dashboard.stop();
  expect(heard.filter((each) => (each as { task_id: string }).task_id === 'e1')).toEqual([
    { task_id: 'e1', status: 'pending' },
    { task_id: 'e1', status: 'in_progress' },
    { task_id: 'e1', status: 'completed', progress: 100 },
  ]);
  expect(heard.filter((each) => (each as { task_id: string }).task_id === 'e2')).toEqual([
    { task_id: 'e2', status: 'pending' },
    { task_id: 'e2', status: 'failed', message: 'cancelled: a mistake' },
  ]);
});
