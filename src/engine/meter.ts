/**
 * What the engine counts about itself: plain numbers that the composition exports as metrics.
 */

export const COUNTERS = [
  'events', // applied with any outcome but a dead letter
  'transitions',
  'touches',
  'ignored',
  'dead_letters',
  'firings',
  'commits',
  'commits_repeated', // a commit whose reply was lost and which was found written
  'commits_failed', // tries without an answer
  'fenced',
  'diverged',
  'overtaken',
  'reloads',
  'deliveries',
  'delivery_failures',
  'messages',
  'posts',
  'invocations',
  'source_gaps',
  'future_ids',
  'read_failures',
  'list_items',
  'channel_messages',
  'channel_overflows',
  'swept',
] as const;
export type Counter = (typeof COUNTERS)[number];

export const OBSERVATIONS = {
  /** Time of one step in the kernel, seconds; one step in 64 is measured. */
  step_seconds: [0.000005, 0.00001, 0.00002, 0.00005, 0.0001, 0.001, 0.01],
  /** Redis time at the read that fired a timer, minus its due time, seconds. */
  timer_lateness_seconds: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30],
  /** Events and firings of one commit. */
  batch_size: [1, 2, 4, 8, 16, 32, 64, 128, 256, 500],
  /** From sending a commit to its answer, seconds. */
  commit_seconds: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5],
} as const;
export type Observation = keyof typeof OBSERVATIONS;

export interface Histogram {
  readonly bounds: readonly number[];
  /** Observations up to each bound, and one more for those beyond the last. */
  readonly counts: number[];
  sum: number;
  total: number;
}

export class Meter {
  readonly counters: Record<Counter, number>;
  readonly histograms: Record<Observation, Histogram>;

  constructor() {
    this.counters = Object.fromEntries(COUNTERS.map((name) => [name, 0])) as Record<Counter, number>;
    this.histograms = Object.fromEntries(
      Object.entries(OBSERVATIONS).map(([name, bounds]) => [name, { bounds, counts: Array.from({ length: bounds.length + 1 }, () => 0), sum: 0, total: 0 }]),
    ) as unknown as Record<Observation, Histogram>;
  }

  count(name: Counter, by = 1): void {
    this.counters[name] += by;
  }

  observe(name: Observation, value: number): void {
    const histogram = this.histograms[name];
    let slot = 0;
    while (slot < histogram.bounds.length && value > (histogram.bounds[slot] as number)) slot++;
    histogram.counts[slot] = (histogram.counts[slot] as number) + 1;
    histogram.sum += value;
    histogram.total++;
  }
}
