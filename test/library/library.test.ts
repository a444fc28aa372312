import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { fromPromise, setup } from 'xstate';
import { z } from 'zod';
import {
  ActorEndedError,
  ActorNotFoundError,
  actorType,
  createCastellan,
  createClient,
  CursorGoneError,
  EventRejectedError,
  InvalidEventError,
  InvalidIdError,
  MachineNotDurableError,
  RedisUnusableError,
  StoppedError,
  UnknownActorTypeError,
  WaitTimeoutError,
  type Castellan,
  type Effect,
} from '../../src/index.ts';
import { freePort, startTestRedis, type TestRedis } from '../redis-server.ts';
import { carelessCounterType, counterType } from './counter.ts';

let redis: TestRedis;
const warnings: string[] = [];
const running: { stop(): Promise<void> }[] = [];

beforeAll(async () => {
  redis = await startTestRedis();
});
afterEach(async () => {
  for (const each of running.splice(0)) await each.stop();
  warnings.length = 0;
});
afterAll(async () => {
  await redis.stop();
});

type Counter = ReturnType<typeof counterType>;
interface Given {
  readonly prefix?: string;
  readonly ring?: Parameters<typeof counterType>[0];
}

/** Keys of its own for every test. */
function optionsOf({ prefix = randomUUID(), ring }: Given) {
  return { redis: redis.url, prefix, types: [counterType(ring)] as const, log: { warn: (message: string) => void warnings.push(message) } };
}
function created(given: Given = {}): Castellan<readonly [Counter]> {
  const castellan = createCastellan({ ...optionsOf(given), settings: { leaseMs: 1_000, retryDelayMs: 20 } });
  running.push(castellan);
  return castellan;
}
const started = async (given: Given = {}) => await created(given).start();

/** What a promise was rejected with. */
async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
}

/** Resolves when the condition holds; the test's own timeout is the limit. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
}

describe('sendAndWait tells what became of an event', () => {
  it('a transition, a touch, nothing, an end', async () => {
    const castellan = await started();
    expect(await castellan.sendAndWait('counter', 'a', { type: 'add', by: 2 })).toEqual({
      kind: 'transition',
      revision: 1,
      value: { counting: 'heard' },
      status: 'active',
    });
    expect(await castellan.sendAndWait('counter', 'a', { type: 'beat' })).toEqual({ kind: 'touch' });
    expect(await castellan.sendAndWait('counter', 'a', { type: 'nothing' })).toEqual({ kind: 'ignored' });
    expect(await castellan.sendAndWait('counter', 'a', { type: 'end' })).toMatchObject({
      kind: 'transition',
      revision: 2,
      status: 'done',
      output: { count: 2 },
    });
    expect(await castellan.sendAndWait('counter', 'a', { type: 'add', by: 1 })).toEqual({ kind: 'ignored' });
  });

  it('a dead letter, with the field at fault', async () => {
    const prefix = randomUUID();
    const castellan = await started({ prefix });
    const careless = createClient({ ...optionsOf({ prefix }), types: [carelessCounterType] });
    running.push(careless);
    await careless.start();
    const refused = careless.sendAndWait('counter', 'a', { type: 'add', by: 'two' });
    await expect(refused).rejects.toThrow(EventRejectedError);
    await expect(refused).rejects.toMatchObject({ code: 'invalid_event', field: 'by', retryable: false });
    expect(await castellan.get('counter', 'a')).toBeUndefined();
    expect((await castellan.deadLetters()).items).toMatchObject([
      { code: 'invalid_event', field: 'by', actor: 'counter/a', event: { type: 'add', by: 'two' } },
    ]);
  });

  it('a repeat, whose outcome was told before', async () => {
    const castellan = await started();
    const first = await castellan.send('counter', 'a', { type: 'add', by: 1 }, { dedupeId: 'click-1' });
    expect(first.repeated).toBe(false);
    expect(await castellan.send('counter', 'a', { type: 'add', by: 1 }, { dedupeId: 'click-1' })).toEqual({ ...first, repeated: true });
    expect(await castellan.sendAndWait('counter', 'a', { type: 'add', by: 1 }, { dedupeId: 'click-1' })).toEqual({ kind: 'repeated', entry: first.id });
    await castellan.sendAndWait('counter', 'a', { type: 'beat' });
    expect((await castellan.get('counter', 'a'))?.context).toEqual({ count: 1 });
  });

  it('gives up in time when no engine is there, and the event is applied when one comes', async () => {
    const prefix = randomUUID();
    const client = createClient(optionsOf({ prefix }));
    running.push(client);
    await client.start();
    await expect(client.sendAndWait('counter', 'a', { type: 'add', by: 1 }, { timeoutMs: 50 })).rejects.toThrow(WaitTimeoutError);
    await started({ prefix });
    expect((await client.waitFor('counter', 'a', { tag: 'open' })).context).toEqual({ count: 1 });
  });
});

describe('what is refused before anything is stored', () => {
  it('an unknown type, a bad id, an invalid event with its field', async () => {
    const castellan = await started();
    await expect(castellan.send('order' as 'counter', 'a', { type: 'beat' })).rejects.toThrow(UnknownActorTypeError);
    await expect(castellan.get('order' as 'counter', 'a')).rejects.toThrow(UnknownActorTypeError);
    await expect(castellan.send('counter', 'a/b', { type: 'beat' })).rejects.toThrow(InvalidIdError);
    const invalid = castellan.send('counter', 'a', { type: 'add', by: 1.5 });
    await expect(invalid).rejects.toThrow(InvalidEventError);
    await expect(invalid).rejects.toMatchObject({ field: 'by' });
    await expect(castellan.send('counter', 'a', { type: 'unheard' } as never)).rejects.toMatchObject({ code: 'invalid_event', field: 'type' });
  });

  it('a machine that cannot be durable, with every fault', () => {
    const type = counterType();
    expect(() => createCastellan({ redis: redis.url, types: [{ ...type, executors: {}, effects: [] }] })).toThrow(MachineNotDurableError);
    expect(() => createCastellan({ redis: redis.url, types: [{ ...type, executors: {} }] })).toThrow('Add executors.ring');
  });
});

describe('waiting for an actor', () => {
  it('answers at once when the condition holds, and later when it comes to hold', async () => {
    const castellan = await started();
    const waiting = castellan.waitFor('counter', 'a', { when: ({ context }) => context.count >= 3 });
    for (let times = 0; times < 3; times++) await castellan.send('counter', 'a', { type: 'add', by: 1 });
    expect((await waiting).revision).toBe(3);
    expect((await castellan.waitFor('counter', 'a', { state: 'counting' })).states).toEqual(['counting.heard']);
    expect((await castellan.waitFor('counter', 'a', { state: 'counting.heard' })).nextEvents).toContain('add');
  });

  it('says why it ended without', async () => {
    const castellan = await started();
    await expect(castellan.waitFor('counter', 'nobody', { tag: 'open' }, { timeoutMs: 50 })).rejects.toThrow(ActorNotFoundError);
    await castellan.sendAndWait('counter', 'a', { type: 'add', by: 1 });
    await expect(castellan.waitFor('counter', 'a', { state: 'ended' }, { timeoutMs: 50 })).rejects.toThrow(WaitTimeoutError);
    const ending = castellan.waitFor('counter', 'a', { state: 'counting.silent' });
    await castellan.send('counter', 'a', { type: 'end' });
    await expect(ending).rejects.toThrow(ActorEndedError);
    const stopped = failureOf(castellan.waitFor('counter', 'nobody', { tag: 'open' }));
    await castellan.stop();
    expect(await stopped).toBeInstanceOf(StoppedError);
  });

  it('knows no actor that never was', async () => {
    expect(await (await started()).get('counter', 'nobody')).toBeUndefined();
  });
});

describe('following', () => {
  it('goes on from a cursor after a restart, missing and repeating nothing', async () => {
    const prefix = randomUUID();
    const seen: string[] = [];
    let castellan = await started({ prefix });
    let { cursor } = castellan;
    for (const round of [1, 2, 3]) {
      const ids = ['a', 'b', 'c', 'd', 'e'];
      await Promise.all(ids.map((id) => castellan.sendAndWait('counter', id, { type: 'add', by: 1 })));
      let left = round === 3 ? 9 : 3; // stops in the middle, also of a pack
      for await (const item of await castellan.transitions(cursor)) {
        seen.push(`${item.transition.key} ${item.transition.revision}`);
        ({ cursor } = item);
        if (--left === 0) break;
      }
      if (round === 3) break;
      await castellan.stop();
      castellan = await started({ prefix });
    }
    expect(seen.toSorted()).toEqual(['a', 'b', 'c', 'd', 'e'].flatMap((id) => [1, 2, 3].map((revision) => `counter/${id} ${revision}`)));
    for (const id of ['a', 'b']) expect(seen.filter((each) => each.startsWith(`counter/${id}`))).toEqual([1, 2, 3].map((each) => `counter/${id} ${each}`));
  });

  it('ends with its signal and with the engine, and refuses a cursor of nobody', async () => {
    const castellan = await started();
    await castellan.sendAndWait('counter', 'a', { type: 'add', by: 1 });
    await expect(castellan.transitions('yesterday')).rejects.toThrow(CursorGoneError);
    await expect(castellan.transitions('99999999999999-0.0')).rejects.toThrow(CursorGoneError);
    const abort = new AbortController();
    const count = async (signal?: AbortSignal): Promise<number> => {
      const seen: string[] = [];
      for await (const { cursor } of await castellan.transitions('new', signal === undefined ? {} : { signal })) seen.push(cursor);
      return seen.length;
    };
    const [ended, stopped] = [count(abort.signal), count()];
    abort.abort();
    expect(await ended).toBe(0);
    await castellan.stop();
    expect(await stopped).toBe(0);
  });

  it('says that a reader fell behind what is kept, instead of passing over it', async () => {
    const prefix = randomUUID();
    const castellan = createCastellan({ ...optionsOf({ prefix }), settings: { trimEveryMs: 20, retention: { maxBytes: 1, maxAgeMs: 1 } } });
    running.push(castellan);
    await castellan.start();
    const { cursor } = castellan;
    for (let times = 0; times < 5; times++) await castellan.sendAndWait('counter', 'a', { type: 'add', by: 1 });
    // Another process, which holds nothing of it in memory.
    const client = createClient(optionsOf({ prefix }));
    running.push(client);
    await client.start();
    const first = async (): Promise<unknown> => {
      for await (const { transition } of await client.transitions(cursor)) return transition.revision;
      return undefined;
    };
    let found = await first().catch((error: unknown) => error);
    while (found === 1) found = await first().catch((error: unknown) => error);
    expect(found).toBeInstanceOf(CursorGoneError);
  });

  it('hears what machines emit, the events of one transition together', async () => {
    const castellan = await started();
    const { cursor } = castellan;
    for (const by of [1, 2]) await castellan.sendAndWait('counter', 'a', { type: 'add', by });
    await castellan.sendAndWait('counter', 'a', { type: 'end' });
    const heard: unknown[] = [];
    for await (const item of await castellan.emitted(cursor, { types: ['counter'] })) {
      heard.push([item.key, item.revision, item.events]);
      if (heard.length === 2) break;
    }
    const events = (count: number) => [
      { type: 'added', count },
      { type: 'even', count },
    ];
    expect(heard).toEqual([
      ['counter/a', 1, events(1)],
      ['counter/a', 2, events(3)],
    ]);
  });
});

describe('effects', () => {
  it('run after the commit, again under the same key when they failed, and the log tells', async () => {
    const tries: Effect[] = [];
    const castellan = await started({
      ring: async (effect) => {
        tries.push(effect as Effect);
        await Promise.resolve();
        if (tries.length < 3) throw new Error('busy');
      },
    });
    await castellan.sendAndWait('counter', 'a', { type: 'ring' });
    await until(() => tries.length === 3);
    expect(tries[0]).toMatchObject({ actor: 'counter/a', type: 'counter', id: 'a', name: 'ring', params: { note: 'hello' }, revision: 1 });
    expect(new Set(tries.map(({ key }) => key)).size).toBe(1);
    expect(warnings.filter((warning) => warning.includes('busy'))).toHaveLength(2);
  });
});

describe('a function of the user that never returns', () => {
  const never = async (): Promise<never> => await new Promise(() => {});

  it('as an effect is tried again at its timeout', async () => {
    let tries = 0;
    const castellan = createCastellan({
      ...optionsOf({ ring: async () => (++tries === 1 ? await never() : undefined) }),
      settings: { effectTimeoutMs: 50, retryDelayMs: 20 },
    });
    running.push(castellan);
    await castellan.start();
    await castellan.sendAndWait('counter', 'a', { type: 'ring' });
    await until(() => tries === 2);
    expect(warnings.some((warning) => warning.includes('The effect ring failed'))).toBe(true);
  });

  it('as an invocation does not hold up a stop', async () => {
    let called = false;
    const machine = setup({ actors: { never: fromPromise(async () => ((called = true), await never())) } }).createMachine({
      invoke: { src: 'never', id: 'never' },
    });
    const events = { go: z.object({ type: z.literal('go') }) };
    const castellan = createCastellan({ ...optionsOf({}), types: [actorType({ type: 'patient', version: '1', machine, events })] });
    await castellan.start();
    await castellan.send('patient', 'a', { type: 'go' });
    await until(() => called);
    await castellan.stop();
  });
});

describe('starting and stopping', () => {
  it('leaves nothing behind that keeps the process', async () => {
    const program = join(import.meta.dirname, 'one-shot-process.ts');
    const { stdout } = await promisify(execFile)(process.execPath, [program, redis.url, randomUUID()], { timeout: 30_000 });
    expect(stdout).toBe('stopped; open: none\n');
  });

  it('a second engine stands by and takes over when the first stops', async () => {
    const prefix = randomUUID();
    const first = await started({ prefix });
    const second = await started({ prefix });
    expect([first.report()?.owned, second.report()?.owned]).toEqual([64, 0]);
    expect(await second.sendAndWait('counter', 'a', { type: 'add', by: 1 })).toMatchObject({ revision: 1 });
    await first.stop();
    expect(await second.sendAndWait('counter', 'a', { type: 'add', by: 1 })).toMatchObject({ revision: 2 });
    await until(() => second.report()?.owned === 64);
  });

  it('starts again after a stop, and says when it does not run', async () => {
    const castellan = created();
    await expect(castellan.get('counter', 'a')).rejects.toThrow(StoppedError);
    await castellan.start();
    await castellan.sendAndWait('counter', 'a', { type: 'add', by: 1 });
    await Promise.all([castellan.stop(), castellan.stop()]);
    await expect(castellan.send('counter', 'a', { type: 'beat' })).rejects.toThrow(StoppedError);
    await Promise.all([castellan.start(), castellan.start()]);
    expect(await castellan.get('counter', 'a')).toMatchObject({ revision: 1 });
  });

  it('can be stopped while it starts', async () => {
    const castellan = created();
    const ended = failureOf(castellan.start());
    await castellan.stop();
    expect(await ended).toBeInstanceOf(StoppedError);
    expect(castellan.state).toBe('stopped');
  });

  it('says that no Redis answers, and starts when one does', async () => {
    const port = await freePort();
    const castellan = createCastellan({ ...optionsOf({}), redis: { host: '127.0.0.1', port } });
    running.push(castellan);
    await expect(castellan.start()).rejects.toThrow(RedisUnusableError);
    expect(castellan.state).toBe('stopped');
  });

  it('wakes who waits for an outcome', async () => {
    const client = createClient(optionsOf({}));
    await client.start();
    const woken = failureOf(client.sendAndWait('counter', 'a', { type: 'add', by: 1 }));
    // Sent later over the same connection, so the first is accepted and waits.
    await client.send('counter', 'a', { type: 'beat' });
    await client.stop();
    expect(await woken).toBeInstanceOf(StoppedError);
  });
});
