/** An alarm: set for some time ahead, cancelled, or rung. */
import { assign, setup } from 'xstate';
import { z } from 'zod';
import type { ActorTypeDefinition } from '../../src/core/actor-type.ts';

type AlarmEvent = { readonly type: 'set'; readonly ms: number } | { readonly type: 'cancel' } | { readonly type: 'note' };

const machine = setup({
  types: { context: {} as { readonly ms: number; readonly notes: number }, events: {} as AlarmEvent },
  delays: { ring: ({ context }) => context.ms },
  actions: {
    keep: assign(({ event }) => (event.type === 'set' ? { ms: event.ms } : {})),
    count: assign(({ context }) => ({ notes: context.notes + 1 })),
  },
}).createMachine({
  id: 'alarm',
  context: { ms: 0, notes: 0 },
  initial: 'off',
  on: { note: { actions: 'count' } },
  states: {
    off: { on: { set: { target: 'set', actions: 'keep' } } },
    set: { on: { cancel: 'off' }, after: { ring: 'rung' } },
    rung: {},
  },
});

export const alarmType: ActorTypeDefinition = {
  type: 'alarm',
  version: '1',
  machine,
  events: {
    set: z.object({ type: z.literal('set'), ms: z.number() }),
    cancel: z.object({ type: z.literal('cancel') }),
    note: z.object({ type: z.literal('note') }),
  },
};
