/**
 * How a machine names another durable actor in `sendTo`.
 */
import { actorKey, type ActorKey } from './ids.ts';
import type { AnyActorRef } from 'xstate';

/** Marks a reference that the kernel turns into a message to `[DURABLE_ADDRESS]`. */
export const DURABLE_ADDRESS = Symbol.for('castellan.address');

/**
 * A reference for `sendTo`: `sendTo(({ context }) => durableActor('fleet', context.org), { type: 'late' })`.
 * It is inert: it can only be sent to, and only by a durable actor. Throws InvalidIdError.
 */
export function durableActor(type: string, id: string): AnyActorRef {
  const address = actorKey(type, id);
  return { id: address, [DURABLE_ADDRESS]: address } as unknown as AnyActorRef;
}

/** The address in a reference made by {@link durableActor}, or undefined for any other value. */
export function addressOf(reference: unknown): ActorKey | undefined {
  if (typeof reference !== 'object' || reference === null) return undefined;
  return (reference as { [DURABLE_ADDRESS]?: ActorKey })[DURABLE_ADDRESS];
}
