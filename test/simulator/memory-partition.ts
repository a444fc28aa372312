/**
 * One partition in memory: what the Functions of src/redis/functions.lua do, said again in plain code.
 *
 * 1. Every method is one atomic step: no awaits.
 * 2. It answers as Redis does; the port suite and the replay of recorded calls hold the two together.
 */
import type {
  AcquireResult,
  CommitRequest,
  CommitResult,
  EngineStore,
  OverdueQuery,
  PartitionState,
  Retention,
  SourcePosition,
  TimerWrites,
} from '../../src/engine/ports.ts';
import { millisecondsOf, STREAM_START, type ActorKey } from '../../src/protocol/ids.ts';
import type { Post } from '../../src/protocol/outlet.ts';
import { MemoryStream } from './memory-stream.ts';

export interface DedupeLimits {
  readonly windowMs: number;
  readonly idsMax: number;
}

type Acknowledgement = Parameters<EngineStore['acknowledge']>[0];

export class MemoryPartition {
  owner: string | null = null;
  until = 0;
  epoch = 0;
  commitId = STREAM_START;
  time = 0;
  inboxPosition = STREAM_START;
  readonly sources = new Map<string, SourcePosition>();
  /** What its owner reads besides the inbox. */
  sourcesRead: readonly string[] | undefined;
  readonly applied = new Map<string, number>();
  readonly sent = new Map<string, number>();
  readonly inbox = new MemoryStream();
  readonly records = new Map<ActorKey, string>();
  readonly documents = new Map<ActorKey, string>();
  readonly timers = new Map<string, number>();
  readonly liveness = new Map<string, number>();
  readonly outbox = new MemoryStream();
  readonly retries = new Map<string, string>();
  readonly invoking = new Set<ActorKey>();
  readonly dead = new MemoryStream();
  readonly feeds = new Map<string, MemoryStream>();
  /** `<type>:<state path>` → actor → when it entered. */
  readonly indexes = new Map<string, Map<ActorKey, number>>();
  readonly #dedupe = new Map<string, string>();
  #acknowledged = 0;

  feed(type: string): MemoryStream {
    let feed = this.feeds.get(type);
    if (!feed) this.feeds.set(type, (feed = new MemoryStream()));
    return feed;
  }

  /** `refused`: those of the posts that their streams do not take, as items of the outbox. */
  commit(request: CommitRequest, now: number, refused: readonly Post[] = []): CommitResult {
    if (this.owner !== request.owner || this.epoch !== request.epoch) return { kind: 'fenced' };
    if (this.commitId === request.id)
      return { kind: 'committed', time: now, repeated: true, refused: this.#outboxOf(request.id) !== request.outbox, heard: [] };
    if (this.commitId !== request.previous) return { kind: 'diverged', stored: this.commitId };
    if (request.firedThrough !== undefined) {
      const unread = this.inbox.after(request.inbox, 1)[0];
      if (unread && millisecondsOf(unread[0]) < request.firedThrough) return { kind: 'overtaken', entry: unread[0] };
    }
    const items = [...(JSON.parse(request.outbox ?? '[]') as unknown[]), ...refused.map((post) => ({ post }))];
    const outbox = refused.length === 0 ? request.outbox : JSON.stringify(items);
    if (outbox !== undefined) this.outbox.add(['p', outbox], request.id);
    for (const { type, count, pack } of request.feed) this.feed(type).add(['n', String(count), 't', String(request.time), 'p', pack], request.id);
    this.commitId = request.id;
    this.time = request.time;
    this.inboxPosition = request.inbox;
    setAll(this.sources, Object.entries(request.sources));
    setAll(this.applied, Object.entries(request.applied));
    setAll(this.sent, Object.entries(request.sent));
    setAll(this.records, request.records);
    setAll(this.documents, request.documents);
    writeTimers(this.timers, request.timers);
    writeTimers(this.liveness, request.liveness);
    for (const key of request.invoking.add) this.invoking.add(key);
    for (const key of request.invoking.remove) this.invoking.delete(key);
    for (const key of request.removed) {
      this.records.delete(key);
      this.documents.delete(key);
    }
    for (const json of request.deadLetters) this.dead.add(['j', json], { now });
    for (const [type, path, key, enteredAt] of request.index.add) this.#index(type, path).set(key, enteredAt);
    for (const [type, path, key] of request.index.remove) this.#index(type, path).delete(key);
    this.inbox.trim(request.inbox, 'before');
    return { kind: 'committed', time: now, repeated: false, refused: refused.length > 0, heard: [] };
  }

  /** The outbox's entry of that commit. */
  #outboxOf(commit: string): string | undefined {
    return this.outbox.after(STREAM_START).find(([id]) => id === commit)?.[1][1];
  }

  append(fields: readonly string[], dedupeId: string | undefined, now: number, limits: DedupeLimits): { readonly id: string; readonly repeated: boolean } {
    const oldest = now - limits.windowMs;
    const known = dedupeId === undefined ? undefined : this.#dedupe.get(dedupeId);
    if (known !== undefined && millisecondsOf(known) > oldest) return { id: known, repeated: true };
    const id = this.inbox.add(fields, { now });
    if (dedupeId !== undefined) {
      this.#dedupe.delete(dedupeId);
      this.#dedupe.set(dedupeId, id);
      for (const [old, entry] of this.#dedupe) {
        if (this.#dedupe.size <= limits.idsMax && millisecondsOf(entry) > oldest) break;
        this.#dedupe.delete(old);
      }
    }
    return { id, repeated: false };
  }

  acquire(owner: string, leaseMs: number, now: number, sources: readonly string[] = []): AcquireResult {
    if (this.owner !== null && this.owner !== owner && this.until > now) return { kind: 'held', owner: this.owner, remainingMs: this.until - now };
    this.owner = owner;
    this.epoch = Math.max(this.epoch + 1, now);
    this.until = now + leaseMs;
    this.#acknowledged = 0;
    this.sourcesRead = sources;
    return { kind: 'acquired', state: this.state() };
  }

  renew(owner: string, epoch: number, leaseMs: number, now: number): boolean {
    if (!this.#owns(owner, epoch)) return false;
    this.until = now + leaseMs;
    return true;
  }

  release(owner: string, epoch: number): void {
    if (!this.#owns(owner, epoch)) return;
    this.owner = null;
    this.until = 0;
  }

  acknowledge(request: Acknowledgement, now: number): boolean {
    if (!this.#owns(request.owner, request.epoch)) return false;
    if (request.number <= this.#acknowledged) return true;
    this.#acknowledged = request.number;
    if (request.through !== null) this.outbox.trim(request.through, 'through');
    for (const { key, value } of request.retriesSet) this.retries.set(key, value);
    for (const key of request.retriesRemoved) this.retries.delete(key);
    for (const json of request.deadLetters) this.dead.add(['j', json], { now });
    return true;
  }

  /** Drops the feed's oldest packs by age and bytes. */
  trim(type: string, { maxBytes, maxAgeMs }: Retention, now: number): void {
    const feed = this.feed(type);
    const entries = feed.after(STREAM_START);
    let bytes = entries.reduce((sum, [, fields]) => sum + packBytes(fields), 0);
    for (const [id, fields] of entries) {
      if (bytes <= maxBytes && Number(fields[3]) >= now - maxAgeMs) return;
      bytes -= packBytes(fields);
      feed.trim(id, 'through');
    }
  }

  overdue({ type, statePath, enteredBefore, keep, limit }: OverdueQuery): readonly (readonly [ActorKey, number])[] {
    const oldest = byDue(this.#index(type, statePath)) as [ActorKey, number][];
    const surplus = oldest.length - keep;
    return oldest.slice(0, limit).filter(([, enteredAt], place) => place < surplus || enteredAt < enteredBefore);
  }

  state(): PartitionState {
    return {
      epoch: this.epoch,
      commit: this.commitId,
      time: this.time,
      inbox: this.inboxPosition,
      sources: Object.fromEntries(this.sources),
      applied: Object.fromEntries(this.applied),
      sent: Object.fromEntries(this.sent),
      timers: byDue(this.timers),
      liveness: byDue(this.liveness),
      outbox: this.outbox.after(STREAM_START).map(([id, fields]) => [id, fields[1] as string]),
      // A hash has no order that a reader may count on.
      retries: [...this.retries].reverse().map(([key, value]) => ({ key, value })),
      invoking: [...this.invoking],
    };
  }

  #owns(owner: string, epoch: number): boolean {
    return this.owner === owner && this.epoch === epoch;
  }

  #index(type: string, path: string): Map<ActorKey, number> {
    const name = `${type}:${path}`;
    let index = this.indexes.get(name);
    if (!index) this.indexes.set(name, (index = new Map()));
    return index;
  }
}

/** What an entry costs beyond its pack; the Function counts the same. */
const ENTRY_OVERHEAD_BYTES = 32;

function packBytes(fields: readonly string[]): number {
  return Buffer.byteLength(fields[5] as string) + ENTRY_OVERHEAD_BYTES;
}

function setAll<Key, Value>(map: Map<Key, Value>, entries: Iterable<readonly [Key, Value]>): void {
  for (const [key, value] of entries) map.set(key, value);
}

function writeTimers(timers: Map<string, number>, { set, remove }: TimerWrites): void {
  setAll(timers, set);
  for (const member of remove) timers.delete(member);
}

/** As a sorted set answers: by due time, then by the bytes of the member. */
function byDue(timers: ReadonlyMap<string, number>): [string, number][] {
  return [...timers].sort(([leftMember, left], [rightMember, right]) => left - right || Buffer.compare(Buffer.from(leftMember), Buffer.from(rightMember)));
}
