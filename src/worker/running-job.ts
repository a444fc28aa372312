/**
 * A job in the hands of its handler. What costs something is made only when the handler asks for it: short jobs run by the
 * ten thousand a second.
 */
import { JobError } from '../protocol/errors.ts';
import type { AnyJobDefinition, Job } from '../protocol/job-handler.ts';
import type { JobEntry } from '../protocol/job-progress.ts';
import type { Json } from '../protocol/json.ts';

export type AbortCode = 'cancelled' | 'timeout' | 'worker_stopped';

export type JobPhase =
  | { readonly kind: 'running' }
  /** Its handler was asked to end. */
  | { readonly kind: 'aborting'; readonly code: AbortCode; readonly since: number }
  /** Its end was told. A handler that still runs keeps its slot for a while. */
  | { readonly kind: 'over'; readonly since: number };

const RUNNING: JobPhase = { kind: 'running' };

/** What becomes of the things that a handler says. */
export interface JobListener {
  progressed(job: RunningJob, value: Json, message: string | undefined): void;
  chunked(job: RunningJob, value: Json): void;
  logged(job: RunningJob, line: string): void;
}

export class RunningJob implements Job<unknown> {
  readonly entry: JobEntry;
  readonly definition: AnyJobDefinition;
  readonly startedAt: number;
  readonly deadlineAt: number;
  payload: unknown;
  phase: JobPhase = RUNNING;
  /** Its claim was told. */
  announced = false;
  /** When a report that counts was told last. */
  heardAt = 0;
  progressAt = -Infinity;
  /** Progress that waits for its turn; the newest wins. */
  held: { readonly progress: Json; readonly message?: string } | undefined;
  /** Something of it stands in its stream, so its end shall too. */
  hasLog = false;
  readonly #listener: JobListener;
  #controller: AbortController | undefined;
  #aborted: JobError | undefined;

  constructor(listener: JobListener, entry: JobEntry, definition: AnyJobDefinition, payload: Json, startedAt: number, timeoutMs: number) {
    this.#listener = listener;
    this.entry = entry;
    this.definition = definition;
    this.payload = payload;
    this.startedAt = startedAt;
    this.deadlineAt = startedAt + timeoutMs;
  }

  get id(): string {
    return this.entry.jobId;
  }

  get type(): string {
    return this.entry.type;
  }

  get attempt(): number {
    return this.entry.attempt ?? 1;
  }

  get rayId(): string | undefined {
    return this.entry.rayId;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#aborted !== undefined) this.#controller.abort(this.#aborted);
    }
    return this.#controller.signal;
  }

  // Made when they are asked for, so that they may be taken off the job and cost nothing otherwise.
  get progress(): Job['progress'] {
    return (value, message) => this.#listener.progressed(this, value, message);
  }

  get chunk(): Job['chunk'] {
    return (value) => this.#listener.chunked(this, value);
  }

  get log(): Job['log'] {
    return (line) => this.#listener.logged(this, line);
  }

  /** Asks the handler to end. */
  abort(code: AbortCode, message: string, now: number): void {
    if (this.phase.kind !== 'running') return;
    this.phase = { kind: 'aborting', code, since: now };
    this.#aborted = new JobError(code, message);
    this.#controller?.abort(this.#aborted);
  }
}
