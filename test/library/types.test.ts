/** The types that a user of the library sees: what is wrong must not compile, what is right needs no annotation. */
import { describe, expectTypeOf, it } from 'vitest';
import { assign, fromPromise, setup } from 'xstate';
import { z } from 'zod';
import { actorType, type ActorOf, type EventOf, type Json } from '../../src/index.ts';

const child = setup({ actions: { ring: (_args, _params: { readonly bell: number }) => {} } }).createMachine({ entry: { type: 'ring', params: { bell: 1 } } });
const machine = setup({
  types: { context: {} as { count: number } },
  actors: { child, load: fromPromise<string>(async () => await Promise.resolve('')) },
  actions: { mail: (_args, _params: { readonly to: string }) => {}, wink: () => {}, add: assign({ count: ({ context }) => context.count + 1 }) },
}).createMachine({ context: { count: 0 }, entry: [{ type: 'mail', params: { to: 'me' } }, 'wink'], invoke: { src: 'child', id: 'child' } });

const counter = actorType({
  type: 'counter',
  version: '1',
  machine,
  events: { add: z.object({ type: z.literal('add'), by: z.number().optional() }), reset: z.object({ type: z.literal('reset') }) },
  executors: {
    mail: async ({ params, key }) => {
      expectTypeOf(params).toEqualTypeOf<{ readonly to: string }>();
      expectTypeOf(key).toEqualTypeOf<string>();
      await Promise.resolve();
    },
    wink: async ({ params }) => {
      expectTypeOf(params).toEqualTypeOf<Json>();
      await Promise.resolve();
    },
    ring: async ({ params }) => {
      expectTypeOf(params).toEqualTypeOf<{ readonly bell: number }>();
      await Promise.resolve();
    },
  },
});

describe('types', () => {
  it('come from the schemas and the machine', () => {
    expectTypeOf<Extract<EventOf<typeof counter>, { type: 'add' }>['by']>().toEqualTypeOf<number | undefined>();
    expectTypeOf<EventOf<typeof counter>['type']>().toEqualTypeOf<'add' | 'reset'>();
    expectTypeOf<ActorOf<typeof counter>['context']>().toEqualTypeOf<{ count: number }>();
    expectTypeOf(counter.type).toEqualTypeOf<'counter'>();
  });
});
