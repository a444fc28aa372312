/**
 * An actor type that lives outside: a message to `<type>/<id>` becomes an entry of another system's stream.
 *
 * 1. Exactly once and in order per (partition, stream): the entry is appended by the commit itself. One that its stream refuses goes by
 *    the outbox; its number, by which the append drops repeats, was given to it in its commit. (I1, I5)
 * 2. The entry is made at the commit, so that what is delivered after a takeover is what was decided.
 */
import type { MachineEvent } from './envelope.ts';
import type { ActorKey } from './ids.ts';

export interface Outlet {
  /** The type that machines name in `durableActor(type, id)`. No actor type may have the same name. */
  readonly type: string;
  /** `at`: step time, ms. Pure. Undefined: the event means nothing to this outlet, which is a bug of the machine and told as a dead letter. */
  encode(id: string, event: MachineEvent, from: ActorKey, at: number): OutletEntry | undefined;
}

export interface OutletEntry {
  /** Key of the stream. */
  readonly stream: string;
  /** Field, value, field, value, … */
  readonly fields: readonly string[];
  /**
   * Larger goes first among entries that are held back (paused or limited queues). Absent: the entry is appended at once and
   * nothing can hold it back. 0 is held back only while the stream has a gate; any other number makes the stream keep order by a gate.
   */
  readonly priority?: number;
  /** Whose entry it is among those held back, so that it can be taken out again: a job's id. */
  readonly member?: string;
  /** Approximate length to which the stream is trimmed; absent: not trimmed. */
  readonly maxLength?: number;
}

/** A numbered entry on its way. */
export interface Post extends OutletEntry {
  /** The partition whose commit decided it. */
  readonly from: number;
  /** `<epoch>-<count within the epoch>`, ordered like a stream id: grows over all posts of the partition, whatever their stream. */
  readonly number: string;
}
