/** An actor type with one of each: a transition, a touch, an event it has no use for, a refusal, emitted events, effects, an end. */
import { assign, emit, setup } from 'xstate';
import { z } from 'zod';
import { actorType, type Effect } from '../../src/index.ts';

type CounterEvent = { readonly type: 'add'; readonly by: number; readonly note?: unknown } | { readonly type: 'beat' | 'nothing' | 'ring' | 'end' };

const machine = setup({
  types: {
    context: {} as { readonly count: number },
    events: {} as CounterEvent,
    emitted: {} as { readonly type: 'added' | 'even'; readonly count: number },
  },
  actions: {
    add: assign({ count: ({ context, event }) => context.count + (event.type === 'add' ? event.by : 0) }),
    ring: (_args, _params: { readonly note: unknown }) => {},
  },
  guards: { even: ({ context }) => context.count % 2 === 0 },
  delays: { silence: 3_600_000 },
}).createMachine({
  context: { count: 0 },
  initial: 'counting',
  states: {
    counting: {
      initial: 'heard',
      tags: ['open'],
      on: {
        add: {
          actions: ['add', emit(({ context }) => ({ type: 'added', count: context.count })), emit(({ context }) => ({ type: 'even', count: context.count }))],
        },
        ring: { actions: { type: 'ring', params: { note: 'hello' } } },
        end: 'ended',
      },
      states: { heard: { on: { beat: { target: 'heard', reenter: true } }, after: { silence: 'silent' } }, silent: { on: { beat: 'heard' } } },
    },
    ended: { type: 'final' },
  },
  output: ({ context }) => ({ count: context.count }),
});

export function counterType(ring: (effect: Effect<{ readonly note: unknown }>) => Promise<void> = async () => {}) {
  return actorType({
    type: 'counter',
    version: '1',
    machine,
    events: {
      add: z.object({ type: z.literal('add'), by: z.int() }),
      beat: z.object({ type: z.literal('beat') }),
      nothing: z.object({ type: z.literal('nothing') }),
      ring: z.object({ type: z.literal('ring') }),
      end: z.object({ type: z.literal('end') }),
    },
    executors: { ring },
  });
}

/** The same machine in the hands of a program whose schemas are out of date. */
export const carelessCounterType = actorType({
  type: 'counter',
  version: '1',
  machine,
  events: { add: z.looseObject({ type: z.literal('add') }) },
  executors: { ring: async () => {} },
});
