/**
 * Runs a step twice and compares: once on the actor in memory, once on the actor restored from its stored record, with the
 * context and the stimulus frozen. A step that reads the clock or chance, keeps state of its own, or changes what it is given
 * does not do the same twice; folding its journal would give another actor.
 */
import type { Decision, LiveActor, Moment } from '../core/decision.ts';
import { restore, serialize, step, type RegisteredType } from '../core/kernel.ts';
import type { Live } from '../core/run.ts';
import type { Stimulus } from '../protocol/envelope.ts';
import type { ActorKey } from '../protocol/ids.ts';
import { MachineTestError } from '../protocol/errors.ts';
import { difference } from './difference.ts';

/** The decision of the step. Throws {@link MachineTestError} when it cannot be repeated. */
export function stepTwice(type: RegisteredType, key: ActorKey, actor: LiveActor | null, stimulus: Stimulus, moment: Moment): Decision {
  const name =
    stimulus.kind === 'event'
      ? `event "${stimulus.event.type}"`
      : stimulus.kind === 'timer'
        ? `timer "${stimulus.timer}"`
        : `result of "${stimulus.invocation}"`;
  const stored = actor === null ? null : serialize(actor);
  const live = step(type, key, actor, stimulus, moment);

  const restored = stored === null ? null : restore(type, key, stored);
  if (restored !== null && 'parked' in restored) throw new MachineTestError(`The actor cannot be restored before the ${name}: ${restored.parked}`);
  if (restored !== null) freezeActor(restored);
  const repeated = step(type, key, restored, freeze(structuredClone(stimulus)), moment);

  if (actor !== null && stored !== null && serialize(actor) !== stored) {
    throw new MachineTestError(`The ${name} changed the context in place: assign a new value instead.`);
  }
  if (repeated.kind === 'rejected' && live.kind !== 'rejected') {
    throw new MachineTestError(
      `The ${name} works only on values that are not frozen: it changes its context or the event in place (${repeated.rejection.reason})`,
    );
  }
  const found = difference(comparable(live), comparable(repeated), 'the decision');
  if (found !== undefined) {
    throw new MachineTestError(`The ${name} did not do the same twice: ${found}. A step may use nothing but its context, the event and its parameters.`);
  }
  return live;
}

/** A decision without what only lives in memory, in the shape in which it would be stored. */
function comparable(decision: Decision): unknown {
  if (decision.kind === 'ignored') return decision;
  if (decision.kind === 'rejected') return { kind: decision.kind, code: decision.rejection.code };
  const { actor, timers, ...rest } = decision;
  // The order among cancelled timers says nothing.
  const cancelled = timers.filter(({ kind }) => kind === 'cancel').map(({ key }) => key);
  const plain = { ...rest, record: actor.record, cancelled: cancelled.sort(), armed: timers.filter(({ kind }) => kind === 'arm') };
  return JSON.parse(JSON.stringify(plain)) as unknown;
}

function freezeActor({ record, live }: LiveActor): void {
  freeze(record);
  const { root, children } = live as Live;
  freeze(root.snapshot.context);
  for (const { node } of children.values()) freeze(node?.snapshot.context);
}

function freeze<Value>(value: Value): Value {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  const prototype: unknown = Object.getPrototypeOf(value);
  // References to actors are XState's own objects, which count in themselves.
  if (prototype !== Object.prototype && prototype !== Array.prototype && prototype !== null) return value;
  Object.freeze(value);
  for (const part of Object.values(value)) freeze(part);
  return value;
}
