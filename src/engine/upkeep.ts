/**
 * What an engine does now and then so that nothing grows without end: feeds, our own source streams, actors that have been kept for long enough. (I8)
 *
 * 1. It fails softly: what was not dropped now is dropped the next time.
 */
import { PARTITION_COUNT } from '../protocol/ids.ts';
import type { StreamSource } from '../protocol/source.ts';
import type { HostedTypes } from './actor-types.ts';
import type { Overdue, Partition } from './partition.ts';
import type { Clock, EngineStore, OverdueQuery, Retention } from './ports.ts';
import type { EngineSettings } from './settings.ts';

/** Actors of one partition and state that one look answers; when there are more, the next look comes soon. */
const OVERDUE_MAX = 500;
/** Between two looks while there are more: the batches that remove what the last one found need a few rounds. */
const SOON_MS = 100;
/** This partition's owner trims the sources, for all. */
const TRIMMING_PARTITION = 0;

export interface UpkeepPorts {
  readonly store: Pick<EngineStore, 'trim' | 'trimSource' | 'overdue'>;
  readonly clock: Clock;
  readonly settings: EngineSettings;
  readonly types: HostedTypes;
  readonly sources: readonly StreamSource[];
  /** The owned partitions, by number. */
  readonly partitions: readonly (Partition | undefined)[];
  readonly sweep: (partition: Partition, overdue: readonly Overdue[]) => void;
  readonly redisNow: () => number;
}

export class Upkeep {
  readonly #ports: UpkeepPorts;

  constructor(ports: UpkeepPorts) {
    this.#ports = ports;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock, settings } = this.#ports;
    let trimmedAt = clock.now();
    let more = false;
    while (!signal.aborted) {
      await clock.sleep(more ? Math.min(SOON_MS, settings.trimEveryMs) : settings.trimEveryMs, signal);
      if (signal.aborted) return;
      if (clock.now() - trimmedAt >= settings.trimEveryMs) {
        await this.#trimFeeds(signal);
        await this.#trimSources();
        trimmedAt = clock.now();
      }
      more = await this.#sweep().catch(() => false);
    }
  }

  async #trimFeeds(signal: AbortSignal): Promise<void> {
    const { store, settings, types, partitions } = this.#ports;
    const retention = Object.fromEntries(
      [...types.all].map(({ registered, retention: own }): [string, Retention] => [registered.type, { ...settings.retention, ...own }]),
    );
    for (const partition of partitions) {
      if (partition === undefined || signal.aborted) continue;
      await store.trim(partition.number, retention).catch(() => undefined);
    }
  }

  async #trimSources(): Promise<void> {
    const { store, sources, partitions } = this.#ports;
    if (partitions[TRIMMING_PARTITION] === undefined) return;
    for (const { stream, trimBehind } of sources) if (trimBehind === true) await store.trimSource(stream).catch(() => undefined);
  }

  /** True when there is more than was answered. */
  async #sweep(): Promise<boolean> {
    const { store, sweep } = this.#ports;
    const asked = this.#queries();
    if (asked.length === 0) return false;
    const found = await store.overdue(asked.map(({ query }) => query));
    for (const [index, { partition, query }] of asked.entries()) {
      const { statePath } = query;
      sweep(
        partition,
        (found[index] ?? []).map(([key, enteredAt]) => ({ key, statePath, enteredAt })),
      );
    }
    return found.some((actors) => actors.length >= OVERDUE_MAX);
  }

  #queries(): readonly { readonly partition: Partition; readonly query: OverdueQuery }[] {
    const { types, partitions, redisNow } = this.#ports;
    const now = redisNow();
    const queries: { readonly partition: Partition; readonly query: OverdueQuery }[] = [];
    for (const { registered, keep = {} } of types.all) {
      for (const [statePath, { maxAgeMs, maxCount }] of Object.entries(keep)) {
        const kept = { type: registered.type, statePath, enteredBefore: now - maxAgeMs, keep: Math.ceil(maxCount / PARTITION_COUNT), limit: OVERDUE_MAX };
        for (const partition of partitions) {
          // What the last look found is still waiting for its turn.
          if (partition === undefined || partition.hasOverdue) continue;
          queries.push({ partition, query: { partition: partition.number, ...kept } });
        }
      }
    }
    return queries;
  }
}
