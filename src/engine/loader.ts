/**
 * Brings the actors that coming batches need into memory, one batch ahead, so that the loop does not wait for Redis.
 *
 * 1. What is held here is what is stored: it is dropped as soon as a batch changes the actor, and an answer that comes
 *    after such a change is not believed.
 * 2. A loaded actor is held until a batch has used it, even if the cache has evicted it meanwhile: a small cache makes
 *    batches slow, never stuck.
 */
import type { LiveActor } from '../core/decision.ts';
import { restore, type ParkedActor } from '../core/kernel.ts';
import { partitionOf, typeOf, type ActorKey } from '../protocol/ids.ts';
import type { ActorCache } from './actor-cache.ts';
import type { HostedTypes } from './actor-types.ts';
import type { Meter } from './meter.ts';
import type { Partition } from './partition.ts';
import type { EngineStore, StoredActor } from './ports.ts';

/** Null: there is no such actor. */
export type Loaded = LiveActor | ParkedActor | null;

interface LoadRequest {
  readonly partition: number;
  readonly keys: readonly ActorKey[];
  readonly for: Partition;
}

export interface LoaderPorts {
  readonly store: Pick<EngineStore, 'load'>;
  readonly cache: ActorCache;
  readonly types: HostedTypes;
  readonly meter: Meter;
  /** Due timers of a partition whose actors are loaded at once: one batch. */
  readonly timersMax: number;
}

export class Loader {
  readonly #ports: LoaderPorts;
  readonly #held = new Map<ActorKey, Loaded>();
  /** Which load will answer for an actor. */
  readonly #loading = new Map<ActorKey, number>();
  #used: ActorKey[] = [];
  #loads = 0;
  #pending = new Set<Promise<boolean>>();

  constructor(ports: LoaderPorts) {
    this.#ports = ports;
  }

  /** Resolves when the next load is answered: false when the store did not answer. Undefined when none is under way. */
  get pending(): Promise<boolean> | undefined {
    return this.#pending.size === 0 ? undefined : Promise.race(this.#pending);
  }

  /** Undefined when it is not in memory. */
  find(partition: Partition, key: ActorKey): Loaded | undefined {
    const uncommitted = partition.uncommitted.get(key);
    const known = uncommitted === undefined ? this.#ports.cache.get(key) : uncommitted;
    if (known !== undefined) return known;
    const held = this.#held.get(key);
    if (held !== undefined) this.#used.push(key);
    return held;
  }

  /** A batch changed the actor: what was stored of it is history. */
  changed(key: ActorKey): void {
    if (this.#held.size > 0) this.#held.delete(key);
    if (this.#loading.size > 0) this.#loading.delete(key);
  }

  /** The batch that asked is built: what it used need not be held any longer. */
  release(): void {
    if (this.#used.length === 0) return;
    for (const key of this.#used) this.#held.delete(key);
    this.#used = [];
  }

  /** The partition is no longer ours, or is made anew. */
  forget(partition: number): void {
    for (const key of [...this.#held.keys()]) if (partitionOf(key) === partition) this.#held.delete(key);
    for (const key of [...this.#loading.keys()]) if (partitionOf(key) === partition) this.#loading.delete(key);
  }

  /** Takes in what was read of actors beside their entries. It must be what is stored. */
  take(partition: Partition, actors: readonly StoredActor[]): void {
    for (const actor of actors) if (!this.#isHere(partition, actor.key) && isAddress(actor.key)) this.#hold(actor);
  }

  /** Unlike {@link find}, it counts as no use. */
  #isHere(partition: Partition, key: ActorKey): boolean {
    return partition.uncommitted.has(key) || this.#ports.cache.get(key) !== undefined || this.#held.has(key);
  }

  /** Asks for what the coming batches of these partitions need and nobody has asked for yet. */
  request(partitions: readonly Partition[]): void {
    const requests: LoadRequest[] = [];
    for (const partition of partitions) {
      const keys = this.#wanted(partition);
      if (keys.length > 0) requests.push({ partition: partition.number, keys, for: partition });
    }
    if (requests.length === 0) return;
    const load = ++this.#loads;
    for (const { keys } of requests) for (const key of keys) this.#loading.set(key, load);
    const answered = this.#load(requests, load).finally(() => this.#pending.delete(answered));
    this.#pending.add(answered);
  }

  async #load(requests: readonly LoadRequest[], load: number): Promise<boolean> {
    const { store, meter } = this.#ports;
    try {
      for (const actors of await store.load(requests)) {
        for (const actor of actors) if (this.#loading.get(actor.key) === load) this.#hold(actor);
      }
      return true;
    } catch {
      meter.count('read_failures');
      for (const request of requests) request.for.want(request.keys);
      return false;
    } finally {
      for (const { keys } of requests) for (const key of keys) if (this.#loading.get(key) === load) this.#loading.delete(key);
    }
  }

  #hold({ key, record }: StoredActor): void {
    const hosted = this.#ports.types.get(typeOf(key));
    if (hosted === undefined || record === null) {
      this.#held.set(key, null);
      return;
    }
    const actor = restore(hosted.registered, key, record);
    this.#held.set(key, actor);
    if ('record' in actor) this.#ports.cache.set(actor, record.length);
  }

  /** Drains what the partition read, or missed, since the last time; and looks at the timers that are due. */
  #wanted(partition: Partition): readonly ActorKey[] {
    const { timersMax } = this.#ports;
    const { watermark, observed, timers, liveness } = partition;
    const asked = partition.takeWanted();
    if (timers.nextDue() <= watermark) for (const { member } of timers.dueThrough(watermark, timersMax)) asked.push(actorOf(member));
    if (liveness.nextDue() <= observed.observed) for (const { member } of liveness.dueThrough(observed.observed, timersMax)) asked.push(actorOf(member));
    if (asked.length === 0) return asked;
    const keys = new Set<ActorKey>();
    for (const key of asked) {
      if (this.#isHere(partition, key) || this.#loading.has(key)) continue;
      if (isAddress(key)) keys.add(key);
    }
    return [...keys];
  }
}

/** What a foreign writer appended may be for anything. */
function isAddress(key: string): boolean {
  return key.includes('/');
}

function actorOf(member: string): ActorKey {
  return member.slice(0, member.indexOf(' ')) as ActorKey;
}
