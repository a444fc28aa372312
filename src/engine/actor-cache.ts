/**
 * Committed actors in memory, bounded by bytes.
 *
 * Evicts at random: a fleet's heartbeats scan the actors cyclically, and evicting the least recently used one
 * would then always evict the one that is needed next. (I8)
 */
import type { ActorKey } from '../protocol/ids.ts';
import type { LiveActor } from '../core/decision.ts';

/** What an actor in memory weighs beyond the characters of its record, measured on the node machine (1,850 bytes all in all). */
const LIVE_OVERHEAD_BYTES = 1_600;

interface Cached {
  actor: LiveActor;
  bytes: number;
  slot: number;
}

export class ActorCache {
  readonly #bytesMax: number;
  readonly #random: () => number;
  readonly #cached = new Map<ActorKey, Cached>();
  /** The keys in no order: a random one is found without a scan. */
  readonly #slots: ActorKey[] = [];
  #bytes = 0;

  constructor(bytesMax: number, random: () => number) {
    this.#bytesMax = bytesMax;
    this.#random = random;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get size(): number {
    return this.#cached.size;
  }

  get(key: ActorKey): LiveActor | undefined {
    return this.#cached.get(key)?.actor;
  }

  /** `jsonLength`: characters of the actor's record; undefined when the record is as it was. */
  set(actor: LiveActor, jsonLength?: number): void {
    const known = this.#cached.get(actor.key);
    if (known !== undefined) {
      known.actor = actor;
      if (jsonLength === undefined) return;
      this.#bytes += jsonLength + LIVE_OVERHEAD_BYTES - known.bytes;
      known.bytes = jsonLength + LIVE_OVERHEAD_BYTES;
    } else {
      const bytes = (jsonLength ?? 0) + LIVE_OVERHEAD_BYTES;
      this.#cached.set(actor.key, { actor, bytes, slot: this.#slots.length });
      this.#slots.push(actor.key);
      this.#bytes += bytes;
    }
    while (this.#bytes > this.#bytesMax && this.#slots.length > 1) {
      const victim = this.#slots[Math.floor(this.#random() * this.#slots.length)];
      if (victim !== undefined) this.delete(victim);
    }
  }

  delete(key: ActorKey): void {
    const cached = this.#cached.get(key);
    if (cached === undefined) return;
    this.#cached.delete(key);
    this.#bytes -= cached.bytes;
    const last = this.#slots.pop() as ActorKey;
    if (last === key) return;
    this.#slots[cached.slot] = last;
    (this.#cached.get(last) as Cached).slot = cached.slot;
  }

  /** Forgets every actor for which `of` is true: those of a partition that another engine took over. */
  forget(of: (key: ActorKey) => boolean): void {
    for (const key of [...this.#cached.keys()]) if (of(key)) this.delete(key);
  }
}
