/**
 * Takes the plain ones of a machine's transitions without XState's general algorithm, which costs most of a step: sets of nodes,
 * exit sets, entry sets and snapshots are made anew each time, though they depend on the configuration and the transition alone.
 *
 * 1. Plain: one transition, with one target or none; no final, history, parallel or invoking state is left or entered, and nothing
 *    eventless can follow. Whatever else is XState's.
 * 2. Which transition is taken, and what each action means, XState says every time. What is remembered is which states are left and
 *    entered, and the list of actions on the way.
 * 3. XState takes a transition from a configuration once itself. It is remembered only if the short way came to the same context,
 *    configuration and actions, on copies that cannot be changed: who changes a context in place runs once an event, as ever.
 * 4. What is unusual on the short way (a throw, an actor spawned by an assignment, an event raised at once) leaves it for good: XState
 *    begins anew with the same snapshot, and so says what it always says.
 */
import type { AnyMachineSnapshot, AnyStateMachine } from 'xstate';
import type { MachineEvent } from '../protocol/envelope.ts';
import { rootOf, stateNodes, type CollectedAction, type StateNodeView, type TransitionView } from './xstate-views.ts';
import { sameJson } from './json-exact.ts';

/** What XState's actions ask of the actor that they run in. */
export interface Scope {
  readonly self: unknown;
  readonly system: { _sendInspectionEvent(): void };
}

/** Active states, and what follows from them: one object for all snapshots that are in them. */
interface Configuration {
  readonly nodes: readonly StateNodeView[];
  readonly value: unknown;
  readonly tags: unknown;
  /** An active state has a transition that may follow any event. */
  readonly eventless: boolean;
  /** Null: XState's. Absent: not taken yet. (3) */
  readonly plans: Map<SelectedTransition, Plan | null>;
}

interface Plan {
  readonly actions: readonly unknown[];
  readonly next: Configuration;
}

/** No transition takes the event. */
const NO_CHANGE = Symbol('no change');

interface SelectedTransition extends TransitionView {
  readonly source: StateNodeView;
}

/** A snapshot with the fields that XState keeps for itself. */
interface Snapshot {
  readonly status: string;
  readonly context: unknown;
  readonly children: { readonly [id: string]: unknown };
  readonly _nodes: readonly StateNodeView[];
  readonly value: unknown;
  readonly tags: unknown;
}

/** An action that XState resolves, such as `assign` or `raise`. */
interface BuiltInAction {
  readonly type: string;
  readonly assignment?: Assignment;
  readonly execute?: unknown;
  resolve(scope: Scope, snapshot: Snapshot, args: object, params: unknown, action: BuiltInAction, extra: { internalQueue: MachineEvent[] }): Resolved;
}
type Assigner = (args: object, params: unknown) => unknown;
type Assignment = Assigner | { readonly [field: string]: unknown };
type Resolved = readonly [next: Snapshot, params: unknown, more: readonly unknown[] | undefined];

/** What the short way collects. */
interface Collected {
  readonly actions: CollectedAction[];
  readonly raised: MachineEvent[];
}

/** XState treats these by themselves. */
const RESERVED = /^xstate\.(error\.|stop$|init$)/;
/** Configurations of parallel states multiply; those beyond are XState's. (I8) */
const CONFIGURATIONS_MAX = 2_000;

export class PlainTransitions {
  readonly #machine: AnyStateMachine;
  readonly #byNodes = new WeakMap<readonly StateNodeView[], Configuration>();
  readonly #byOrder = new Map<string, Configuration>();
  readonly #hasHistory: boolean;
  /** Of each state, a number of its own. */
  readonly #numbers: ReadonlyMap<StateNodeView, number>;

  constructor(machine: AnyStateMachine) {
    this.#machine = machine;
    const nodes = [...stateNodes(rootOf(machine))];
    this.#hasHistory = nodes.some(({ type }) => type === 'history');
    this.#numbers = new Map(nodes.map((node, index) => [node, index]));
  }

  /** The macrostep, its actions added to `actions`; undefined when it is not plain, or not known to be: XState's then. See {@link learn}. */
  take(snapshot: AnyMachineSnapshot, event: MachineEvent, scope: Scope, actions: CollectedAction[]): AnyMachineSnapshot | undefined {
    const before = snapshot as unknown as Snapshot;
    const configuration = this.#byNodes.get(before._nodes);
    if (configuration === undefined || configuration.eventless || RESERVED.test(event.type)) return undefined;
    const selected = this.#select(snapshot, event);
    if (selected.length > 1) return undefined;
    const [transition] = selected;
    const plan = transition === undefined ? NO_CHANGE : configuration.plans.get(transition);
    if (plan === undefined || plan === null) return undefined;
    const after = plan === NO_CHANGE ? before : this.#follow(plan, configuration, before, event, scope, actions);
    if (after === undefined) {
      if (transition !== undefined) configuration.plans.set(transition, null); // (4)
      return undefined;
    }
    scope.system._sendInspectionEvent();
    return after as unknown as AnyMachineSnapshot;
  }

  /** XState took the macrostep from `before` to `after` itself: the next one of its kind may take the short way. Returns `after`. */
  learn(before: AnyMachineSnapshot, event: MachineEvent, after: AnyMachineSnapshot, scope: Scope, actions: readonly CollectedAction[]): AnyMachineSnapshot {
    this.meet(after);
    if (after === before || this.#hasHistory || after.status !== 'active') return after;
    const configuration = this.#byNodes.get(nodesOf(before));
    const next = this.#byNodes.get(nodesOf(after));
    if (configuration === undefined || next === undefined || configuration.eventless || next.eventless) return after;
    const selected = this.#select(before, event);
    const [transition] = selected;
    if (transition === undefined || selected.length > 1 || configuration.plans.has(transition)) return after;
    const route = routeOf(configuration.nodes, transition);
    const isRight = route !== undefined && sameNodes(route.nodes, next.nodes);
    const plan = isRight ? { actions: route.actions, next } : null;
    const isProved = plan !== null && this.#proves(plan, configuration, before, event, { after, actions }, scope);
    configuration.plans.set(transition, isProved ? plan : null);
    return after;
  }

  /** A snapshot that XState made gets the parts that all snapshots of its configuration share. It is nobody else's yet. */
  meet(snapshot: AnyMachineSnapshot): void {
    const own = snapshot as unknown as { -readonly [Field in keyof Snapshot]: Snapshot[Field] };
    if (this.#byNodes.has(own._nodes)) return;
    const order = own._nodes.map((node) => this.#numbers.get(node)).join();
    let known = this.#byOrder.get(order);
    if (known === undefined) {
      if (this.#byOrder.size >= CONFIGURATIONS_MAX) return;
      const { _nodes: nodes, value, tags } = own;
      known = { nodes, value, tags, eventless: nodes.some(({ always }) => (always?.length ?? 0) > 0), plans: new Map() };
      this.#byOrder.set(order, known);
      this.#byNodes.set(nodes, known);
    }
    own._nodes = known.nodes;
    own.value = known.value;
    own.tags = known.tags;
  }

  #select(snapshot: AnyMachineSnapshot, event: MachineEvent): readonly SelectedTransition[] {
    return this.#machine.getTransitionData(snapshot, event) as unknown as readonly SelectedTransition[];
  }

  /** Undefined, and nothing collected, when the short way is left. (4) */
  #follow(plan: Plan, from: Configuration, before: Snapshot, event: MachineEvent, scope: Scope, actions: CollectedAction[]): Snapshot | undefined {
    const collectedBefore = actions.length;
    const collected: Collected = { actions, raised: [] };
    try {
      const after = resolveAll(plan.actions, before, event, scope, this.#machine, collected);
      if (collected.raised.length === 0)
        return plan.next === from ? after : { ...after, _nodes: plan.next.nodes, value: plan.next.value, tags: plan.next.tags };
    } catch {
      // XState meets it again, and tells it.
    }
    actions.length = collectedBefore;
    return undefined;
  }

  /** (3) */
  #proves(
    plan: Plan,
    from: Configuration,
    before: AnyMachineSnapshot,
    event: MachineEvent,
    whole: { readonly after: AnyMachineSnapshot; readonly actions: readonly CollectedAction[] },
    scope: Scope,
  ): boolean {
    const actions: CollectedAction[] = [];
    const copy = frozenCopy({ context: before.context as unknown, event });
    if (copy === undefined) return false;
    const after = this.#follow(plan, from, { ...(before as unknown as Snapshot), context: copy.context }, copy.event, scope, actions);
    if (after === undefined || after.children !== before.children || after.children !== whole.after.children) return false;
    if (!sameJson(after.context, whole.after.context) || actions.length !== whole.actions.length) return false;
    return actions.every((action, index) => {
      const other = whole.actions[index] as CollectedAction;
      return action.type === other.type && sameJson(action.params, other.params);
    });
  }
}

/** Undefined when it holds what has no copy, such as references to actors. */
function frozenCopy<Value>(value: Value): Value | undefined {
  try {
    const copy = structuredClone(value);
    freeze(copy);
    return copy;
  } catch {
    return undefined;
  }
}

function freeze(value: unknown): void {
  if (typeof value !== 'object' || value === null) return;
  Object.freeze(value);
  for (const field of Object.values(value)) freeze(field);
}

function nodesOf(snapshot: AnyMachineSnapshot): readonly StateNodeView[] {
  return (snapshot as unknown as Snapshot)._nodes;
}

/** Which states are active after a transition, and the actions on the way; undefined when it is not plain. (1) */
function routeOf(
  nodes: readonly StateNodeView[],
  transition: SelectedTransition,
): { readonly nodes: readonly StateNodeView[]; readonly actions: readonly unknown[] } | undefined {
  const { source, target, reenter, actions } = transition;
  if (target === undefined || target.length === 0) return { nodes, actions };
  const [to] = target;
  if (to === undefined || target.length > 1) return undefined;
  const domain = !reenter && (to === source || isBelow(to, source)) ? source : commonAncestor(to, source);
  if (domain === undefined || domain.type === 'parallel') return undefined;
  const left = nodes.filter((node) => isBelow(node, domain));
  const above = ancestorsBelow(to, domain);
  const byDefault = to === domain ? defaultsOf(to) : [to, ...defaultsOf(to)];
  const entered = [...above, ...byDefault];
  if (entered.some(({ type }) => type === 'parallel' || type === 'final' || type === 'history')) return undefined;
  if (entered.some((node, index) => index > 0 && node.parent !== entered[index - 1])) return undefined;
  if ([...left, ...entered].some(({ invoke }) => invoke.length > 0)) return undefined;
  const leaving = [...left].sort((first, second) => second.order - first.order).flatMap(({ exit }) => exit);
  const entering = entered.flatMap((node) => [...node.entry, ...(byDefault.includes(node) ? (node.initial?.actions ?? []) : [])]);
  return { nodes: [...nodes.filter((node) => !left.includes(node)), ...entered], actions: [...leaving, ...actions, ...entering] };
}

function isBelow(node: StateNodeView, ancestor: StateNodeView): boolean {
  for (let above = node.parent; above !== undefined; above = above.parent) if (above === ancestor) return true;
  return false;
}

/** The nearest state that both are below. */
function commonAncestor(left: StateNodeView, right: StateNodeView): StateNodeView | undefined {
  for (let above = left.parent; above !== undefined; above = above.parent) if (isBelow(right, above)) return above;
  return undefined;
}

/** Those between a state and an ancestor, outermost first. */
function ancestorsBelow(node: StateNodeView, ancestor: StateNodeView): readonly StateNodeView[] {
  const above: StateNodeView[] = [];
  if (node === ancestor) return above;
  for (let one = node.parent; one !== undefined && one !== ancestor; one = one.parent) above.unshift(one);
  return above;
}

/** The states that are entered with a compound one, outermost first. */
function defaultsOf(node: StateNodeView): readonly StateNodeView[] {
  const [first] = node.type === 'compound' ? (node.initial?.target ?? []) : [];
  return first === undefined ? [] : [first, ...defaultsOf(first)];
}

function sameNodes(left: readonly StateNodeView[], right: readonly StateNodeView[]): boolean {
  return left.length === right.length && left.every((node, index) => node === right[index]);
}

/** As XState resolves actions: in their order, each with the context that the ones before left. */
function resolveAll(list: readonly unknown[], before: Snapshot, event: MachineEvent, scope: Scope, machine: AnyStateMachine, collected: Collected): Snapshot {
  let snapshot = before;
  for (const action of list) {
    const name = nameOf(action);
    const implementation = (name === undefined ? action : (machine.implementations.actions as Record<string, unknown>)[name]) as BuiltInAction | undefined;
    const { context } = snapshot;
    const params = paramsOf(action, context, event);
    if (implementation === undefined || !('resolve' in implementation)) {
      collected.actions.push({ type: name ?? ((action as { readonly name: string }).name || '(anonymous)'), params, exec: implementation });
      continue;
    }
    if (implementation.type === 'xstate.assign' && implementation.assignment !== undefined) {
      const update = assigned(implementation.assignment, { context, event, spawn: refuseSpawn, self: scope.self, system: scope.system }, params);
      snapshot = { ...snapshot, context: Object.assign({}, context, update) };
      continue;
    }
    const args = { context, event, self: scope.self, system: scope.system };
    const [next, resolved, more] = implementation.resolve(scope, snapshot, args, params, implementation, { internalQueue: collected.raised });
    snapshot = next;
    if ('execute' in implementation) collected.actions.push({ type: implementation.type, params: resolved, exec: undefined });
    if (more !== undefined) snapshot = resolveAll(more, snapshot, event, scope, machine, collected);
  }
  return snapshot;
}

/** Undefined for a function that stands for itself. */
function nameOf(action: unknown): string | undefined {
  if (typeof action === 'string') return action;
  return typeof action === 'function' ? undefined : (action as { readonly type: string }).type;
}

function paramsOf(action: unknown, context: unknown, event: MachineEvent): unknown {
  if (typeof action !== 'object' || action === null || !('params' in action)) return undefined;
  return typeof action.params === 'function' ? (action.params as Assigner)({ context, event }, undefined) : action.params;
}

function assigned(assignment: Assignment, args: object, params: unknown): unknown {
  if (typeof assignment === 'function') return assignment(args, params);
  const update: Record<string, unknown> = {};
  for (const field of Object.keys(assignment)) {
    const value = assignment[field];
    update[field] = typeof value === 'function' ? (value as Assigner)(args, params) : value;
  }
  return update;
}

function refuseSpawn(): never {
  throw new Error('An actor is spawned: the short way is left.');
}
