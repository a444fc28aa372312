/** The order approval from end to end: on a real Redis, with an engine that is stopped or killed between the steps. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createCastellan, createClient, type Castellan, type CastellanClient } from '../../src/index.ts';
import { orderType, stockType, type Outside } from '../../examples/order-approval/actor-types.ts';
import type { Services } from '../../examples/order-approval/machine.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';

const SETTINGS = { clerkMs: 300, managerMs: 600_000, retryMs: 20, riskAttemptsMax: 5, riskMax: 0.8 };
const submit = { type: 'submit', customer: 'ada@example.com', sku: 'teapot', quantity: 2, totalCents: 4_800 } as const;
/** An engine that was killed holds its partitions so long. */
const LEASE_MS = 1_000;

let redis: TestRedis;
const children: ChildProcess[] = [];
const running: { stop(): Promise<void> }[] = [];

beforeAll(async () => {
  redis = await startTestRedis(['--appendonly', 'yes']);
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  for (const each of running.splice(0)) await each.stop();
});
afterAll(async () => {
  await redis.stop();
});

/** Services that remember what they were asked. */
function world() {
  const asked: string[] = [];
  const services: Services = {
    async assessRisk({ attempt }) {
      asked.push(`risk ${attempt}`);
      if (attempt <= 2) throw new Error('503');
      return await Promise.resolve(0.1);
    },
    async authorise({ key }) {
      asked.push(`authorise ${key}`);
      return await Promise.resolve({ authorisation: `auth-${key}` });
    },
    async capture({ authorisation }) {
      asked.push(`capture ${authorisation}`);
      return await Promise.resolve({ receipt: `receipt-${authorisation}` });
    },
  };
  const mails = new Map<string, string>();
  const tasks = new Map<string, string>();
  const outside: Outside = {
    mail: async ({ text }, key) => void (await Promise.resolve(mails.set(key, text))),
    addTask: async (text, key) => void (await Promise.resolve(tasks.set(key, text))),
  };
  return { asked, mails, tasks, types: [orderType(services, outside, SETTINGS), stockType] as const };
}

type Types = ReturnType<typeof world>['types'];
async function started(prefix: string, types: Types): Promise<Castellan<Types>> {
  const castellan = createCastellan({ redis: redis.url, prefix, types, settings: { leaseMs: LEASE_MS }, log: { warn: () => {} } });
  running.push(castellan);
  return await castellan.start();
}

/** Every revision of an actor, each once: what was committed. */
async function historyOf(client: CastellanClient<Types>, key: string, cursor: string, last: string): Promise<readonly string[]> {
  const states: string[] = [];
  for await (const { transition } of await client.transitions(cursor)) {
    if (transition.key !== key) continue;
    expect(transition.revision).toBe(states.length + 1);
    states.push(JSON.stringify(transition.to));
    if (transition.to === last) break;
  }
  return states;
}

describe('the order approval', () => {
  it('goes on with a new engine after every step', async () => {
    const prefix = randomUUID();
    const { asked, mails, tasks, types } = world();
    const client = createClient({ redis: redis.url, prefix, types, log: { warn: () => {} } });
    running.push(client);
    await client.start();
    const { cursor } = client;
    const step = async (act: (castellan: Castellan<Types>) => Promise<unknown>): Promise<void> => {
      const castellan = await started(prefix, types);
      await act(castellan);
      await castellan.stop();
    };

    await step(async (one) => await one.sendAndWait('stock', 'teapot', { type: 'deliver', quantity: 5 }));
    await step(async (one) => await one.sendAndWait('order', 'o-1', submit));
    await step(async (one) => await one.waitFor('order', 'o-1', { state: 'approval' }));
    await step(async (one) => await one.waitFor('order', 'o-1', { state: 'approval.manager' }));
    await client.send('order', 'o-1', { type: 'approve', by: 'mia' }); // no engine runs
    await step(async (one) => await one.waitFor('order', 'o-1', { state: 'shipped' }));

    expect((await client.get('order', 'o-1'))?.context).toMatchObject({ approvedBy: 'mia', receipt: 'receipt-auth-order-o-1' });
    expect((await client.get('stock', 'teapot'))?.context).toEqual({ sku: 'teapot', left: 3 });
    expect([...mails.values()]).toEqual(['2 × teapot is on its way.']);
    expect([...tasks.values()]).toHaveLength(1);
    expect(asked).toEqual(expect.arrayContaining(['risk 1', 'risk 2', 'risk 3', 'authorise order-o-1', 'capture auth-order-o-1']));
    expect(await historyOf(client, 'order/o-1', cursor, 'shipped')).toEqual(
      [
        ...[{ checkingRisk: 'asking' }, { checkingRisk: 'pausing' }, { checkingRisk: 'asking' }, { checkingRisk: 'pausing' }, { checkingRisk: 'asking' }],
        ...[{ approval: 'clerk' }, { approval: 'manager' }, 'paying', 'paying', 'reserving', 'shipped'],
      ].map((value) => JSON.stringify(value)),
    );
  });

  it('goes on with a new engine after the one that ran it was killed', async () => {
    const prefix = randomUUID();
    const { types } = world();
    const client = createClient({ redis: redis.url, prefix, types, log: { warn: () => {} } });
    running.push(client);
    await client.start();
    const { cursor } = client;

    await client.send('stock', 'teapot', { type: 'deliver', quantity: 5 });
    await client.send('order', 'o-1', submit);
    await client.send('order', 'o-2', submit);
    const killed = engineProcess(prefix);
    // Killed while it asks for the risk: the invocation, the child and the timers are in Redis.
    await client.waitFor('order', 'o-1', { state: 'checkingRisk.pausing' }, { timeoutMs: 30_000 });
    killed.kill('SIGKILL');

    const { mails, types: survivorTypes } = world();
    const survivor = await started(prefix, survivorTypes);
    await survivor.waitFor('order', 'o-1', { state: 'approval' });
    await survivor.send('order', 'o-1', { type: 'approve', by: 'carl' });
    await survivor.waitFor('order', 'o-1', { state: 'shipped' });
    await survivor.waitFor('order', 'o-2', { state: 'approval.manager' });
    await survivor.stop();

    expect([...mails.values()]).toEqual(['2 × teapot is on its way.']);
    expect((await client.get('stock', 'teapot'))?.context).toEqual({ sku: 'teapot', left: 3 });
    const history = await historyOf(client, 'order/o-1', cursor, 'shipped');
    expect(history.slice(-4)).toEqual(['"paying"', '"paying"', '"reserving"', '"shipped"']);
  });

  it('runs as one command and tells what happens', async () => {
    const program = join(import.meta.dirname, '../../examples/order-approval/main.ts');
    const { stdout } = await promisify(execFile)(process.execPath, [program], { env: { ...process.env, REDIS_URL: redis.url }, timeout: 60_000 });
    expect(stdout).toContain('the second click was known and dropped');
    expect(stdout.match(/503, try again later/g)).toHaveLength(4);
    expect(stdout).toContain('"reserving" → "shipped", emits [{"type":"orderClosed"');
    expect(stdout).toContain('{"approval":"manager"} → "expired"');
    expect(stdout).toContain('is down; it will be asked again under the key');
    expect(stdout).toMatch(/engine 2 +stopped/);
  });
});

function engineProcess(prefix: string): ChildProcess {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'engine-process.ts'), redis.url, prefix], { stdio: 'inherit' });
  children.push(child);
  return child;
}
