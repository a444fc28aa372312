/** A transport whose queue, link and flags a test sets, and a clock that it moves. */
import type { JobEntry } from '../../src/protocol/job-progress.ts';
import type { ConsumeRequest, JobReport, JobTransport } from '../../src/protocol/worker.ts';
import type { WorkerClock } from '../../src/worker/clock.ts';

export class TestClock implements WorkerClock {
  #now = 0;
  #timers: { readonly at: number; readonly call: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  wallTime(): number {
    return Date.UTC(2026, 0, 1) + this.#now;
  }

  after(ms: number, call: () => void): () => void {
    const timer = { at: this.#now + ms, call };
    this.#timers.push(timer);
    return () => void (this.#timers = this.#timers.filter((each) => each !== timer));
  }

  soon(call: () => void): void {
    setImmediate(call);
  }

  /** What each due timer sets off has come to rest before the next one is due. */
  async advance(ms: number): Promise<void> {
    const until = this.#now + ms;
    for (;;) {
      await settled();
      const [next] = this.#timers.filter(({ at }) => at <= until).sort((left, right) => left.at - right.at);
      if (next === undefined) break;
      this.#timers = this.#timers.filter((each) => each !== next);
      this.#now = Math.max(this.#now, next.at);
      next.call();
    }
    this.#now = until;
  }
}

/** Whatever follows from what happened has happened: rounds of callbacks until nothing is left to follow. */
export async function settled(): Promise<void> {
  for (let round = 0; round < 20; round++) await new Promise((resolve) => void setImmediate(resolve));
}

export class ScriptedTransport implements JobTransport {
  readonly consumer = 'castellan:here:1';
  readonly queue: JobEntry[] = [];
  readonly forThisNode: JobEntry[] = [];
  keptAlive = 0;
  readonly flags = new Set<string>();
  /** What was stored, as calls. */
  readonly stored: { readonly reports: readonly JobReport[]; readonly acknowledged: readonly string[] }[] = [];
  /** While set, every call rejects with it. */
  down: string | undefined;
  /** While set, reports wait for it. */
  held: Promise<void> | undefined;
  closed = false;
  /** The most entries that were asked for. */
  asked = 0;
  #nodeState: (state: string) => void = () => undefined;
  #targeted: () => void = () => undefined;
  #wake: () => void = () => undefined;
  #numbered = 0;

  /** Puts an entry into the queue. */
  give(more: Partial<JobEntry> = {}): JobEntry {
    const entryId = `${++this.#numbered}-0`;
    const entry = { queue: 'jobs:v1:q', entryId, jobId: `job-${this.#numbered}`, type: 'echo', payload: '{}', attempt: 1, ...more };
    this.queue.push(entry);
    this.#wake();
    return entry;
  }

  async consume({ count, signal }: ConsumeRequest): Promise<readonly JobEntry[]> {
    this.asked = Math.max(this.asked, count);
    if (this.down === undefined && this.queue.length === 0 && !signal.aborted) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
    }
    this.#check();
    return this.queue.splice(0, count);
  }

  /** May give more than was asked for. */
  async claimTargeted(): Promise<readonly JobEntry[]> {
    this.#check();
    return this.forThisNode.splice(0);
  }

  async keepAlive(): Promise<void> {
    this.#check();
    this.keptAlive++;
  }

  async report(reports: readonly JobReport[], acknowledged: readonly Pick<JobEntry, 'queue' | 'entryId' | 'attempt'>[]): Promise<void> {
    await this.held;
    this.#check();
    this.stored.push({ reports, acknowledged: acknowledged.map(({ entryId }) => entryId) });
  }

  async cancelled(jobs: readonly Pick<JobEntry, 'jobId'>[]): Promise<readonly boolean[]> {
    this.#check();
    return jobs.map(({ jobId }) => this.flags.has(jobId));
  }

  onNodeState(told: (state: string) => void): () => void {
    this.#nodeState = told;
    return () => undefined;
  }

  onTargeted(told: () => void): () => void {
    this.#targeted = told;
    return () => undefined;
  }

  async close(): Promise<void> {
    this.closed = true;
  }

  tellNodeState(state: string): void {
    this.#nodeState(state);
  }

  ring(): void {
    this.#targeted();
  }

  /** The link breaks: what waits on it fails as well. */
  breakLink(): void {
    this.down = 'the link is down';
    this.#wake();
  }

  mendLink(): void {
    this.down = undefined;
  }

  /** `<job> <type>` of all that counts, in the order in which it was stored. */
  get told(): readonly string[] {
    return this.stored.flatMap(({ reports }) => reports.filter(({ counts }) => counts).map(({ message }) => `${message.jobId} ${message.type}`));
  }

  /** Of one job, everything, with its data. */
  of(
    jobId: string,
  ): readonly { readonly type: string; readonly counts: boolean; readonly logged: boolean; readonly data: { readonly [name: string]: unknown } }[] {
    const all = this.stored.flatMap(({ reports }) => reports);
    return all.filter(({ message }) => message.jobId === jobId).map(({ message: { type, data }, counts, logged }) => ({ type, counts, logged, data }));
  }

  get acknowledged(): readonly string[] {
    return this.stored.flatMap(({ acknowledged }) => acknowledged);
  }

  #check(): void {
    if (this.down !== undefined) throw new Error(this.down);
  }
}
