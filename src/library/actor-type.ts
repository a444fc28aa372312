/**
 * An actor type as a user of the library writes it: one object with the machine, its events and the executors of its effects.
 *
 * 1. The names of the executors are the effects: what the machine names and nobody executes is refused at registration.
 * 2. Types follow the value: events from their schemas, executors' parameters from the machine's actions, context from the machine.
 *    What cannot be inferred falls back to JSON, never to `any`.
 */
import type { AnyStateMachine, ContextFrom, StateMachine } from 'xstate';
import type { ActorTypeDefinition } from '../core/actor-type.ts';
import { registerActorType } from '../core/kernel.ts';
import type { HostedType } from '../engine/actor-types.ts';
import type { ActorState } from '../engine/client.ts';
import type { Retention } from '../engine/ports.ts';
import type { Delivery } from '../protocol/command.ts';
import type { MachineEvent } from '../protocol/envelope.ts';
import { idOf, typeOf, type ActorKey } from '../protocol/ids.ts';
import type { Json, JsonObject } from '../protocol/json.ts';
import type { ActorRecord } from '../protocol/record.ts';
import type { Schema } from '../protocol/schema.ts';

/** Schemas of whole events by event type: zod, valibot, arktype or any other Standard Schema that answers synchronously. */
export type EventSchemas = { readonly [event: string]: Schema };

/** One committed effect, as its executor receives it. */
export interface Effect<Params = Json> {
  /** The idempotency key, `<type>/<id>#<epoch>-<revision>-<index>`: the same at every try, never another effect's. */
  readonly key: string;
  /** Address of the actor that decided it, `<type>/<id>`. */
  readonly actor: ActorKey;
  readonly type: string;
  readonly id: string;
  /** Name of the action. */
  readonly name: string;
  /** The action's parameters; null when it has none. */
  readonly params: Params;
  /** Step time of the transition that decided it, ms since the epoch. */
  readonly at: number;
  /** Revision of the actor after that transition. */
  readonly revision: number;
  /** Grows with every change of owner: a receiver may refuse an effect with a lower one than it has seen. */
  readonly epoch: number;
}

/**
 * Does one effect. Runs after the commit, at least once, in order per actor and effect name. Resolves when it is done; rejects to be
 * tried again later under the same key, up to `settings.effectAttemptsMax` times, then it becomes a dead letter (`effect_failed`).
 * The signal aborts at `settings.effectTimeoutMs` and when another process takes the actor over.
 */
export type EffectExecutor<Params = Json> = (effect: Effect<Params>, signal: AbortSignal) => Promise<void>;

// XState has no helper type for a machine's actions; the positions before and after must be spelled out to reach them.
/* oxlint-disable eslint/no-unused-vars -- an inferred position needs a name, used or not */
/** The named actions of a machine and of the machines it invokes or spawns, each with its parameters. */
type ActionsOf<Machine> =
  Machine extends StateMachine<
    infer _Context,
    infer _Event,
    infer _Children,
    infer Actor,
    infer Action,
    infer _Guard,
    infer _Delay,
    infer _Value,
    infer _Tag,
    infer _Input,
    infer _Output,
    infer _Emitted,
    infer _Meta,
    infer _Schema,
    infer _TransitionMeta
  >
    ? Action | (Actor extends { readonly logic: infer Logic } ? (Machine extends Logic ? never : ActionsOf<Logic>) : never)
    : never;
/* oxlint-enable eslint/no-unused-vars */

type ParamsOf<Params> = unknown extends Params ? Json : [Params] extends [undefined] ? null : Exclude<Params, undefined>;

/** Executors by the name of the action. A machine without declared actions leaves the names open. */
export type ExecutorsOf<Machine> = string extends ActionsOf<Machine>['type']
  ? { readonly [effect: string]: EffectExecutor }
  : { readonly [Action in ActionsOf<Machine> as Action['type']]?: EffectExecutor<ParamsOf<Action['params']>> };

/** What the parts of an actor type have in common, whatever its types are. */
interface Common {
  /** Stored with every record. Change it when the machine changes: an actor whose record no longer fits is parked, never guessed. */
  readonly version: string;
  /** Input of the machine at the actor's first event. Pure. Default: `{ id }`. */
  readonly input?: (id: string, event: MachineEvent) => JsonObject;
  /**
   * Named delays that measure silence: they run only while the sources are heard, and start again in full after a time in which
   * nobody listened. `deadlineMs` is that full deadline.
   */
  readonly liveness?: { readonly [delay: string]: { readonly deadlineMs: number } };
  /** How much of this type's history is kept. Default: `settings.retention`. */
  readonly retention?: Retention;
  /** The pub/sub channel on which a document set by the built-in action `setDocument` (JSON text) is published with its commit: best effort, newest wins. */
  readonly publishDocument?: (key: ActorKey, document: string, record: ActorRecord) => string | undefined;
}

/** What {@link actorType} takes. */
export interface ActorTypeOptions<Type extends string, Events extends EventSchemas, Machine extends AnyStateMachine> extends Common {
  /** First half of the addresses: `^[a-z][a-z0-9-]{0,31}$`. */
  readonly type: Type;
  readonly machine: Machine;
  /** The events that may come from outside or from other actors; any other is refused. The schema checks and does not change an event. */
  readonly events: Events;
  /** What the machine's effects do. An action is an effect when an executor has its name. */
  readonly executors?: ExecutorsOf<Machine>;
}

/** An actor type, for `createCastellan`, `createClient` and `given` of the test kit. */
export interface ActorType<Type extends string = string, Events extends EventSchemas = EventSchemas, Machine extends AnyStateMachine = AnyStateMachine>
  extends ActorTypeDefinition, Common {
  readonly type: Type;
  readonly version: string;
  readonly machine: Machine;
  readonly events: Events;
  readonly input?: (id: string, event: MachineEvent) => JsonObject;
  readonly liveness?: { readonly [delay: string]: { readonly deadlineMs: number } };
  readonly executors?: { readonly [effect: string]: EffectExecutor<never> };
}

/**
 * Completes an actor type and keeps its types: the name, the events of its schemas, the context of its machine.
 * Checks nothing yet; `createCastellan`, `createClient` and `given` do.
 */
export function actorType<const Type extends string, Events extends EventSchemas, Machine extends AnyStateMachine>(
  options: ActorTypeOptions<Type, Events, Machine>,
): ActorType<Type, Events, Machine> {
  const executors = (options.executors ?? {}) as { readonly [effect: string]: EffectExecutor<never> };
  return { ...options, executors, effects: Object.keys(executors) };
}

type Input<Event extends Schema> = Event extends { readonly '~standard': { readonly types?: { readonly input: infer In } | undefined } } ? In : unknown;
type EventNamed<Name, Fields> = unknown extends Fields ? MachineEvent & { readonly type: Name } : Fields & { readonly type: Name };

/** The events of an actor type, as its schemas take them. */
export type EventOf<Of extends ActorType> = {
  [Name in keyof Of['events'] & string]: string extends Name ? MachineEvent : EventNamed<Name, Input<Of['events'][Name]>>;
}[keyof Of['events'] & string];

type ContextOf<Machine> = 0 extends 1 & ContextFrom<Machine> ? Json : ContextFrom<Machine>;

/** An actor as it stands, with the context of its machine. */
export type ActorOf<Of extends ActorType> = Omit<ActorState, 'context'> & { readonly context: ContextOf<Of['machine']> };

/** Told when an effect failed and will be tried again. */
export type EffectFailed = (effect: Effect, error: unknown) => void;

/** Registers an actor type. Throws MachineNotDurableError with every fault and its way out. */
export function hostActorType(type: ActorType, failed: EffectFailed): HostedType {
  const { executors = {}, retention, publishDocument } = type;
  const effects = [...new Set([...(type.effects ?? []), ...Object.keys(executors)])];
  return {
    registered: registerActorType({ ...type, effects }),
    executors: Object.fromEntries(Object.entries(executors).map(([name, executor]) => [name, hosted(executor as EffectExecutor, failed)])),
    ...(retention === undefined ? {} : { retention }),
    ...(publishDocument === undefined ? {} : { publishDocument: publication(publishDocument) }),
  };
}

/** All of the document, on the channel that the user names. */
function publication(channelOf: NonNullable<ActorType['publishDocument']>): NonNullable<HostedType['publishDocument']> {
  return (key, document, record) => {
    const channel = channelOf(key, document, record);
    return channel === undefined ? undefined : { channel, skip: 0, drop: 0 };
  };
}

function hosted(executor: EffectExecutor, failed: EffectFailed): HostedType['executors'][string] {
  return async (delivery, signal) => {
    const effect = effectOf(delivery);
    const timedOut = (): void => failed(effect, signal.reason);
    signal.addEventListener('abort', timedOut, { once: true });
    try {
      await executor(effect, signal);
    } catch (error) {
      // An executor that heeds its signal fails because of it, which was told already.
      if (!signal.aborted) failed(effect, error);
      throw error;
    } finally {
      signal.removeEventListener('abort', timedOut);
    }
  };
}

function effectOf({ key, actor, command: { name, params }, at, revision, epoch }: Delivery): Effect {
  return { key, actor, type: typeOf(actor), id: idOf(actor), name, params, at, revision, epoch };
}
