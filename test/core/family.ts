/**
 * A machine with a bit of everything: parallel regions, history, delayed raises and cancels, an invoked promise,
 * an invoked child machine with a timer and sendParent, and children spawned in assign and by spawnChild.
 */
import { assign, cancel, emit, enqueueActions, fromPromise, log, raise, sendParent, sendTo, setup, spawnChild, stopChild, type AnyActorRef } from 'xstate';
import { z } from 'zod';
import type { ActorTypeDefinition } from '../../src/core/actor-type.ts';

const worker = setup({
  types: { context: {} as { name: string; jobs: number }, input: {} as { name: string } | undefined, events: {} as { type: string } },
  actors: { fetch: fromPromise<string, { jobs: number }>(async () => await Promise.resolve('')) },
  actions: { notify: () => {} },
  delays: { shift: 100 },
}).createMachine({
  id: 'worker',
  context: ({ input }) => ({ name: input?.name ?? 'nobody', jobs: 0 }),
  initial: 'idle',
  states: {
    idle: {
      after: { shift: { target: 'tired', actions: sendParent({ type: 'TIRED' }) } },
      on: { JOB: { actions: [assign({ jobs: ({ context }) => context.jobs + 1 }), sendParent({ type: 'DID' })] }, FETCH: 'fetching', QUIT: 'gone' },
    },
    tired: { entry: 'notify', after: { 50: 'idle' }, on: { QUIT: 'gone' } },
    fetching: { invoke: { id: 'get', src: 'fetch', input: ({ context }) => ({ jobs: context.jobs }), onDone: 'idle', onError: 'tired' }, on: { QUIT: 'gone' } },
    gone: { type: 'final' },
  },
  output: ({ context }) => ({ jobs: context.jobs }),
});

interface Context {
  readonly log: readonly string[];
  readonly helper: AnyActorRef | null;
}

export const familyMachine = setup({
  types: { context: {} as Context, events: {} as { type: string; output?: unknown } },
  actors: { worker, load: fromPromise<string, { at: number }>(async () => await Promise.resolve('')) },
  actions: {
    notify: (_, _params?: object) => {},
    setDocument: () => {},
    note: assign({ log: ({ context, event }) => [...context.log, event.type].slice(-8) }),
  },
  delays: { beat: 70, slow: ({ context }) => 20 + context.log.length },
  guards: { logged: ({ context }) => context.log.length > 2 },
}).createMachine({
  id: 'family',
  context: { log: [], helper: null },
  type: 'parallel',
  on: {
    DID: { actions: 'note' },
    TIRED: { actions: 'note' },
    'xstate.done.actor.*': { actions: 'note' },
    'xstate.error.actor.*': { actions: 'note' },
    HIRE: {
      guard: ({ context }) => context.helper === null,
      actions: assign({ helper: ({ spawn }) => spawn('worker', { id: 'helper', input: { name: 'helper' } }) }),
    },
    HELP: { guard: ({ context }) => context.helper !== null, actions: sendTo(({ context }) => context.helper ?? 'helper', { type: 'JOB' }) },
    FIRE: { actions: [stopChild('helper'), assign({ helper: null })] },
    // Without the stop XState would let the first run on as an orphan; a durable actor has one child of a name.
    TEMP: { actions: [stopChild('temp'), spawnChild('worker', { id: 'temp' })] },
    DROP: { actions: stopChild('temp') },
    MANY: {
      actions: enqueueActions(({ enqueue, context }) => {
        if (context.log.length % 2 === 0) enqueue({ type: 'notify', params: { even: true } });
      }),
    },
    ALARM: { actions: raise({ type: 'DID' }, { delay: 30 }) },
    DOC: { actions: 'setDocument' },
  },
  states: {
    work: {
      initial: 'off',
      states: {
        off: { on: { START: 'on', RESUME: 'on.hist' } },
        on: {
          invoke: { id: 'main', src: 'worker', input: { name: 'main' } },
          initial: 'one',
          on: {
            STOP: { target: 'off', actions: 'note' },
            JOB: { actions: sendTo('main', { type: 'JOB' }) },
            QUIT: { actions: sendTo('main', { type: 'QUIT' }) },
            FETCH: { actions: sendTo('main', { type: 'FETCH' }) },
          },
          states: { one: { on: { NEXT: 'two' } }, two: { on: { NEXT: { target: 'one', guard: 'logged' } } }, hist: { type: 'history' } },
        },
      },
    },
    load: {
      initial: 'none',
      states: {
        none: { on: { LOAD: 'loading' } },
        loading: {
          invoke: { id: 'load', src: 'load', input: { at: 1 }, onDone: { target: 'loaded', actions: 'note' }, onError: 'none' },
          on: { ABORT: 'none' },
        },
        loaded: { on: { LOAD: 'loading' }, entry: [{ type: 'notify', params: { to: 'me' } }, emit({ type: 'loaded' })] },
      },
    },
    pulse: {
      initial: 'calm',
      states: {
        calm: { after: { beat: 'pulsing' }, on: { BEAT: { target: 'calm', reenter: true } } },
        pulsing: { entry: raise({ type: 'CALM' }, { delay: 'slow', id: 'calm' }), on: { CALM: 'calm', HOLD: { actions: cancel('calm') }, BEAT: 'calm' } },
      },
    },
  },
  entry: log('born'),
});

export const familyEvents = [
  'START',
  'RESUME',
  'STOP',
  'NEXT',
  'JOB',
  'QUIT',
  'FETCH',
  'LOAD',
  'ABORT',
  'BEAT',
  'HOLD',
  'HIRE',
  'HELP',
  'FIRE',
  'TEMP',
  'DROP',
  'MANY',
  'ALARM',
  'DOC',
];

export const family: ActorTypeDefinition = {
  type: 'family',
  version: '1',
  machine: familyMachine,
  events: Object.fromEntries(familyEvents.map((name) => [name, z.object({ type: z.string() })])),
  effects: ['notify'],
};
