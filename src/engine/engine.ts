/**
 * The engine: owns partitions and keeps its one loop, its outbox and its invocations running.
 *
 * A start takes all partitions; a stop ends the loop at a round's end, pays what is owed, and gives the leases back.
 * What a kill leaves undone the next owner finds in the store.
 */
import { restore } from '../core/kernel.ts';
import { InvalidSettingError } from '../protocol/errors.ts';
import { millisecondsOf, partitionOf, typeOf, PARTITION_COUNT, type ActorKey } from '../protocol/ids.ts';
import type { Outlet } from '../protocol/outlet.ts';
import type { ChannelSource, ListSource, StreamSource } from '../protocol/source.ts';
import { ActorCache } from './actor-cache.ts';
import { ChannelReader } from './channel-reader.ts';
import { readList } from './list-reader.ts';
import { Announcements } from './announcements.ts';
import { HostedTypes, type HostedType } from './actor-types.ts';
import type { Batch } from './batch-writes.ts';
import { Invocations } from './invocations.ts';
import type { Loss } from './loss.ts';
import { Membership } from './membership.ts';
import { Meter } from './meter.ts';
import type { ObservedTime } from './observed-time.ts';
import { Outbox } from './outbox.ts';
import { Partition } from './partition.ts';
import type { Clock, Doorbell, EngineStore, Intake, PartitionState } from './ports.ts';
import { Notices } from './notices.ts';
import { Rounds } from './rounds.ts';
import { DEFAULT_SETTINGS, type EngineSettings } from './settings.ts';
import { SourceReader } from './source-reader.ts';
import { Upkeep } from './upkeep.ts';

export interface EngineOptions {
  readonly store: EngineStore;
  readonly doorbell: Doorbell;
  readonly clock: Clock;
  readonly types: readonly HostedType[];
  readonly sources?: readonly StreamSource[];
  /** Types that live outside: messages to them become entries of other systems' streams. */
  readonly outlets?: readonly Outlet[];
  /** Lists and channels of other systems, read through `intake`. */
  readonly lists?: readonly ListSource[];
  readonly channels?: readonly ChannelSource[];
  readonly intake?: Intake;
  /** Unique to this process: `<host>-<pid>-<random>`. */
  readonly owner: string;
  readonly settings?: Partial<EngineSettings>;
  /** Told what an operator should hear of: partitions lost, source entries trimmed unread, effects given up. Must not throw. */
  readonly warn?: (message: string) => void;
}

/** What an engine tells of itself. */
export interface EngineReport {
  readonly state: Engine['state'];
  readonly owned: number;
  readonly outboxDepth: number;
  readonly invocationsRunning: number;
  readonly cachedActors: number;
  readonly cachedBytes: number;
  /** Time in which the sources could not be heard, longest of the partitions, ms. */
  readonly closedMs: number;
  /** By source: the lag of the partition that is furthest behind, ms. */
  readonly sourceLagMs: { readonly [stream: string]: number };
  /** How long commands have been waiting without any of them being delivered, ms. */
  readonly deliveryStalledMs: number;
}

type Lifecycle =
  | { readonly state: 'created' }
  | { readonly state: 'running'; readonly work: Stage; readonly owed: Stage }
  | { readonly state: 'stopping'; readonly stopped: Promise<void> }
  | { readonly state: 'stopped' };

/** Loops that are stopped together. */
interface Stage {
  readonly abort: AbortController;
  readonly ended: Promise<unknown>;
}

function stage(...loops: readonly ((signal: AbortSignal) => Promise<unknown>)[]): Stage {
  const abort = new AbortController();
  return { abort, ended: Promise.all(loops.map((loop) => loop(abort.signal))) };
}

export class Engine {
  readonly meter = new Meter();
  readonly #options: EngineOptions;
  readonly #notices: Notices;
  readonly #settings: EngineSettings;
  readonly #types: HostedTypes;
  readonly #partitions: (Partition | undefined)[] = Array.from({ length: PARTITION_COUNT }, () => undefined);
  readonly #readers: readonly SourceReader[];
  readonly #cache: ActorCache;
  readonly #rounds: Rounds;
  readonly #outbox: Outbox;
  readonly #invocations: Invocations;
  readonly #membership: Membership;
  readonly #upkeep: Upkeep;
  /** Entries that a partition, when it is made anew, must apply alone. */
  readonly #isolated = new Map<number, Set<string>>();
  /** What was heard for a partition that must be made anew, and in which epoch that was. */
  readonly #heard = new Map<number, { readonly epoch: number; readonly observed: ObservedTime }>();
  #lifecycle: Lifecycle = { state: 'created' };

  constructor(options: EngineOptions) {
    const { store, clock, owner, lists = [], channels = [] } = options;
    if (lists.length + channels.length > 0 && options.intake === undefined) throw new InvalidSettingError('intake', 'is needed to read lists and channels.');
    const settings = { ...DEFAULT_SETTINGS, ...options.settings };
    const { meter } = this;
    const notices = new Notices(clock, options.warn ?? ((): void => {}));
    this.#options = options;
    this.#notices = notices;
    this.#settings = settings;
    this.#types = new HostedTypes(options.types, options.outlets);
    this.#cache = new ActorCache(settings.cacheBytesMax, () => clock.random());
    this.#readers = (options.sources ?? []).map((source) => new SourceReader(source, settings.observationGapMs, meter, notices));
    this.#rounds = new Rounds({
      store,
      clock,
      settings,
      types: this.#types,
      meter,
      cache: this.#cache,
      partitions: this.#partitions,
      readers: this.#readers,
      settle: (batches) => this.#settle(batches),
      postsWait: (stream) => this.#outbox.postsWait(stream),
      announcements: new Announcements(store, notices),
      lose: (partition, loss) => this.#lose(partition, loss),
      failed: ({ number }, { message }) => notices.tell('commit-failed', `A commit of partition ${number} is repeated until it is answered. ${message}`),
    });
    const fenced = (partition: number): void => this.#close(partition);
    const redisNow = (): number => Math.round(this.#rounds.redisNow());
    this.#outbox = new Outbox({ store, clock, settings, types: this.#types, meter, owner, redisNow, fenced, notices });
    this.#invocations = new Invocations({ store, clock, meter, max: settings.invocationsMax });
    this.#upkeep = new Upkeep({
      store,
      clock,
      settings,
      types: this.#types,
      sources: options.sources ?? [],
      partitions: this.#partitions,
      sweep: (partition, overdue) => this.#rounds.sweep(partition, overdue),
      redisNow,
    });
    this.#membership = new Membership({
      store,
      clock,
      owner,
      leaseMs: settings.leaseMs,
      sources: (options.sources ?? []).map(({ stream }) => stream),
      open: (partition, state) => this.#open(partition, state),
      close: (partition) => this.#close(partition),
    });
  }

  get state(): Lifecycle['state'] {
    return this.#lifecycle.state;
  }

  get types(): HostedTypes {
    return this.#types;
  }

  /** Resolves when all partitions are owned and being worked on; a lease of a killed engine is waited for. */
  async start(): Promise<void> {
    if (this.#lifecycle.state !== 'created') throw new Error(`The engine was started before; it is ${this.#lifecycle.state}. Create a new one.`);
    this.#options.store.onReset?.(() => this.#reset());
    const owed = stage(
      (signal) => this.#outbox.run(signal),
      (signal) => this.#upkeep.run(signal),
    );
    const work = stage(
      () =>
        this.#options.doorbell.listen(
          (partition, glance) => this.#rounds.ring(partition, glance),
          () => this.#rounds.ringSources(),
        ),
      (signal) => this.#membership.run(signal),
      (signal) => this.#rounds.run(signal),
      ...this.#intakeLoops(),
    );
    this.#lifecycle = { state: 'running', work, owed };
    await Promise.race([this.#membership.complete(), work.ended, owed.ended]);
  }

  #intakeLoops(): readonly ((signal: AbortSignal) => Promise<void>)[] {
    const { lists = [], channels = [], intake, store, clock, owner } = this.#options;
    if (intake === undefined) return [];
    const { leaseMs, pollMs } = this.#settings;
    const ports = { intake, store, clock, owner, leaseMs, pollMs, meter: this.meter, notices: this.#notices };
    return [
      ...lists.map((source) => (signal: AbortSignal) => readList(source, ports, signal)),
      ...channels.map((source) => (signal: AbortSignal) => new ChannelReader(source, ports).run(signal)),
    ];
  }

  /** Ends the current round, pays what is owed, gives the leases back. Safe to call twice. */
  async stop(): Promise<void> {
    const lifecycle = this.#lifecycle;
    if (lifecycle.state === 'stopping') return lifecycle.stopped;
    if (lifecycle.state !== 'running') return;
    const stopped = this.#stop(lifecycle.work, lifecycle.owed);
    this.#lifecycle = { state: 'stopping', stopped };
    await stopped;
    this.#lifecycle = { state: 'stopped' };
  }

  report(): EngineReport {
    return {
      state: this.state,
      owned: this.#membership.owned,
      outboxDepth: this.#outbox.depth,
      invocationsRunning: this.#invocations.running,
      cachedActors: this.#cache.size,
      cachedBytes: this.#cache.bytes,
      closedMs: Math.max(0, ...this.#partitions.map((partition) => partition?.observed.closedMsTotal ?? 0)),
      sourceLagMs: this.#sourceLags(),
      deliveryStalledMs: this.#outbox.stalledMs,
    };
  }

  /** How far observed time stands behind a partition's time, ms: what turns a liveness timer's due time into one by the clock. */
  closedMsOf(partition: number): number {
    return this.#partitions[partition]?.observed.current.closedMs ?? 0;
  }

  /** By source: how old the oldest of its entries is that a partition has not applied, ms. Empty for a partition that is not owned. */
  sourceLagMsOf(partition: number): { readonly [stream: string]: number } {
    return this.#partitions[partition]?.sourceLagMs(this.#rounds.redisNow()) ?? {};
  }

  async #stop(...stages: readonly Stage[]): Promise<void> {
    for (const { abort, ended } of stages) {
      abort.abort();
      await ended;
    }
    await this.#invocations.stop();
    await this.#membership.release().catch(() => undefined); // the leases then end by themselves
    await this.#options.doorbell.close();
  }

  #sourceLags(): { readonly [stream: string]: number } {
    const worst: { [stream: string]: number } = {};
    for (const number of this.#partitions.keys()) {
      for (const [stream, lagMs] of Object.entries(this.sourceLagMsOf(number))) worst[stream] = Math.max(worst[stream] ?? 0, lagMs);
    }
    return worst;
  }

  async #open(number: number, state: PartitionState): Promise<void> {
    const { store, owner } = this.#options;
    const [running = []] = state.invoking.length === 0 ? [] : await store.load([{ partition: number, keys: state.invoking }]);
    const sources = this.#readers.map((reader) => reader.source);
    // Made anew by the one who heard so far, it is no reopening: else poison for one actor would give its neighbours' deadlines no end. (I6)
    const heard = this.#heard.get(number);
    const before = heard !== undefined && millisecondsOf(state.commit) <= heard.epoch ? heard.observed : undefined;
    const partition = new Partition(number, owner, state, sources, this.#settings.observationGapMs, this.#isolated.get(number), before);
    this.#isolated.delete(number);
    this.#heard.delete(number);
    this.#outbox.open(number, state.epoch, state.outbox, state.retries);
    for (const { key, record } of running) this.#resumeInvocations(number, key, record);
    this.#partitions[number] = partition;
    for (const reader of this.#readers) reader.include(partition);
    this.#rounds.ring(number);
  }

  #resumeInvocations(partition: number, key: ActorKey, json: string | null): void {
    const hosted = this.#types.get(typeOf(key));
    if (hosted === undefined || json === null) return;
    const actor = restore(hosted.registered, key, json);
    if ('record' in actor) this.#invocations.update(partition, hosted, key, null, actor.record);
  }

  /** The store may have lost writes that we hold for done: all partitions are made anew from what it has. (I1, I2, I5) */
  #reset(): void {
    this.#cache.forget(() => true); // at once, and not partition by partition
    for (const [number, partition] of this.#partitions.entries()) {
      if (partition === undefined) continue;
      this.meter.count('reloads');
      this.#close(number);
    }
  }

  #close(number: number): void {
    this.#partitions[number] = undefined;
    this.#cache.forget((key) => partitionOf(key) === number);
    this.#rounds.forget(number);
    this.#outbox.close(number);
    this.#invocations.close(number);
    this.#membership.drop(number);
  }

  #lose(partition: Partition, loss: Loss): void {
    if (this.#partitions[partition.number] !== partition) return;
    this.#tellOf(partition, loss);
    if (loss.why === 'isolate') this.#isolated.set(partition.number, new Set([...partition.isolated, loss.ref]));
    this.#heard.set(partition.number, { epoch: partition.epoch, observed: partition.observed });
    this.meter.count('reloads');
    this.#close(partition.number);
  }

  #tellOf({ number, commit }: Partition, loss: Loss): void {
    switch (loss.why) {
      case 'fenced':
        this.#notices.tell('fenced', `Partition ${number} was taken over by another engine; what this one had not committed of it was dropped.`);
        return;
      case 'diverged':
        this.#notices.tell(
          'diverged',
          `Redis holds commit ${loss.stored} of partition ${number} as its newest, where ${commit} was expected: it lost what came between, as after a restart or a failover. The partition is read anew.`,
        );
        return;
      case 'isolate':
        this.#notices.tell('isolate', `The entry ${loss.ref} of partition ${number} was rejected after changes to the same actor; it is applied again, alone.`);
        return;
      case 'refused': // told by the line that repeats the posts
      case 'overtaken': // part of the timer rule, nothing is wrong
        return;
    }
  }

  #settle(batches: readonly Batch[]): void {
    for (const { partition, owed } of batches) {
      // Lost meanwhile: its next owner finds in the store, and in their order, what is owed.
      if (this.#partitions[partition.number] !== partition) continue;
      this.#outbox.add(partition.number, owed.commit, owed.outbox);
      partition.settled(owed.commit);
      for (const { key, before, after } of owed.invoking) {
        const hosted = this.#types.get(typeOf(key));
        if (hosted !== undefined) this.#invocations.update(partition.number, hosted, key, before, after);
      }
    }
    const { store } = this.#options;
    const replies = batches.flatMap((batch) => batch.owed.replies);
    // Best effort: a sender that hears nothing asks again.
    if (replies.length > 0) store.reply(replies).catch(() => undefined);
  }
}
