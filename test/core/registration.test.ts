import { describe, expect, it } from 'vitest';
import {
  and,
  assign,
  emit,
  enqueueActions,
  fromCallback,
  fromPromise,
  fromTransition,
  raise,
  sendParent,
  sendTo,
  setup,
  spawnChild,
  stateIn,
  type AnyStateMachine,
} from 'xstate';
import { z } from 'zod';
import type { ActorTypeDefinition } from '../../src/core/actor-type.ts';
import { MachineNotDurableError } from '../../src/protocol/errors.ts';
import { registerActorType } from '../../src/core/kernel.ts';

const plain = z.object({ type: z.string() });

function faultsOf(machine: unknown, more: Partial<ActorTypeDefinition> = {}): readonly string[] {
  try {
    registerActorType({ type: 'thing', version: '1', machine: machine as AnyStateMachine, events: { go: plain }, ...more });
    return [];
  } catch (thrown) {
    if (thrown instanceof MachineNotDurableError) return thrown.faults;
    throw thrown;
  }
}

const base = setup({
  actions: { effect: () => {}, named: raise({ type: 'go' }, { delay: 'nowhere' } as never) },
  actors: { load: fromPromise(async () => await Promise.resolve(1)) },
  delays: { soon: 10, later: 20 },
  guards: { ok: () => true },
});
/** A machine of one state with this configuration, past what the types of XState would refuse. */
function one(config: object, root: object = {}): AnyStateMachine {
  return base.createMachine({ id: 'm', initial: 'a', ...root, states: { a: config } } as never) as unknown as AnyStateMachine;
}

describe('registration', () => {
  it('accepts a machine with every durable action kind', () => {
    const machine = one({
      entry: [
        raise({ type: 'go' }),
        raise({ type: 'go' }, { delay: 'later' as never }),
        emit({ type: 'x' }),
        assign({}),
        'effect',
        { type: 'effect', params: { a: 1 } },
      ],
      invoke: { id: 'load', src: 'load' },
      after: { soon: 'a' },
      on: { go: { guard: and(['ok', stateIn('#m.a')]), actions: enqueueActions(() => {}) } },
    });
    expect(faultsOf(machine, { effects: ['effect'], liveness: { soon: { deadlineMs: 1 } } })).toEqual([]);
  });

  it.each<[what: string, config: object, fault: RegExp]>([
    ['an inline function as an action', { entry: () => {} }, /state "a", entry: an inline function/],
    ['a missing action', { exit: 'nothing' }, /exit: there is no action "nothing"/],
    ['a custom action that is no effect', { on: { go: { actions: 'effect' } } }, /on "go": the action "effect" would run inside the step/],
    ['parameters that are not JSON', { entry: { type: 'effect', params: { at: new Date(0) } } }, /params\.at of "effect" is a Date/],
    ['a missing guard', { on: { go: { guard: 'nobody', target: 'a' } } }, /there is no guard "nobody"/],
    ['a missing guard within and()', { always: { guard: and(['ok', 'nobody']), actions: [] } }, /always: there is no guard "nobody"/],
    ['a stateIn that names no state', { on: { go: { guard: stateIn('#m.gone'), target: 'a' } } }, /stateIn names no state/],
    ['a missing delay in after', { after: { never: 'a' } }, /no delay is named "never"/],
    ['a missing delay in raise', { entry: raise({ type: 'go' }, { delay: 'never' as never }) }, /no delay is named "never"/],
    ['a missing delay in a named action', { entry: 'named' }, /action "named": no delay is named "nowhere"/],
    ['a delay below zero', { entry: raise({ type: 'go' }, { delay: -1 }) }, /the delay -1/],
    ['a missing actor', { invoke: { src: 'nobody' } }, /there is no actor "nobody"/],
    ['an inline actor', { invoke: { id: 'x', src: fromPromise(async () => await Promise.resolve(1)) } }, /invoke "x": the source is inline/],
    ['a systemId', { invoke: { src: 'load', systemId: 's' } }, /systemId is not durable/],
    ['onSnapshot', { invoke: { src: 'load', onSnapshot: {} } }, /onSnapshot would follow a live actor/],
    ['a spawn without an id', { entry: spawnChild('load') }, /spawned without an id/],
    ['a spawn of an unknown actor', { entry: spawnChild('nobody', { id: 'x' }) }, /there is no actor "nobody"/],
    ['an id with a path separator', { entry: spawnChild('load', { id: 'a/b' }) }, /may not contain/],
    ['sendParent without a parent', { entry: sendParent({ type: 'x' }) }, /sendParent in a machine without a parent/],
    [
      'a built-in action of a later XState',
      { entry: Object.assign(() => {}, { type: 'xstate.teleport', resolve: () => {} }) },
      /"xstate.teleport" is not known/,
    ],
    ['a route', { id: 'a', route: {} }, /route needs the event/],
  ])('refuses %s', (_what, config, fault) => {
    const faults = faultsOf(one(config)).filter((line) => fault.test(line));
    expect(faults).toHaveLength(1);
  });

  it('refuses context that is not JSON', () => {
    expect(faultsOf(one({}, { context: { seen: new Map() } }))[0]).toMatch(/context\.seen is a Map/);
  });

  it.each([
    ['callback', fromCallback(() => {})],
    ['transition', fromTransition((state: number) => state, 0)],
  ])('refuses a %s actor for now', (_kind, logic) => {
    expect(faultsOf(setup({ actors: { logic } }).createMachine({}))[0]).toMatch(/actor "logic": only machines and promises/);
  });

  it('looks into child machines, where sendParent is allowed', () => {
    const child = setup({}).createMachine({ id: 'c', entry: [sendParent({ type: 'x' }), 'lost' as never] });
    expect(faultsOf(setup({ actors: { child } }).createMachine({}))).toEqual([
      'actor "child": the root state, entry: there is no action "lost"; define it in setup({ actions }), or list it in effects and register an executor.',
    ]);
  });

  it('checks what stands around the machine', () => {
    const machine = one({});
    expect(faultsOf(machine, { type: 'Bad Type' })[0]).toMatch(/must match/);
    expect(faultsOf(machine, { version: '' })[0]).toMatch(/version/);
    expect(faultsOf({}, {})[0]).toMatch(/not an XState machine/);
    expect(faultsOf(machine, { events: { 'xstate.stop': plain } })[0]).toMatch(/may not come from outside/);
    expect(faultsOf(machine, { events: { 'go.*': plain } })[0]).toMatch(/without wildcards/);
    expect(faultsOf(machine, { events: { go: {} as never } })[0]).toMatch(/Standard Schema/);
    expect(faultsOf(machine, { effects: ['setDocument'] })[0]).toMatch(/built in/);
    expect(faultsOf(machine, { liveness: { soon: { deadlineMs: 0 } } })[0]).toMatch(/deadlineMs/);
    expect(faultsOf(machine, { liveness: { soon: { deadlineMs: 1 } } })[0]).toMatch(/no state has/);
    expect(
      faultsOf(one({ after: { soon: 'a' }, entry: sendTo('x', { type: 'y' }, { delay: 'soon' as never }) }), { liveness: { soon: { deadlineMs: 1 } } })[0],
    ).toMatch(/only be the delay of an after/);
  });

  it('tells all faults at once', () => {
    expect(faultsOf(one({ entry: ['x', 'y'] }))).toHaveLength(2);
  });
});
