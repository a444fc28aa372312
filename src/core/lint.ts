/**
 * The registration lint: what cannot be durable is refused before the first event, each fault with its way out.
 *
 * 1. Every action kind of XState 5.33 is either allowed here by name or refused: an unknown kind is refused.
 * 2. What only shows when a machine runs (inside enqueueActions and assign) is refused by the step instead.
 */
import type { AnyStateMachine } from 'xstate';
import type { ActorTypeDefinition } from './actor-type.ts';
import { SET_DOCUMENT } from './actor-type.ts';
import { kindOfLogic } from './interpreter.ts';
import { rootOf, stateNodes, type StateNodeView } from './xstate-views.ts';
import { actionFaults, guardFaults, type LintScope } from './lint-actions.ts';
import { jsonFault } from './json-exact.ts';

const TYPE_NAME = /^[a-z][a-z0-9-]{0,31}$/;

/** Faults of the definition around the machine. */
export function* definitionFaults(definition: ActorTypeDefinition): Generator<string> {
  const { type, version, machine, events, effects = [], liveness = {} } = definition;
  if (!TYPE_NAME.test(type)) yield `type: ${JSON.stringify(type)} must match ${TYPE_NAME.source}.`;
  if (typeof version !== 'string' || version === '') yield 'version: give the machine a version, such as "1"; it is stored with every record.';
  if (kindOfLogic(machine) !== 'machine') yield 'machine: this is not an XState machine; make it with setup().createMachine().';
  for (const [name, schema] of Object.entries(events)) {
    if (name.startsWith('xstate.')) yield `events: "${name}" may not come from outside; names that begin with "xstate." belong to XState.`;
    if (name === '' || name.includes('*')) yield `events: "${name}" must be the full name of one event, without wildcards.`;
    if (typeof schema?.['~standard']?.validate !== 'function') yield `events: "${name}" has no Standard Schema; pass one of zod, valibot or arktype.`;
  }
  if (effects.includes(SET_DOCUMENT)) yield `effects: "${SET_DOCUMENT}" is built in; leave it out of effects.`;
  for (const [name, { deadlineMs }] of Object.entries(liveness)) {
    if (!(deadlineMs > 0 && Number.isFinite(deadlineMs))) yield `liveness: "${name}" needs a deadlineMs above 0.`;
  }
}

/** Faults of the machine and of all machines it can start. */
export function* machineFaults(definition: ActorTypeDefinition): Generator<string> {
  const usedDelays = new Set<string>();
  yield* oneMachine(definition.machine, definition, '', new Set(), usedDelays);
  for (const name of Object.keys(definition.liveness ?? {})) {
    if (!usedDelays.has(name)) yield `liveness: no state has "after: { ${name}: … }"; name the delay of an after transition.`;
  }
}

function* oneMachine(
  machine: AnyStateMachine,
  definition: ActorTypeDefinition,
  at: string,
  seen: Set<AnyStateMachine>,
  usedDelays: Set<string>,
): Generator<string> {
  if (seen.has(machine)) return;
  seen.add(machine);
  const { actions, actors, delays, guards } = machine.implementations as Record<'actions' | 'actors' | 'delays' | 'guards', Record<string, unknown>>;
  const scope: LintScope = {
    actions,
    actors,
    delays,
    guards,
    effects: new Set(definition.effects ?? []),
    liveness: new Set(Object.keys(definition.liveness ?? {})),
    hasParent: at !== '',
    stateIds: new Set([...stateNodes(rootOf(machine))].map(({ id }) => id)),
  };
  yield* contextFaults(machine, at);
  yield* delayFaults(delays, at);
  for (const node of stateNodes(rootOf(machine))) {
    for (const { delay } of node.after) usedDelays.add(String(delay));
    yield* nodeFaults(node, scope, at);
  }
  for (const [name, logic] of Object.entries(actors)) {
    const kind = kindOfLogic(logic);
    if (kind === 'machine') yield* oneMachine(logic as AnyStateMachine, definition, `${at}actor "${name}": `, seen, usedDelays);
    if (kind === 'other') {
      yield `${at}actor "${name}": only machines and promises can be children for now; write a callback, observable or transition logic as a machine, or as an effect.`;
    }
  }
}

function* contextFaults(machine: AnyStateMachine, at: string): Generator<string> {
  const { context } = rootOf(machine).config;
  if (context === undefined || typeof context === 'function') return;
  const fault = jsonFault(context);
  if (fault !== undefined) yield `${at}context${fault.path === '' ? '' : `.${fault.path}`} ${fault.why}. A context must be JSON.`;
}

function* delayFaults(delays: Record<string, unknown>, at: string): Generator<string> {
  for (const [name, delay] of Object.entries(delays)) {
    if (typeof delay === 'function' || (typeof delay === 'number' && delay >= 0 && Number.isFinite(delay))) continue;
    yield `${at}delay "${name}" must be a number of milliseconds or a function that gives one.`;
  }
}

function* nodeFaults(node: StateNodeView, scope: LintScope, at: string): Generator<string> {
  const where = node.path.length === 0 ? `${at}the root state` : `${at}state "${node.path.join('.')}"`;
  if (node.config.route !== undefined) yield `${where}: route needs the event "xstate.route", which never comes from outside; declare an event of your own.`;
  yield* invokeFaults(node, scope, where);
  for (const action of node.entry) yield* actionFaults(action, scope, `${where}, entry`);
  for (const action of node.exit) yield* actionFaults(action, scope, `${where}, exit`);
  if (node.type === 'compound') for (const action of node.initial?.actions ?? []) yield* actionFaults(action, scope, `${where}, initial`);
  const always = (node.always ?? []).map((transition) => ['always', transition] as const);
  const others = [...node.transitions].flatMap(([event, transitions]) => transitions.map((transition) => [`on "${event}"`, transition] as const));
  for (const [trigger, transition] of [...always, ...others]) {
    for (const action of transition.actions) yield* actionFaults(action, scope, `${where}, ${trigger}`);
    yield* guardFaults(transition.guard, scope, `${where}, ${trigger}`);
  }
}

function* invokeFaults(node: StateNodeView, scope: LintScope, where: string): Generator<string> {
  for (const { id, src, systemId, onSnapshot } of node.invoke) {
    const invoke = `${where}, invoke "${id}"`;
    if (src.startsWith('xstate.invoke.')) yield `${invoke}: the source is inline, so a record could not name it; name it in setup({ actors }).`;
    else if (scope.actors[src] === undefined) yield `${invoke}: there is no actor "${src}"; add it to setup({ actors }).`;
    if (id.includes('/') || id.includes('|')) yield `${invoke}: an id may not contain "/" or "|", which separate paths; give it a plain id.`;
    if (systemId !== undefined) yield `${invoke}: systemId is not durable; send to the child by its id.`;
    if (onSnapshot !== undefined) yield `${invoke}: onSnapshot would follow a live actor; let the child send its parent an event.`;
  }
}
