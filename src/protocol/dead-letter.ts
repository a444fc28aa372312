/** An entry that was refused, with the reason: nothing is dropped silently. */
import type { EventSource, MachineEvent } from './envelope.ts';
import type { ActorKey } from './ids.ts';

/** How much of a refused entry is quoted for a person, in characters. */
export const EXCERPT_LENGTH = 512;
/** A refused event larger than this is quoted but not kept, so it cannot be replayed from the dead letter. Bytes of JSON. */
export const REPLAYABLE_BYTES_MAX = 65_536;

export interface DeadLetter {
  /** `<partition>-<stream id>`; assigned by the store. */
  readonly id: string;
  /** When it was refused, ms since the epoch (step time). */
  readonly at: number;
  readonly source: EventSource;
  /** The inbox or source entry's id, or the timer's key. */
  readonly ref: string;
  readonly code: string;
  readonly reason: string;
  /** Path of the field at fault. */
  readonly field?: string;
  readonly actor?: ActorKey;
  /** The event as it was understood, for a replay. Absent when it was not JSON or too large. */
  readonly event?: MachineEvent;
  /** The beginning of what was refused, with secrets left out. */
  readonly excerpt: string;
}
