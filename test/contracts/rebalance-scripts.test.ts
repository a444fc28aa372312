/** Document 002, played as it is written: its client, its agent by redis-cli, and what goes wrong. */
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runInNewContext } from 'node:vm';
import { io } from 'socket.io-client';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { connectClient, tokenOf, until } from '../http/realtime/socket-fixture.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import { redisCli, startWorld, type World } from './rebalance-world.ts';

const LIST = 'agent:rebalance:jobs';
const STATUS = 'agent:rebalance:status';

let redis: TestRedis;
beforeAll(async () => void (redis = await startTestRedis()));
afterAll(() => redis.stop());

let users = 0;
const newUser = (): string => `GXHEXYVepv5EQnhq9VYVWkvW6QDMRj4QZA2B2mmKpCz${++users}`;

/** What the agent sends, by redis-cli. It knows nothing of users: the job's record says whose it is. */
async function agentSays(jobId: string, status: string, more: object = {}): Promise<void> {
  const record = JSON.parse((await redisCli(redis, 'GET', `agent:rebalance:job:${jobId}`)) || '{}') as { userId?: string };
  await redisCli(redis, 'PUBLISH', STATUS, JSON.stringify({ jobId, status, userId: record.userId, ...more }));
}

async function post(url: string, token: string, body: object = { priority: 'high', amount: 1000 }, headers: object = {}): Promise<string> {
  const answer = await fetch(`${url}/api/v1/agent/rebalance`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${token}`, ...headers },
    body: JSON.stringify(body),
  });
  expect(answer.status).toBe(201);
  return ((await answer.json()) as { jobId: string }).jobId;
}

async function poll(url: string, token: string, jobId: string): Promise<{ readonly code: number; readonly status?: string; readonly error?: string }> {
  const answer = await fetch(`${url}/api/v1/rebalance/${jobId}`, { headers: { authorization: `Bearer ${token}` } });
  return { ...((await answer.json()) as object), code: answer.status };
}

interface Manager {
  socket: { disconnect(): void; connected: boolean };
  createAndMonitor(config: object): Promise<string>;
  pollStatus(jobId: string): Promise<{ status: string }>;
  onJobCreated: (jobId: string) => void;
  onJobProcessing: (jobId: string, status: string) => void;
  onJobDone: (jobId: string) => void;
  onJobError: (jobId: string) => void;
}

/** The class of the document's "Complete Workflow", byte for byte but for the address. */
async function rebalanceManager(url: string, token: string): Promise<Manager> {
  const script = (await readFile(join(import.meta.dirname, 'rebalance-manager.js.txt'), 'utf8')).replaceAll('http://localhost:3001', url);
  const Class = runInNewContext(`${script}; RebalanceManager`, { io, fetch, setTimeout, console: { log: () => undefined } }) as new (jwt: string) => Manager;
  const manager = new Class(token);
  onTestFinished(() => manager.socket.disconnect());
  return manager;
}

it('the complete workflow: created, processing, done; the list, the record, the log, and polling agree', async () => {
  const world = await startWorld(redis);
  const user = newUser();
  const token = await tokenOf(user);
  const manager = await rebalanceManager(world.url, token);
  const told: string[] = [];
  manager.onJobCreated = (jobId) => void told.push(`created ${jobId}`);
  manager.onJobProcessing = (jobId, status) => void told.push(`${status} ${jobId}`);
  manager.onJobDone = (jobId) => void told.push(`done ${jobId}`);
  await until(() => manager.socket.connected);

  const jobId = await manager.createAndMonitor({ priority: 'high', amount: 1000 });
  expect(jobId).toMatch(/^\d{13}-[0-9a-z]{7}$/);
  expect(await redisCli(redis, 'LRANGE', LIST, '0', '-1')).toBe(jobId);
  expect(JSON.parse(await redisCli(redis, 'GET', `agent:rebalance:job:${jobId}`))).toMatchObject({
    jobId,
    status: 'queued',
    userId: user,
    type: 'rebalance',
    priority: 'high',
    payload: { priority: 'high', amount: 1000 },
  });
  await until(() => told.length === 1);
  expect(await redisCli(redis, 'LPOP', LIST)).toBe(jobId);
  await agentSays(jobId, 'processing');
  await until(() => told.length === 2);
  expect(await poll(world.url, token, jobId)).toMatchObject({ code: 200, jobId, status: 'processing' });
  await agentSays(jobId, 'done');
  await until(() => told.length === 3);
  expect(told).toEqual([`created ${jobId}`, `processing ${jobId}`, `done ${jobId}`]);
  expect(await manager.pollStatus(jobId)).toMatchObject({ jobId, status: 'done' });
  expect(JSON.parse(await redisCli(redis, 'GET', `agent:rebalance:job:${jobId}`))).toMatchObject({ status: 'done' });

  const of = (jobOrAny: string): string[] => world.lines.filter((line) => line.includes(jobOrAny));
  expect(world.lines).toContain('[Redis Subscribe] Subscribed to agent:rebalance:status (total: 1)');
  expect(of(jobId).filter((line) => !line.startsWith('incoming') && !line.startsWith('request'))).toEqual([
    `LPUSH jobId=${jobId} to queue=agent:rebalance:jobs`,
    `[rebalance:created] jobId=${jobId} user=${user} sockets=1`,
    `[Redis Subscribe] Received status update: jobId=${jobId} status=processing user=${user}`,
    `[rebalance:processing] jobId=${jobId} user=${user}`,
    `[Redis Subscribe] Received status update: jobId=${jobId} status=done user=${user}`,
    `[rebalance:done] jobId=${jobId} user=${user}`,
  ]);
  await world.stop();
});

it('an agent that fails says why, in the room of its user only', async () => {
  const world = await startWorld(redis);
  const [user, other] = [newUser(), newUser()];
  const token = await tokenOf(user);
  const [client, stranger] = [await connectClient(world.url, token), await connectClient(world.url, await tokenOf(other))];
  const jobId = await post(world.url, token);
  await agentSays(jobId, 'error', { error: 'Processing failed: insufficient balance', txHash: '0x1' });
  const [, failed] = await client.hears(2);
  expect(failed).toMatchObject({
    name: 'rebalance:error',
    data: { jobId, status: 'error', error: 'Processing failed: insufficient balance', txHash: '0x1' },
  });
  expect(await poll(world.url, token, jobId)).toMatchObject({ status: 'error', error: 'Processing failed: insufficient balance' });
  expect(await poll(world.url, await tokenOf(other), jobId)).toMatchObject({ code: 404 });
  // Whatever would have come to the stranger would have come before this.
  const theirs = await post(world.url, await tokenOf(other));
  await stranger.hears(1);
  expect(stranger.told).toEqual([`created ${theirs}`]);
  await redisCli(redis, 'DEL', LIST);
  await world.stop();
});

it('an agent that is offline, and comes late: the job waits for it, first in first out', async () => {
  const world = await startWorld(redis);
  const token = await tokenOf(newUser());
  const client = await connectClient(world.url, token);
  const jobs = [await post(world.url, token), await post(world.url, token), await post(world.url, token)];
  await client.hears(3);
  expect(await poll(world.url, token, jobs[0] as string)).toMatchObject({ status: 'queued' });
  // The agent waits on the list as the document says, and takes the oldest with BLPOP.
  for (const expected of jobs) expect((await redisCli(redis, 'BLPOP', LIST, '5')).split('\n')[1]).toBe(expected);
  for (const jobId of jobs) await agentSays(jobId, 'done');
  await client.hears(6);
  expect(client.told.slice(3)).toEqual(jobs.map((jobId) => `done ${jobId}`));
  await world.stop();
});

it('a wrong user, a bad JSON and a bad status are refused with a reason, and change nothing', async () => {
  const world = await startWorld(redis);
  const user = newUser();
  const token = await tokenOf(user);
  const [client, thief] = [await connectClient(world.url, token), await connectClient(world.url, await tokenOf('thief'))];
  const jobId = await post(world.url, token);
  const reasons = async (): Promise<string[]> => (await world.deadLetters()).map(({ code, field }) => `${code} ${field}`);
  const before = (await reasons()).length;
  await redisCli(redis, 'PUBLISH', STATUS, JSON.stringify({ jobId, status: 'done', userId: 'thief' }));
  await redisCli(redis, 'PUBLISH', STATUS, '{"jobId":');
  await redisCli(redis, 'PUBLISH', STATUS, JSON.stringify({ jobId, userId: user }));
  await redisCli(redis, 'PUBLISH', STATUS, JSON.stringify({ jobId, userId: user, status: 'nearly' }));
  await until(async () => (await reasons()).length === before + 4, 'four dead letters');
  const all = await reasons();
  for (const reason of ['wrong_user userId', 'invalid_json message', 'missing_field status', 'invalid_field status']) expect(all).toContain(reason);
  expect(await poll(world.url, token, jobId)).toMatchObject({ status: 'queued' });
  await agentSays(jobId, 'done');
  await client.hears(2);
  expect([client.told, thief.told]).toEqual([[`created ${jobId}`, `done ${jobId}`], []]);
  await redisCli(redis, 'DEL', LIST);
  await world.stop();
});

it('the document’s test message: a job that nobody submitted here is adopted for the user it names', async () => {
  const world = await startWorld(redis);
  const client = await connectClient(world.url, await tokenOf('test-user'));
  const listening = spawn('redis-cli', ['-p', String(redis.port), 'SUBSCRIBE', STATUS], { stdio: ['ignore', 'pipe', 'inherit'] });
  onTestFinished(() => void listening.kill());
  let seen = '';
  listening.stdout.on('data', (data: Buffer) => void (seen += data.toString()));
  await until(() => seen.includes('subscribe'));
  const message = '{"jobId":"test-123","status":"processing","userId":"test-user"}';
  await redisCli(redis, 'PUBLISH', STATUS, message);
  await client.hears(1);
  expect(client.heard[0]).toMatchObject({ name: 'rebalance:processing', data: { jobId: 'test-123', status: 'processing' } });
  await until(() => seen.includes(message));
  expect(await poll(world.url, await tokenOf('test-user'), 'test-123')).toMatchObject({ code: 200, status: 'processing' });
  // It was adopted, not handed out.
  expect(await redisCli(redis, 'LRANGE', LIST, '0', '-1')).toBe('');
  await world.stop();
});

it('processing that is told again is told on, with its further fields; done is final', async () => {
  const world = await startWorld(redis);
  const token = await tokenOf(newUser());
  const client = await connectClient(world.url, token);
  const jobId = await post(world.url, token);
  for (const step of [1, 2]) await agentSays(jobId, 'processing', { step });
  await agentSays(jobId, 'done');
  await client.hears(4);
  expect(client.heard.map(({ name, data }) => [name, data['step']])).toEqual([
    ['rebalance:created', undefined],
    ['rebalance:processing', 1],
    ['rebalance:processing', 2],
    ['rebalance:done', undefined],
  ]);
  await redisCli(redis, 'DEL', LIST);
  await world.stop();
});

it('a done that comes after the timeout still wins; what runs out is told as an error', async () => {
  const world = await startWorld(redis);
  const user = newUser();
  const token = await tokenOf(user);
  const client = await connectClient(world.url, token);
  // As the route submits it, but with a timeout that a test can wait for.
  await world.client.send('job', 'late', { type: 'submit', spec: { type: 'rebalance', via: 'rebalance', userId: user, attempts: 1, timeoutMs: 200 } });
  await client.hears(1);
  await agentSays('late', 'processing');
  await client.hears(3);
  expect(await poll(world.url, token, 'late')).toMatchObject({ status: 'error' });
  await agentSays('late', 'done');
  await client.hears(4);
  expect(client.told).toEqual(['created late', 'processing late', 'error late', 'done late']);
  expect(await poll(world.url, token, 'late')).toMatchObject({ status: 'done' });
  expect(await poll(world.url, token, 'late')).not.toHaveProperty('error');
  await redisCli(redis, 'DEL', LIST);
  await world.stop();
});

it('a job that has no user takes nothing from this channel', async () => {
  const world = await startWorld(redis);
  await world.client.sendAndWait('job', 'of-a-queue', { type: 'submit', spec: { type: 'ECHO', via: 'queue' } });
  const before = (await world.deadLetters()).length;
  await redisCli(redis, 'PUBLISH', STATUS, JSON.stringify({ jobId: 'of-a-queue', status: 'done', userId: 'thief' }));
  await until(async () => (await world.deadLetters()).length > before, 'a dead letter');
  expect((await world.job('of-a-queue'))?.state).toBe('queued');
  expect((await poll(world.url, await tokenOf('thief'), 'of-a-queue')).code).toBe(404);
  await world.stop();
});

it('two API instances: each event once for every socket, a reconnect to the other one gets what was missed, and a cursor resumes there', async () => {
  const worlds: readonly World[] = [await startWorld(redis), await startWorld(redis, { beside: true })];
  const [one, two] = worlds as [World, World];
  const user = newUser();
  const token = await tokenOf(user);
  const clients = [await connectClient(one.url, token), await connectClient(two.url, token)];
  const jobId = await post(one.url, token);
  await agentSays(jobId, 'processing');
  await Promise.all(clients.map((client) => client.hears(2)));
  for (const { told } of clients) expect(told).toEqual([`created ${jobId}`, `processing ${jobId}`]);
  await until(async () => {
    const [at, last] = (await redisCli(redis, 'HMGET', `castellan:user:{${user}}:reached`, 'at', 'last')).split('\n');
    return at === last;
  }, 'Redis to know that all was reached');
  for (const { socket } of clients) socket.disconnect();
  await agentSays(jobId, 'done');
  await until(async () => (await poll(two.url, token, jobId)).status === 'done');
  const later = await connectClient(two.url, token);
  await later.hears(1);
  const resumed = await connectClient(one.url, token, { cursor: clients[0]?.heard[0]?.data.cursor as string });
  await resumed.hears(2);
  expect([later.told, resumed.told]).toEqual([[`done ${jobId}`], [`processing ${jobId}`, `done ${jobId}`]]);
  // The message was heard by one of the two alone, or the job would have had two of each.
  expect(worlds.flatMap(({ lines }) => lines).filter((line) => line === `[rebalance:done] jobId=${jobId} user=${user}`)).toHaveLength(1);
  await redisCli(redis, 'DEL', LIST);
  await Promise.all(worlds.map((world) => world.stop()));
});

it('the same Idempotency-Key is the same job, for its user alone', async () => {
  const world = await startWorld(redis);
  const [mine, theirs] = [await tokenOf(newUser()), await tokenOf(newUser())];
  const key = { 'Idempotency-Key': 'once' };
  const first = await post(world.url, mine, { amount: 1 }, key);
  expect(await post(world.url, mine, { amount: 1 }, key)).toBe(first);
  const second = await post(world.url, theirs, { amount: 1 }, key);
  expect((await redisCli(redis, 'LRANGE', LIST, '0', '-1')).split('\n')).toEqual([first, second]);
  await redisCli(redis, 'DEL', LIST);
  await world.stop();
});

it('the old address works, and a body that is no object or names no type is refused', async () => {
  const world = await startWorld(redis);
  const token = await tokenOf(newUser());
  const send = async (path: string, body: unknown, bearer: string | undefined = token) =>
    await fetch(`${world.url}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(bearer === '' ? {} : { authorization: `Bearer ${bearer}` }) },
      body: JSON.stringify(body),
    });
  const created = await send('/agent/rebalance', { type: 'rebalance:small' });
  const { jobId } = (await created.json()) as { jobId: string };
  const shown = await fetch(`${world.url}/api/v1/agent/rebalance/${jobId}`, { headers: { authorization: `Bearer ${token}` } });
  expect([created.status, await shown.json()]).toMatchObject([201, { jobId, type: 'rebalance:small', status: 'queued' }]);
  const refused = [await send('/agent/rebalance', []), await send('/agent/rebalance', { type: 'not a type' }), await send('/agent/rebalance', {}, '')];
  expect(refused.map(({ status }) => status)).toEqual([400, 400, 401]);
  await redisCli(redis, 'DEL', LIST);
  await world.stop();
});
