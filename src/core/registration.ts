/**
 * A registered actor type: its definition, checked, with all that a step looks up made ready.
 */
import type { AnyStateMachine } from 'xstate';
import { MachineNotDurableError } from '../protocol/errors.ts';
import { SET_DOCUMENT, type ActorTypeDefinition } from './actor-type.ts';
import { inertCopy, Interpreter, kindOfLogic } from './interpreter.ts';
import { rootOf, stateNodes, type StateNodeView } from './xstate-views.ts';
import { definitionFaults, machineFaults } from './lint.ts';

/** What a child is made from. */
export type ActorSource = { readonly kind: 'machine'; readonly machine: PreparedMachine } | { readonly kind: 'promise'; readonly run: PromiseRun };

/** Runs a promise logic. The signal aborts when the invocation's state is left. */
export type PromiseRun = (invocation: { readonly input: unknown; readonly signal: AbortSignal }) => PromiseLike<unknown>;

export interface LivenessDelay {
  readonly deadlineMs: number;
}

export interface PreparedMachine {
  /** Our inert copy; the user's machine is never run. */
  readonly machine: AnyStateMachine;
  readonly actors: ReadonlyMap<string, ActorSource>;
  /** Custom actions that become commands, with the implementation by which an inline function of the same name is told apart. */
  readonly effects: ReadonlyMap<string, unknown>;
  /** Event types of the `after` transitions whose delay runs on observed time. */
  readonly liveness: ReadonlyMap<string, LivenessDelay>;
  /** State paths of the atomic and final nodes, such as `connection.online`; the root of a machine without states has none. */
  readonly atomicPaths: ReadonlyMap<StateNodeView, string>;
}

export interface RegisteredType {
  /** The first half of the addresses. */
  readonly type: string;
  readonly version: string;
  readonly definition: ActorTypeDefinition;
  /** Names of the events that may come from outside, in the order of the definition. */
  readonly eventTypes: readonly string[];
  readonly machine: PreparedMachine;
  /** For the kernel's use. */
  readonly interpreter: Interpreter;
}

/** Checks that a machine can be durable and makes it ready. Throws {@link MachineNotDurableError} with every fault and its way out. */
export function registerActorType(definition: ActorTypeDefinition): RegisteredType {
  const faults = [...definitionFaults(definition)];
  if (faults.length === 0) faults.push(...machineFaults(definition));
  if (faults.length > 0) throw new MachineNotDurableError(definition.type, [...new Set(faults)]);
  return {
    type: definition.type,
    version: definition.version,
    definition,
    eventTypes: Object.keys(definition.events),
    machine: prepare(definition.machine, definition, new Map()),
    interpreter: new Interpreter(),
  };
}

/** Whether listings by this state path are served from the index; see {@link ActorTypeDefinition.unindexed}. */
export function isIndexed({ definition }: RegisteredType, statePath: string): boolean {
  const { unindexed } = definition;
  return unindexed === undefined || !unindexed.some((path) => statePath === path || statePath.startsWith(`${path}.`));
}

/** `known` lets a machine be its own descendant. */
function prepare(source: AnyStateMachine, definition: ActorTypeDefinition, known: Map<AnyStateMachine, PreparedMachine>): PreparedMachine {
  const existing = known.get(source);
  if (existing !== undefined) return existing;

  const machine = inertCopy(source);
  const actions = machine.implementations.actions as Record<string, unknown>;
  const liveness = new Map<string, LivenessDelay>();
  const atomicPaths = new Map<StateNodeView, string>();
  for (const node of stateNodes(rootOf(machine))) {
    if ((node.type === 'atomic' || node.type === 'final') && node.path.length > 0) atomicPaths.set(node, node.path.join('.'));
    for (const { eventType, delay } of node.after) {
      const declared = definition.liveness?.[delay];
      if (declared !== undefined) liveness.set(eventType, { deadlineMs: declared.deadlineMs });
    }
  }
  const actors = new Map<string, ActorSource>();
  const effectNames = [...(definition.effects ?? []), SET_DOCUMENT];
  const prepared: PreparedMachine = { machine, actors, effects: new Map(effectNames.map((name) => [name, actions[name]])), liveness, atomicPaths };
  known.set(source, prepared);
  for (const [name, logic] of Object.entries(source.implementations.actors as Record<string, unknown>)) {
    const child = actorSource(logic, definition, known);
    if (child !== undefined) actors.set(name, child);
  }
  return prepared;
}

function actorSource(logic: unknown, definition: ActorTypeDefinition, known: Map<AnyStateMachine, PreparedMachine>): ActorSource | undefined {
  switch (kindOfLogic(logic)) {
    case 'machine':
      return { kind: 'machine', machine: prepare(logic as AnyStateMachine, definition, known) };
    case 'promise':
      return { kind: 'promise', run: (logic as { readonly config: PromiseRun }).config };
    case 'other':
      return undefined;
  }
}
