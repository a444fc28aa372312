/**
 * Which partitions this engine owns: takes leases, renews them, gives them back.
 *
 * 1. A lease is a hint of who should work; what protects the data is the epoch that every commit carries. (I4)
 * 2. An outage of Redis costs no partition: a lease that could not be renewed is used until another engine's epoch refuses us.
 * 3. A partition that must be made anew is taken again, under a new epoch.
 */
import { PARTITION_COUNT } from '../protocol/ids.ts';
import type { Clock, EngineStore, PartitionState } from './ports.ts';
import { Wakeup } from './wakeup.ts';

export interface MembershipPorts {
  readonly store: Pick<EngineStore, 'acquire' | 'renew' | 'release'>;
  readonly clock: Clock;
  readonly owner: string;
  readonly leaseMs: number;
  /** Streams that are read besides the inboxes. */
  readonly sources: readonly string[];
  /** Taken over: may read more of the store. Rejects to be tried again. */
  readonly open: (partition: number, state: PartitionState) => Promise<void>;
  /** Found to belong to another engine. */
  readonly close: (partition: number) => void;
}

/** Leases are renewed this many times within their length. */
const RENEWALS_PER_LEASE = 4;
/** Partitions taken at once: enough to be quick, few enough not to flood Redis at a start. */
const ACQUIRE_AT_ONCE = 8;

export class Membership {
  readonly #ports: MembershipPorts;
  readonly #epochs = new Map<number, number>();
  readonly #wakeup: Wakeup;
  #openedWaiters: (() => void)[] = [];

  constructor(ports: MembershipPorts) {
    this.#ports = ports;
    this.#wakeup = new Wakeup(ports.clock);
  }

  get owned(): number {
    return this.#epochs.size;
  }

  /** Resolves when all partitions are owned. */
  async complete(): Promise<void> {
    if (this.#epochs.size < PARTITION_COUNT) await new Promise<void>((resolve) => this.#openedWaiters.push(resolve));
  }

  /** Drops a partition; it is taken again as soon as its lease allows. */
  drop(partition: number): void {
    this.#epochs.delete(partition);
    this.#wakeup.wake();
  }

  async run(signal: AbortSignal): Promise<void> {
    const { leaseMs } = this.#ports;
    while (!signal.aborted) {
      await this.#acquireMissing(signal);
      await this.#wakeup.sleep(leaseMs / RENEWALS_PER_LEASE, signal);
      if (!signal.aborted) await this.#renew();
    }
  }

  /** Gives all leases back, so that the next engine need not wait for their end. */
  async release(): Promise<void> {
    const leases = this.#leases();
    this.#epochs.clear();
    if (leases.length > 0) await this.#ports.store.release(this.#ports.owner, leases);
  }

  #leases(): readonly { readonly partition: number; readonly epoch: number }[] {
    return [...this.#epochs].map(([partition, epoch]) => ({ partition, epoch }));
  }

  async #acquireMissing(signal: AbortSignal): Promise<void> {
    const missing = Array.from({ length: PARTITION_COUNT }, (_, partition) => partition).filter((partition) => !this.#epochs.has(partition));
    for (let from = 0; from < missing.length && !signal.aborted; from += ACQUIRE_AT_ONCE) {
      await Promise.all(missing.slice(from, from + ACQUIRE_AT_ONCE).map((partition) => this.#acquire(partition)));
    }
    if (this.#epochs.size === PARTITION_COUNT) for (const resolve of this.#openedWaiters.splice(0)) resolve();
  }

  async #acquire(partition: number): Promise<void> {
    const { store, owner, leaseMs, sources, open } = this.#ports;
    try {
      const result = await store.acquire(partition, owner, leaseMs, sources);
      if (result.kind === 'held') return;
      await open(partition, result.state);
      this.#epochs.set(partition, result.state.epoch);
    } catch {
      // Redis is away: the next turn tries again.
    }
  }

  async #renew(): Promise<void> {
    const { store, owner, leaseMs, close } = this.#ports;
    const leases = this.#leases();
    if (leases.length === 0) return;
    let kept: readonly boolean[];
    try {
      kept = await store.renew(owner, leases, leaseMs);
    } catch {
      return; // invariant 2
    }
    for (const [index, { partition, epoch }] of leases.entries()) {
      if (kept[index] !== false || this.#epochs.get(partition) !== epoch) continue;
      this.#epochs.delete(partition);
      close(partition);
    }
  }
}
