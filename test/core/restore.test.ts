import { decodeRecord, encodeRecord } from '../../src/protocol/stored-record.ts';
import { describe, expect, it } from 'vitest';
import { assign, fromPromise, setup, type AnyStateMachine } from 'xstate';
import { z } from 'zod';
import { inspect, invocationRun, nextEvents, registerActorType, restore, serialize, step, type RegisteredType } from '../../src/core/kernel.ts';
import { persist } from '../../src/core/interpreter.ts';
import type { LiveActor } from '../../src/core/decision.ts';
import type { Live } from '../../src/core/run.ts';

const plain = z.object({ type: z.string() });
const tools = setup({
  types: { context: {} as { n: number }, events: {} as { type: string; level?: number } },
  actors: { load: fromPromise<number, { n: number }>(async ({ input }) => await Promise.resolve(input.n + 1)) },
  guards: { high: ({ event }) => (event.level ?? 0) > 3, counted: ({ context }) => context.n > 0 },
});
const states = {
  a: { after: { 10: 'b' }, on: { go: 'b' } },
  b: { invoke: { id: 'load', src: 'load', input: { n: 1 }, onDone: 'a' }, on: { back: 'a' } },
};

function registered(version: string, config: object = {}): RegisteredType {
  const machine = tools.createMachine({ id: 'm', context: { n: 0 }, initial: 'a', states, ...config } as never) as unknown as AnyStateMachine;
  return registerActorType({ type: 'm', version, machine, events: { go: plain, back: plain, count: plain, alert: plain, shut: plain } });
}
function run(type: RegisteredType, ...events: string[]): LiveActor {
  let actor: LiveActor | null = null;
  for (const event of events) {
    const decision = step(type, 'm/1', actor, { kind: 'event', event: { type: event } }, { at: 5, address: '3:7-7:0' });
    if (decision.kind !== 'transition') throw new Error(JSON.stringify(decision));
    actor = decision.actor;
  }
  return actor as LiveActor;
}
function parked(type: RegisteredType, record: string): string | undefined {
  const restored = restore(type, 'm/1', record);
  return 'parked' in restored ? restored.parked : undefined;
}

describe('restore', () => {
  const old = registered('1');
  const inA = serialize(run(old, 'count'));
  const inB = serialize(run(old, 'go'));

  it('parks what is no record, and what was parked before', () => {
    expect(parked(old, 'nonsense')).toMatch(/cannot be restored/);
    expect(parked(old, encodeRecord({ ...decodeRecord(inA), parked: 'why' }))).toBe('why');
  });

  it('takes a record of another version that fits, and steps it with the new one', () => {
    const next = registered('2', { states: { ...states, c: {} } });
    const restored = restore(next, 'm/1', inA);
    if ('parked' in restored) throw new Error(restored.parked);
    const decision = step(next, 'm/1', restored, { kind: 'event', event: { type: 'go' } }, { at: 6, address: '3:8-8:0' });
    expect(decision).toMatchObject({ kind: 'transition', actor: { record: { version: '2', revision: 2 } } });
  });

  it.each<[what: string, record: string, config: object, reason: RegExp]>([
    ['a state is gone', inA, { initial: 'x', states: { x: {} } }, /a/],
    ['a state became compound', inA, { states: { ...states, a: { initial: 'i', states: { i: {} } } } }, /not complete/],
    ['a delayed transition is gone', inA, { states: { ...states, a: {} } }, /delayed transition .* is gone/],
    ['a delayed transition was added', inA, { states: { ...states, a: { after: { 10: 'b', 20: 'b' } } } }, /never armed/],
    ['an invocation was added', inA, { states: { ...states, a: { after: { 10: 'b' }, invoke: { id: 'x', src: 'load', input: { n: 1 } } } } }, /never started/],
    ['an invocation has another id', inB, { states: { ...states, b: { invoke: { id: 'other', src: 'load', input: { n: 1 } } } } }, /never started/],
  ])('parks a record of another version when %s', (_what, record, config, reason) => {
    expect(parked(registered('2', config), record)).toMatch(reason);
  });

  it('persists what XState persists', () => {
    const actor = run(old, 'go');
    const { snapshot } = (actor.live as Live).root;
    const reference = JSON.parse(JSON.stringify(old.machine.machine.getPersistedSnapshot(snapshot))) as { children: unknown };
    expect({ ...JSON.parse(JSON.stringify(persist(snapshot, false))), children: reference.children }).toEqual(reference);
  });

  it('gives the engine the promise of an invocation', async () => {
    const actor = run(old, 'go');
    expect(actor.record.invocations).toEqual({ '|load': { source: 'load', input: { n: 1 }, token: '3:7-7:0#1' } });
    await expect(invocationRun(old, actor.record, '|load')?.({ n: 41 }, new AbortController().signal)).resolves.toBe(42);
    expect(invocationRun(old, actor.record, '|other')).toBeUndefined();
  });
});

describe('inspection', () => {
  it('tells what can happen next, and judges only guards that look at nothing of the event', () => {
    const type = registered('1', {
      on: {
        count: { actions: assign({ n: 1 }) },
        alert: { guard: 'high', target: '.b' },
        back: { guard: 'counted', target: '.b' },
      },
      states: { ...states, a: { on: { go: 'b' }, tags: 't' }, b: { on: { count: {} } } },
    });
    const actor = run(type, 'shut');
    expect(nextEvents(type, actor)).toEqual(['go', 'count', 'alert']);
    expect(nextEvents(type, run(type, 'shut', 'count'))).toEqual(['go', 'back', 'count', 'alert']);
    // A forbidden transition of the inner state hides the outer one.
    expect(nextEvents(type, run(type, 'shut', 'go'))).toEqual(['alert']);
    expect(inspect(type, actor)).toEqual({ status: 'active', value: 'a', context: { n: 0 }, tags: ['t'], states: ['a'] });
  });
});
