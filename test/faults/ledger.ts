/**
 * A ledger: an actor whose sum tells whether each event was applied exactly once, whose every event has an effect,
 * and which sends some of its money to another ledger.
 */
import { assign, sendTo, setup } from 'xstate';
import { z } from 'zod';
import { durableActor } from '../../src/protocol/actor-reference.ts';
import type { ActorTypeDefinition } from '../../src/core/actor-type.ts';

/** `ref` is unique to an event sent from outside; a `receive` has that of the `transfer` it comes from. */
export type LedgerEvent =
  | { readonly type: 'add'; readonly ref: number; readonly amount: number }
  | { readonly type: 'transfer'; readonly ref: number; readonly amount: number; readonly to: string }
  | { readonly type: 'receive'; readonly ref: number; readonly amount: number };

export interface LedgerContext {
  readonly sum: number;
  readonly entries: number;
}

export type RecordParams = { readonly ref: number; readonly type: string; readonly sum: number };

const machine = setup({
  types: { context: {} as LedgerContext, events: {} as LedgerEvent },
  actions: {
    /** Effect: writes what was booked to a list outside. */
    record: (_args, _params: RecordParams) => {},
    book: assign(({ context, event }) => ({
      sum: context.sum + (event.type === 'transfer' ? -event.amount : event.amount),
      entries: context.entries + 1,
    })),
    pass: sendTo(
      ({ event }) => durableActor('ledger', event.type === 'transfer' ? event.to : ''),
      ({ event }) => ({ type: 'receive', ref: event.ref, amount: event.amount }),
    ),
  },
}).createMachine({
  id: 'ledger',
  context: { sum: 0, entries: 0 },
  initial: 'open',
  states: {
    open: {
      on: {
        add: { actions: ['book', { type: 'record', params: ({ context, event }) => ({ ref: event.ref, type: event.type, sum: context.sum }) }] },
        transfer: { actions: ['book', { type: 'record', params: ({ context, event }) => ({ ref: event.ref, type: event.type, sum: context.sum }) }, 'pass'] },
        receive: { actions: ['book', { type: 'record', params: ({ context, event }) => ({ ref: event.ref, type: event.type, sum: context.sum }) }] },
      },
    },
  },
});

const ref = z.number();
const amount = z.number();

export const ledgerType: ActorTypeDefinition = {
  type: 'ledger',
  version: '1',
  machine,
  events: {
    add: z.object({ type: z.literal('add'), ref, amount }),
    transfer: z.object({ type: z.literal('transfer'), ref, amount, to: z.string() }),
    receive: z.object({ type: z.literal('receive'), ref, amount }),
  },
  effects: ['record'],
};
