/**
 * What the engine needs from the outside: storage, a doorbell and a clock.
 * `src/redis` implements the storage over Redis; the simulator implements it in memory; one suite (test/ports) holds for both.
 *
 * 1. Every method that changes a partition names owner and epoch and is refused (`fenced`) when the store knows another. (I4)
 * 2. A method that rejects leaves the caller not knowing whether it took effect; repeating it with the same arguments is safe. (I1)
 * 3. Times are Redis's, in ms since the epoch, unless a name says otherwise.
 */
import type { Envelope, Outcome } from '../protocol/envelope.ts';
import type { ActorKey } from '../protocol/ids.ts';
import type { Post } from '../protocol/outlet.ts';

/** `[id, [field, value, field, value, …]]`, as Redis answers. */
export type StreamEntry = readonly [id: string, fields: readonly string[]];

export interface ReadRequest {
  readonly inboxes: readonly { readonly partition: number; readonly after: string }[];
  /** What is stored of the actors that the entries are for is answered too. Meant for few inboxes with few entries. */
  readonly withActors: boolean;
  /** `binary`: of these the fields' bytes are answered, one character each. */
  readonly sources: readonly { readonly stream: string; readonly after: string; readonly binary?: true }[];
  /** At most so many entries of each inbox. */
  readonly count: number;
  /** At most so many entries of each source. */
  readonly sourceCount: number;
}

export interface ReadResult {
  /** Redis's time, taken before the first read. */
  readonly time: number;
  /** In the order of the request. Fewer entries than asked for: all that had been appended by `time - 1`. */
  readonly inboxes: readonly (readonly StreamEntry[])[];
  /** In the order of the request; empty where they were not asked for. */
  readonly actors: readonly (readonly StoredActor[])[];
  readonly sources: readonly {
    readonly entries: readonly StreamEntry[];
    /** The oldest id that the stream still holds; may be null when there are no entries. */
    readonly firstId: string | null;
  }[];
}

/** `<epoch>-<number>`; also the id of the commit's feed packs and of its outbox entry. */
export type CommitId = string;

/** How far a partition has read one source, and its watermark and observed time there. */
export interface SourcePosition {
  readonly id: string;
  readonly watermark: number;
  readonly observed: number;
}

/** What a new owner is told of the partition. */
export interface PartitionState {
  readonly epoch: number;
  /** The newest commit's id; `0-0` before the first. */
  readonly commit: CommitId;
  /** The partition's time: the highest step time so far. */
  readonly time: number;
  readonly inbox: string;
  readonly sources: { readonly [stream: string]: SourcePosition };
  /** Highest message number applied, by source partition. */
  readonly applied: { readonly [partition: string]: number };
  /** Highest message number given out, by destination partition. */
  readonly sent: { readonly [partition: string]: number };
  /** All armed timers: member `<actor> <timer key>` and due time. */
  readonly timers: readonly (readonly [member: string, due: number])[];
  readonly liveness: readonly (readonly [member: string, due: number])[];
  /** Outbox entries not acknowledged, oldest first. */
  readonly outbox: readonly (readonly [id: CommitId, pack: string])[];
  /** Commands whose delivery failed and is tried again: see {@link RetryEntry}. */
  readonly retries: readonly RetryEntry[];
  /** Actors whose record holds a running invocation. */
  readonly invoking: readonly ActorKey[];
}

/** A command that left the outbox because its delivery failed. */
export interface RetryEntry {
  /** The delivery's key. */
  readonly key: string;
  /** JSON of the {@link Delivery}, the attempts so far, the time of the next, and the last error. */
  readonly value: string;
}

/** The commit also lines its address up in the one stream that subscribers follow: see PackAddress. */
export interface FeedPack {
  readonly type: string;
  readonly count: number;
  /** JSON array of transitions. */
  readonly pack: string;
}

export interface CommitRequest {
  readonly partition: number;
  readonly owner: string;
  readonly epoch: number;
  /** The commit that this one follows. */
  readonly previous: CommitId;
  readonly id: CommitId;
  readonly time: number;
  /** The highest due time of a `clock` timer fired in this batch. The commit is refused if the inbox has an unread entry from before it. */
  readonly firedThrough?: number;
  readonly inbox: string;
  readonly sources: { readonly [stream: string]: SourcePosition };
  /** Only what changed; merged into what is stored. */
  readonly applied: { readonly [partition: string]: number };
  readonly sent: { readonly [partition: string]: number };
  /** JSON of records and documents. */
  readonly records: readonly (readonly [key: ActorKey, json: string])[];
  readonly documents: readonly (readonly [key: ActorKey, json: string])[];
  /** Actors whose records and documents go; what indexes hold of them stands in `index.remove`. */
  readonly removed: readonly ActorKey[];
  /** What of the documents is told on pub/sub channels when the commit is written: best effort, nobody may listen. */
  readonly publications: readonly DocumentPublication[];
  /** Records told, each with its document as it is stored then, to those who hear the arrivals of the type: best effort. */
  readonly arrivals: readonly Arrival[];
  /** Messages told when the commit is written: best effort, nobody may listen. */
  readonly announcements: readonly (readonly [channel: string, message: string])[];
  /** Channels of which the answer says whether anybody listens. */
  readonly channels: readonly string[];
  readonly timers: TimerWrites;
  readonly liveness: TimerWrites;
  readonly index: {
    readonly add: readonly (readonly [type: string, statePath: string, key: ActorKey, enteredAt: number])[];
    readonly remove: readonly (readonly [type: string, statePath: string, key: ActorKey])[];
  };
  readonly invoking: { readonly add: readonly ActorKey[]; readonly remove: readonly ActorKey[] };
  readonly feed: readonly FeedPack[];
  /** JSON array of the commands and messages of this batch; absent when there are none. */
  readonly outbox?: string;
  /** Entries for other systems' streams, those of a stream in their order. One that its stream refuses joins the outbox instead. */
  readonly posts: readonly Post[];
  /** JSON of each dead letter without its id. */
  readonly deadLetters: readonly string[];
}

/** An actor that came into a state in which others wait for it. */
export interface Arrival {
  readonly type: string;
  /** Which of the commit's records. */
  readonly record: number;
}

/** A part of a document, as a message. The text is in the commit anyway, so only its bounds are sent. */
export interface DocumentPublication {
  readonly channel: string;
  /** Which of the commit's documents. */
  readonly document: number;
  /** Bytes left out at its beginning and at its end. */
  readonly skip: number;
  readonly drop: number;
}

export interface TimerWrites {
  readonly set: readonly (readonly [member: string, due: number])[];
  readonly remove: readonly string[];
}

export type CommitResult =
  /**
   * Written now, or found written by an earlier try of the same commit id. `time` is Redis's; `heard`: which of `channels` have listeners;
   * `refused`: posts stand in the outbox because their stream did not take them.
   */
  | { readonly kind: 'committed'; readonly time: number; readonly repeated: boolean; readonly refused: boolean; readonly heard: readonly string[] }
  /** Another owner or epoch holds the partition. */
  | { readonly kind: 'fenced' }
  /** The stored newest commit is neither `previous` nor `id`: Redis lost or gained commits. Nothing was written. */
  | { readonly kind: 'diverged'; readonly stored: CommitId }
  /** The timer rule: an unread inbox entry is older than a fired timer. Nothing was written. */
  | { readonly kind: 'overtaken'; readonly entry: string };

/** What is stored of one actor; null when it does not exist. Due times come with the partition. */
export interface StoredActor {
  readonly key: ActorKey;
  readonly record: string | null;
}

export type AcquireResult =
  { readonly kind: 'acquired'; readonly state: PartitionState } | { readonly kind: 'held'; readonly owner: string; readonly remainingMs: number };

export interface AppendResult {
  /** The inbox entry's id. */
  readonly id: string;
  readonly partition: number;
  /** True when the dedupe id was known: `id` is the first append's. */
  readonly repeated: boolean;
}

/** A message between partitions: numbered, so that the receiver applies each once and in order. */
export interface NumberedEnvelope {
  readonly envelope: Envelope;
  readonly from: number;
  readonly number: number;
}

export interface EngineStore {
  /**
   * Told when the store may have lost its newest writes (its server was restarted or replaced), before anything else is
   * asked of it: what is held in memory must be made anew. Absent where that cannot happen.
   */
  onReset?(told: () => void): void;
  /** Redis's clock. */
  time(): Promise<number>;
  /** One round trip: the clock, then every inbox and source. */
  read(request: ReadRequest): Promise<ReadResult>;
  /** One round trip for all partitions. */
  load(requests: readonly { readonly partition: number; readonly keys: readonly ActorKey[] }[]): Promise<readonly (readonly StoredActor[])[]>;
  /** One round trip; each partition's commit is atomic by itself. A commit that could not be sent or answered is an Error in its place. */
  commit(requests: readonly CommitRequest[]): Promise<readonly (CommitResult | Error)[]>;

  /** Takes a partition whose lease is free, expired or already ours; the new epoch is max(stored + 1, TIME in ms). `sources`: what it reads besides the inbox. */
  acquire(partition: number, owner: string, leaseMs: number, sources?: readonly string[]): Promise<AcquireResult>;
  /** One round trip; false for a lease that is no longer ours. */
  renew(owner: string, leases: readonly { readonly partition: number; readonly epoch: number }[], leaseMs: number): Promise<readonly boolean[]>;
  release(owner: string, leases: readonly { readonly partition: number; readonly epoch: number }[]): Promise<void>;

  append(envelopes: readonly Envelope[]): Promise<readonly (AppendResult | Error)[]>;
  /** Appends messages in their order; a repeat is harmless, for the receiver counts. */
  appendMessages(messages: readonly NumberedEnvelope[]): Promise<void>;

  /**
   * Appends entries to other systems' streams, those of a stream in their order; a repeat is harmless, for their numbers are counted there.
   * An Error in the place of each that was not taken in, or of which that is not known; then none after it in the same stream was taken in.
   */
  post(posts: readonly Post[]): Promise<readonly (Error | undefined)[]>;

  /** Drops outbox entries up to `through`, adds and removes retries: one fenced call a partition. False when fenced. */
  acknowledge(request: {
    readonly partition: number;
    readonly owner: string;
    readonly epoch: number;
    /** Counts the epoch's acknowledgements from 1. One that was carried out, or comes after a later one, changes nothing. */
    readonly number: number;
    readonly through: CommitId | null;
    readonly retriesSet: readonly RetryEntry[];
    readonly retriesRemoved: readonly string[];
    readonly deadLetters: readonly string[];
  }): Promise<boolean>;

  /** Best effort: messages on pub/sub channels, one round trip. */
  publish(messages: readonly (readonly [channel: string, message: string])[]): Promise<void>;
  /** Best effort: tells waiting senders what became of their events. */
  reply(outcomes: readonly { readonly to: string; readonly entry: string; readonly outcome: Outcome }[]): Promise<void>;

  /** Trims each type's feed by bytes and age. */
  trim(partition: number, retention: { readonly [type: string]: Retention }): Promise<void>;

  /** Drops what every partition has applied of a source, by the positions that their commits stored; the newest such entry stays, as a mark. */
  trimSource(stream: string): Promise<void>;

  /** Of each: the actors that have been in the state for so long that they may go, oldest first, and since when. One round trip. */
  overdue(requests: readonly OverdueQuery[]): Promise<readonly (readonly (readonly [key: ActorKey, enteredAt: number])[])[]>;

  /** Stores dead letters (JSON without id) of what reached no partition: those of partition 0. Not fenced, and a repeat stores them again. */
  reject(deadLetters: readonly string[]): Promise<void>;
}

export interface OverdueQuery {
  readonly partition: number;
  readonly type: string;
  readonly statePath: string;
  /** Those that entered the state before this time may go, … */
  readonly enteredBefore: number;
  /** … and so may all but so many of the newest. */
  readonly keep: number;
  /** At most so many are answered. */
  readonly limit: number;
}

export interface Retention {
  readonly maxBytes: number;
  readonly maxAgeMs: number;
}

/**
 * What a read would have answered just after something was appended, told with the ring: who stands where it begins need not read.
 * A doorbell brings only what it knows to be true.
 */
export interface Glance {
  readonly partition: number;
  /** Redis's time before the append. */
  readonly time: number;
  /** The partition's newest commit then. */
  readonly commit: CommitId;
  readonly inbox: GlancedStream;
  /** All sources of the partition's owner. */
  readonly sources: ReadonlyMap<string, GlancedStream>;
  /** An actor of which nothing was stored. */
  readonly unknown: ActorKey | undefined;
}

export interface GlancedStream {
  /** Its newest entry before the append; `0-0` when it had none. */
  readonly before: string;
  readonly added: readonly StreamEntry[];
}

/** Tells that a partition's inbox, or a source, has something new. Rings may be lost or doubled: the loop also looks by itself. */
export interface Doorbell {
  listen(ring: (partition: number, glance?: Glance) => void, ringSources: () => void): Promise<void>;
  close(): Promise<void>;
}

export interface TakeRequest {
  readonly list: string;
  /** Where it is popped. */
  readonly side: 'left' | 'right';
  readonly owner: string;
  readonly leaseMs: number;
  readonly max: number;
}

export type TakeResult =
  /** What is in the processing list now, in the order in which it came there. The first item has the number `first`, the next the one after it: an item keeps its number until it is settled. */
  | { readonly kind: 'taken'; readonly first: number; readonly items: readonly string[] }
  | { readonly kind: 'held'; readonly owner: string; readonly remainingMs: number };

export interface ListIntake {
  /** One atomic call: takes or lengthens the list's lease, and moves items to the processing list until it holds `max`. */
  take(request: TakeRequest): Promise<TakeResult>;
  /** Drops the first items of the processing list. Changes nothing when the lease is not ours or `first` is not the first one's number. */
  settle(request: { readonly list: string; readonly owner: string; readonly first: number; readonly count: number }): Promise<void>;
  releaseList(list: string, owner: string): Promise<void>;
}

export interface ChannelIntake {
  /** Takes or lengthens the channel's lease; false when another reader has it. */
  hold(channel: string, owner: string, leaseMs: number): Promise<boolean>;
  releaseChannel(channel: string, owner: string): Promise<void>;
  /** Hears a channel, or a pattern when it holds `*`, also after the link was lost, until the function that it resolves with is called. */
  subscribe(channel: string, heard: (message: string, channel: string) => void): Promise<() => Promise<void>>;
}

/** Lists and channels of other systems. Each has one reader in all processes: whoever holds its lease. */
export interface Intake extends ListIntake, ChannelIntake {}

/** Injected, so that the simulator can own time and chance. */
export interface Clock {
  /** Monotonic, ms. For measuring and waiting only: never the time of a step. */
  now(): number;
  /** Calls once after `ms`, never for Infinity; the function returned prevents it. Cheaper than a sleep that is to be ended early. */
  after(ms: number, call: () => void): () => void;
  /** Resolves after `ms`, or at once when the signal aborts. Never rejects. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Uniform in [0, 1). */
  random(): number;
}
