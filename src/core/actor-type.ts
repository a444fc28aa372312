/**
 * What a user registers: a machine and all that makes it durable.
 */
import type { AnyStateMachine } from 'xstate';
import type { Json, JsonObject } from '../protocol/json.ts';
import type { MachineEvent } from '../protocol/envelope.ts';
import type { Schema } from '../protocol/schema.ts';

export interface ActorTypeDefinition {
  /** `^[a-z][a-z0-9-]{0,31}$`, the first half of every address. */
  readonly type: string;
  /** Stored with every record. Change it when the machine changes. */
  readonly version: string;
  readonly machine: AnyStateMachine;
  /**
   * The events that may come from outside or from other actors, each with the schema of the whole event.
   * Any other event is refused. Schemas must answer synchronously.
   */
  readonly events: { readonly [type: string]: Schema };
  /**
   * Atomic states, or parents of such, that no listing asks for: the index leaves them out, which saves about 115 bytes
   * of Redis an actor and state. Asking for one still works, by looking at every actor of the type.
   */
  readonly unindexed?: readonly string[];
  /** The machine's input at its first event. Pure. Default: `{ id }`. */
  readonly input?: (id: string, event: MachineEvent) => JsonObject;
  /** Named custom actions that become commands. A machine's action that is neither named here nor built in is refused. */
  readonly effects?: readonly string[];
  /**
   * Named delays that run on observed time, each with the full deadline (ms of observed time) that an
   * actor gets again when the sources were closed. See ARCHITECTURE.md, Time.
   */
  readonly liveness?: { readonly [delay: string]: { readonly deadlineMs: number } };
}

/** Parameters of the built-in action `setDocument`: a document to store, or none to store the one that came with the event. */
export interface SetDocumentParams {
  readonly document?: Json;
}
/** Name of the built-in action; a machine declares it in `setup({ actions })` with any implementation. */
export const SET_DOCUMENT = 'setDocument';
