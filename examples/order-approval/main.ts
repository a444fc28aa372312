/**
 * Runs the order approval once and tells what happens. `npm run example`, with REDIS_URL or with a Redis of its own.
 *
 * 1. A first engine takes two orders and is stopped while both wait for a person.
 * 2. A second one goes on from Redis: the manager approves one, nobody approves the other.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCastellan, startEmbeddedRedis, type Castellan } from '../../src/index.ts';
import { orderType, stockType } from './actor-types.ts';
import { createOutside, createServices } from './services.ts';

const SETTINGS = { clerkMs: 600, managerMs: 1_200, retryMs: 50, riskAttemptsMax: 5, riskMax: 0.8 };

const began = performance.now();
const say = (who: string, text: string): void => console.log(`${String(Math.round(performance.now() - began)).padStart(5)} ms  ${who.padEnd(12)} ${text}`);

const { url, stopRedis } = await findRedis();
const types = [orderType(createServices(say), createOutside(say), SETTINGS), stockType] as const;
const options = { redis: url, types, prefix: 'order-approval', log: { warn: (message: string) => say('warning', message) } };
// Other runs on the same Redis have other orders.
const run = Date.now().toString(36);
const [approved, forgotten] = [`${run}-a`, `${run}-b`];

try {
  const first = await createCastellan(options).start();
  say('engine 1', `runs on ${new URL(url).host}`);
  const showing = show(first, first.cursor);
  await first.send('stock', 'teapot', { type: 'deliver', quantity: 5 }, { dedupeId: `${run}-delivery` });

  const submit = { type: 'submit', customer: 'ada@example.com', sku: 'teapot', quantity: 2, totalCents: 4_800 } as const;
  await first.send('order', approved, submit, { dedupeId: `${run}-click` });
  const { repeated } = await first.send('order', approved, submit, { dedupeId: `${run}-click` });
  say('shop', `the customer clicked twice; the second click was ${repeated ? 'known and dropped' : 'taken as another order'}`);
  await first.send('order', forgotten, { ...submit, quantity: 1, totalCents: 2_400 });

  await Promise.all([approved, forgotten].map((id) => first.waitFor('order', id, { state: 'approval' })));
  await first.stop();
  const seen = await showing;
  say('engine 1', 'stopped: the orders and their deadlines lie in Redis');

  const second = await createCastellan(options).start();
  say('engine 2', 'goes on');
  const going = show(second, seen);
  await second.waitFor('order', approved, { state: 'approval.manager' });
  const outcome = await second.sendAndWait('order', approved, { type: 'approve', by: 'manager' });
  say('manager', `approves: the answer is ${JSON.stringify(outcome)}`);
  await Promise.all([second.waitFor('order', approved, { state: 'shipped' }), second.waitFor('order', forgotten, { state: 'expired' })]);
  const stock = await second.get('stock', 'teapot');
  say('stock', `${stock?.context.left} teapots are left`);
  await second.stop();
  await going;
  say('engine 2', 'stopped');
} finally {
  await stopRedis();
  say('redis', 'stopped');
}

/** Prints the transitions of this run's orders after a cursor, until the engine stops; resolves with the cursor behind the last one. */
async function show(castellan: Castellan<typeof types>, from: string): Promise<string> {
  let seen = from;
  for await (const { cursor, transition } of await castellan.transitions(from, { types: ['order'] })) {
    seen = cursor;
    const { key, from: before, to, emitted } = transition;
    if (!key.startsWith(`order/${run}`)) continue;
    say(key, `${JSON.stringify(before)} → ${JSON.stringify(to)}${emitted.length === 0 ? '' : `, emits ${JSON.stringify(emitted)}`}`);
  }
  return seen;
}

async function findRedis(): Promise<{ readonly url: string; readonly stopRedis: () => Promise<void> }> {
  const named = process.env['REDIS_URL'];
  if (named) return { url: named, stopRedis: async () => {} };
  const dataDir = await mkdtemp(join(tmpdir(), 'order-approval-'));
  const embedded = await startEmbeddedRedis({ dataDir });
  return {
    url: embedded.url,
    async stopRedis() {
      await embedded.stop();
      await rm(dataDir, { recursive: true });
    },
  };
}
