/**
 * Watches the worker queues: adopts what others enqueue, and tells the jobs what foreign workers do with them.
 *
 * 1. Any number of processes may run it: every event carries a dedupe id made of stream, entry and what happened, so it is taken in once.
 *    Nothing is leased; looks of several processes cost reads, and change nothing twice.
 * 2. The look is what counts. Messages on the channels of jobs that foreign workers have are only heard sooner.
 * 3. Nobody is claimed from here: a job's actor alone decides that an attempt is over.
 */
import type { MachineEvent } from '../protocol/envelope.ts';
import { CONSUMER_PREFIX, DEFAULT_QUEUE } from '../protocol/job-progress.ts';
import type { HeldEntry, ObservedStream, ProgressListener, QueueContract, QueueLook, Queues } from '../protocol/queues.ts';
import type { Clock } from '../engine/ports.ts';
import { Wakeup } from '../engine/wakeup.ts';
import { endedId, stalledId, tellLook, tellOne, type WatchPorts } from './queue-watch.ts';

/** Between two looks at queues where all is ours, ms. */
const LOOK_MS = 1_000;
/** While foreign workers have been seen within {@link FOREIGN_MS}: their acknowledgement is all that tells of an end. */
const LOOK_FOREIGN_MS = 250;
const FOREIGN_MS = 60_000;
/** Queues looked at in one round trip. */
const QUEUES_AT_ONCE = 50;
/** Queues that are watched; more than an installation has. */
const QUEUES_MAX = 1_000;
/** Looks at a queue with more to tell, one after another, before the others have their turn. */
const ROUNDS_MAX = 20;
/** Steps over the key space in one round, for queues that nobody named: 10,000 keys a second. */
const SCAN_STEPS = 10;
const TIDY_MS = 10_000;
/** What other processes began to follow is heard of so often, ms. */
const TRACKED_MS = 10_000;
/** Between two signs of life of one job that are passed on, ms: a foreign worker may tell every token. */
const ALIVE_MS = 1_000;
/** Jobs whose channels are heard. */
const HEARD_MAX = 1_000;
/** Messages that were heard before it was seen who had the job: most are asked for within a look or two. */
const EARLY_MAX = 10_000;
/** Stalled entries that were told: remembered so as not to ask again every second. */
const TOLD_MAX = 10_000;

export interface QueueWardenPorts extends WatchPorts {
  readonly queues: Pick<Queues, 'scan'>;
  /** How entries of `jobs:v1:…` are read. */
  readonly contract: QueueContract;
  /** Other streams that are observed in the same way. */
  readonly others?: readonly { readonly stream: string; readonly contract: QueueContract }[];
  /** Absent: nothing is heard between two looks. */
  readonly progress?: ProgressListener;
  readonly clock: Clock;
  /** A consumer of ours that has not been seen for so long is gone, ms. */
  readonly leaseMs: number;
  /** Entries are held in this queue: it is to be pumped. */
  readonly onHeld?: (queue: string) => void;
  /** Told of a failed look; the next one comes by itself. Must not throw. */
  readonly onError?: (error: Error) => void;
}

/** In the messages of workers of ours, which report by themselves. */
const OURS = `"worker":"${CONSUMER_PREFIX}`;

/** Queues with a configuration of their own: `jobs:v1:config` is the device contract's. */
const NOT_WATCHED: ReadonlySet<string> = new Set(['jobs:v1:config']);

interface Watched {
  readonly stream: ObservedStream;
  readonly contract: QueueContract;
  readonly isQueue: boolean;
}

interface Following {
  readonly watched: Watched;
  readonly held: HeldEntry;
  aliveAt: number;
}

export class QueueWarden {
  readonly #ports: QueueWardenPorts;
  readonly #watched = new Map<string, Watched>();
  /** Jobs in the hands of foreign workers. */
  readonly #following = new Map<string, Following>();
  readonly #told = new Set<string>();
  /** By job of which it was not seen yet who has it: the newest message that was heard, but how it ended, once that was. */
  readonly #early = new Map<string, { readonly event: MachineEvent; readonly message: string }>();
  readonly #wakeup: Wakeup;
  readonly #stopping = new AbortController();
  #cursor = '0';
  #tidyAt = 0;
  #trackedAt = 0;
  #running: Promise<void> | undefined;

  constructor(ports: QueueWardenPorts) {
    this.#ports = ports;
    this.#wakeup = new Wakeup(ports.clock);
    for (const { stream, contract } of ports.others ?? []) this.#watched.set(stream, { stream: observed(stream, contract), contract, isQueue: false });
    this.watch(DEFAULT_QUEUE);
  }

  start(): void {
    if (this.#running !== undefined) return;
    this.#ports.progress?.listen((jobId, message) => this.#heard(jobId, message));
    this.#running = this.#run();
  }

  /** Ends after the look under way. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    await this.#ports.progress?.close();
  }

  /** Watches this queue too, from the next look on. Others are found by themselves. */
  watch(queue: string): void {
    if (NOT_WATCHED.has(queue) || this.#watched.has(queue) || this.#watched.size >= QUEUES_MAX) return;
    const { contract } = this.#ports;
    this.#watched.set(queue, { stream: observed(queue, contract), contract, isQueue: true });
  }

  /** Looks now instead of at the next turn. */
  ring(): void {
    this.#wakeup.wake();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      let foreign = false;
      try {
        await this.#find();
        foreign = await this.#lookAtAll();
        await this.#tidy();
        await this.#follow(foreign);
      } catch (error) {
        this.#ports.onError?.(error as Error);
      }
      await this.#wakeup.sleep(foreign ? LOOK_FOREIGN_MS : LOOK_MS, signal);
    }
  }

  /** A few steps over the key space, going on where the last round stopped. */
  async #find(): Promise<void> {
    for (let step = 0; step < SCAN_STEPS; step++) {
      const { cursor, queues } = await this.#ports.queues.scan(this.#cursor);
      for (const queue of queues) this.watch(queue);
      this.#cursor = cursor;
      if (cursor === '0') return;
    }
  }

  /** True when foreign workers are about. */
  async #lookAtAll(): Promise<boolean> {
    let foreign = false;
    let waiting = [...this.#watched.values()];
    for (let round = 0; waiting.length > 0 && round < ROUNDS_MAX && !this.#stopping.signal.aborted; round++) {
      const again: Watched[] = [];
      for (let at = 0; at < waiting.length; at += QUEUES_AT_ONCE) {
        const some = waiting.slice(at, at + QUEUES_AT_ONCE);
        const looks = await this.#ports.observer.look(
          some.map(({ stream }) => stream),
          this.#ports.leaseMs,
        );
        for (const [index, watched] of some.entries()) {
          const look = looks[index] as QueueLook;
          if (!look.exists) {
            if (look.marked) await this.#ports.observer.note([{ stream: watched.stream, claims: [], told: [] }]);
            continue;
          }
          if (await this.#takeAlone(watched, look)) again.push(watched);
          foreign ||= look.consumers.some(({ name, idleMs, pending }) => !name.startsWith(CONSUMER_PREFIX) && (pending > 0 || idleMs < FOREIGN_MS));
        }
      }
      waiting = again;
    }
    return foreign;
  }

  /** One queue's failure is not the others': it is looked at again in the next round. True when there is more to tell. */
  async #takeAlone(watched: Watched, look: QueueLook): Promise<boolean> {
    try {
      return (await this.#take(watched, look)).more;
    } catch (error) {
      this.#ports.onError?.(error as Error);
      return false;
    }
  }

  async #take(watched: Watched, look: QueueLook): Promise<{ readonly more: boolean }> {
    const { stream, contract, isQueue } = watched;
    // A group that begins at the stream's first entry has passed nothing: all that it passes from now on is looked at.
    const begun = isQueue && !look.hasGroup && (await this.#ports.observer.ensureGroup(stream));
    if (isQueue && look.gated && look.held > 0) this.#ports.onHeld?.(stream.stream);
    const stalled = look.stalled.filter((held) => !this.#told.has(stalledId(stream, held)));
    const result = await tellLook(
      this.#ports,
      stream,
      contract,
      { ...look, stalled, ...(begun ? { passed: '0-0' } : {}) },
      (jobId) => this.#early.get(jobId)?.message,
    );
    for (const held of stalled) this.#told.add(stalledId(stream, held));
    if (this.#told.size > TOLD_MAX) this.#told.clear();
    for (const held of look.claims) this.#begin(watched, held);
    for (const { fields } of look.acknowledged) this.#end(contract.jobOf(fields)?.jobId);
    return result;
  }

  #begin(watched: Watched, held: HeldEntry): void {
    const jobId = watched.contract.heard === undefined ? undefined : watched.contract.jobOf(held.fields)?.jobId;
    if (jobId === undefined || (this.#following.size >= HEARD_MAX && !this.#following.has(jobId))) return;
    const following: Following = { watched, held, aliveAt: -Infinity };
    this.#following.set(jobId, following);
    const early = this.#early.get(jobId);
    if (early === undefined) return;
    this.#early.delete(jobId);
    this.#pass(following, jobId, early.event).catch((error: unknown) => this.#ports.onError?.(error as Error));
  }

  #end(jobId: string | undefined): void {
    if (jobId === undefined) return;
    this.#following.delete(jobId);
    this.#early.delete(jobId);
  }

  async #tidy(): Promise<void> {
    const now = this.#ports.clock.now();
    if (now < this.#tidyAt) return;
    this.#tidyAt = now + TIDY_MS;
    await this.#ports.observer.tidy([...this.#watched.values()].filter(({ isQueue }) => isQueue).map(({ stream }) => stream));
  }

  /** Listens to the channels of those jobs that foreign workers have; while such workers are about, to all: a quick one is seen only when it is done. */
  async #follow(foreign: boolean): Promise<void> {
    const { progress, clock, observer } = this.#ports;
    if (progress === undefined) return;
    if (clock.now() >= this.#trackedAt) {
      this.#trackedAt = clock.now() + TRACKED_MS;
      const all = [...this.#watched.values()].filter(({ contract }) => contract.heard !== undefined);
      const tracked = await observer.tracked(all.map(({ stream }) => stream));
      const before = new Map(this.#following);
      this.#following.clear();
      for (const [index, watched] of all.entries()) for (const held of tracked[index] ?? []) this.#begin(watched, held);
      for (const [jobId, following] of this.#following) following.aliveAt = before.get(jobId)?.aliveAt ?? -Infinity;
    }
    await progress.follow([...this.#following.keys()], foreign);
  }

  #heard(jobId: string, message: string): void {
    if (message.includes(OURS)) return;
    const following = this.#following.get(jobId);
    const event = (following?.watched.contract ?? this.#ports.contract).heard?.(jobId, message);
    if (event === undefined) return;
    if (following === undefined) return this.#remember(jobId, event, message);
    this.#pass(following, jobId, event).catch((error: unknown) => this.#ports.onError?.(error as Error));
  }

  /** It is looked at once who has the job; its message waits until that is known. */
  #remember(jobId: string, event: MachineEvent, message: string): void {
    const known = this.#early.get(jobId);
    if (known === undefined) this.#wakeup.wake();
    if (known !== undefined && known.event.type !== 'alive' && event.type === 'alive') return;
    this.#early.set(jobId, { event, message });
    if (this.#early.size > EARLY_MAX) this.#early.delete(this.#early.keys().next().value as string);
  }

  /** What a message says is the job's at once. Its end has the dedupe id that the look's would have: whichever comes first counts. */
  async #pass({ watched, held, ...following }: Following, jobId: string, event: MachineEvent): Promise<void> {
    const { stream, contract } = watched;
    const { attempt } = contract.jobOf(held.fields) ?? {};
    const report = { ...event, worker: held.consumer, entry: held.entry, ...(attempt === undefined ? {} : { attempt }) };
    if (event.type !== 'alive') return await tellOne(this.#ports, stream, { entry: held.entry, jobId, event: report, dedupeId: endedId(stream, held.entry) });
    const now = this.#ports.clock.now();
    if (now < following.aliveAt + ALIVE_MS) return;
    const known = this.#following.get(jobId);
    if (known !== undefined) known.aliveAt = now;
    await tellOne(this.#ports, stream, { entry: held.entry, jobId, event: report });
  }
}

function observed(stream: string, { group, fields, ownField }: QueueContract): ObservedStream {
  return { stream, group, fields, ...(ownField === undefined ? {} : { ownField }) };
}
