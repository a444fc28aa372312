/**
 * Reads one stream source in place for all owned partitions: one read a round, its entries dealt to their partitions.
 *
 * 1. An entry is dealt by a key field, before its JSON is parsed.
 * 2. A read proves, for every partition, up to when the source has been heard (watermark, evidence), whoever the entries were for.
 * 3. An entry that was trimmed before it was read is counted and is closed time, never silence of a node. (I6)
 */
import { compareEntryIds, millisecondsOf, partitionOf, STREAM_START } from '../protocol/ids.ts';
import type { StreamSource } from '../protocol/source.ts';
import { joinEvidence } from './observed-time.ts';
import type { Meter } from './meter.ts';
import type { Notices } from './notices.ts';
import type { Partition, SourceItem, SourceProof } from './partition.ts';
import type { ReadResult } from './ports.ts';

/** An id further ahead of Redis's clock than this was not made by that clock. */
const FUTURE_ID_MS = 1_000;
/** The owner of this partition stores the dead letters of entries that are nobody's. */
const STRAY_PARTITION = 0;

export class SourceReader {
  readonly source: StreamSource;
  readonly #gapMsMax: number;
  readonly #meter: Meter;
  readonly #notices: Notices;
  /** How far the stream has been read. */
  position: string | null = null;
  /** The newest read was full: there is more. */
  backlog = false;

  constructor(source: StreamSource, gapMsMax: number, meter: Meter, notices: Notices) {
    this.source = source;
    this.#gapMsMax = gapMsMax;
    this.#meter = meter;
    this.#notices = notices;
  }

  /** A partition was taken over that has read less: go back to where it stands. Partitions further on skip what they had. */
  include(partition: Partition): void {
    const stored = partition.sources.get(this.source.stream)?.read ?? STREAM_START;
    if (this.position === null || compareEntryIds(stored, this.position) < 0) this.position = stored;
  }

  /** Deals what was read to the partitions. `after` is where the read began. */
  deal(read: ReadResult['sources'][number], after: string, count: number, readAt: number, partitions: readonly (Partition | undefined)[]): void {
    if (this.position !== after) return; // a partition joined meanwhile and set us back: this read is stale
    const { stream } = this.source;
    const dealt = new Map<Partition, SourceItem[]>();
    for (const [id, fields] of read.entries) {
      const key = this.source.keyOf(fields);
      if (key === null) continue;
      const partition = partitions[key === undefined ? STRAY_PARTITION : partitionOf(key)];
      if (partition === undefined) continue;
      const state = partition.sources.get(stream);
      if (state === undefined || compareEntryIds(id, state.read) <= 0) continue;
      const item: SourceItem = { id, ms: millisecondsOf(id), key, fields, source: this.source };
      const items = dealt.get(partition);
      if (items === undefined) dealt.set(partition, [item]);
      else items.push(item);
    }
    const proof = this.#prove(read, after, count, readAt);
    this.position = proof.last;
    for (const partition of partitions) {
      if (partition === undefined) continue;
      const stood = partition.sources.get(stream)?.read ?? STREAM_START;
      const ahead = stood !== after && compareEntryIds(stood, proof.last) > 0;
      if (!ahead) partition.takeSource(stream, dealt.get(partition) ?? [], proof);
    }
  }

  #prove(read: ReadResult['sources'][number], after: string, count: number, readAt: number): SourceProof {
    const newest = read.entries[read.entries.length - 1]?.[0];
    this.backlog = read.entries.length >= count;
    const watermark = this.backlog && newest !== undefined ? Math.min(millisecondsOf(newest), readAt - 1) : readAt - 1;
    const times = read.entries.map(([id]) => Math.min(millisecondsOf(id), readAt - 1));
    if (newest !== undefined && millisecondsOf(newest) > readAt + FUTURE_ID_MS) this.#tellFuture(newest);
    if (!this.backlog) times.push(readAt - 1);
    const lost = read.firstId !== null && after !== STREAM_START && this.#isPast(read, after);
    if (lost) this.#tellGap(after, read.firstId);
    return {
      last: newest ?? after,
      watermark,
      evidence: joinEvidence(times, this.#gapMsMax),
      ...(lost ? { lostBefore: Math.min(millisecondsOf(read.firstId), readAt - 1) } : {}),
    };
  }

  #tellFuture(id: string): void {
    this.#meter.count('future_ids');
    this.#notices.tell(
      'future-id',
      `The stream ${this.source.stream} holds the id ${id}, which is ahead of Redis's clock: somebody named it. No time is taken from it, but later ids cannot be smaller; rename the stream aside when it is inconvenient.`,
    );
  }

  #tellGap(after: string, first: string): void {
    this.#meter.count('source_gaps');
    this.#notices.tell(
      'source-gap',
      `Entries of the stream ${this.source.stream} between ${after} and ${first} were trimmed before they were read. Nobody is declared silent for that time; keep more of the stream if it happens again.`,
    );
  }

  /** The stream's first entry is newer than our position although the read went on from there: something between was trimmed unread. */
  #isPast(read: ReadResult['sources'][number], after: string): boolean {
    const first = read.firstId as string;
    return compareEntryIds(first, after) > 0 && read.entries[0] !== undefined && compareEntryIds(first, read.entries[0][0]) <= 0;
  }
}
