import { describe, expect, it } from 'vitest';
import { assign, fromPromise, setup } from 'xstate';
import { z } from 'zod';
import type { ActorTypeDefinition } from '../../src/core/actor-type.ts';
import { MachineTestError } from '../../src/protocol/errors.ts';
import { durableActor } from '../../src/protocol/actor-reference.ts';
import { given } from '../../src/testing/index.ts';
import { sendTo } from 'xstate';

interface Order {
  readonly id: string;
  readonly lines: readonly string[];
}

const order = setup({
  types: { context: {} as Order, events: {} as { type: string; line?: string }, input: {} as { id: string } },
  actors: { charge: fromPromise<{ receipt: string }, { id: string }>(async () => await Promise.resolve({ receipt: '' })) },
  actions: { mail: (_args, _params: { order: string }) => {}, setDocument: () => {} },
  delays: { patience: 60_000, silence: 5_000 },
}).createMachine({
  id: 'order',
  context: ({ input }) => ({ id: input.id, lines: [] }),
  initial: 'open',
  states: {
    open: {
      tags: ['editable'],
      after: { patience: 'abandoned' },
      on: {
        add: { actions: assign({ lines: ({ context, event }) => [...context.lines, event.line ?? ''] }) },
        pay: 'paying',
        show: { actions: 'setDocument' },
        tell: { actions: sendTo(() => durableActor('stock', 's1'), { type: 'reserve' }) },
        impure: {
          actions: assign({
            lines: ({ context }) => {
              (context.lines as string[]).push('x');
              return context.lines;
            },
          }),
        },
        random: { actions: assign({ lines: () => [String(Math.random())] }) },
      },
    },
    paying: {
      invoke: { id: 'charge', src: 'charge', input: ({ context }: { context: Order }) => ({ id: context.id }), onDone: 'paid', onError: 'open' },
      after: { silence: 'open' },
    },
    paid: { type: 'final', entry: { type: 'mail', params: ({ context }) => ({ order: context.id }) } },
    abandoned: {},
  },
});

const add = z.object({ type: z.literal('add'), line: z.string() });
const plain = z.object({ type: z.string() });
const definition: ActorTypeDefinition = {
  type: 'order',
  version: '1',
  machine: order,
  events: { add, pay: plain, show: plain, tell: plain, impure: plain, random: plain },
  effects: ['mail'],
  liveness: { silence: { deadlineMs: 9_000 } },
};

describe('given / when / then', () => {
  it('tells state, context, tags, timers and what can happen next', () => {
    const actor = given(definition, { id: 'o1' });
    expect(actor.exists).toBe(false);
    actor.when({ type: 'add', line: 'tea' });
    expect(actor).toMatchObject({ value: 'open', context: { id: 'o1', lines: ['tea'] }, tags: ['editable'], states: ['open'], revision: 1, status: 'active' });
    expect(actor.timers).toEqual([
      { key: '|xstate.after.patience.order.open', event: { type: 'xstate.after.patience.order.open' }, clock: 'clock', inMs: 60_000 },
    ]);
    expect(actor.nextEvents).toEqual(['add', 'pay', 'show', 'tell', 'impure', 'random']);
  });

  it('fires timers when they are due and not before', () => {
    const actor = given(definition, { id: 'o1', at: 0 }).when({ type: 'add', line: 'tea' });
    expect(actor.after(59_999).value).toBe('open');
    expect(actor.after(1).value).toBe('abandoned');
    expect(actor.now).toBe(60_000);
    expect(actor.record.entered).toEqual({ abandoned: 60_000 });
    expect(actor.timers).toEqual([]);
  });

  it('settles an invocation, and ignores a late result', () => {
    const actor = given(definition, { id: 'o1' }).when({ type: 'pay' });
    expect(actor.invocations).toMatchObject({ '|charge': { source: 'charge', input: { id: 'o1' } } });
    const { token } = actor.invocations['|charge']!;
    actor.settle('charge', { ok: false, error: { name: 'Declined', message: 'no' } });
    expect(actor.value).toBe('open');
    actor.when({ type: 'pay' });
    expect(actor.settle('charge', { ok: true, output: { receipt: 'old' } }, token).outcome).toBe('ignored');
    actor.settle('charge', { ok: true, output: { receipt: 'r1' } });
    expect(actor).toMatchObject({ status: 'done', value: 'paid', commands: [{ name: 'mail', params: { order: 'o1' } }] });
  });

  it('holds observed time while the sources are closed and gives a full deadline after', () => {
    const actor = given(definition).when({ type: 'pay' }).after(4_000).closed(3_600_000);
    expect(actor.value).toBe('paying');
    expect(actor.timers).toMatchObject([{ clock: 'liveness', inMs: 9_000 }]);
    expect(actor.after(8_999).value).toBe('paying');
    expect(actor.after(1).value).toBe('open');
  });

  it('shows messages and documents', () => {
    const actor = given(definition).when({ type: 'tell' });
    expect(actor.messages).toEqual([{ to: 'stock/s1', event: { type: 'reserve' } }]);
    expect(actor.when({ type: 'show' }, { cpu: 1 })).toMatchObject({ outcome: 'touch', document: { cpu: 1 }, messages: [], revision: 1 });
    expect(actor.when({ type: 'add', line: 'a' })).toMatchObject({ document: undefined, storedDocument: { cpu: 1 }, revision: 2 });
  });

  it('fails on a rejected event unless the test expects it', () => {
    const actor = given(definition);
    expect(() => actor.when({ type: 'add' })).toThrow(MachineTestError);
    expect(actor.rejects({ type: 'add', line: 3 })).toMatchObject({ code: 'invalid_event', field: 'line' });
    expect(() => actor.rejects({ type: 'pay' })).toThrow('accepted');
  });

  it('finds a context changed in place', () => {
    expect(() => given(definition).when({ type: 'pay' }).after(5_000).when({ type: 'impure' })).toThrow(MachineTestError);
  });

  it('finds a step that does not do the same twice', () => {
    expect(() => given(definition).when({ type: 'random' })).toThrow('did not do the same twice');
  });
});
