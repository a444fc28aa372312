/**
 * The machines of the simulated workload. Each counts what happened to it in its context, so that its state alone tells
 * whether an event was lost, doubled, or taken out of order.
 */
import { assign, fromPromise, sendTo, setup } from 'xstate';
import { z } from 'zod';
import type { ActorTypeDefinition } from '../../src/core/actor-type.ts';
import { durableActor } from '../../src/protocol/actor-reference.ts';
import type { Json } from '../../src/protocol/json.ts';
import type { Outlet } from '../../src/protocol/outlet.ts';

/** Time without a beat after which a watched actor is late, and gone, ms of observed time. */
export const BEAT_MS = 4_000;
export const LATE_MS = 2 * BEAT_MS + 700;
export const GONE_MS = 3 * BEAT_MS + 700;
/** 2 × pulse; see ARCHITECTURE.md, Time. */
export const OBSERVATION_GAP_MS = BEAT_MS / 4;

const VISIT_MS = 30;
/** For so long, and so many, visitors at rest are kept. */
export const KEEP_VISITORS = { rested: { maxAgeMs: 400, maxCount: 64 } };

/** How often each sender's numbers were out of order, and the newest number of each. */
interface Numbered {
  readonly newest: { readonly [sender: string]: number };
  readonly disorder: number;
}

function counted(context: Numbered, { by, n }: { readonly by: string; readonly n: number }): Numbered {
  const inOrder = n === (context.newest[by] ?? 0) + 1;
  return { newest: { ...context.newest, [by]: n }, disorder: context.disorder + (inOrder ? 0 : 1) };
}

const number = z.number().int();
const plain = z.object({ type: z.string() });

/** Adds up numbered events. `poison` throws, `nothing` is no event of its. */
const ledger = setup({
  types: { context: {} as Numbered & { count: number }, events: {} as { type: 'add'; by: string; n: number } | { type: 'poison' } | { type: 'nothing' } },
  guards: {
    explodes: () => {
      throw new Error('poison');
    },
  },
  actions: { count: assign(({ context, event }) => (event.type === 'add' ? { count: context.count + 1, ...counted(context, event) } : {})) },
}).createMachine({
  id: 'ledger',
  context: { count: 0, newest: {}, disorder: 0 },
  initial: 'open',
  states: { open: { on: { add: { actions: 'count' }, poison: { guard: 'explodes', target: 'open' } } } },
});

/** Rings after the delay that it was armed with, unless it is cancelled or armed again before. */
const alarm = setup({
  types: {
    context: {} as { delayMs: number; arms: number; rings: number; cancels: number },
    events: {} as { type: 'arm'; delayMs: number } | { type: 'cancel' },
  },
  delays: { ring: ({ context }) => context.delayMs },
  actions: {
    set: assign(({ context, event }) => (event.type === 'arm' ? { delayMs: event.delayMs, arms: context.arms + 1 } : {})),
    countCancel: assign({ cancels: ({ context }) => context.cancels + 1 }),
    countRing: assign({ rings: ({ context }) => context.rings + 1 }),
  },
}).createMachine({
  id: 'alarm',
  context: { delayMs: 0, arms: 0, rings: 0, cancels: 0 },
  initial: 'idle',
  on: { arm: { target: '.armed', actions: 'set', reenter: true }, cancel: { target: '.idle', actions: 'countCancel' } },
  states: { idle: {}, armed: { after: { ring: 'rung' } }, rung: { entry: 'countRing' } },
});

/** Sends numbered messages to ledgers. */
const courier = setup({
  types: { context: {} as { id: string; sent: { readonly [to: string]: number } }, events: {} as { type: 'go'; to: string }, input: {} as { id: string } },
  actions: {
    count: assign(({ context, event }) => ({ sent: { ...context.sent, [event.to]: (context.sent[event.to] ?? 0) + 1 } })),
    send: sendTo(
      ({ event }) => durableActor('ledger', event.to),
      ({ context, event }) => ({ type: 'add', by: `courier/${context.id}`, n: context.sent[event.to] ?? 0 }),
    ),
  },
}).createMachine({
  id: 'courier',
  context: ({ input }) => ({ id: input.id, sent: {} }),
  initial: 'ready',
  states: { ready: { on: { go: { actions: ['count', 'send'] } } } },
});

/** Sends numbered posts out, and one now and then that has no entry. */
const poster = setup({
  types: { context: {} as { id: string; sent: { readonly [to: string]: number } }, events: {} as { type: 'tell'; to: string }, input: {} as { id: string } },
  actions: {
    count: assign(({ context, event }) => ({ sent: { ...context.sent, [event.to]: (context.sent[event.to] ?? 0) + 1 } })),
    post: sendTo(
      ({ event }) => durableActor(OUT, event.to),
      ({ context, event }) => ({ type: 'told', by: `poster/${context.id}`, n: context.sent[event.to] ?? 0 }),
    ),
  },
}).createMachine({
  id: 'poster',
  context: ({ input }) => ({ id: input.id, sent: {} }),
  initial: 'ready',
  states: { ready: { on: { tell: { actions: ['count', 'post'] } } } },
});

/** The outlet of the posters. */
export const OUT = 'out';
/** For this destination the outlet has no entry. */
export const UNKNOWN_STREAM = 'unknown';
export const out: Outlet = {
  type: OUT,
  encode: (id, event) => (id === UNKNOWN_STREAM ? undefined : { stream: streamOf(id), fields: ['by', event['by'] as string, 'n', JSON.stringify(event['n'])] }),
};
export function streamOf(id: string): string {
  return `out:${id}`;
}

/** Comes, stays a while, and is gone: a visitor that is at rest is dropped, and begins anew at its next visit. */
const visitor = setup({
  types: { context: {} as { visits: number }, events: {} as { type: 'visit' } },
  delays: { stay: VISIT_MS },
  actions: { count: assign({ visits: ({ context }) => context.visits + 1 }) },
}).createMachine({
  id: 'visitor',
  context: { visits: 0 },
  initial: 'new',
  on: { visit: { target: '.here', actions: 'count' } },
  states: { new: {}, here: { after: { stay: 'rested' } }, rested: {} },
});

/** Has effects of two kinds. */
const printer = setup({
  types: { context: {} as Numbered, events: {} as { type: 'print'; by: string; n: number } },
  actions: {
    count: assign(({ context, event }) => counted(context, event)),
    print: (_args, _params: { n: number }) => {},
    log: (_args, _params: { n: number }) => {},
  },
}).createMachine({
  id: 'printer',
  context: { newest: {}, disorder: 0 },
  initial: 'ready',
  states: {
    ready: {
      on: {
        print: {
          actions: [
            'count',
            { type: 'print', params: ({ event }: { event: { n: number } }) => ({ n: event.n }) },
            { type: 'log', params: ({ event }: { event: { n: number } }) => ({ n: event.n }) },
          ],
        },
      },
    },
  },
});

/** Runs a promise for each `fetch`; a promise that failed is tried again after a while. */
function fetcher(run: (input: { readonly job: number; readonly attempt: number }, signal: AbortSignal) => Promise<Json>) {
  return setup({
    types: { context: {} as { wanted: number; done: number; attempt: number; wrong: number }, events: {} as { type: 'fetch' } },
    actors: { get: fromPromise<Json, { job: number; attempt: number }>(({ input, signal }) => run(input, signal)) },
    actions: { want: assign({ wanted: ({ context }) => context.wanted + 1 }) },
    delays: { again: 300 },
  }).createMachine({
    id: 'fetcher',
    context: { wanted: 0, done: 0, attempt: 0, wrong: 0 },
    initial: 'idle',
    on: { fetch: { actions: 'want' } },
    states: {
      idle: { always: { guard: ({ context }) => context.wanted > context.done, target: 'fetching' } },
      fetching: {
        invoke: {
          id: 'get',
          src: 'get',
          input: ({ context }) => ({ job: context.done, attempt: context.attempt }),
          onDone: {
            target: 'idle',
            actions: assign(({ context, event }) => ({
              done: context.done + 1,
              attempt: 0,
              wrong: context.wrong + (JSON.stringify(event.output) === JSON.stringify({ job: context.done, attempt: context.attempt }) ? 0 : 1),
            })),
          },
          onError: { target: 'waiting', actions: assign({ attempt: ({ context }) => context.attempt + 1 }) },
        },
      },
      waiting: { after: { again: 'fetching' } },
    },
  });
}

/** Lives while it beats. A `beat` is a touch, a `mark` is a beat with a number. */
const watched = setup({
  types: { context: {} as Numbered & { lates: number; gones: number }, events: {} as { type: 'beat' } | { type: 'mark'; by: string; n: number } },
  delays: { late: LATE_MS, gone: GONE_MS - LATE_MS },
  actions: {
    mark: assign(({ context, event }) => (event.type === 'mark' ? counted(context, event) : {})),
    countLate: assign({ lates: ({ context }) => context.lates + 1 }),
    countGone: assign({ gones: ({ context }) => context.gones + 1 }),
  },
}).createMachine({
  id: 'watched',
  context: { newest: {}, disorder: 0, lates: 0, gones: 0 },
  initial: 'new',
  on: { beat: { target: '.up', reenter: true }, mark: { target: '.up', actions: 'mark', reenter: true } },
  states: {
    new: {},
    up: { after: { late: 'late' } },
    late: { entry: 'countLate', after: { gone: 'gone' } },
    gone: { entry: 'countGone' },
  },
});

const numbered = z.object({ type: z.string(), by: z.string(), n: number });

export function workloadTypes(fetch: Parameters<typeof fetcher>[0]): readonly ActorTypeDefinition[] {
  return [
    { type: 'ledger', version: '1', machine: ledger, events: { add: numbered, poison: plain, nothing: plain } },
    { type: 'alarm', version: '1', machine: alarm, events: { arm: z.object({ type: z.string(), delayMs: number }), cancel: plain } },
    { type: 'courier', version: '1', machine: courier, events: { go: z.object({ type: z.string(), to: z.string() }) } },
    { type: 'poster', version: '1', machine: poster, events: { tell: z.object({ type: z.string(), to: z.string() }) } },
    { type: 'visitor', version: '1', machine: visitor, events: { visit: plain } },
    { type: 'printer', version: '1', machine: printer, events: { print: numbered }, effects: ['print', 'log'] },
    { type: 'fetcher', version: '1', machine: fetcher(fetch), events: { fetch: plain } },
    {
      type: 'watched',
      version: '1',
      machine: watched,
      events: { beat: plain, mark: numbered },
      liveness: { late: { deadlineMs: LATE_MS }, gone: { deadlineMs: GONE_MS } },
    },
  ];
}
