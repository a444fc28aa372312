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
  /**
   * Whose entry it is. Undefined: nobody's; `decode` says why, and the owner of partition 0 stores the dead letter.
   * Null: it is meant for somebody else and passed over.
   */
  keyOf(fields: EntryFields): ActorKey | undefined | null;
  /** `id` is the entry's id in the stream. */
  decode(id: string, fields: EntryFields): DecodedEntry | RejectedEntry;
  /** Fields may hold bytes that are no text: both functions are then given one character a byte (latin1). */
  readonly binary?: true;
  /** The stream is ours: entries that every partition has applied are dropped. Writers then append without a length. */
  readonly trimBehind?: true;
}

/** An event for an actor, made of what a list or a channel brought. */
export interface DecodedMessage {
  readonly ok: true;
  readonly actor: ActorKey;
  readonly event: MachineEvent;
  /** The same id within the dedupe window is the same event. When it is absent each item of a list has an id of its own, and a channel's message has none. */
  readonly dedupeId?: string;
}

/** `ignored`: not for us, our own message come back for example; nothing is stored. */
export type ReadMessage = DecodedMessage | RejectedEntry | { readonly ok: 'ignored' };

/**
 * A list of another system: each item is moved to a processing list (`{<list>}:processing`), appended to the actor's inbox, and removed.
 * One leased reader in all; after a crash the processing list is read first. An item is taken in the order in which it would be popped.
 */
export interface ListSource {
  readonly list: string;
  /** Where consumers pop: `left` for producers that RPUSH. */
  readonly side: 'left' | 'right';
  decode(item: string): ReadMessage;
}

/**
 * A pub/sub channel of another system, read by one leased reader. A channel has no memory: what is published while nobody
 * subscribes, or between its arrival and the append, is lost. What was appended is applied exactly once.
 */
export interface ChannelSource {
  /** A channel, or a pattern when it holds `*`. */
  readonly channel: string;
  decode(message: string, channel: string): ReadMessage;
  /** Told once the subscription stands, and for every message before it is decoded: for logs. */
  readonly onSubscribed?: () => void;
  readonly onMessage?: (message: string) => void;
  readonly onFailed?: (error: Error) => void;
}
