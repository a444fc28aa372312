/**
 * Observed time: a clock that runs only while we could have heard. (I6)
 *
 * 1. It follows the watermark between two pieces of evidence (an entry of the source, or a read that came back
 *    short) that lie at most `gapMsMax` apart. A larger hole was closed time: the clock passes `gapMsMax` of it.
 * 2. After a hole, every liveness deadline armed before it starts again in full; {@link Segment.reopenedAt} says from when.
 * 3. The clock never goes back.
 */

/** A stretch of partition time without a hole. */
export interface Segment {
  readonly from: number;
  /** The newest evidence. */
  readonly to: number;
  /** Observed time = partition time - closedMs, within this segment. */
  readonly closedMs: number;
  /** Observed time at which the sources were heard again; deadlines armed before it start again there. */
  readonly reopenedAt: number;
}

/** Lengthened in place: every read does so for every partition. */
interface GrowingSegment extends Segment {
  to: number;
}

/** Stands for a partition that never heard a source: its first evidence starts the clock. */
const NEVER = 0;

/** A stretch of evidence in which no two neighbours are further apart than the gap. */
export type Evidence = readonly [from: number, to: number];

export class ObservedTime {
  readonly #gapMsMax: number;
  /** Oldest first; the partition's time lies in the first. */
  readonly #segments: GrowingSegment[];
  #closedMsTotal = 0;

  /**
   * @param watermark where the stored clock stood in partition time
   * @param observed what it showed there; both 0 for a partition that never heard its source
   */
  constructor(gapMsMax: number, watermark: number, observed: number) {
    this.#gapMsMax = gapMsMax;
    this.#segments = [{ from: watermark, to: watermark, closedMs: watermark - observed, reopenedAt: observed }];
  }

  /** The same clock for one who begins again: it stands at the newest evidence, and deadlines armed before its newest hole start again. */
  resumed(): ObservedTime {
    const { to, closedMs, reopenedAt } = this.#last();
    const time = new ObservedTime(this.#gapMsMax, to, to - closedMs);
    time.#segments[0] = { from: to, to, closedMs, reopenedAt };
    time.#closedMsTotal = this.#closedMsTotal;
    return time;
  }

  /** Closed time since this owner took over, ms: a figure for people. */
  get closedMsTotal(): number {
    return this.#closedMsTotal;
  }

  /** The segment in which the partition stands. */
  get current(): Segment {
    return this.#segments[0] as Segment;
  }

  /** No hole lies between where the partition stands and the newest evidence. */
  get inNewest(): boolean {
    return this.#segments.length === 1;
  }

  /** What the clock shows at its newest evidence. */
  get observed(): number {
    const last = this.#last();
    return last.to - last.closedMs;
  }

  /** Its newest evidence, in partition time. */
  get watermark(): number {
    return this.#last().to;
  }

  /** Takes in evidence, oldest first. Evidence from before the newest is ignored. */
  observe(evidence: readonly Evidence[]): void {
    for (const [from, to] of evidence) {
      const last = this.#last();
      if (to <= last.to) continue;
      if (last.to === NEVER) {
        this.#segments[0] = { from, to, closedMs: 0, reopenedAt: from };
        continue;
      }
      const start = Math.max(from, last.to);
      const gapMs = start - last.to;
      if (gapMs <= this.#gapMsMax) {
        last.to = to;
        continue;
      }
      this.reopen(start);
      this.#last().to = to;
    }
  }

  /** Entries were lost between the newest evidence and `at` (the stream was trimmed past us), or nothing was heard: closed time. */
  reopen(at: number): void {
    const last = this.#last();
    const gapMs = Math.max(0, at - last.to);
    const closedMs = last.closedMs + Math.max(0, gapMs - this.#gapMsMax);
    this.#closedMsTotal += closedMs - last.closedMs;
    const from = last.to + gapMs;
    this.#segments.push({ from, to: from, closedMs, reopenedAt: from - closedMs });
  }

  /** Moves on to the segment after the present one. False when there is none yet. */
  advance(): boolean {
    if (this.#segments.length < 2) return false;
    this.#segments.shift();
    return true;
  }

  #last(): GrowingSegment {
    return this.#segments[this.#segments.length - 1] as GrowingSegment;
  }
}

/**
 * Collects the evidence of one source as its entries and short reads come in.
 * Joins what lies within the gap, so that a round of 500 entries is usually one stretch.
 */
export function joinEvidence(times: Iterable<number>, gapMsMax: number): readonly Evidence[] {
  const stretches: [number, number][] = [];
  for (const time of times) {
    const last = stretches[stretches.length - 1];
    if (last === undefined || time - last[1] > gapMsMax) stretches.push([time, time]);
    else if (time > last[1]) last[1] = time;
  }
  return stretches;
}
