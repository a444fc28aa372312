/**
 * Worker queues as the control plane holds them: their gates, and what can be seen of who works on them.
 * `src/redis` implements both ports; `src/jobs` drives them.
 *
 * 1. Every method may be called by any number of processes at the same time, and repeated.
 * 2. Nothing here decides about a job: what is seen becomes an event of the job's actor.
 */
import type { MachineEvent } from './envelope.ts';
import type { QueueLimits, QueueView } from './job.ts';
import type { EntryFields, ReadMessage } from './source.ts';

/** Why held entries wait. `window`: enough lie in the stream unread; `order`: as well, and few on purpose, so that an urgent one overtakes. */
export type HeldBecause = 'nothing' | 'paused' | 'concurrency' | 'rate' | 'order' | 'window';

export interface PumpResult {
  /** Entries put into the stream. */
  readonly moved: number;
  /** Entries taken back from the stream's unread end, because fewer may lie there. */
  readonly returned: number;
  readonly held: number;
  readonly because: HeldBecause;
  /** For `rate`: after so many ms the next one may go. */
  readonly againMs: number;
  /** More can be done at once: the call stopped at its bound. */
  readonly more: boolean;
}

export interface Withdrawal {
  readonly queue: string;
  readonly jobId: string;
  /** Entries of this attempt and of earlier ones; an entry without an attempt is of any. */
  readonly attempt: number;
  /** Where it is believed to lie, which saves looking through the stream. */
  readonly entry?: string;
}

/** Throws RedisUnusableError, and InvalidJobError for a name that is no queue's or a limit that is none. */
export interface Queues {
  /** Keys of the queues that exist: in Redis, or by their gate. A bounded look over the key space. */
  list(): Promise<readonly string[]>;
  /** One bounded step of such a look: the cursor to go on from, `0` at the end. */
  scan(cursor: string): Promise<{ readonly cursor: string; readonly queues: readonly string[] }>;
  view(queues: readonly string[]): Promise<readonly QueueView[]>;
  /** New entries wait, and those that no worker has read are taken back. What others enqueue past the gate is not held. */
  pause(queue: string): Promise<void>;
  resume(queue: string): Promise<void>;
  /** Replaces the limits; `{}` removes them. */
  setLimits(queue: string, limits: QueueLimits): Promise<void>;
  /** In the order asked. */
  pump(queues: readonly string[]): Promise<readonly PumpResult[]>;
  /** Takes the attempt out of gate, stream and pending list. Answers how many entries it found. */
  withdraw(withdrawal: Withdrawal): Promise<number>;
  /** Sets the job's cancel flag for attempts up to this one; null takes it away. */
  flagCancelled(jobId: string, attempt: number | null): Promise<void>;
}

/** A stream with a consumer group that is observed. */
export interface ObservedStream {
  readonly stream: string;
  readonly group: string;
  /** The fields of an entry that tell whose it is; only these are fetched of what workers hold. */
  readonly fields: readonly string[];
  /** An entry with this field was put there by Castellan. Absent: none is. */
  readonly ownField?: string;
}

/** What an entry says of its job. */
export interface JobOfEntry {
  readonly jobId: string;
  /** Of an entry that Castellan put there: a report then names it, and the fence holds. */
  readonly attempt?: number;
  /** The node that it is meant for: any other consumer that reads it only leaves it pending. */
  readonly targetNode?: string;
}

/** What a foreign worker left in Redis of a job. */
export interface LeftBehind {
  /** The newest progress messages of the stream `stream:v1:{jobId}`, oldest first. */
  readonly progress: readonly string[];
  /** `job:{jobId}:status`: a hash as its pairs, a JSON text, or null when there is none. */
  readonly status: readonly string[] | string | null;
}

/** Whose report an event is. */
export type ForeignReport = { readonly worker?: string; readonly entry: string; readonly attempt?: number };

/** How the entries of a kind of queue are read. All functions are pure and never throw. */
export interface QueueContract extends Omit<ObservedStream, 'stream'> {
  /** An entry that somebody else enqueued. Absent: the entries come to their jobs in another way. */
  adopt?(stream: string, entryId: string, fields: EntryFields): ReadMessage;
  /** By the fields asked for; undefined: no job's. */
  jobOf(fields: EntryFields): JobOfEntry | undefined;
  /** How the job ended whose entry a foreign worker acknowledged. Absent: well, and nothing is known of it. */
  outcome?(jobId: string, left: LeftBehind, report: ForeignReport): MachineEvent;
  /** The same when the worker's consumer was removed, which drops what it holds unacknowledged. Absent: as if it was acknowledged. */
  removed?(jobId: string, left: LeftBehind, report: ForeignReport): MachineEvent;
  /** What a message on the channel of a job says while a foreign worker has it; undefined: nothing. */
  heard?(jobId: string, message: string): MachineEvent | undefined;
}

export interface SeenConsumer {
  readonly name: string;
  readonly pending: number;
  /** Since it last asked for anything, ms. */
  readonly idleMs: number;
}

/** An entry in a consumer's hands. `fields`: those asked for. */
export interface HeldEntry {
  readonly entry: string;
  readonly consumer: string;
  readonly deliveries: number;
  readonly fields: EntryFields;
}

export interface QueueLook {
  readonly exists: boolean;
  /** Something was noted of it, or of a stream of that name which is gone. */
  readonly marked: boolean;
  readonly length: number;
  /** Entries that others have added, ever: differs from `seen` when there are new ones. */
  readonly foreign: number;
  readonly lastId: string;
  /** Null: the stream was never looked at. */
  readonly scanned: string | null;
  readonly seen: number | null;
  readonly hasGroup: boolean;
  readonly firstPending: string | null;
  readonly lastDelivered: string;
  readonly held: number;
  readonly gated: boolean;
  readonly consumers: readonly SeenConsumer[];
  /** Newly in the hands of foreign consumers. */
  readonly claims: readonly HeldEntry[];
  /** Were in a foreign consumer's hands, or passed through them between two looks (`consumer` empty), and are acknowledged. */
  readonly acknowledged: readonly HeldEntry[];
  /** Ids of entries that went from a foreign consumer to one of ours, which speaks for itself. */
  readonly handedOver: readonly string[];
  /** In the hands of consumers of ours that have not been seen for the lease. */
  readonly stalled: readonly HeldEntry[];
  /** How far `acknowledged` has looked at entries that were delivered. */
  readonly passed: string;
  /** There is more of it: look again at once. */
  readonly more: boolean;
}

/** What has been told of a look, so that it is not told again. */
export interface QueueNote {
  readonly stream: ObservedStream;
  /** Told of, and followed from now on. */
  readonly claims: readonly HeldEntry[];
  /** Ids that need no following any more. */
  readonly told: readonly string[];
  readonly passed?: string;
  readonly scanned?: string;
  readonly seen?: number;
}

export interface QueueScan {
  readonly entries: readonly (readonly [id: string, fields: EntryFields])[];
  /** Where the next page begins; null: there is none. */
  readonly next: string | null;
}

/** Throws RedisUnusableError. */
export interface QueueObserver {
  /** In the order asked: one round trip. `leaseMs`: a consumer of ours that was not seen for so long is gone. */
  look(streams: readonly ObservedStream[], leaseMs: number): Promise<readonly QueueLook[]>;
  /** One page of what others enqueued after an id and up to another. `unfinished`: only what nobody has acknowledged. */
  scanForeign(stream: ObservedStream, after: string, upTo: string, unfinished: boolean): Promise<QueueScan>;
  note(notes: readonly QueueNote[]): Promise<void>;
  /** Creates the group at the stream's beginning where the stream exists and the group does not. True when it was made by this call. */
  ensureGroup(stream: ObservedStream): Promise<boolean>;
  /** What foreign workers left of their jobs, in the order asked. */
  leftBehind(jobIds: readonly string[]): Promise<readonly LeftBehind[]>;
  /** What foreign consumers are known to hold; of much, some. */
  tracked(streams: readonly ObservedStream[]): Promise<readonly (readonly HeldEntry[])[]>;
  /** Drops consumers that were not seen for a day and hold nothing, and entries that all groups are done with beyond the length kept. */
  tidy(streams: readonly ObservedStream[]): Promise<void>;
}

/** Hears what workers tell on the channels of single jobs. Best effort: the look is what counts. */
export interface ProgressListener {
  /** Who is told of a message; must not throw. */
  listen(told: (jobId: string, message: string) => void): void;
  /** Listens for exactly these jobs from now on; with `all`, for every job: a foreign worker may be done before anybody saw that it began. */
  follow(jobIds: readonly string[], all: boolean): Promise<void>;
  close(): Promise<void>;
}
