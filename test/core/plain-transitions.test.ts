/** The short way beside XState's own: random machines, random events, the same snapshots and the same actions. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { assign, cancel, createActor, createMachine, enqueueActions, raise, type AnyMachineSnapshot, type AnyStateMachine } from 'xstate';
import { inertCopy, InertSystem, Interpreter, Self } from '../../src/core/interpreter.ts';
import { PlainTransitions } from '../../src/core/plain-transitions.ts';
import { activeNodes, type CollectedAction } from '../../src/core/xstate-views.ts';
import type { MachineEvent } from '../../src/protocol/envelope.ts';

const EVENTS = ['a', 'b', 'c', 'd'] as const;
const NAMES = ['one', 'two', 'three'] as const;

interface Context {
  readonly n: number;
  readonly trail: string;
}

const implementations = {
  guards: {
    even: ({ context }: { context: Context }) => context.n % 2 === 0,
    few: ({ context }: { context: Context }) => context.trail.length < 40,
    wanted: ({ event }: { event: { n?: number } }) => (event.n ?? 0) > 1,
  },
  actions: {
    count: assign(({ context }: { context: Context }) => ({ n: context.n + 1 })),
    note: assign({ trail: ({ context, event }: { context: Context; event: { type: string } }) => `${context.trail.slice(-50)}${event.type}` }),
    later: raise({ type: 'a' }, { id: 'later', delay: 'soon' } as never),
    atOnce: raise({ type: 'b' }),
    stop: cancel('later'),
    several: enqueueActions(({ enqueue, check: passes }) => {
      const check = passes as (guard: unknown) => boolean;
      const put = enqueue as unknown as ((action: unknown) => void) & { assign(value: object): void; raise(event: object, options?: object): void };
      put('count');
      if (check({ type: 'even' })) put.assign({ trail: 'even' });
      else put.raise({ type: 'c' }, { delay: 5, id: 'c' });
      put({ type: 'effect', params: { by: 'several' } });
      // Plain as a rule, and at times not.
      if (check({ type: 'wanted' })) put.raise({ type: 'd' });
    }),
    effect: () => undefined,
    poison: assign(({ context }: { context: Context }) => {
      if (context.n > 6) throw new Error('poison');
      return {};
    }),
  },
  delays: { soon: ({ context }: { context: Context }) => context.n + 1 },
};

const actionOf = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('count', 'note', 'later', 'stop', 'several', 'effect') },
  { weight: 2, arbitrary: fc.constantFrom('poison', 'atOnce') },
  { weight: 2, arbitrary: fc.constant({ type: 'effect', params: { fixed: true } }) },
);
const actionsOf = fc.array(actionOf, { maxLength: 2 });
const guardOf = fc.option(fc.constantFrom('even', 'few', 'wanted'), { nil: undefined, freq: 2 });

/** The target is a place among the machine's states: {@link resolved} names it. */
const transitionOf = fc.record({ target: fc.option(fc.nat(1_000), { nil: undefined, freq: 5 }), reenter: fc.boolean(), guard: guardOf, actions: actionsOf });

function stateOf(id: string, depth: number): fc.Arbitrary<object> {
  const common = {
    id: fc.constant(id),
    entry: actionsOf,
    exit: actionsOf,
    tags: fc.constant([id]),
    on: fc.dictionary(fc.constantFrom(...EVENTS), fc.array(transitionOf, { minLength: 1, maxLength: 2 }), { maxKeys: 4 }),
  };
  const always = fc.array(fc.record({ target: fc.nat(1_000), guard: fc.constant('wanted') }), { maxLength: 1 });
  const leaf = fc.oneof(
    { weight: 8, arbitrary: fc.record(common) },
    { weight: 2, arbitrary: fc.record({ ...common, after: fc.record({ soon: transitionOf }) }) },
    { weight: 1, arbitrary: fc.record({ ...common, always }) },
  );
  const final = fc.record({ id: fc.constant(id), type: fc.constant('final'), entry: actionsOf });
  if (depth === 0) return fc.oneof({ weight: 8, arbitrary: leaf }, { weight: 1, arbitrary: final });
  const states = statesOf(id, depth);
  const withHistory = states.map((plain) => ({ ...plain, past: { id: `${id}-past`, type: 'history', history: 'deep' } }));
  return fc.oneof(
    { weight: 12, arbitrary: leaf },
    { weight: 12, arbitrary: fc.record({ ...common, initial: fc.constantFrom(...NAMES), states, onDone: transitionOf }) },
    { weight: 1, arbitrary: fc.record({ ...common, initial: fc.constantFrom(...NAMES), states: withHistory }) },
    { weight: 3, arbitrary: fc.record({ ...common, type: fc.constant('parallel'), states, onDone: transitionOf }) },
  );
}

function statesOf(id: string, depth: number): fc.Arbitrary<Record<string, object>> {
  return fc.record(Object.fromEntries(NAMES.map((name) => [name, stateOf(`${id}-${name}`, depth - 1)])));
}

const machineOf = fc
  .constantFrom(1, 2, 3)
  .chain((depth) =>
    fc.record({ id: fc.constant('root'), initial: fc.constantFrom(...NAMES), context: fc.constant({ n: 0, trail: '' }), states: statesOf('root', depth) }),
  )
  .map((machine) => resolved(machine as unknown as AnyState));

interface AnyState {
  readonly id: string;
  readonly states?: { readonly [name: string]: AnyState };
}

function resolved(machine: AnyState): object {
  const ids: string[] = [];
  const collect = ({ states = {} }: AnyState): void => {
    for (const state of Object.values(states)) {
      ids.push(state.id);
      collect(state);
    }
  };
  collect(machine);
  return JSON.parse(
    JSON.stringify(machine, (key, value: unknown) => (key === 'target' && typeof value === 'number' ? `#${ids[value % ids.length]}` : value)),
  ) as object;
}

const eventsOf = fc.array(fc.record({ type: fc.constantFrom(...EVENTS), n: fc.nat(3) }), { minLength: 5, maxLength: 30 });

interface Taken {
  readonly snapshot: AnyMachineSnapshot;
  readonly actions: readonly CollectedAction[];
}

/** XState's own, always. */
function whole(self: Self): (step: (scope: never) => AnyMachineSnapshot) => Taken {
  const noop = (): void => {};
  return (step) => {
    const actions: CollectedAction[] = [];
    self.system.microsteps = 0;
    const scope = { self, id: self.id, sessionId: 'castellan', system: self.system, logger: noop, defer: noop, emit: noop, stopChild: noop };
    const snapshot = step({ ...scope, actionExecutor: (action: CollectedAction) => void actions.push(action) } as never);
    return { snapshot, actions };
  };
}

function outcome(run: () => Taken): object {
  try {
    const { snapshot, actions } = run();
    return {
      status: snapshot.status,
      value: snapshot.value as unknown,
      context: snapshot.context as unknown,
      nodes: activeNodes(snapshot).map(({ id }) => id),
      tags: [...snapshot.tags],
      actions: actions.map(({ type, params }) => ({ type, params })),
    };
  } catch (error) {
    return { thrown: (error as Error).message };
  }
}

describe('plain transitions', () => {
  it('come to the same as XState’s, for random machines and events', () => {
    let events = 0;
    let short = 0;
    const counted = PlainTransitions.prototype.take;
    PlainTransitions.prototype.take = function (this: PlainTransitions, ...args) {
      const taken = counted.apply(this, args);
      events++;
      if (taken !== undefined) short++;
      return taken;
    };
    try {
      fc.assert(
        fc.property(machineOf, eventsOf, (config, sent) => {
          const machine = inertCopy(createMachine(config as never, implementations as never));
          const interpreter = new Interpreter();
          const self = new Self('', 'it', undefined, interpreter.system);
          const other = whole(new Self('', 'it', undefined, new InertSystem()));
          let mine: AnyMachineSnapshot | undefined;
          let theirs: AnyMachineSnapshot | undefined;
          const began = outcome(() => {
            theirs = undefined;
            const taken = other((scope) => machine.getInitialSnapshot(scope, undefined));
            if (taken.snapshot.status === 'error') throw taken.snapshot.error;
            theirs = taken.snapshot;
            return taken;
          });
          interpreter.begin();
          expect(
            outcome(() => {
              mine = interpreter.initial(machine, undefined, self);
              return { snapshot: mine, actions: interpreter.takeActions() };
            }),
          ).toEqual(began);
          // Twice over, so that what was learnt is used.
          for (const event of [...sent, ...sent, ...sent] as MachineEvent[]) {
            const [before, theirsBefore] = [mine, theirs];
            if (before === undefined || theirsBefore === undefined || before.status !== 'active') return;
            const expected = outcome(() => {
              const taken = other((scope) => machine.transition(theirsBefore, event, scope));
              theirs = taken.snapshot;
              return taken;
            });
            interpreter.begin();
            const found = outcome(() => {
              mine = interpreter.transition(machine, before, event, self);
              return { snapshot: mine, actions: interpreter.takeActions() };
            });
            expect(found).toEqual(expected);
            // A no-op is known by the same reference.
            expect(mine === before).toBe(theirs === theirsBefore);
          }
        }),
        { numRuns: 500, seed: 20_261 },
      );
    } finally {
      PlainTransitions.prototype.take = counted;
    }
    // It would prove nothing if XState had taken them all.
    expect(short / events).toBeGreaterThan(0.3);
    expect(short / events).toBeLessThan(0.95);
  });

  /** The same events by both ways: what each comes to. */
  function beside(machine: AnyStateMachine, events: readonly MachineEvent[]): { readonly mine: unknown; readonly theirs: unknown } {
    const interpreter = new Interpreter();
    const copy = inertCopy(machine);
    const self = new Self('', 'it', undefined, interpreter.system);
    let mine = interpreter.initial(copy, undefined, self);
    const theirs = createActor(machine).start();
    for (const event of events) {
      interpreter.begin();
      mine = interpreter.transition(copy, mine, event, self);
      theirs.send(event);
    }
    const { value, context } = theirs.getSnapshot();
    return { mine: { value: mine.value as unknown, context: mine.context as unknown }, theirs: { value: value as unknown, context: context as unknown } };
  }

  it('know states apart that were given the same id', () => {
    const region = (next: string) => ({ initial: 'work', states: { work: { id: 'work', on: { next } }, [next]: {} } });
    const machine = createMachine({ initial: 'left', states: { left: { ...region('ok'), on: { change: 'right' } }, right: region('ok') } });
    const { mine, theirs } = beside(machine, [{ type: 'change' }, { type: 'next' }]);
    expect(mine).toEqual(theirs);
  });

  it('run what changes a context in place once an event', () => {
    const note = assign<{ readonly list: number[] }, { readonly type: string; readonly n?: number }, undefined, never, never>(({ context, event }) => {
      context.list.push(event.n ?? 0);
      return { list: context.list };
    });
    const machine = createMachine({ context: () => ({ list: [] as number[] }), on: { note: { actions: note as never } } });
    const { mine, theirs } = beside(
      machine,
      [1, 2, 3].map((n) => ({ type: 'note', n })),
    );
    expect(mine).toEqual({ value: {}, context: { list: [1, 2, 3] } });
    expect(theirs).toEqual(mine);
  });

  it('leave to XState what it stops and begins machines with', () => {
    const interpreter = new Interpreter();
    const machine = inertCopy(createMachine({ initial: 'a', context: { n: 0 }, states: { a: { on: { '*': { actions: assign({ n: 1 }) } } } } }));
    const self = new Self('', 'it', undefined, interpreter.system);
    let snapshot = interpreter.initial(machine, undefined, self);
    for (const type of ['x', 'x', 'xstate.stop']) {
      interpreter.begin();
      snapshot = interpreter.transition(machine, snapshot, { type }, self);
    }
    expect(snapshot.status).toBe('stopped');
  });
});
