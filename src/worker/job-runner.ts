/**
 * Runs jobs and tells what becomes of them: the handler, its checks, its time, its end.
 *
 * 1. Each job that is run is told to have ended exactly once, whatever its handler does.
 * 2. No timer, promise or listener per job: one walk over the running ones keeps all times.
 * 3. The end of an aborted job is told when its handler has ended, or after a grace; the handler keeps its slot until it ends.
 */
import { JobError } from '../protocol/errors.ts';
import type { AnyJobDefinition } from '../protocol/job-handler.ts';
import type { JobEntry, ProgressType } from '../protocol/job-progress.ts';
import type { Json, JsonObject } from '../protocol/json.ts';
import type { SchemaIssue, SchemaResult } from '../protocol/schema.ts';
import type { WorkerClock } from './clock.ts';
import { faultOf, measure, type Messages } from './messages.ts';
import type { ReportLane } from './report-lane.ts';
import { RunningJob, type AbortCode, type JobListener } from './running-job.ts';
import { ABANDON_AFTER_MS, ABORT_GRACE_MS, ALIVE_EVERY_MS, CLAIM_AFTER_MS, DEFAULT_TIMEOUT_MS, LOOK_EVERY_MS, SCAN_EVERY_MS } from './settings.ts';

export interface RunCounts {
  done: number;
  failed: number;
  timedOut: number;
  cancelled: number;
  released: number;
  /** Handlers that did not end after they were aborted; their slots were given up. */
  abandoned: number;
}

export interface JobRunnerOptions {
  readonly clock: WorkerClock;
  readonly lane: ReportLane;
  readonly messages: Messages;
  /** A slot is free again. */
  readonly onFree: () => void;
  readonly warn: (message: string) => void;
}

/** Bytes of a report beside its value, about. */
const REPORT_BYTES = 300;

export class JobRunner implements JobListener {
  readonly counts: RunCounts = { done: 0, failed: 0, timedOut: 0, cancelled: 0, released: 0, abandoned: 0 };
  readonly #options: JobRunnerOptions;
  readonly #running = new Set<RunningJob>();
  /** In the order of their start; those that ended are passed over. */
  #unannounced: RunningJob[] = [];
  #scanAt = 0;
  #whenEmpty: (() => void)[] = [];

  constructor(options: JobRunnerOptions) {
    this.#options = options;
  }

  /** Slots in use. */
  get size(): number {
    return this.#running.size;
  }

  /** Jobs whose end was not told yet. */
  get running(): readonly RunningJob[] {
    return [...this.#running].filter(({ phase }) => phase.kind !== 'over');
  }

  /** How soon {@link tick} has something to do. */
  get tickMs(): number {
    return this.#unannounced.length > 0 ? CLAIM_AFTER_MS : this.#running.size > 0 ? SCAN_EVERY_MS : LOOK_EVERY_MS;
  }

  run(entry: JobEntry, definition: AnyJobDefinition, payload: Json): void {
    const timeoutMs = entry.timeoutMs ?? timeoutIn(payload) ?? definition.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    const job = new RunningJob(this, entry, definition, payload, this.#options.clock.now(), timeoutMs);
    this.#running.add(job);
    if (definition.payload === undefined) this.#call(job);
    else
      this.#check(
        job,
        () => definition.payload?.['~standard'].validate(payload),
        'invalid_payload',
        (value) => ((job.payload = value), this.#call(job)),
      );
  }

  /** An entry that nobody here runs: tells why and settles it. */
  refuse(entry: JobEntry, type: 'error' | 'released', more?: JsonObject): void {
    this.counts[type === 'error' ? 'failed' : 'released']++;
    const message = this.#options.messages.of(entry, type, more);
    this.#options.lane.tell({ message, counts: true, logged: false }, REPORT_BYTES, entry);
  }

  /** Tells claims, keeps times. */
  tick(now: number): void {
    while (this.#unannounced.length > 0) {
      const job = this.#unannounced[0] as RunningJob;
      if (job.phase.kind !== 'over' && now - job.startedAt < CLAIM_AFTER_MS) break;
      let ended = 1;
      while (ended < this.#unannounced.length && this.#unannounced[ended]?.phase.kind === 'over') ended++;
      this.#unannounced.splice(0, ended);
      if (job.phase.kind !== 'over') this.#announce(job, now);
    }
    if (now < this.#scanAt) return;
    this.#scanAt = now + SCAN_EVERY_MS;
    for (const job of this.#running) this.#look(job, now); // (2)
  }

  /** The job's cancel flag was seen. */
  cancel(job: RunningJob): void {
    job.abort('cancelled', 'The job was cancelled.', this.#options.clock.now());
  }

  /** Resolves when no handler runs. */
  empty(): Promise<void> {
    return this.#running.size === 0 ? Promise.resolve() : new Promise((resolve) => this.#whenEmpty.push(resolve));
  }

  /** The worker stops and waits no longer. */
  giveBackAll(): void {
    const now = this.#options.clock.now();
    for (const job of this.#running) {
      job.abort('worker_stopped', 'The worker stopped before the job ended.', now);
      if (job.phase.kind === 'aborting') this.#tellAborted(job, job.phase.code, now);
    }
  }

  progressed(job: RunningJob, progress: Json, message: string | undefined): void {
    if (job.phase.kind === 'over') return;
    const now = this.#options.clock.now();
    const held = message === undefined ? { progress } : { progress, message };
    if (now - job.progressAt < SCAN_EVERY_MS) job.held = held;
    else this.#tellProgress(job, held, now);
  }

  chunked(job: RunningJob, progress: Json): void {
    if (job.phase.kind !== 'over') this.#tellAside(job, 'chunk', { progress });
  }

  logged(job: RunningJob, line: string): void {
    if (job.phase.kind !== 'over') this.#tellAside(job, 'chunk', { log: line });
  }

  #call(job: RunningJob): void {
    let outcome: unknown;
    try {
      outcome = job.definition.handler(job as never);
    } catch (error) {
      return this.#failed(job, error);
    }
    if (!isPromise(outcome)) return this.#returned(job, outcome);
    if (!job.announced) this.#unannounced.push(job);
    outcome.then(
      (result) => this.#returned(job, result),
      (error: unknown) => this.#failed(job, error),
    );
  }

  #returned(job: RunningJob, result: unknown): void {
    const schema = job.definition.result;
    if (schema === undefined || job.phase.kind !== 'running') this.#ended(job, result);
    else
      this.#check(
        job,
        () => schema['~standard'].validate(result),
        'invalid_result',
        (value) => this.#ended(job, value),
      );
  }

  /** Asks a schema, which may answer later; what does not fit fails the job for good. */
  #check(job: RunningJob, ask: () => SchemaResult<unknown> | Promise<SchemaResult<unknown>> | undefined, code: string, fits: (value: unknown) => void): void {
    const answered = (result: SchemaResult<unknown> | undefined): void => {
      if (job.phase.kind === 'over') this.#leave(job);
      else if (result?.issues === undefined) fits(result?.value);
      else this.#failed(job, misfit(code, result.issues));
    };
    try {
      const answer = ask();
      if (isPromise(answer)) answer.then(answered as (value: unknown) => void).catch((error: unknown) => this.#failed(job, error));
      else answered(answer);
    } catch (error) {
      this.#failed(job, error);
    }
  }

  #ended(job: RunningJob, result: unknown): void {
    if (job.phase.kind !== 'running') return this.#endedAborted(job);
    const measured = measure(result);
    if (!measured.ok) return this.#failed(job, new JobError(measured.code, measured.message, { retryable: false }));
    this.counts.done++;
    this.#tellEnd(job, 'end', { result: result === undefined ? null : (result as Json) }, measured.size);
    this.#leave(job);
  }

  #failed(job: RunningJob, error: unknown): void {
    if (job.phase.kind !== 'running') return this.#endedAborted(job);
    this.counts.failed++;
    this.#tellEnd(job, 'error', faultOf(error));
    this.#leave(job);
  }

  #endedAborted(job: RunningJob): void {
    if (job.phase.kind === 'aborting') this.#tellAborted(job, job.phase.code, this.#options.clock.now());
    this.#leave(job);
  }

  /** What was asked of the handler decides, not how it ended: a cancelled job stays cancelled. */
  #tellAborted(job: RunningJob, code: AbortCode, now: number): void {
    if (code === 'cancelled') {
      this.counts.cancelled++;
      this.#tellEnd(job, 'cancelled');
    } else if (code === 'timeout') {
      this.counts.timedOut++;
      this.#tellEnd(job, 'error', { code, message: `The job took longer than ${job.deadlineAt - job.startedAt} ms.`, retryable: true });
    } else if (job.entry.requeue === 'never') {
      // It may have happened already, and must not happen twice.
      this.counts.failed++;
      this.#tellEnd(job, 'error', { code, message: 'Its worker stopped in the middle of it.', retryable: false });
    } else {
      this.counts.released++;
      this.#tellEnd(job, 'released');
    }
    job.phase = { kind: 'over', since: now };
  }

  #look(job: RunningJob, now: number): void {
    const { phase } = job;
    if (phase.kind === 'running') {
      if (now >= job.deadlineAt) job.abort('timeout', 'The job is over its time.', now);
      else if (job.held !== undefined && now - job.progressAt >= SCAN_EVERY_MS) this.#tellProgress(job, job.held, now);
      else if (job.announced && now - job.heardAt >= ALIVE_EVERY_MS && !this.#options.lane.failing) this.#tell(job, 'alive', now);
    } else if (phase.kind === 'aborting') {
      if (now - phase.since >= ABORT_GRACE_MS) this.#tellAborted(job, phase.code, now); // (3)
    } else if (now - phase.since >= ABANDON_AFTER_MS) {
      this.counts.abandoned++;
      this.#options.warn(`The handler of job ${job.id} (${job.type}) does not end though it was aborted; its slot is given up.`);
      this.#leave(job);
    }
  }

  #announce(job: RunningJob, now: number): void {
    if (job.announced) return;
    job.announced = true;
    this.#tell(job, 'claimed', now);
    this.#tellUncounted(job, 'start');
  }

  #tell(job: RunningJob, type: ProgressType, now: number): void {
    job.heardAt = now;
    this.#options.lane.tell({ message: this.#options.messages.of(job.entry, type), counts: true, logged: false }, REPORT_BYTES);
  }

  #tellUncounted(job: RunningJob, type: ProgressType): void {
    this.#options.lane.tell({ message: this.#options.messages.of(job.entry, type), counts: false, logged: false }, REPORT_BYTES);
  }

  #tellProgress(job: RunningJob, held: NonNullable<RunningJob['held']>, now: number): void {
    this.#announce(job, now);
    job.progressAt = job.heardAt = now;
    job.held = undefined;
    const measured = measure(held.progress);
    if (!measured.ok) return this.#options.warn(`Progress of job ${job.id} (${job.type}) is left out: ${measured.message}`);
    this.#options.lane.tell({ message: this.#options.messages.of(job.entry, 'chunk', held), counts: true, logged: false }, REPORT_BYTES + measured.size);
  }

  #tellAside(job: RunningJob, type: ProgressType, more: JsonObject): void {
    const measured = measure(more);
    if (!measured.ok) return this.#options.warn(`A message of job ${job.id} (${job.type}) is left out: ${measured.message}`);
    job.hasLog = true;
    this.#options.lane.tell({ message: this.#options.messages.of(job.entry, type, more), counts: false, logged: true }, REPORT_BYTES + measured.size);
  }

  /** (1) */
  #tellEnd(job: RunningJob, type: ProgressType, more?: JsonObject, size = 0): void {
    const now = this.#options.clock.now();
    if (job.held !== undefined) this.#tellProgress(job, job.held, now);
    job.phase = { kind: 'over', since: now };
    const message = this.#options.messages.of(job.entry, type, more);
    this.#options.lane.tell({ message, counts: true, logged: job.hasLog }, REPORT_BYTES + size, job.entry);
  }

  #leave(job: RunningJob): void {
    if (!this.#running.delete(job)) return;
    this.#options.onFree();
    if (this.#running.size === 0) for (const resolve of this.#whenEmpty.splice(0)) resolve();
  }
}

function isPromise(value: unknown): value is Promise<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { readonly then?: unknown }).then === 'function';
}

/** The payload's own `timeout_ms` (contracts 3). */
function timeoutIn(payload: Json): number | undefined {
  if (typeof payload !== 'object' || payload === null || Array.isArray(payload)) return undefined;
  const { timeout_ms: snake, timeoutMs: camel } = payload as JsonObject;
  const value = Number(snake ?? camel);
  return Number.isInteger(value) && value > 0 ? value : undefined;
}

function misfit(code: string, issues: readonly SchemaIssue[]): JobError {
  const [issue] = issues;
  const field = issue?.path?.map((step) => String(typeof step === 'object' ? step.key : step)).join('.') ?? '';
  const where = field === '' ? '' : ` at ${field}`;
  return new JobError(code, `${issue?.message ?? 'It does not fit the schema'}${where}`, { retryable: false, ...(field === '' ? {} : { field }) });
}
