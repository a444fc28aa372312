/** What the port suite needs from an adapter besides the port: eyes on what was stored, and time that passes. */
import type { Doorbell, EngineStore, StreamEntry } from '../../src/engine/ports.ts';

export interface StoreHarness {
  readonly store: EngineStore;
  readonly doorbell: Doorbell;
  /** Resolves when the store's clock has moved on by so many milliseconds. */
  passTime(ms: number): Promise<void>;
  /** What an outside system does: XADD to a source stream. */
  addToSource(stream: string, fields: readonly string[]): Promise<string>;
  /** What a writer of ours does then. */
  ringSources(): Promise<void>;
  /** Entries of any stream that is not ours. */
  stream(key: string): Promise<readonly StreamEntry[]>;
  /** Makes a stream that is not ours take no entries: its key is of another type. */
  refuse(key: string): Promise<void>;
  /** JSON texts of the partition's dead letters, oldest first. */
  deadLetters(partition: number): Promise<readonly string[]>;
  /** Ids and packs of one feed. */
  feed(partition: number, type: string): Promise<readonly (readonly [id: string, pack: string])[]>;
  /** Actors and scores of one index, by score. */
  index(partition: number, type: string, path: string): Promise<readonly (readonly [actor: string, score: number])[]>;
  /** `<partition>:<type>:<id>:<count>` of each address lined up for subscribers. */
  cursor(): Promise<readonly string[]>;
  /** Messages heard on a channel while `action` ran. */
  hear(channel: string, messages: number, action: () => Promise<void>): Promise<readonly string[]>;
  /** The channel on which outcomes for `to` are told. */
  replyChannel(to: string): string;
  /** The channel on which actors of the type are told that came to rest. */
  arrivalsChannel(type: string): string;
}

/** Small dedupe limits, so that the suite reaches them. */
export const SUITE_DEDUPE = { windowMs: 60, idsMax: 5 } as const;
