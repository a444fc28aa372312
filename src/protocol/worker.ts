/**
 * What a worker needs of the outside: entries to work on, and a place to report to.
 * `src/redis` implements it over Redis; a node without Redis credentials has one over HTTP.
 *
 * 1. `report` stores the reports, in their order, before it acknowledges the entries: a crash between repeats an entry, never loses a result.
 * 2. A method that rejects leaves open whether it took effect; repeating it is safe, because the fence refuses what came twice.
 * 3. An entry for another node is left pending by whoever read it; the named node takes it with `claimTargeted`.
 */
import type { JobEntry, ProgressMessage } from './job-progress.ts';

export interface JobReport {
  readonly message: ProgressMessage;
  /** False: told on the job's channel only (a log line, `start`); true: it counts for the job's state as well. */
  readonly counts: boolean;
  /** Kept in the job's stream, where its log is read. */
  readonly logged: boolean;
}

export interface ConsumeRequest {
  readonly queues: readonly string[];
  /** At most so many entries of each queue. */
  readonly count: number;
  /** Waits so long for the first one. */
  readonly blockMs: number;
  readonly signal: AbortSignal;
}

export interface JobTransport {
  /** Of this worker in the group; begins with `castellan:`. */
  readonly consumer: string;
  /** New entries; empty when none came. Creates group and queue where they are missing. */
  consume(request: ConsumeRequest): Promise<readonly JobEntry[]>;
  /** Takes over at most `count` pending entries of other consumers that name this node, in the entry or in the payload. */
  claimTargeted(queues: readonly string[], count: number): Promise<readonly JobEntry[]>;
  /** For a worker that takes nothing because it is busy: what it holds and has not begun stays its own. */
  keepAlive(queues: readonly string[]): Promise<void>;
  report(reports: readonly JobReport[], acknowledged: readonly Pick<JobEntry, 'queue' | 'entryId' | 'attempt'>[]): Promise<void>;
  /** In the order asked: whether the job's cancel flag stands for this attempt. A flag that is a number is meant for attempts up to it. */
  cancelled(jobs: readonly Pick<JobEntry, 'jobId' | 'attempt'>[]): Promise<readonly boolean[]>;
  /** Tells the state that the control plane published of this node (`node:state:{nodeId}`). Returns how to stop listening. */
  onNodeState(told: (state: string) => void): () => void;
  /** Tells that another worker came upon an entry for this node: `claimTargeted` has something now. A hint; it may be lost. */
  onTargeted(told: () => void): () => void;
  close(): Promise<void>;
}
