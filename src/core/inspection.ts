/** What an engineer asks of an actor in memory: where it is, and what could happen next. */
import type { AnyMachineSnapshot } from 'xstate';
import type { ActorStatus } from '../protocol/envelope.ts';
import type { Json } from '../protocol/json.ts';
import type { LiveActor } from './decision.ts';
import { guardPasses, persist } from './interpreter.ts';
import { activeNodes, type StateNodeView } from './xstate-views.ts';
import type { RegisteredType } from './registration.ts';
import type { Live } from './run.ts';
import { atomicPaths } from './states.ts';

export interface Inspection {
  readonly status: ActorStatus;
  readonly value: Json;
  readonly context: Json;
  readonly tags: readonly string[];
  /** State paths of the active atomic states. */
  readonly states: readonly string[];
}

export function inspect(type: RegisteredType, actor: LiveActor): Inspection {
  const { snapshot, hasReferences } = (actor.live as Live).root;
  const { value, context } = persist(snapshot, hasReferences);
  return { status: snapshot.status, value: value as Json, context: context as Json, tags: [...snapshot.tags], states: atomicPaths(type.machine, snapshot) };
}

/**
 * The declared external events that can do something now. A guard that looks at nothing of the event but its type is
 * evaluated; for one that reads other fields, or throws, the event counts as possible: with the right fields it may be.
 */
export function nextEvents(type: RegisteredType, actor: LiveActor): readonly string[] {
  const { snapshot } = (actor.live as Live).root;
  if (snapshot.status !== 'active') return [];
  return type.eventTypes.filter((event) => canHappen(snapshot, event));
}

function canHappen(snapshot: AnyMachineSnapshot, event: string): boolean {
  return activeNodes(snapshot).some((node) => (node.type === 'atomic' || node.type === 'final') && branchTakes(node, snapshot, event));
}

/** From the atomic state outward, as XState selects: the first transition whose guard surely passes decides. */
function branchTakes(atomic: StateNodeView, snapshot: AnyMachineSnapshot, event: string): boolean {
  for (let node: StateNodeView | undefined = atomic; node !== undefined; node = node.parent) {
    for (const { guard, target, actions, reenter } of candidates(node, event)) {
      const verdict = guard === undefined ? 'passes' : judge(guard, event, snapshot);
      if (verdict === 'fails') continue;
      const doesSomething = target !== undefined || actions.length > 0 || reenter;
      if (doesSomething) return true;
      if (verdict === 'passes') return false;
    }
  }
  return false;
}

function candidates(node: StateNodeView, event: string): readonly { guard: unknown; target: unknown; actions: readonly unknown[]; reenter: boolean }[] {
  const matching = [...node.transitions.keys()].filter((descriptor) => matches(descriptor, event));
  matching.sort((left, right) => Number(right === event) - Number(left === event) || right.length - left.length);
  return matching.flatMap((descriptor) => node.transitions.get(descriptor) ?? []);
}

/** XState's descriptors: the full name, `*`, or a prefix of whole tokens followed by `.*`. */
function matches(descriptor: string, event: string): boolean {
  if (descriptor === event || descriptor === '*') return true;
  return descriptor.endsWith('.*') && (event.startsWith(descriptor.slice(0, -1)) || event === descriptor.slice(0, -2));
}

function judge(guard: unknown, type: string, snapshot: AnyMachineSnapshot): 'passes' | 'fails' | 'depends' {
  let readsFields = false;
  const event = new Proxy(
    { type },
    {
      get(target, field) {
        if (field === 'type') return target.type;
        readsFields = true;
        return undefined;
      },
      has(_target, field) {
        if (field !== 'type') readsFields = true;
        return field === 'type';
      },
      ownKeys(target) {
        readsFields = true;
        return Reflect.ownKeys(target);
      },
    },
  );
  try {
    const passes = guardPasses(guard, event, snapshot);
    if (readsFields) return 'depends';
    return passes ? 'passes' : 'fails';
  } catch {
    return 'depends';
  }
}
