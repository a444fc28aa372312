/**
 * What is read of the store by those who show actors, not by the loop: HTTP, the library, subscribers.
 * Nothing here changes anything, and nothing here is the owner's: every process may read.
 */
import type { DeadLetter } from '../protocol/dead-letter.ts';
import type { Outcome } from '../protocol/envelope.ts';
import type { ActorKey } from '../protocol/ids.ts';
import type { CommitId } from './ports.ts';

export interface StoredView {
  readonly key: ActorKey;
  /** JSON. */
  readonly record: string;
  readonly document: string | null;
  /** Due times of its timers, ms; of liveness timers in observed time. By timer key. */
  readonly dues: { readonly [timer: string]: number };
}

/** What an arrival tells of an actor. */
export type ArrivedView = Omit<StoredView, 'dues'>;

/** Hears of actors that come into a state which their type tells of; best effort: what is told while the link is down is not heard. */
export interface Arrivals {
  /** Resolves, when they are heard, with how to stop. Of an actor that is too large to be told there is no view: it must be read. */
  hear(type: string, heard: (key: ActorKey, view: ArrivedView | undefined) => void): Promise<() => Promise<void>>;
}

export interface ListedActor {
  readonly key: ActorKey;
  /** When it entered the state asked for; of a list without a state, when it was created. */
  readonly enteredAt: number;
}

export interface ActorListQuery {
  readonly type: string;
  readonly statePath?: string;
  /** Only those that entered the state before this time, ms. */
  readonly enteredBefore?: number;
  readonly cursor?: string;
  readonly limit: number;
}

/** Where a pack of transitions lies: each commit lines its packs up in one stream, the cursor's, for all subscribers. */
export interface PackAddress {
  readonly partition: number;
  readonly type: string;
  readonly id: CommitId;
  readonly count: number;
}

export interface CursorEntry {
  /** Id in the cursor's stream. */
  readonly id: string;
  /** Null for an entry that is none of ours: it is passed over. */
  readonly address: PackAddress | null;
}

export interface PartitionReport {
  readonly partition: number;
  readonly owner: string | null;
  readonly epoch: number;
  readonly commit: CommitId;
  readonly position: string;
  readonly lag: number;
  readonly timers: number;
  readonly outbox: number;
  readonly retries: number;
}

export interface ActorReader {
  getActor(key: ActorKey): Promise<StoredView | undefined>;
  /** One round trip; undefined where there is none. */
  getActors(keys: readonly ActorKey[]): Promise<readonly (StoredView | undefined)[]>;
  listActors(query: ActorListQuery): Promise<{ readonly items: readonly ListedActor[]; readonly next: string | null }>;
  readPack(partition: number, type: string, id: CommitId): Promise<string | null>;
  listDeadLetters(cursor: string | undefined, limit: number): Promise<{ readonly items: readonly DeadLetter[]; readonly next: string | null }>;
  getDeadLetter(id: string): Promise<DeadLetter | undefined>;
  countDeadLetters(): Promise<number>;
  partitions(): Promise<readonly PartitionReport[]>;
}

export interface CursorReader {
  /** The id of the newest entry of the cursor's stream; null when there is none. */
  cursorEnd(): Promise<string | null>;
  /** The oldest and the newest id that the cursor's stream holds; null when it is empty. */
  cursorRange(): Promise<{ readonly first: string; readonly last: string; readonly trimmed: boolean } | null>;
  /** Entries after an id; waits up to `blockMs` for the first (0: does not wait). */
  readCursor(after: string, count: number, blockMs: number): Promise<readonly CursorEntry[]>;
  /** JSON of each pack; null for one that was trimmed. One round trip. */
  readPacks(addresses: readonly PackAddress[]): Promise<readonly (string | null)[]>;
}

/** Hears what became of the events that this process sent. */
export interface ReplyListener {
  /** The channel to name in `replyTo`. */
  readonly channel: string;
  listen(told: (entry: string, outcome: Outcome) => void): Promise<void>;
  close(): Promise<void>;
}
