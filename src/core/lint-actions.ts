/** The lint of single actions and guards: see lint.ts. */
import { SET_DOCUMENT } from './actor-type.ts';
import { jsonFault } from './json-exact.ts';

export interface LintScope {
  readonly actions: Record<string, unknown>;
  readonly actors: Record<string, unknown>;
  readonly delays: Record<string, unknown>;
  readonly guards: Record<string, unknown>;
  readonly effects: ReadonlySet<string>;
  readonly liveness: ReadonlySet<string>;
  readonly hasParent: boolean;
  readonly stateIds: ReadonlySet<string>;
}

/** The fields that XState puts on the functions that its action creators return. */
interface BuiltIn {
  readonly type: string;
  readonly event?: unknown;
  readonly id?: unknown;
  readonly delay?: unknown;
  readonly to?: unknown;
  readonly src?: unknown;
  readonly systemId?: unknown;
  readonly syncSnapshot?: unknown;
}

const PARENT = '#_parent';

/** `action` as it stands in a machine: a function, a name, or a name with parameters. */
export function* actionFaults(action: unknown, scope: LintScope, where: string): Generator<string> {
  if (typeof action === 'function') {
    if ('resolve' in action) yield* builtInFaults(action as unknown as BuiltIn, scope, where);
    else yield `${where}: an inline function cannot be stored or repeated; name it in setup({ actions }) and list the name in effects.`;
    return;
  }
  const { type, params } = typeof action === 'string' ? { type: action, params: undefined } : (action as { type: string; params?: unknown });
  const implementation = scope.actions[type];
  if (typeof implementation === 'function' && 'resolve' in implementation) {
    yield* builtInFaults(implementation as unknown as BuiltIn, scope, `${where}, action "${type}"`);
    return;
  }
  if (type !== SET_DOCUMENT && !scope.effects.has(type)) {
    yield implementation === undefined
      ? `${where}: there is no action "${type}"; define it in setup({ actions }), or list it in effects and register an executor.`
      : `${where}: the action "${type}" would run inside the step; list it in effects and register an executor for it.`;
  }
  const fault = typeof params === 'function' ? undefined : jsonFault(params ?? null);
  if (fault !== undefined) yield `${where}: params${fault.path === '' ? '' : `.${fault.path}`} of "${type}" ${fault.why}.`;
}

function* builtInFaults(action: BuiltIn, scope: LintScope, where: string): Generator<string> {
  switch (action.type) {
    case 'xstate.assign':
    case 'xstate.cancel':
    case 'xstate.emit':
    case 'xstate.log':
    case 'xstate.enqueueActions':
    case 'xstate.stopChild':
      return;
    case 'xstate.raise':
      yield* delayFaults(action, scope, where);
      return;
    case 'xstate.sendTo':
      yield* delayFaults(action, scope, where);
      if (action.to === PARENT && !scope.hasParent) yield `${where}: sendParent in a machine without a parent; use sendTo with durableActor(type, id).`;
      return;
    case 'xstate.spawnChild':
      yield* spawnFaults(action, scope, where);
      return;
    default:
      yield `${where}: the built-in action "${action.type}" is not known to this version and cannot be made durable.`;
  }
}

function* delayFaults({ delay, id, event }: BuiltIn, scope: LintScope, where: string): Generator<string> {
  if (typeof delay === 'number' && !(delay >= 0 && Number.isFinite(delay))) yield `${where}: the delay ${delay} is not a number of milliseconds.`;
  if (typeof delay !== 'string') return;
  if (scope.delays[delay] === undefined) yield `${where}: no delay is named "${delay}" (XState would fire at once); define it in setup({ delays }).`;
  const isAfter = id !== undefined && id === (event as { type?: unknown } | undefined)?.type;
  if (scope.liveness.has(delay) && !isAfter) yield `${where}: the liveness delay "${delay}" can only be the delay of an after transition.`;
}

function* spawnFaults({ id, src, systemId, syncSnapshot }: BuiltIn, scope: LintScope, where: string): Generator<string> {
  if (id === undefined) yield `${where}: a child is spawned without an id; give it one, so that a record can name it.`;
  if (typeof id === 'string' && (id.includes('/') || id.includes('|'))) yield `${where}: the child's id "${id}" may not contain "/" or "|".`;
  if (typeof src !== 'string') yield `${where}: the source of the child is inline, so a record could not name it; name it in setup({ actors }).`;
  else if (scope.actors[src] === undefined) yield `${where}: there is no actor "${src}"; add it to setup({ actors }).`;
  if (systemId !== undefined) yield `${where}: systemId is not durable; send to the child by its id.`;
  if (syncSnapshot === true) yield `${where}: syncSnapshot would follow a live actor; let the child send its parent an event.`;
}

/** Every named guard must exist, inside and(), or() and not() too. */
export function* guardFaults(guard: unknown, scope: LintScope, where: string): Generator<string> {
  if (guard === undefined) return;
  if (typeof guard === 'function') {
    for (const part of (guard as { guards?: readonly unknown[] }).guards ?? []) yield* guardFaults(part, scope, where);
    const inState = (guard as { stateValue?: unknown }).stateValue;
    if (typeof inState === 'string' && inState.startsWith('#') && !scope.stateIds.has(inState.slice(1))) yield `${where}: stateIn names no state "${inState}".`;
    return;
  }
  const name = typeof guard === 'string' ? guard : (guard as { type: string }).type;
  const implementation = scope.guards[name];
  if (implementation === undefined) yield `${where}: there is no guard "${name}"; define it in setup({ guards }).`;
  else if (implementation !== guard) yield* guardFaults(implementation, scope, `${where}, guard "${name}"`);
}
