/** What a user writes; package.test.ts checks and runs it against the packed library, under the package's name. */
import { assign, setup } from 'xstate';
import { z } from 'zod';
import { actorType, createCastellan, createClient, StoppedError, type ActorOf, type Effect, type EventOf } from '../../src/index.ts';
import { given } from '../../src/testing/index.ts';

const reminder = actorType({
  type: 'reminder',
  version: '1',
  machine: setup({
    types: { context: {} as { rung: number }, events: {} as { type: 'start' | 'snooze' | 'done' } },
    actions: { ring: (_args, _params: { times: number }) => {}, count: assign({ rung: ({ context }) => context.rung + 1 }) },
    delays: { pause: 60_000 },
  }).createMachine({
    context: { rung: 0 },
    initial: 'waiting',
    on: { done: '.finished' },
    states: {
      waiting: { after: { pause: 'ringing' } },
      ringing: { entry: ['count', { type: 'ring', params: ({ context }) => ({ times: context.rung }) }], on: { snooze: 'waiting' } },
      finished: { type: 'final' },
    },
  }),
  events: {
    start: z.object({ type: z.literal('start') }),
    snooze: z.object({ type: z.literal('snooze') }),
    done: z.object({ type: z.literal('done') }),
  },
  executors: {
    ring: async ({ params }, signal) => await ring(params.times satisfies number, signal),
  },
});

async function ring(times: number, signal: AbortSignal): Promise<void> {
  console.log(times, signal.aborted);
  await Promise.resolve();
}

export const event: EventOf<typeof reminder> = { type: 'snooze' };
export const rungOf = (actor: ActorOf<typeof reminder>): number => actor.context.rung;
export type Ring = Effect<{ times: number }>;

const options = { redis: 'redis://127.0.0.1:6379', types: [reminder] } as const;
const castellan = createCastellan(options);
export const client = createClient({ ...options, redis: { host: '127.0.0.1', port: 6380, tls: true } });

// What is wrong does not compile.
// @ts-expect-error -- no such event
export const unknownEvent = async (): Promise<unknown> => await castellan.send('reminder', 'tea', { type: 'dance' });
// @ts-expect-error -- no such type
export const unknownType = async (): Promise<unknown> => await castellan.get('remainder', 'tea');

const actor = given(reminder).when({ type: 'start' }).after(60_000);
const refused = await castellan.send('reminder', 'tea', { type: 'start' }).catch((error: unknown) => error);
console.log(`${JSON.stringify(actor.value)} after 60000 ms; start is needed: ${refused instanceof StoppedError ? refused.code : 'no'}`);
