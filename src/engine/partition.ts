/**
 * One owned partition in memory: its positions, what was read of it and not yet applied, its timers and its clocks.
 *
 * 1. Its time never goes back and never passes the smallest watermark of its inbox and its sources.
 * 2. Everything here runs ahead of Redis by the commits in flight. When one of them is refused, the whole object is
 *    dropped and made anew from the store; nothing is rolled back by hand.
 */
import { millisecondsOf, STREAM_START, type ActorKey } from '../protocol/ids.ts';
import type { StreamSource } from '../protocol/source.ts';
import type { LiveActor } from '../core/decision.ts';
import { decodeInboxEntry, type InboxItem } from '../protocol/inbox-entry.ts';
import { ObservedTime, type Evidence } from './observed-time.ts';
import { PendingQueue } from './pending-queue.ts';
import type { CommitId, PartitionState, SourcePosition, StreamEntry } from './ports.ts';
import { TimerQueue } from './timer-queue.ts';

export interface SourceItem {
  readonly id: string;
  readonly ms: number;
  readonly key: ActorKey | undefined;
  readonly fields: readonly string[];
  readonly source: StreamSource;
}

/** What one read of a source proves, beside its entries. */
export interface SourceProof {
  /** The newest entry read. */
  readonly last: string;
  readonly watermark: number;
  readonly evidence: readonly Evidence[];
  /** Entries from before this time were trimmed before anyone read them. */
  readonly lostBefore?: number;
}

/** An actor that has been kept in a state for long enough. */
export interface Overdue {
  readonly key: ActorKey;
  readonly statePath: string;
  readonly enteredAt: number;
}

export interface SourceState {
  readonly source: StreamSource;
  /** The newest entry that was applied or is not ours. */
  position: string;
  /** How far it was read. */
  read: string;
  watermark: number;
  readonly pending: PendingQueue<SourceItem>;
}

/** Under this name the observed time is stored while there is no source: the inbox alone is the evidence. */
const INBOX_CLOCK = '-';

export class Partition {
  readonly number: number;
  readonly owner: string;
  readonly epoch: number;
  commit: CommitId;
  commitNumber = 0;
  time: number;
  /** Position that the newest batch leaves behind. */
  inbox: string;
  inboxRead: string;
  inboxWatermark = 0;
  /** The newest read of the inbox was full: there is more. */
  inboxBacklog = false;
  /** By then, or before, all that is pending had been appended; what bears a later id does not know its time. */
  #appendedBy = 0;
  readonly inboxPending = new PendingQueue<InboxItem>();
  readonly sources: ReadonlyMap<string, SourceState>;
  /** The same in a list: all partitions are looked at in every round. */
  readonly sourceStates: readonly SourceState[];
  readonly observed: ObservedTime;
  readonly timers: TimerQueue;
  readonly liveness: TimerQueue;
  readonly applied: Map<number, number>;
  readonly sent: Map<number, number>;
  /** Posts numbered in this epoch. */
  posted = 0;
  /** By stream: the newest batch whose outbox holds a post for it and that is not settled. What follows may not overtake that post. */
  readonly #postsOwed = new Map<string, CommitId>();
  /** Actors changed by a commit in flight, null for those that it removes: never evicted, never loaded. */
  readonly uncommitted = new Map<ActorKey, LiveActor | null>();
  /** Entries that rejected while their actor had changes in the same batch: applied alone, from the stored actor. */
  readonly isolated: Set<string>;
  /** Actors that entries read since the last look are for, or that a batch missed. */
  #wanted: ActorKey[] = [];
  #overdue: Overdue[] = [];
  /** A commit whose fate is unknown is being repeated: no batch is built meanwhile. */
  blocked = false;
  /** Ids of the source positions in the newest commit, joined: tells whether a checkpoint is due. */
  storedSources: string;
  checkpointedAt = 0;

  constructor(
    number: number,
    owner: string,
    state: PartitionState,
    sources: readonly StreamSource[],
    observationGapMs: number,
    isolated: ReadonlySet<string> = new Set(),
    /** What this engine has heard for it so far, when it only makes it anew. */
    heard?: ObservedTime,
  ) {
    this.number = number;
    this.owner = owner;
    this.epoch = state.epoch;
    this.commit = state.commit;
    this.time = state.time;
    this.inbox = this.inboxRead = state.inbox;
    this.timers = new TimerQueue(state.timers);
    this.liveness = new TimerQueue(state.liveness);
    this.applied = toNumbers(state.applied);
    this.sent = toNumbers(state.sent);
    this.isolated = new Set(isolated);
    this.sources = new Map(sources.map((source) => [source.stream, sourceState(source, state.sources[source.stream])]));
    this.sourceStates = [...this.sources.values()];
    const evidence = Object.values(state.sources)[0];
    this.observed = heard?.resumed() ?? new ObservedTime(observationGapMs, evidence?.watermark ?? 0, evidence?.observed ?? 0);
    this.storedSources = this.sourceIds();
  }

  /** No step of this partition may have a time beyond this. (I6, and the timer rule) */
  get watermark(): number {
    let watermark = this.inboxWatermark;
    for (const source of this.sourceStates) if (source.watermark < watermark) watermark = source.watermark;
    return watermark;
  }

  /** Takes in one read of the inbox. `count` is how many entries were asked for. */
  takeInbox(entries: readonly StreamEntry[], count: number, readAt: number): void {
    for (const entry of entries) {
      const item = decodeInboxEntry(entry[0], entry[1]);
      this.inboxPending.push(item);
      this.#wanted.push(item.key);
    }
    const last = entries[entries.length - 1];
    if (last !== undefined) {
      this.inboxRead = last[0];
      this.#appendedBy = Math.max(this.#appendedBy, readAt - 1);
    }
    this.inboxBacklog = entries.length >= count;
    const upTo = this.inboxBacklog && last !== undefined ? millisecondsOf(last[0]) : readAt - 1;
    // An id from the future (a raw XADD) must not lift the watermark beyond the clock.
    this.inboxWatermark = Math.max(this.inboxWatermark, Math.min(upTo, readAt - 1));
    if (this.sources.size === 0) this.observed.observe([[readAt - 1, readAt - 1]]);
  }

  /** Takes in what a read of a source held for this partition, and what the read proves of the source. */
  takeSource(stream: string, items: readonly SourceItem[], read: SourceProof): void {
    const state = this.sources.get(stream);
    if (state === undefined) return;
    for (const item of items) {
      state.pending.push(item);
      if (item.key !== undefined) this.#wanted.push(item.key);
    }
    if (items.length > 0) this.#appendedBy = Math.max(this.#appendedBy, read.watermark);
    state.read = read.last;
    if (state.pending.length === 0) state.position = read.last;
    state.watermark = Math.max(state.watermark, read.watermark);
    if (read.lostBefore !== undefined && read.lostBefore > this.observed.watermark) this.observed.reopen(read.lostBefore);
    this.observed.observe(read.evidence);
  }

  /**
   * True while a pending entry is from a time that the watermark has not reached. Were it applied at the watermark, its timers
   * would be due too early: after a backlog of the inbox, beats of the last minutes would count as beats of its beginning. (I6)
   */
  isAhead(ms: number, watermark: number): boolean {
    return ms > watermark && this.#appendedBy > watermark;
  }

  /** The next entry of the inbox or of a source waits for the watermark: the inbox must be read, even if it is empty. */
  awaitsWatermark(): boolean {
    for (const state of this.sourceStates) {
      const item = state.pending.peek();
      if (item !== undefined && this.isAhead(item.ms, this.watermark)) return true;
    }
    return false;
  }

  /** These actors may go, if they still are where they were. */
  overdue(actors: readonly Overdue[]): void {
    for (const actor of actors) {
      this.#overdue.push(actor);
      this.#wanted.push(actor.key);
    }
  }

  get hasOverdue(): boolean {
    return this.#overdue.length > 0;
  }

  takeOverdue(): readonly Overdue[] {
    const overdue = this.#overdue;
    if (overdue.length > 0) this.#overdue = [];
    return overdue;
  }

  owesPosts(stream: string): boolean {
    return this.#postsOwed.has(stream);
  }

  /** The batch's outbox holds a post for the stream. */
  owePost(stream: string, batch: CommitId): void {
    this.#postsOwed.set(stream, batch);
  }

  /** What the batch owes is known to whoever delivers it. */
  settled(batch: CommitId): void {
    for (const [stream, newest] of this.#postsOwed) if (newest === batch) this.#postsOwed.delete(stream);
  }

  /** These actors are needed in memory. */
  want(keys: readonly ActorKey[]): void {
    this.#wanted.push(...keys);
  }

  /** What was wanted since the last call. */
  takeWanted(): ActorKey[] {
    const wanted = this.#wanted;
    if (wanted.length > 0) this.#wanted = [];
    return wanted;
  }

  /** The positions to store with a commit. */
  sourcePositions(): { readonly [stream: string]: SourcePosition } {
    const positions: { [stream: string]: SourcePosition } = {};
    for (const [stream, state] of this.sources) {
      positions[stream] = { id: state.position, watermark: this.observed.watermark, observed: this.observed.observed };
    }
    if (this.sources.size === 0) positions[INBOX_CLOCK] = { id: STREAM_START, watermark: this.observed.watermark, observed: this.observed.observed };
    return positions;
  }

  sourceIds(): string {
    let ids = '';
    for (const state of this.sourceStates) ids += `${state.position} `;
    return ids;
  }

  hasPending(): boolean {
    if (this.inboxPending.length > 0) return true;
    for (const state of this.sourceStates) if (state.pending.length > 0) return true;
    return false;
  }

  /** By source: how old the oldest of its entries is that is not applied; 0 when all that was read is. */
  sourceLagMs(now: number): { readonly [stream: string]: number } {
    const lags: { [stream: string]: number } = {};
    for (const [stream, { pending, watermark }] of this.sources) {
      // Before the first read nothing is known of it.
      if (watermark > 0) lags[stream] = Math.max(0, Math.round(now - (pending.peek()?.ms ?? watermark)));
    }
    return lags;
  }

  /** Nothing was read that waits, no timer is due, and the observed clock stands in its newest segment. */
  isIdle(watermark: number): boolean {
    return !this.hasPending() && !this.hasOverdue && this.nextFiring() > watermark && this.observed.inNewest;
  }

  /** Partition time at which the next timer could fire; Infinity when none is armed. */
  nextFiring(): number {
    return Math.min(this.timers.nextDue(), this.liveness.nextDue() + this.observed.current.closedMs);
  }
}

function sourceState(source: StreamSource, stored: SourcePosition | undefined): SourceState {
  const position = stored?.id ?? STREAM_START;
  return { source, position, read: position, watermark: 0, pending: new PendingQueue() };
}

function toNumbers(byPartition: { readonly [partition: string]: number }): Map<number, number> {
  return new Map(Object.entries(byPartition).map(([partition, number]) => [Number(partition), number]));
}
