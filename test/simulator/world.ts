/**
 * One simulated run: engines, senders and agents around one store, faults for a while, then a calm in which all must come to rest.
 *
 * 1. Everything that happens follows from the seed.
 * 2. In the calm nothing fails any more, so what is still open at its end was lost.
 */
import { createHash } from 'node:crypto';
import { registerActorType, type RegisteredType } from '../../src/core/kernel.ts';
import { Engine } from '../../src/engine/engine.ts';
import type { HostedType } from '../../src/engine/actor-types.ts';
import type { CommitRequest, EngineStore } from '../../src/engine/ports.ts';
import type { EngineSettings } from '../../src/engine/settings.ts';
import type { Delivery } from '../../src/protocol/command.ts';
import { decodePack } from '../../src/protocol/feed-pack.ts';
import type { Transition } from '../../src/protocol/record.ts';
import { drawFaults, NO_FAULTS, type Faults } from './faults.ts';
import { GONE_MS, KEEP_VISITORS, OBSERVATION_GAP_MS, out, streamOf, workloadTypes } from './machines.ts';
import { MemoryRedis, type MemoryRedisOptions, type Recorded } from './memory-store.ts';
import { SimulatedProcess, type Surroundings } from './process.ts';
import { chanceOf, type Chance } from './random.ts';
import { Scheduler } from './scheduler.ts';
import { beats, nothingExpected, runAgent, runPoisoner, runSender, STREAMS, type Expected } from './workload.ts';

const BEGINNING_MS = 1_700_000_000_000;
/** Faults go on for so long, at least and at most. */
const TROUBLE_MS = [6_000, 25_000] as const;
/** After so long without a fault everything must have come to rest. */
const REST_MS_MAX = 60_000;
const LEASE_MS = 1_500;
/** After so long in the calm every partition is heard again: a lease has ended, and what was slow or given up is answered. */
const REOPENED_MS_MAX = 5_000;
/** After so long the last beats have been read. */
const LAST_BEATS_MS = 1_000;
/** Events of one run are split among so many senders. */
const SENDERS = 3;

/** A journal entry with where it lies. */
export interface Journalled {
  readonly address: string;
  readonly commit: string;
  readonly transition: Transition;
}

/** A bug put in on purpose. */
export interface Plant {
  readonly redis?: (options: MemoryRedisOptions) => MemoryRedis;
  readonly store?: (store: EngineStore, redis: MemoryRedis) => EngineStore;
  /** Changes the engine's own code for the time of a run; returns how to undo it. */
  readonly install?: (redis: MemoryRedis) => () => void;
  /** Of its runs, where it would show too rarely: one that needs several faults at once. */
  readonly faults?: Partial<Faults>;
}

export interface Run {
  readonly seed: number;
  readonly redis: MemoryRedis;
  readonly expected: Expected;
  readonly types: ReadonlyMap<string, RegisteredType>;
  /** All transitions by partition, in the order of their commits. */
  readonly journal: readonly (readonly Journalled[])[];
  /** Deliveries in their order. */
  readonly deliveries: readonly Delivery[];
  /** What was found wrong while it ran. */
  readonly faults: string[];
  readonly log: readonly Recorded[];
  /** Of everything that happened. */
  readonly fingerprint: string;
  readonly steps: number;
}

export async function simulate(seed: number, plant: Plant = {}): Promise<Run> {
  const chance = chanceOf(seed);
  const scheduler = new Scheduler(chance.fork(), BEGINNING_MS);
  const world = new World(seed, chance, scheduler, plant);
  const uninstall = plant.install?.(world.redis);
  try {
    return await world.run();
  } finally {
    uninstall?.();
  }
}

class World implements Surroundings {
  readonly seed: number;
  readonly scheduler: Scheduler;
  readonly redis: MemoryRedis;
  readonly expected = nothingExpected();
  readonly found: string[] = [];
  readonly log: Recorded[] = [];
  readonly journal: Journalled[][] = [];
  readonly deliveries: Delivery[] = [];
  readonly #chance: Chance;
  readonly #plant: Plant;
  readonly #drawn: Faults;
  readonly #settings: Partial<EngineSettings>;
  readonly #hash = createHash('sha1');
  readonly #running: { process: SimulatedProcess; engine: Engine }[] = [];
  /** Epoch of the newest lease, by partition. */
  readonly #epochs = new Map<number, number>();
  readonly #committedKeys = new Set<string>();
  #calm = false;
  #over = false;
  #downUntil = 0;
  #born = 0;

  constructor(seed: number, chance: Chance, scheduler: Scheduler, plant: Plant) {
    this.seed = seed;
    this.scheduler = scheduler;
    this.#chance = chance;
    this.#plant = plant;
    this.#drawn = { ...drawFaults(chance), ...plant.faults };
    const options: MemoryRedisOptions = { now: () => Math.floor(scheduler.now), record: (entry) => this.#recorded(entry) };
    this.redis = plant.redis?.(options) ?? new MemoryRedis(options);
    this.journal = this.redis.partitions.map(() => []);
    this.#settings = {
      leaseMs: LEASE_MS,
      pollMs: chance.pick([100, 200, 400]),
      observationGapMs: OBSERVATION_GAP_MS,
      checkpointMs: chance.pick([500, 5_000]),
      batchEventsMax: chance.pick([1, 3, 20, 500]),
      inboxReadCount: chance.pick([2, 10, 500]),
      sourceReadCount: chance.pick([3, 50, 2_000]),
      cacheBytesMax: chance.pick([2_000, 20_000, 10_000_000]),
      trimEveryMs: chance.pick([150, 1_000, 5_000]),
      laneConcurrency: chance.pick([1, 4, 64]),
      laneRetriesMax: chance.pick([1, 4, 1_000]),
      effectAttemptsMax: 1_000,
      effectTimeoutMs: 2_000,
      retryDelayMs: 50,
      retryDelayMsMax: 1_000,
      invocationsMax: chance.pick([1, 16]),
    };
  }

  faults(): Faults {
    return this.#calm ? NO_FAULTS : this.#drawn;
  }

  isDown(): boolean {
    return this.scheduler.now < this.#downUntil;
  }

  note(what: string): void {
    this.#hash.update(`${this.scheduler.now} ${what}\n`);
  }

  async run(): Promise<Run> {
    const { scheduler } = this;
    const chance = this.#chance;
    const troubleEnd = scheduler.now + chance.between(...TROUBLE_MS);
    const end = troubleEnd + REOPENED_MS_MAX + OBSERVATION_GAP_MS + GONE_MS;
    for (let slot = 0; slot < this.#drawn.engines; slot++) this.#startEngine(slot, chance.between(0, 200));
    const sending = this.#startSenders(troubleEnd);
    this.#startAgents(troubleEnd);
    this.#trouble(troubleEnd);
    await scheduler.run(troubleEnd, () => false);
    this.#calm = true;
    this.redis.refusing.clear();
    this.note('calm');
    await scheduler.run(end, () => false);
    await scheduler.run(troubleEnd + REST_MS_MAX, () => sending.left === 0 && this.#rests());
    this.#over = true;
    await scheduler.run(scheduler.now + LAST_BEATS_MS, () => false);
    if (sending.left > 0) this.found.push('A sender did not come to its end.');
    if (!this.#rests()) this.found.push(`No rest: ${this.#unrest().join('; ')}`);
    else await this.#stop();
    const types = new Map(this.#types(undefined).map((hosted) => [hosted.registered.type, hosted.registered]));
    const { seed, redis, expected, journal, deliveries, log } = this;
    return { seed, redis, expected, types, journal, deliveries, faults: this.found, log, fingerprint: this.#hash.digest('hex'), steps: scheduler.steps };
  }

  /** Everything accepted was applied, everything committed was delivered, every timer has fired. */
  #rests(): boolean {
    return this.#unrest().length === 0;
  }

  #unrest(): readonly string[] {
    const open: string[] = [];
    for (const [number, partition] of this.redis.partitions.entries()) {
      const unread = partition.inbox.after(partition.inboxPosition).length;
      if (unread > 0) open.push(`partition ${number} has ${unread} unread entries`);
      if (partition.outbox.length > 0) open.push(`partition ${number} has ${partition.outbox.length} outbox entries`);
      if (partition.retries.size > 0) open.push(`partition ${number} has ${partition.retries.size} retries`);
      if (partition.invoking.size > 0) open.push(`partition ${number} has actors with invocations`);
      if (partition.timers.size > 0) open.push(`partition ${number} has timers: ${[...partition.timers.keys()].join(', ')}`);
      const rested = partition.indexes.get('visitor:rested')?.size ?? 0;
      if (rested > 0) open.push(`partition ${number} still has ${rested} visitors`);
    }
    return open;
  }

  #startEngine(slot: number, inMs: number): void {
    this.scheduler.in(inMs, () => {
      const name = `engine-${slot}.${this.#born++}`;
      const process = new SimulatedProcess(name, this, this.#chance.fork(), true);
      this.note(`${name} starts`);
      const store = process.connect();
      const engine = new Engine({
        store: this.#plant.store?.(store, this.redis) ?? store,
        doorbell: process.doorbell(),
        clock: process.clock,
        types: this.#types(process),
        sources: [{ ...beats, trimBehind: true }],
        outlets: [out],
        owner: name,
        settings: this.#settings,
      });
      this.#running[slot] = { process, engine };
      engine.start().catch((error: unknown) => this.found.push(`${name} ended: ${String((error as Error).stack)}`));
      process.onCrash(() => this.#startEngine(slot, this.#calm ? 0 : this.#chance.between(0, 3 * LEASE_MS)));
    });
  }

  /** The types as one engine process hosts them; without a process: for looking only. */
  #types(process: SimulatedProcess | undefined): readonly HostedType[] {
    const fetch = async (input: { readonly job: number; readonly attempt: number }): Promise<{ readonly job: number; readonly attempt: number }> => {
      await process?.wait(process.chance.between(0, 200));
      if (input.attempt < input.job % 3) throw new Error(`attempt ${input.attempt} fails`);
      return input;
    };
    const executor = async (delivery: Delivery): Promise<void> => {
      if (process === undefined) return;
      await process.wait(process.chance.between(0, 20));
      // One in a hundred never ends and does not heed its signal.
      if (process.chance.is(this.faults().effect / 50)) await new Promise(() => undefined);
      const fate = process.chance.next() / (this.faults().effect || 1e-9);
      if (fate < 0.5) throw new Error('The effect failed.');
      this.#delivered(delivery);
      if (fate < 1) throw new Error('The reply of the effect was lost.');
    };
    return workloadTypes(fetch).map((definition) => ({
      registered: registerActorType(definition),
      executors: { print: executor, log: executor },
      ...(definition.type === 'visitor' ? { keep: KEEP_VISITORS } : {}),
    }));
  }

  #startSenders(troubleEnd: number): { left: number } {
    const chance = this.#chance;
    const sending = { left: SENDERS };
    const events = chance.between(30, 120);
    const meanPauseMs = (troubleEnd - this.scheduler.now) / (events / SENDERS);
    for (let index = 1; index <= SENDERS; index++) {
      const process = new SimulatedProcess(`sender-${index}`, this, chance.fork(), false);
      const sender = { process, store: process.connect(), chance: chance.fork(), faults: () => this.faults(), expected: this.expected };
      void runSender(sender, Math.ceil(events / SENDERS), meanPauseMs).then(() => sending.left--);
    }
    return sending;
  }

  #startAgents(troubleEnd: number): void {
    const chance = this.#chance;
    const agents = chance.between(0, 5);
    for (let index = 1; index <= agents; index++) {
      const process = new SimulatedProcess(`agent-${index}`, this, chance.fork(), false);
      const diesAt = chance.is(0.3) ? chance.between(this.scheduler.now, troubleEnd) : undefined;
      const agent = { process, redis: this.redis, chance: chance.fork(), expected: this.expected, now: () => this.scheduler.now, isOver: () => this.#over };
      void runAgent({ ...agent, isDown: () => this.isDown() }, `n${index}`, diesAt);
      if (diesAt === undefined || chance.is(0.5)) continue;
      const poisoner = new SimulatedProcess(`poisoner-${index}`, this, chance.fork(), false);
      const sender = { process: poisoner, store: poisoner.connect(), chance: chance.fork(), faults: () => this.faults(), expected: this.expected };
      void runPoisoner(sender, `watched/n${index}`, () => this.#over);
    }
  }

  /** Once a virtual second: a pause, an outage, a stream that takes nothing for that second; none lasts into the calm. */
  #trouble(end: number): void {
    this.scheduler.in(1_000, () => {
      if (this.#calm) return;
      const chance = this.#chance;
      const { pause, outage, refusal } = this.#drawn;
      const mostMs = end - this.scheduler.now;
      const one = this.#running[chance.between(0, this.#running.length - 1)];
      if (chance.is(pause)) one?.process.pause(Math.min(mostMs, chance.between(100, 4 * LEASE_MS)));
      if (chance.is(outage)) this.#downUntil = this.scheduler.now + Math.min(mostMs, chance.between(100, 6_000));
      this.redis.refusing.clear();
      if (chance.is(refusal)) this.redis.refusing.add(streamOf(String(chance.between(1, STREAMS))));
      this.#trouble(end);
    });
  }

  async #stop(): Promise<void> {
    let stopped = 0;
    for (const { engine } of this.#running) void engine.stop().then(() => stopped++);
    await this.scheduler.run(this.scheduler.now + 10_000, () => stopped === this.#running.length);
    if (stopped < this.#running.length) this.found.push('An engine did not stop.');
    for (const [number, partition] of this.redis.partitions.entries()) {
      if (partition.owner !== null && this.#running.some(({ process }) => process.name === partition.owner))
        this.found.push(`Partition ${number} was not given back.`);
    }
  }

  #recorded(entry: Recorded): void {
    this.log.push(entry);
    if (entry.kind === 'lease') this.#epochs.set(entry.partition, entry.epoch);
    else if (entry.kind === 'commit' && entry.result.kind === 'committed' && !entry.result.repeated) this.#committed(entry.request);
  }

  #committed({ partition, id, feed, index: { add } }: CommitRequest): void {
    this.note(`commit ${partition} ${id}`);
    const epoch = this.#epochs.get(partition);
    if (id.split('-')[0] !== String(epoch)) this.found.push(`I4: partition ${partition} took commit ${id} in epoch ${epoch}.`);
    for (const [type, path, key] of add) {
      const all = this.redis.partition(partition).indexes.get(`${type}:`);
      if (path !== '' && all?.has(key) !== true) this.found.push(`Keep: ${key} was dropped and went on in ${id} as if it were not.`);
    }
    for (const { type, pack } of feed) {
      for (const [index, transition] of decodePack(type, pack).entries()) {
        this.journal[partition]?.push({ address: `${partition}:${id}:${index}`, commit: id, transition });
        for (const [place] of transition.commands.entries()) this.#committedKeys.add(`${transition.key}#${epoch}-${transition.revision}-${place}`);
      }
    }
  }

  #delivered(delivery: Delivery): void {
    this.note(`delivered ${delivery.key}`);
    this.deliveries.push(delivery);
    if (!this.#committedKeys.has(delivery.key)) this.found.push(`I5: ${delivery.key} was delivered and is not committed.`);
  }
}
