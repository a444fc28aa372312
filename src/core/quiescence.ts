/**
 * Runs an actor and its children until none has anything left to do: see run.ts for the rules of delivery.
 */
import type { AnyActorRef, AnyMachineSnapshot } from 'xstate';
import type { MachineEvent } from '../protocol/envelope.ts';
import type { Json } from '../protocol/json.ts';
import { childrenOf, NO_ID } from './interpreter.ts';
import type { CollectedAction } from './xstate-views.ts';
import { jsonFault } from './json-exact.ts';
import { perform, type Tree } from './plan.ts';
import { childPath, invocationKey, parentPath, type Part, type Run } from './run.ts';
import { StepRefusal } from './refusal.ts';

const TREE: Tree = { deliver, startChild, stopChild };

/** Runs the root's first macrostep and all that follows from it. */
export function begin(run: Run, input: unknown): void {
  run.root.busy = true;
  settle(run, run.root, undefined, run.type.interpreter.initial(run.root.machine.machine, input, run.root.self));
  drain(run, run.root);
}

/** Gives an event to a machine, now or when its present macrostep has ended. */
export function deliver(run: Run, part: Part, event: MachineEvent): void {
  if (part.busy) {
    part.mailbox.push(event);
    return;
  }
  part.busy = true;
  macrostep(run, part, event);
  drain(run, part);
}

function drain(run: Run, part: Part): void {
  for (let event = part.mailbox.shift(); event !== undefined; event = part.mailbox.shift()) macrostep(run, part, event);
  part.busy = false;
}

function macrostep(run: Run, part: Part, event: MachineEvent): void {
  const before = part.snapshot;
  // A done snapshot would still move (3).
  if (before === undefined || before.status !== 'active') return;
  settle(run, part, before, run.type.interpreter.transition(part.machine.machine, before, event, part.self));
}

/** Takes a macrostep's result: starts and stops children, plans the actions, and ends what has ended. */
function settle(run: Run, part: Part, before: AnyMachineSnapshot | undefined, after: AnyMachineSnapshot): void {
  const actions = run.type.interpreter.takeActions();
  part.snapshot = after;
  if (part.path !== '' && after !== before) run.childrenChanged = true;
  if (after.children !== before?.children) startAssigned(run, part, before, actions);
  for (const action of actions) perform(run, part, action, TREE);
  if (after.status !== 'active') end(run, part, after);
}

/** Children spawned inside assign() leave no action: they are in `children` and were not before. */
function startAssigned(run: Run, part: Part, before: AnyMachineSnapshot | undefined, actions: readonly CollectedAction[]): void {
  if (part.snapshot === undefined) return;
  const earlier = before === undefined ? {} : childrenOf(before);
  for (const [id, reference] of Object.entries(childrenOf(part.snapshot))) {
    if (reference === undefined) throw new StepRefusal('unknown_actor', `The child "${id}" has a source that setup({ actors }) does not name.`);
    if (earlier[id] === reference) continue;
    const announced = actions.some(({ type, params }) => type === 'xstate.spawnChild' && (params as { actorRef?: unknown }).actorRef === reference);
    if (!announced) startChild(run, part, reference);
  }
}

/** Starts the child that an inert reference stands for; one that is there under the same id is stopped first. */
function startChild(run: Run, parent: Part, reference: AnyActorRef): void {
  const { id, src, options, systemId, _syncSnapshot } = reference as unknown as ReferenceInternals;
  if (id === NO_ID || id.includes('/') || id.includes('|')) {
    throw new StepRefusal('bad_child_id', 'A child was spawned without an id, or with "/" or "|" in it: give it a plain id, so that the record can name it.');
  }
  const source = typeof src === 'string' ? parent.machine.actors.get(src) : undefined;
  if (source === undefined || typeof src !== 'string')
    throw new StepRefusal('unknown_actor', `The child "${id}" must have a source named in setup({ actors }).`);
  if (systemId !== undefined || _syncSnapshot === true)
    throw new StepRefusal('not_durable', `The child "${id}" was spawned with systemId or syncSnapshot, which are not durable.`);
  const path = childPath(parent.path, id);
  stopChild(run, path);
  run.childrenChanged = true;

  if (source.kind === 'promise') {
    const input = options.input ?? null;
    const fault = jsonFault(input);
    if (fault !== undefined) throw new StepRefusal('input_not_json', `The input of "${id}" ${fault.why}.`, fault.path);
    run.parts.set(path, { path, source: src, reference });
    run.setInvocation(invocationKey(path), src, input as Json);
    return;
  }
  const part = run.newPart(path, source.machine, src, reference, undefined);
  run.parts.set(path, part);
  part.busy = true;
  settle(run, part, undefined, run.type.interpreter.initial(source.machine.machine, options.input, part.self));
  drain(run, part);
}

interface ReferenceInternals {
  readonly id: string;
  readonly src: unknown;
  readonly options: { readonly input?: unknown };
  readonly systemId?: unknown;
  readonly _syncSnapshot?: unknown;
}

/** Removes a child with all below it, their timers and invocations. */
function stopChild(run: Run, path: string): void {
  const part = run.parts.get(path);
  if (part === undefined) return;
  clearBelow(run, path);
  run.parts.delete(path);
  run.dropInvocation(invocationKey(path));
  run.childrenChanged = true;
  if ('machine' in part) {
    part.snapshot = undefined;
    part.mailbox.length = 0;
  }
}

/** An actor that is done or failed owns nothing more (3); its parent is told. */
function end(run: Run, part: Part, snapshot: AnyMachineSnapshot): void {
  clearBelow(run, part.path);
  part.mailbox.length = 0;
  if (part.path === '') return;
  const { id } = part.self;
  const parent = run.part(parentPath(part.path));
  if (parent === undefined) return;
  deliver(run, parent, snapshot.status === 'done' ? doneEvent(id, snapshot.output) : errorEvent(id, snapshot.error));
}

function clearBelow(run: Run, path: string): void {
  run.timers.cancelUnder(path);
  for (const below of [...run.parts.keys()]) if (parentPath(below) === path) stopChild(run, below);
}

/** The event by which XState tells a parent that a child is done. */
export function doneEvent(id: string, output: unknown): MachineEvent {
  return { type: `xstate.done.actor.${id}`, output: output as Json, actorId: id };
}

/** The event by which XState tells a parent that a child has failed. */
export function errorEvent(id: string, error: unknown): MachineEvent {
  return { type: `xstate.error.actor.${id}`, error: error as Json, actorId: id };
}
