/** What the tests of the port suite share: the store under test, and partitions that no other test uses. */
import type { CommitRequest, CommitResult, EngineStore, PartitionState } from '../../src/engine/ports.ts';
import { actorKey, partitionOf, type ActorKey } from '../../src/protocol/ids.ts';
import type { StoreHarness } from './store-harness.ts';

export const LEASE_MS = 60_000;
/** Partitions below are given out one after the other; those from here on belong to named actors. */
const ACTOR_PARTITIONS_FROM = 40;

export class SuiteContext {
  #harness: StoreHarness | undefined;
  #nextPartition = 0;
  readonly #used = new Set<number>();

  open(harness: StoreHarness): void {
    this.#harness = harness;
  }

  get harness(): StoreHarness {
    if (!this.#harness) throw new Error('The store is not open yet.');
    return this.#harness;
  }

  get store(): EngineStore {
    return this.harness.store;
  }

  freshPartition(): number {
    if (this.#nextPartition === ACTOR_PARTITIONS_FROM) throw new Error('The suite has used up its partitions.');
    return this.#nextPartition++;
  }

  /** An actor whose partition no other test uses: found by trying names. */
  actorFor(test: string): ActorKey {
    for (let attempt = 0; ; attempt++) {
      const key = actorKey('node', `${test}-${attempt}`);
      const partition = partitionOf(key);
      if (partition < ACTOR_PARTITIONS_FROM || this.#used.has(partition)) continue;
      this.#used.add(partition);
      return key;
    }
  }

  async own(partition: number, owner = 'engine-a', sources: readonly string[] = []): Promise<PartitionState> {
    const result = await this.store.acquire(partition, owner, LEASE_MS, sources);
    if (result.kind !== 'acquired') throw new Error(`Partition ${partition} is held by ${result.owner}.`);
    return result.state;
  }

  /** Takes a partition in the name of whoever holds it. */
  async takeOver(partition: number): Promise<{ readonly owner: string; readonly state: PartitionState }> {
    const result = await this.store.acquire(partition, 'engine-a', LEASE_MS);
    const owner = result.kind === 'held' ? result.owner : 'engine-a';
    return { owner, state: await this.own(partition, owner) };
  }

  async commitOne(request: CommitRequest): Promise<CommitResult> {
    const [result] = await this.store.commit([request]);
    if (!result || result instanceof Error) throw result ?? new Error('The store answered nothing.');
    return result;
  }
}
