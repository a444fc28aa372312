/**
 * Reports on their way to the transport.
 *
 * 1. In the order in which they were told, one call at a time; what is told meanwhile goes together with the next call.
 * 2. A call that failed is repeated with the same reports until it succeeds or the lane is closed: the fence refuses what came twice.
 * 3. Bounded. While it is {@link ReportLane.full} the worker takes no jobs; what is only told and does not count is left out then. The end
 *    of a job is never left out.
 */
import type { JobEntry } from '../protocol/job-progress.ts';
import type { JobReport, JobTransport } from '../protocol/worker.ts';
import type { WorkerClock } from './clock.ts';

/** One call: a Redis that is shared must not be held up for longer than a few ms. */
const CALL_REPORTS_MAX = 500;
const CALL_BYTES_MAX = 1_048_576;
/** Held while the link is down or slow: some seconds of a fast worker, and no more than an agent can spare. */
const HELD_REPORTS_MAX = 5_000;
const HELD_BYTES_MAX = 16 * 1_048_576;
/** Between repeats; doubles from the first to the last. */
const REPEAT_MS_FIRST = 50;
const REPEAT_MS_LAST = 2_000;

interface Told {
  readonly report: JobReport;
  readonly bytes: number;
  /** Acknowledged with the report. */
  readonly settles: JobEntry | undefined;
}

export interface ReportLaneOptions {
  readonly transport: Pick<JobTransport, 'report'>;
  readonly clock: WorkerClock;
  /** The entry's report is stored and the entry acknowledged. */
  readonly onSettled: (entry: JobEntry) => void;
  /** After a call that succeeded. */
  readonly onStored: () => void;
  readonly warn: (message: string) => void;
}

export class ReportLane {
  readonly #options: ReportLaneOptions;
  #held: Told[] = [];
  #heldBytes = 0;
  #sending: readonly Told[] = [];
  #state: 'idle' | 'sending' | 'failing' | 'closed' = 'idle';
  #cancelRepeat: (() => void) | undefined;
  #leftOut = 0;
  #whenEmpty: (() => void)[] = [];

  constructor(options: ReportLaneOptions) {
    this.#options = options;
  }

  get full(): boolean {
    return this.#held.length >= HELD_REPORTS_MAX || this.#heldBytes >= HELD_BYTES_MAX;
  }

  /** The last call failed and is being repeated. */
  get failing(): boolean {
    return this.#state === 'failing';
  }

  /** Told and not known to be stored. */
  get size(): number {
    return this.#held.length + this.#sending.length;
  }

  /** Reports that did not count and were left out because the lane was full. */
  get leftOut(): number {
    return this.#leftOut;
  }

  tell(report: JobReport, bytes: number, settles?: JobEntry): void {
    if (settles === undefined && !report.counts && this.full) {
      this.#leftOut++; // (3)
      return;
    }
    this.#held.push({ report, bytes, settles });
    this.#heldBytes += bytes;
    if (this.#state !== 'idle') return;
    this.#state = 'sending';
    this.#options.clock.soon(() => this.#next());
  }

  /** Resolves when all is stored, or the lane is closed. */
  empty(): Promise<void> {
    if (this.size === 0 || this.#state === 'closed') return Promise.resolve();
    return new Promise((resolve) => this.#whenEmpty.push(resolve));
  }

  /** Nothing is sent any more. Returns how many reports were not known to be stored. */
  close(): number {
    this.#state = 'closed';
    this.#cancelRepeat?.();
    this.#resolveEmpty();
    return this.size;
  }

  #next(): void {
    if (this.#state === 'closed') return;
    if (this.#held.length === 0) {
      this.#state = 'idle';
      this.#resolveEmpty();
      return;
    }
    this.#sending = this.#cut();
    this.#send(0);
  }

  /** Takes the beginning of what is held, within the bounds of one call. */
  #cut(): readonly Told[] {
    let count = 0;
    let bytes = 0;
    while (count < this.#held.length && count < CALL_REPORTS_MAX && (count === 0 || bytes < CALL_BYTES_MAX)) bytes += (this.#held[count++] as Told).bytes;
    this.#heldBytes -= bytes;
    if (count < this.#held.length) return this.#held.splice(0, count);
    const all = this.#held;
    this.#held = [];
    return all;
  }

  #send(failures: number): void {
    const reports = this.#sending.map(({ report }) => report);
    const settled = this.#sending.flatMap(({ settles }) => (settles === undefined ? [] : [settles]));
    this.#options.transport.report(reports, settled).then(
      () => this.#stored(settled),
      (error: unknown) => this.#failed(failures, error),
    );
  }

  #stored(settled: readonly JobEntry[]): void {
    this.#sending = [];
    for (const entry of settled) this.#options.onSettled(entry);
    if (this.#state === 'closed') return;
    if (this.#state === 'failing') this.#options.warn('Reports are stored again.');
    this.#state = 'sending';
    this.#options.onStored();
    this.#next();
  }

  #failed(failures: number, error: unknown): void {
    if (this.#state === 'closed') return;
    if (failures === 0) this.#options.warn(`Reports could not be stored and are repeated: ${error instanceof Error ? error.message : String(error)}`);
    this.#state = 'failing';
    const delayMs = Math.min(REPEAT_MS_LAST, REPEAT_MS_FIRST * 2 ** Math.min(failures, 10));
    this.#cancelRepeat = this.#options.clock.after(delayMs, () => this.#send(failures + 1)); // (2)
  }

  #resolveEmpty(): void {
    for (const resolve of this.#whenEmpty.splice(0)) resolve();
  }
}
