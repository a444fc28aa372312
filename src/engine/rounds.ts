/**
 * The one loop of an engine: read what rang → load → step → commit, round after round.
 *
 * 1. The next read is sent, and the next batch's actors are asked for, before a round is stepped; the round's commits are in
 *    flight while the next is stepped: Redis and this process work at the same time. A partition has at most one commit in flight.
 *    On a quiet machine, where there is nothing to overlap, what was read is committed first.
 * 2. What the commit does not carry itself (posts, announcements) leaves the process only when it is answered; then it is owed, and
 *    {@link RoundsPorts.settle} pays it.
 * 3. A commit without an answer is repeated with the same id until its fate is known; only its partition waits, also with the
 *    batch that was built meanwhile: were that settled first, its commands would be delivered before the earlier ones. (I1, I5, I7)
 * 4. A commit that is refused costs the partition's memory: it is made anew from the store. (I4)
 */
import type { ActorCache } from './actor-cache.ts';
import type { Announcements } from './announcements.ts';
import type { HostedTypes } from './actor-types.ts';
import { BatchBuilder } from './batch.ts';
import type { Batch } from './batch-writes.ts';
import { answerOf } from './glance.ts';
import { Loader } from './loader.ts';
import type { Loss } from './loss.ts';
import type { Meter } from './meter.ts';
import type { Overdue, Partition } from './partition.ts';
import type { Clock, CommitId, CommitResult, EngineStore, Glance, ReadRequest, ReadResult } from './ports.ts';
import type { EngineSettings } from './settings.ts';
import type { SourceReader } from './source-reader.ts';
import { Wakeup } from './wakeup.ts';

export interface RoundsPorts {
  readonly store: EngineStore;
  readonly clock: Clock;
  readonly settings: EngineSettings;
  readonly types: HostedTypes;
  readonly meter: Meter;
  readonly cache: ActorCache;
  /** The owned partitions, by number. Changed by membership only. */
  readonly partitions: (Partition | undefined)[];
  readonly readers: readonly SourceReader[];
  /** Pays what committed batches owe. */
  readonly settle: (batches: readonly Batch[]) => void;
  /** Whether posts to this stream are still owed. */
  readonly postsWait: (stream: string) => boolean;
  readonly announcements: Announcements;
  /** The partition belongs to another engine, or must be made anew from the store (then `isolate` may name an entry). */
  readonly lose: (partition: Partition, loss: Loss) => void;
  /** A commit was not answered, or with an error: it is repeated until its fate is known. */
  readonly failed: (partition: Partition, failure: Error) => void;
}

/** Between failed tries of reading or committing, ms: long enough not to spin, short enough not to be noticed. */
const FAILURE_PAUSE_MS = 20;
const FAILURE_PAUSE_MS_MAX = 1_000;
/** Entries are read, and their actors loaded, so many batches ahead of the one that is stepped. */
const AHEAD_BATCHES = 2;
/** A source is not read further while a partition has so many rounds of it unapplied. */
const SOURCE_ROUNDS_PENDING_MAX = 2;
/** So few partitions rang that their actors are read with the entries: one round trip less on a quiet machine. */
const QUIET_PARTITIONS_MAX = 4;

interface Reading {
  readonly request: ReadRequest;
  readonly partitions: readonly Partition[];
  /** Of each partition: the newest commit when the read was sent; undefined when what is stored was not all that there was. */
  readonly settledAt: readonly (CommitId | undefined)[];
  readonly readers: readonly SourceReader[];
  readonly answer: ReadResult | Promise<ReadResult | Error>;
  /** The answer came with the ring: it tells no new time. */
  readonly glanced: boolean;
}

export class Rounds {
  readonly #ports: RoundsPorts;
  readonly #builder: BatchBuilder;
  readonly #wakeup: Wakeup;
  readonly #rung = new Set<number>();
  /** A source has something new. */
  #sourcesRung = false;
  /** What the only ring since the last read brought. */
  #glance: Glance | undefined;
  readonly #loader: Loader;
  /** Built while the commit before it was in flight, whose fate is not known yet: invariant 3. */
  readonly #following = new Map<Partition, Batch>();
  /** The partition with which the next round begins: each gets its turn when a round is full. */
  #turn = 0;
  /** Redis's time minus our clock, at the newest read. */
  #redisOffsetMs = 0;
  #readAt = 0;
  #polledAt = -Infinity;
  #failures = 0;

  constructor(ports: RoundsPorts) {
    this.#ports = ports;
    this.#wakeup = new Wakeup(ports.clock);
    const { store, types, settings, meter, cache, clock } = ports;
    const loader = new Loader({ store, cache, types, meter, timersMax: settings.batchEventsMax });
    this.#loader = loader;
    this.#builder = new BatchBuilder({
      types,
      settings,
      meter,
      find: (partition, key) => loader.find(partition, key),
      cacheSet: (actor, jsonLength) => {
        loader.changed(actor.key);
        cache.set(actor, jsonLength);
      },
      evict: (key) => {
        cache.delete(key);
        loader.changed(key);
      },
      postsWait: ports.postsWait,
      announcements: ports.announcements,
      now: () => clock.now(),
    });
  }

  /** The partition's inbox has something new, or a source for it. A glance serves for a round of its own, so the only ring must have brought it. */
  ring(partition: number, glance?: Glance): void {
    // Another engine's; whoever opens it rings. A source is everybody's.
    if (this.#ports.partitions[partition] === undefined) {
      if (glance !== undefined && glance.inbox.added.length === 0) this.ringSources();
      return;
    }
    this.#glance = this.#rung.size === 0 && !this.#sourcesRung ? glance : undefined;
    this.#rung.add(partition);
    this.#wakeup.wake();
  }

  /** A source has something new: it is read at once, and once, however often it rings until then. */
  ringSources(): void {
    this.#glance = undefined;
    this.#sourcesRung = true;
    this.#wakeup.wake();
  }

  /** These actors of the partition may go. */
  sweep(partition: Partition, overdue: readonly Overdue[]): void {
    if (overdue.length === 0 || this.#ports.partitions[partition.number] !== partition) return;
    partition.overdue(overdue);
    this.#wakeup.wake();
  }

  /** The partition is no longer ours, or is made anew. */
  forget(partition: number): void {
    this.#loader.forget(partition);
  }

  /** Redis's time by our clock: for deciding when to look, never for a step. */
  redisNow(): number {
    return this.#ports.clock.now() + this.#redisOffsetMs;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { settings } = this.#ports;
    let committing: Promise<void> = Promise.resolve();
    let reading: Reading | undefined;
    while (!signal.aborted) {
      reading ??= this.#beginRead();
      if (reading === undefined) {
        await this.#wakeup.sleep(this.#idleMs(), signal);
        continue;
      }
      const answer = await reading.answer;
      if (answer instanceof Error) {
        reading = undefined;
        await this.#pauseAfterFailure(signal);
        continue;
      }
      this.#failures = 0;
      this.#take(reading, answer);
      // What came with its actors is committed before anything else is thought of.
      const first = reading.request.withActors ? this.#build(this.#stillOwned(reading.partitions), settings.roundEventsMax) : [];
      if (first.length > 0) {
        await committing;
        committing = this.#commit(first, signal);
      }
      reading = this.#beginRead(true);
      this.#loader.request(this.#owned().filter((partition) => !partition.blocked));
      const room = settings.roundEventsMax - first.reduce((sum, batch) => sum + batch.size, 0);
      // Asked anew each time who is owned: one that was lost while we waited must leave nothing in memory.
      let batches = this.#build(this.#owned(), room);
      if (batches.length === 0 && first.length === 0 && this.#loader.pending !== undefined) {
        if (!(await this.#loader.pending)) await this.#pauseAfterFailure(signal);
        batches = this.#build(this.#owned(), room);
      }
      if (batches.length > 0) {
        await committing;
        committing = this.#commit(batches, signal);
      }
    }
    await committing;
    await reading?.answer;
  }

  #owned(): readonly Partition[] {
    return this.#ports.partitions.filter((partition) => partition !== undefined);
  }

  #stillOwned(partitions: readonly Partition[]): readonly Partition[] {
    return partitions.filter((partition) => this.#ports.partitions[partition.number] === partition);
  }

  /**
   * Sends the next read; undefined when nothing calls for one. `ahead`: a round is about to be built of what is here, so that alone
   * is no reason to read; on a quiet machine each read costs as much as a step.
   */
  #beginRead(ahead = false): Reading | undefined {
    const { clock, settings, store, readers } = this.#ports;
    const owned = this.#owned();
    if (owned.length === 0) return undefined;
    const poll = clock.now() - this.#polledAt >= settings.pollMs;
    const soon = this.redisNow();
    const wanted = owned.filter((one) => this.#wantsRead(one, poll, soon));
    const backlog = this.#sourcesRung || readers.some((reader) => reader.backlog);
    if (wanted.length === 0 && !backlog && !poll && (ahead || !this.#hasWork(owned))) return undefined;
    if (poll) this.#polledAt = clock.now();
    for (const one of wanted) this.#rung.delete(one.number);
    const sourcesRung = this.#sourcesRung;
    this.#sourcesRung = false;
    const open = readers.filter((reader) => reader.position !== null && this.#hasRoom(owned, reader));
    const withActors = wanted.length <= QUIET_PARTITIONS_MAX && !open.some((reader) => reader.backlog);
    const settledAt = wanted.map((one) => (one.uncommitted.size === 0 ? one.commit : undefined));
    const request: ReadRequest = {
      inboxes: wanted.map((one) => ({ partition: one.number, after: one.inboxRead })),
      withActors,
      sources: open.map(({ source: { stream, binary }, position }) => ({ stream, after: position as string, ...(binary === undefined ? {} : { binary }) })),
      count: settings.inboxReadCount,
      sourceCount: settings.sourceReadCount,
    };
    const glanced = this.#glanced(wanted, settledAt[0], open);
    const answer =
      glanced ??
      store.read(request).catch((error: unknown) => {
        for (const one of wanted) this.#rung.add(one.number);
        this.#sourcesRung ||= sourcesRung;
        this.#ports.meter.count('read_failures');
        return error instanceof Error ? error : new Error(String(error));
      });
    return { request, partitions: wanted, settledAt, readers: open, answer, glanced: glanced !== undefined };
  }

  /** The answer that the ring brought, if it is one. */
  #glanced([partition, ...others]: readonly Partition[], settledAt: CommitId | undefined, open: readonly SourceReader[]): ReadResult | undefined {
    const glance = this.#glance;
    this.#glance = undefined;
    if (glance === undefined || partition === undefined || others.length > 0 || open.length < this.#ports.readers.length) return undefined;
    return answerOf(glance, { partition, settledAt, readers: open, redisNow: this.redisNow() });
  }

  #wantsRead(partition: Partition, poll: boolean, soon: number): boolean {
    if (partition.blocked || partition.inboxPending.length >= (AHEAD_BATCHES - 1) * this.#ports.settings.inboxReadCount + 1) return false;
    return poll || partition.inboxBacklog || this.#rung.has(partition.number) || partition.nextFiring() < soon || partition.awaitsWatermark();
  }

  #hasRoom(owned: readonly Partition[], reader: SourceReader): boolean {
    const max = SOURCE_ROUNDS_PENDING_MAX * this.#ports.settings.sourceReadCount;
    return owned.every((one) => (one.sources.get(reader.source.stream)?.pending.length ?? 0) < max);
  }

  /** Something that was read waits to be applied. */
  #hasWork(owned: readonly Partition[]): boolean {
    return owned.some((one) => !one.blocked && (one.hasPending() || one.hasOverdue || one.nextFiring() <= one.watermark));
  }

  /** How long nothing is due: until the next poll or the next timer. A timer fires one millisecond after its due time at the earliest. */
  #idleMs(): number {
    const { settings, clock } = this.#ports;
    let due = Infinity;
    for (const one of this.#owned()) if (!one.blocked) due = Math.min(due, one.nextFiring());
    const untilPoll = this.#polledAt + settings.pollMs - clock.now();
    return Math.max(0, Math.min(untilPoll, due + 1 - this.redisNow()));
  }

  #take(reading: Reading, answer: ReadResult): void {
    const { partitions, settings, clock } = this.#ports;
    this.#readAt = answer.time;
    if (!reading.glanced) this.#redisOffsetMs = answer.time - clock.now();
    for (const [index, partition] of reading.partitions.entries()) {
      // Made anew since the read was sent: what was read belongs to the old one.
      if (partitions[partition.number] !== partition) continue;
      if (partition.inboxRead !== reading.request.inboxes[index]?.after) continue;
      partition.takeInbox(answer.inboxes[index] ?? [], settings.inboxReadCount, answer.time);
      // What was read beside them is what is stored only if nothing was built since.
      if (reading.settledAt[index] === partition.commit) this.#loader.take(partition, answer.actors[index] ?? []);
    }
    for (const [index, reader] of reading.readers.entries()) {
      const read = answer.sources[index];
      const after = reading.request.sources[index]?.after;
      if (read !== undefined && after !== undefined) reader.deal(read, after, settings.sourceReadCount, answer.time, partitions);
    }
  }

  /** One batch of each partition in turn, until the round is full: a long round would hold up leases and requests. */
  #build(from: readonly Partition[], eventsMax: number): readonly Batch[] {
    const batches: Batch[] = [];
    let events = 0;
    for (let count = 0; count < from.length && events < eventsMax; count++) {
      const partition = from[this.#turn++ % from.length] as Partition;
      const built = this.#builder.build(partition, this.#readAt);
      this.#loader.release();
      if (built.kind === 'isolate') this.#ports.lose(partition, { why: 'isolate', ref: built.ref });
      if (built.kind !== 'batch') continue;
      batches.push(built.batch);
      events += built.batch.size;
    }
    return batches;
  }

  async #commit(built: readonly Batch[], signal: AbortSignal): Promise<void> {
    const { clock, meter, partitions } = this.#ports;
    const ours = built.filter(({ partition }) => partitions[partition.number] === partition);
    const batches = ours.filter(({ partition }) => !partition.blocked);
    for (const batch of ours) if (batch.partition.blocked) this.#following.set(batch.partition, batch);
    if (batches.length === 0) return;
    const began = clock.now();
    const results = await this.#send(batches);
    meter.observe('commit_seconds', (clock.now() - began) / 1_000);
    const committed: Batch[] = [];
    const refused: Batch[] = [];
    for (const [index, batch] of batches.entries()) {
      const result = results[index] ?? new Error('The store answered fewer commits than it was given.');
      if (result instanceof Error) {
        void this.#repeat(batch, result, signal);
      } else if (this.#conclude(batch, result)) {
        committed.push(batch);
        if (isRefused(result)) refused.push(batch);
      }
    }
    // First, so that what the store gives back is not carried out twice.
    for (const { partition } of refused) this.#ports.lose(partition, { why: 'refused' });
    if (committed.length > 0) this.#ports.settle(committed);
  }

  async #send(batches: readonly Batch[]): Promise<readonly (CommitResult | Error)[]> {
    try {
      return await this.#ports.store.commit(batches.map((batch) => batch.request));
    } catch (error) {
      const failure = error instanceof Error ? error : new Error(String(error));
      return batches.map(() => failure);
    }
  }

  /** True when the batch is committed. */
  #conclude(batch: Batch, result: CommitResult): boolean {
    const { partition } = batch;
    const { meter, lose, announcements } = this.#ports;
    if (result.kind !== 'committed') {
      meter.count(result.kind);
      lose(partition, result.kind === 'diverged' ? { why: 'diverged', stored: result.stored } : { why: result.kind });
      return false;
    }
    meter.count('commits');
    if (result.repeated) meter.count('commits_repeated');
    if (!result.refused) meter.count('posts', batch.request.posts.length);
    for (const actor of batch.changed) if (partition.uncommitted.get(actor.key) === actor) partition.uncommitted.delete(actor.key);
    for (const key of batch.removed) if (partition.uncommitted.get(key) === null) partition.uncommitted.delete(key);
    announcements.answered(batch.request.channels, result.heard, batch.owed.untold);
    return true;
  }

  /** Invariant 3: until the partition's lease is lost or we stop. */
  async #repeat(unanswered: Batch, failure: Error, signal: AbortSignal): Promise<void> {
    const { clock, meter, partitions, settle } = this.#ports;
    const { partition } = unanswered;
    partition.blocked = true;
    this.#ports.failed(partition, failure);
    let batch: Batch | undefined = unanswered;
    for (let pauseMs = FAILURE_PAUSE_MS; batch !== undefined; pauseMs = Math.min(FAILURE_PAUSE_MS_MAX, pauseMs * 2)) {
      meter.count('commits_failed');
      await clock.sleep(pauseMs * (0.5 + clock.random()), signal);
      if (signal.aborted || partitions[partition.number] !== partition) break;
      let [result] = await this.#send([batch]);
      while (result !== undefined && !(result instanceof Error) && this.#conclude(batch, result)) {
        if (isRefused(result)) this.#ports.lose(partition, { why: 'refused' });
        settle([batch]);
        batch = partitions[partition.number] === partition ? this.#following.get(partition) : undefined;
        this.#following.delete(partition);
        if (batch === undefined) break;
        [result] = await this.#send([batch]);
      }
      if (result !== undefined && !(result instanceof Error)) break;
    }
    this.#following.delete(partition);
    partition.blocked = false;
    this.#wakeup.wake();
  }

  async #pauseAfterFailure(signal: AbortSignal): Promise<void> {
    const { clock } = this.#ports;
    const pauseMs = Math.min(FAILURE_PAUSE_MS_MAX, FAILURE_PAUSE_MS * 2 ** Math.min(this.#failures++, 6));
    await clock.sleep(pauseMs * (0.5 + clock.random()), signal);
  }
}

function isRefused(result: CommitResult): boolean {
  return result.kind === 'committed' && result.refused;
}
