/**
 * What each kind of XState action means for a durable actor. Exhaustive: an unknown kind is refused.
 */
import type { AnyActorRef } from 'xstate';
import type { MachineEventJson } from '../protocol/record.ts';
import type { MachineEvent } from '../protocol/envelope.ts';
import type { Json } from '../protocol/json.ts';
import { addressOf } from '../protocol/actor-reference.ts';
import { SET_DOCUMENT } from './actor-type.ts';
import { childrenOf, Self } from './interpreter.ts';
import type { CollectedAction } from './xstate-views.ts';
import { isActorReference, jsonFault } from './json-exact.ts';
import { childPath, type Part, type Run } from './run.ts';
import { StepRefusal } from './refusal.ts';

interface SendParams {
  readonly event: MachineEvent;
  readonly id?: string;
  readonly delay?: number;
  readonly to?: unknown;
}

/** What an action can do to the tree of parent and children; see quiescence.ts. */
export interface Tree {
  deliver(run: Run, part: Part, event: MachineEvent): void;
  startChild(run: Run, parent: Part, reference: AnyActorRef): void;
  stopChild(run: Run, path: string): void;
}

/** Takes one action of a macrostep of `part` into the step. */
export function perform(run: Run, part: Part, action: CollectedAction, tree: Tree): void {
  switch (action.type) {
    case 'xstate.raise': {
      const params = action.params as SendParams;
      // An immediate raise was consumed within the macrostep.
      if (params.delay !== undefined) arm(run, part, params, undefined);
      return;
    }
    case 'xstate.cancel':
      run.timers.cancel(`${part.path}|${String((action.params as { sendId: unknown }).sendId)}`);
      return;
    case 'xstate.sendTo':
      send(run, part, action.params as SendParams, tree);
      return;
    case 'xstate.spawnChild': {
      const reference = (action.params as { actorRef?: AnyActorRef }).actorRef;
      if (reference === undefined) throw new StepRefusal('unknown_actor', 'A child was spawned from a source that setup({ actors }) does not name.');
      // A child that was stopped again within the macrostep never starts.
      const children = part.snapshot === undefined ? {} : childrenOf(part.snapshot);
      if (Object.values(children).includes(reference)) tree.startChild(run, part, reference);
      return;
    }
    case 'xstate.stopChild':
      stop(run, part, action.params, tree);
      return;
    case 'xstate.emit':
      run.emitted.push(jsonEvent((action.params as { event: unknown }).event, 'emitted'));
      return;
    case 'xstate.log':
      run.logs.push(logged(action.params as { value: unknown; label?: string }));
      return;
    default:
      custom(run, part, action);
  }
}

function arm(run: Run, part: Part, { event, id, delay }: SendParams, recipient: Recipient | undefined): void {
  if (typeof delay !== 'number' || Number.isNaN(delay)) throw new StepRefusal('bad_delay', `A delay is ${String(delay)}, not a number of milliseconds.`);
  // Below zero is overdue, as for a timeout of the host.
  const delayMs = Math.ceil(Math.max(0, delay));
  if (!Number.isSafeInteger(delayMs)) throw new StepRefusal('bad_delay', `A delay of ${delay} ms has no end.`);
  const key = id === undefined ? run.timers.unnamedKey(part.path) : `${part.path}|${id}`;
  const liveness = recipient === undefined ? part.machine.liveness.get(event.type) : undefined;
  run.timers.arm(key, {
    event: jsonEvent(event, 'delayed'),
    clock: liveness === undefined ? 'clock' : 'liveness',
    delayMs,
    ...(liveness === undefined ? undefined : { deadlineMs: liveness.deadlineMs }),
    ...(recipient?.kind === 'part' && recipient.path !== part.path ? { target: recipient.path } : undefined),
    ...(recipient?.kind === 'actor' ? { to: recipient.address } : undefined),
  });
}

type Recipient = { readonly kind: 'part'; readonly path: string } | { readonly kind: 'actor'; readonly address: NonNullable<ReturnType<typeof addressOf>> };

function send(run: Run, part: Part, params: SendParams, tree: Tree): void {
  const recipient = recipientOf(run, part, params.to);
  if (params.delay !== undefined) {
    arm(run, part, params, recipient);
  } else if (recipient.kind === 'actor') {
    run.commands.push({ kind: 'message', to: recipient.address, event: jsonEvent(params.event, 'sent') });
  } else {
    const target = run.part(recipient.path);
    // A promise hears no events, nor does a child that is gone.
    if (target !== undefined) tree.deliver(run, target, params.event);
  }
}

function recipientOf(run: Run, part: Part, to: unknown): Recipient {
  const address = addressOf(to);
  if (address !== undefined) return { kind: 'actor', address };
  if (to instanceof Self) return { kind: 'part', path: to.path };
  if (typeof to === 'object' && to !== null && isActorReference(to)) {
    const own = childPath(part.path, to.id);
    if (run.parts.get(own)?.reference === to) return { kind: 'part', path: own };
    for (const { path, reference } of run.parts.values()) if (reference === to) return { kind: 'part', path };
    // A reference to a child that has stopped: the event is lost, as in XState.
    return { kind: 'part', path: own };
  }
  throw new StepRefusal('unknown_recipient', 'sendTo names no actor: pass a child, its id, or durableActor(type, id).');
}

function stop(run: Run, part: Part, reference: unknown, tree: Tree): void {
  if (typeof reference !== 'object' || reference === null || !isActorReference(reference)) return;
  const path = childPath(part.path, reference.id);
  if (run.parts.get(path)?.reference === reference) tree.stopChild(run, path);
}

function custom(run: Run, part: Part, { type, params, exec }: CollectedAction): void {
  const { effects } = part.machine;
  if (!effects.has(type))
    throw new StepRefusal('undeclared_effect', `The action "${type}" is not in the actor type's effects: list it there and register an executor.`);
  if (effects.get(type) !== exec) throw new StepRefusal('inline_action', `An inline function named "${type}" was queued as an action: queue the name instead.`);
  const value = params ?? null;
  const fault = jsonFault(value);
  if (fault !== undefined) throw new StepRefusal('params_not_json', `A parameter of "${type}" ${fault.why}.`, fault.path);
  if (type !== SET_DOCUMENT) {
    run.commands.push({ kind: 'effect', name: type, params: value as Json });
    return;
  }
  const document = (params as { document?: Json } | undefined)?.document;
  const text = document === undefined ? run.document : JSON.stringify(document);
  if (text !== undefined) run.documentSet = text;
}

function jsonEvent(event: unknown, what: string): MachineEventJson {
  const type = (event as { type?: unknown } | null)?.type;
  if (typeof type !== 'string') throw new StepRefusal('bad_event', `An event that is ${what} has no type.`);
  const fault = jsonFault(event);
  if (fault !== undefined) throw new StepRefusal('event_not_json', `A field of the ${what} event "${type}" ${fault.why}.`, fault.path);
  return event as MachineEventJson;
}

/** A log is for people: what JSON would lose is lost, and never a reason to refuse a step. */
function logged({ value, label }: { readonly value: unknown; readonly label?: string }): Json {
  let json: Json;
  try {
    json = (JSON.parse(JSON.stringify(value) ?? 'null') ?? null) as Json;
  } catch {
    json = String(value);
  }
  return label === undefined ? json : { label, value: json };
}
