/**
 * How XState interprets a machine is known here, in plain-transitions.ts and in xstate-views.ts, and nowhere else: its next major version
 * is a change of these files.
 *
 * 1. Nothing here runs an effect: actions are collected, child actors are inert references.
 * 2. One scope serves all steps of an actor type; a step is synchronous, so it is never shared by two.
 * 3. A step takes at most {@link MICROSTEPS_MAX} microsteps, children included.
 */
import type { AnyActorRef, AnyMachineSnapshot, AnyStateMachine } from 'xstate';
import { evaluateGuard } from 'xstate/guards';
import type { MachineEvent } from '../protocol/envelope.ts';
import { PlainTransitions } from './plain-transitions.ts';
import { StepRefusal } from './refusal.ts';
import { activeNodes, rootOf, stateNodes, type CollectedAction, type StateNodeView } from './xstate-views.ts';
import { isActorReference } from './json-exact.ts';

/** Enough for any honest chain of eventless transitions and messages between children; an endless one ends within milliseconds. */
export const MICROSTEPS_MAX = 1_000;

/** XState's session id of every inert reference; a child that has it as its id was spawned without one. */
export const NO_ID = 'castellan:no-id';

/** What a machine's code sees as `self`: its id, and nothing that could act. */
export class Self {
  readonly sessionId = 'castellan';
  readonly ref: this;
  readonly path: string;
  readonly _parent: Self | undefined;
  readonly system: InertSystem;
  id: string;

  constructor(path: string, id: string, parent: Self | undefined, system: InertSystem) {
    this.ref = this;
    this.path = path;
    this.id = id;
    this._parent = parent;
    this.system = system;
  }

  send(): never {
    throw new StepRefusal('imperative_call', 'self.send() was called inside a step; use raise() or sendTo().');
  }

  getSnapshot(): never {
    throw new StepRefusal('imperative_call', 'self.getSnapshot() was called inside a step; use the context that is passed in.');
  }
}

/** What XState's actors ask of their system. */
export class InertSystem {
  microsteps = 0;
  readonly scheduler = { schedule(): void {}, cancel(): void {}, cancelAll(): void {} };

  _bookId(): string {
    return NO_ID;
  }
  /** Called once for every microstep and every reference made: what invariant 3 counts. */
  _sendInspectionEvent(): void {
    if (++this.microsteps > MICROSTEPS_MAX) {
      throw new StepRefusal(
        'too_many_microsteps',
        `The step took more than ${MICROSTEPS_MAX} microsteps: look for eventless transitions or messages in a circle.`,
      );
    }
  }
  _set(): void {}
  _unregister(): void {}
  _relay(): void {}
  get(): undefined {
    return undefined;
  }
}

export class Interpreter {
  readonly system = new InertSystem();
  readonly #scope;
  /** First snapshots of machines whose start runs no action and takes no transition. */
  readonly #quietStarts = new WeakMap<AnyStateMachine, AnyMachineSnapshot>();
  readonly #plain = new WeakMap<AnyStateMachine, PlainTransitions>();
  #actions: CollectedAction[] = [];

  constructor() {
    this.#scope = {
      self: undefined as Self | undefined,
      id: '',
      sessionId: 'castellan',
      system: this.system,
      logger: (): void => {},
      defer: (): void => {},
      emit: (): void => {},
      stopChild: (): void => {},
      actionExecutor: (action: CollectedAction): void => {
        this.#actions.push(action);
      },
    };
  }

  /** Begins a step: the microsteps count from zero. */
  begin(): void {
    this.system.microsteps = 0;
  }

  /** One macrostep. What it wants done is told by {@link takeActions}. Throws what the machine's code threw. */
  transition(machine: AnyStateMachine, snapshot: AnyMachineSnapshot, event: MachineEvent, self: Self): AnyMachineSnapshot {
    const scope = this.#enter(self);
    const plain = this.#plainOf(machine);
    const short = plain.take(snapshot, event, scope, this.#actions);
    if (short !== undefined) return short;
    const after = machine.transition(snapshot, event, scope) as AnyMachineSnapshot;
    return plain.learn(snapshot, event, after, scope, this.#actions);
  }

  /**
   * The first macrostep. XState keeps what was thrown in an error snapshot; here it is thrown. Where nothing happens on the way in,
   * all first snapshots are alike but for their context, and the first one made serves for all (half of the cost of a first step).
   */
  initial(machine: AnyStateMachine, input: unknown, self: Self): AnyMachineSnapshot {
    const known = this.#quietStarts.get(machine);
    if (known !== undefined) {
      this.#enter(self);
      const context = contextFactory(machine);
      return { ...known, context: context({ input, self, spawn: refuseSpawn }) } as AnyMachineSnapshot;
    }
    const snapshot = machine.getInitialSnapshot(this.#enter(self), input) as AnyMachineSnapshot;
    if (snapshot.status === 'error') throw snapshot.error;
    this.#plainOf(machine).meet(snapshot);
    if (this.#actions.length === 0 && startsQuietly(machine, snapshot)) this.#quietStarts.set(machine, snapshot);
    return snapshot;
  }

  takeActions(): readonly CollectedAction[] {
    return this.#actions;
  }

  /** `persisted` is consumed: XState puts the revived references into its context. Throws when a state no longer exists. */
  restore(machine: AnyStateMachine, persisted: PersistedSnapshot, children: Iterable<readonly [id: string, src: string]>, self: Self): AnyMachineSnapshot {
    const references: Record<string, unknown> = {};
    for (const [id, src] of children) references[id] = { snapshot: { status: 'active' }, src };
    const snapshot = machine.restoreSnapshot({ ...persisted, children: references } as never, this.#enter(self)) as AnyMachineSnapshot;
    this.#plainOf(machine).meet(snapshot);
    return snapshot;
  }

  #plainOf(machine: AnyStateMachine): PlainTransitions {
    let plain = this.#plain.get(machine);
    if (plain === undefined) this.#plain.set(machine, (plain = new PlainTransitions(machine)));
    return plain;
  }

  #enter(self: Self): never {
    this.#actions = [];
    this.#scope.self = self;
    this.#scope.id = self.id;
    return this.#scope as never;
  }
}

type ContextFactory = (args: { readonly input: unknown; readonly self: Self; readonly spawn: () => never }) => unknown;

function contextFactory(machine: AnyStateMachine): ContextFactory {
  return machine.config.context as ContextFactory;
}

function refuseSpawn(): never {
  throw new StepRefusal('imperative_call', 'A context factory spawned an actor at one start and none at another; spawn in an entry action.');
}

/** Its context comes from a factory that spawns nothing, and it still is where it began: no state on the way in does or decides anything. */
function startsQuietly(machine: AnyStateMachine, snapshot: AnyMachineSnapshot): boolean {
  if (typeof machine.config.context !== 'function' || snapshot.status !== 'active' || Object.keys(snapshot.children).length > 0) return false;
  const first = [...firstNodes(rootOf(machine))];
  const active = new Set(activeNodes(snapshot));
  return first.length === active.size && first.every((node) => active.has(node) && isQuiet(node));
}

function* firstNodes(node: StateNodeView): Generator<StateNodeView> {
  yield node;
  if (node.type === 'compound') for (const target of node.initial?.target ?? []) yield* firstNodes(target);
  if (node.type === 'parallel') for (const child of Object.values(node.states)) if (child.type !== 'history') yield* firstNodes(child);
}

function isQuiet({ entry, always, after, invoke, initial }: StateNodeView): boolean {
  return entry.length === 0 && (always?.length ?? 0) === 0 && after.length === 0 && invoke.length === 0 && (initial?.actions.length ?? 0) === 0;
}

/** Stands in for every child's logic (1). */
const INERT_LOGIC = {
  transition: (state: unknown): unknown => state,
  getInitialSnapshot: (_scope: unknown, input: unknown): unknown => ({ status: 'active', output: undefined, error: undefined, input }),
  getPersistedSnapshot: (state: unknown): unknown => state,
  restoreSnapshot: (state: unknown): unknown => state,
};

/**
 * Our own copy of a machine: children inert, microsteps bounded, and an unknown delay name refused.
 * Without the last, XState fires an event with an unknown delay at once.
 */
export function inertCopy(machine: AnyStateMachine): AnyStateMachine {
  const actors: Record<string, unknown> = {};
  for (const name of Object.keys(machine.implementations.actors)) actors[name] = INERT_LOGIC;
  const copy = machine.provide({ actors } as never);
  copy.options = { ...copy.options, maxIterations: MICROSTEPS_MAX };
  // Names that exist are own properties, so only a name that does not exist reaches the prototype.
  const delays: object = copy.implementations.delays;
  for (const [name, delay] of Object.entries(delays)) {
    if (typeof delay === 'function') (delays as Record<string, unknown>)[name] = checkedDelay(name, delay as (...args: unknown[]) => unknown);
  }
  Object.setPrototypeOf(delays, new Proxy(Object.prototype, { get: (_target, name) => refuseDelay(name) }));
  for (const node of stateNodes(rootOf(copy))) {
    // XState looks these two up in a WeakMap at every microstep; on our copy they are plain properties (a tenth of a heartbeat's step).
    Object.defineProperty(node, 'invoke', { value: node.invoke });
    if (node.type === 'compound') Object.defineProperty(node, 'initial', { value: node.initial });
  }
  return copy;
}

function checkedDelay(name: string, delay: (...args: unknown[]) => unknown): (...args: unknown[]) => number {
  return (...args) => {
    const value = delay(...args);
    if (typeof value !== 'number' || Number.isNaN(value))
      throw new StepRefusal('bad_delay', `The delay "${name}" gave ${String(value)}, not a number of milliseconds.`);
    return value;
  };
}

function refuseDelay(name: string | symbol): never {
  throw new StepRefusal('bad_delay', `No delay is named "${String(name)}"; define it in setup({ delays }).`);
}

export type LogicKind = 'machine' | 'promise' | 'other';

/** What an actor logic is. XState's logics carry no mark, so a promise is known by how it takes its result. */
export function kindOfLogic(logic: unknown): LogicKind {
  if (typeof logic !== 'object' || logic === null) return 'other';
  if (typeof (logic as { provide?: unknown }).provide === 'function') return 'machine';
  const { start, transition, config } = logic as { start?: unknown; transition?: unknown; config?: unknown };
  if (typeof start !== 'function' || typeof transition !== 'function' || typeof config !== 'function') return 'other';
  try {
    const probe = transition.call(logic, { status: 'active' }, { type: 'xstate.promise.resolve', data: true }, {}) as { status?: unknown };
    return probe.status === 'done' ? 'promise' : 'other';
  } catch {
    return 'other';
  }
}

/** XState's persisted snapshot without its children. */
export interface PersistedSnapshot {
  readonly status: string;
  readonly value: unknown;
  readonly context: unknown;
  readonly historyValue: { readonly [stateId: string]: readonly { readonly id: string }[] };
  readonly output?: unknown;
  readonly error?: unknown;
}

/** Equal to XState's own getPersistedSnapshot but for `children` and keys that are undefined; written out because it runs at every step. */
export function persist(snapshot: AnyMachineSnapshot, hasReferences: boolean): PersistedSnapshot {
  const context: unknown = hasReferences ? persistReferences(snapshot.context) : snapshot.context;
  const historyValue = persistHistory(snapshot.historyValue);
  if (snapshot.status === 'active') return { status: 'active', value: snapshot.value, context, historyValue };
  return { status: snapshot.status, value: snapshot.value, context, historyValue, output: snapshot.output, error: snapshot.error };
}

function persistHistory(history: unknown): PersistedSnapshot['historyValue'] {
  const persisted: Record<string, { id: string }[]> = {};
  for (const [key, nodes] of Object.entries(history as Record<string, readonly { readonly id: string }[]>)) persisted[key] = nodes.map(({ id }) => ({ id }));
  return persisted;
}

function persistReferences(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(persistReferences);
  if (isActorReference(value)) return { xstate$$type: 1, id: value.id };
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, persistReferences(field)]));
}

export function childrenOf(snapshot: AnyMachineSnapshot): { readonly [id: string]: AnyActorRef | undefined } {
  return snapshot.children as { readonly [id: string]: AnyActorRef | undefined };
}

/** Whether a guard passes. Throws what the guard throws. */
export function guardPasses(guard: unknown, event: MachineEvent, snapshot: AnyMachineSnapshot): boolean {
  return evaluateGuard(guard as never, snapshot.context, event as never, snapshot);
}
