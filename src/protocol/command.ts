/**
 * Effects as data: what a step decided that the world should do.
 */
import type { ActorKey } from './ids.ts';
import type { Json } from './json.ts';
import type { MachineEventJson } from './record.ts';

/** A named custom action of a machine, with its parameters: run by the executor registered under that name. */
export interface EffectCommand {
  readonly kind: 'effect';
  readonly name: string;
  readonly params: Json;
}

/** An event for another durable actor. */
export interface MessageCommand {
  readonly kind: 'message';
  readonly to: ActorKey;
  readonly event: MachineEventJson;
}

export type Command = EffectCommand | MessageCommand;

/**
 * A committed command on its way out.
 * `key` is `<actor>#<epoch>-<revision>-<index>`: the same at every try, never another command's.
 */
export interface Delivery {
  readonly key: string;
  readonly actor: ActorKey;
  readonly epoch: number;
  readonly revision: number;
  /** Step time of the transition that decided it, ms. */
  readonly at: number;
  readonly command: EffectCommand;
}

/** Runs one kind of effect. Resolves when the effect is done; rejects to be tried again later with the same key. */
export type Executor = (delivery: Delivery, signal: AbortSignal) => Promise<void>;
