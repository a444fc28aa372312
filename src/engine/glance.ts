/**
 * The answer to a read that the ring itself brought: one round trip less on a quiet machine.
 *
 * A glance tells what was there before an append and what was added. For whoever has read up to there it proves what a read would: all that
 * was appended before its time is known. Whatever else there is about it, it is as good as a plain ring.
 */
import { compareEntryIds, millisecondsOf, STREAM_START } from '../protocol/ids.ts';
import type { Partition } from './partition.ts';
import type { CommitId, Glance, GlancedStream, ReadResult } from './ports.ts';
import type { SourceReader } from './source-reader.ts';

/** What we take for Redis's time is whole milliseconds, and some way behind. */
const AHEAD_MS_MAX = 2;

export interface GlanceAt {
  /** The only one to be read. */
  readonly partition: Partition;
  /** Its newest commit, when all of it is stored; of its actors nothing is known else. */
  readonly settledAt: CommitId | undefined;
  /** All of the engine's, each with room for more. */
  readonly readers: readonly SourceReader[];
  readonly redisNow: number;
}

/** Undefined when the glance does not go on where we stand: then a read tells. */
export function answerOf(glance: Glance, { partition, settledAt, readers, redisNow }: GlanceAt): ReadResult | undefined {
  const { time, inbox, sources: glanced, unknown, commit } = glance;
  // Time is Redis's alone: nobody's word makes it later.
  if (partition.number !== glance.partition || time > redisNow + AHEAD_MS_MAX || !goesOn(inbox, partition.inboxRead, time)) return undefined;
  const sources: ReadResult['sources'][number][] = [];
  for (const { source, position } of readers) {
    const stream = glanced.get(source.stream);
    if (stream === undefined || position === null || !goesOn(stream, position, time)) return undefined;
    // Emptied since we read it: a read tells whether something was lost.
    if (stream.before === STREAM_START && position !== STREAM_START) return undefined;
    sources.push({ entries: stream.added, firstId: null });
  }
  const actors = unknown !== undefined && commit === settledAt ? [{ key: unknown, record: null }] : [];
  return { time, inboxes: [inbox.added], actors: [actors], sources };
}

/** What was added, not later than that time, is all that comes after `position`. */
function goesOn({ before, added }: GlancedStream, position: string, time: number): boolean {
  return compareEntryIds(before, position) <= 0 && added.every(([id]) => compareEntryIds(id, position) > 0 && millisecondsOf(id) <= time);
}
