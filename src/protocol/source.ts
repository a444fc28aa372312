/**
 * A stream of another system that the engine reads in place: what a contract tells the engine about its entries.
 *
 * 1. Both functions are pure and never throw: whatever lies in the stream has an answer.
 * 2. `keyOf` is cheap (no JSON): every engine asks it of every entry, to keep those of its own partitions.
 * 3. A rejection never quotes a secret.
 */
import type { MachineEvent } from './envelope.ts';
import type { ActorKey } from './ids.ts';

/** The flat list of a stream entry: field, value, field, value, … */
export type EntryFields = readonly string[];

/** An entry as the event of one actor, and the document that is stored beside the actor when the machine asks for it. */
export interface DecodedEntry {
  readonly ok: true;
  readonly event: MachineEvent;
  /** JSON text. Not journalled, never an input of a step. */
  readonly document?: string;
}

/** Why an entry goes to the dead letters. */
export interface RejectedEntry {
  readonly ok: false;
  /** Stable, for programs. */
  readonly code: string;
  readonly reason: string;
  /** Path of the field at fault, such as `payload.status.node.name`. */
  readonly field?: string;
  /** The beginning of the entry, with secrets left out. */
  readonly excerpt: string;
}

export interface StreamSource {
  /** The stream's key in Redis. */
  readonly stream: string;
  /** Whose entry it is. Undefined: nobody's; `decode` says why, and the owner of partition 0 stores the dead letter. */
  keyOf(fields: EntryFields): ActorKey | undefined;
  /** `id` is the entry's id in the stream. */
  decode(id: string, fields: EntryFields): DecodedEntry | RejectedEntry;
}
