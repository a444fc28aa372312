/**
 * Rebalance jobs as their users see them, and the port through which they are written where the agent looks (contracts 4).
 */
import type { Json, JsonObject } from './json.ts';

/** A user's own event about a job is named so, with the status behind it. `queued` is told as `created`. */
export const REBALANCE_STATUSES = ['queued', 'processing', 'done', 'error'] as const;
export type RebalanceStatus = (typeof REBALANCE_STATUSES)[number];

export interface RebalanceRequest {
  readonly userId: string;
  readonly orgId: string | null;
  /** `type`, `priority` and anything else; all of it is the job's payload. */
  readonly body: JsonObject;
  /** The same key of one user within a day is the same job. */
  readonly idempotencyKey?: string;
}

export interface RebalanceView {
  readonly jobId: string;
  readonly status: RebalanceStatus;
  readonly error?: string;
  readonly type: string;
  readonly payload: Json;
  readonly result?: Json;
  readonly createdAt: string;
  readonly updatedAt: string;
}

export interface RebalanceJobs {
  /** Resolves when the job stands in the agent's list, or is accepted and will stand there. Throws InvalidJobError. */
  create(request: RebalanceRequest): Promise<{ readonly jobId: string }>;
  /** Undefined as well when the job is somebody else's. */
  get(jobId: string, userId: string): Promise<RebalanceView | undefined>;
}

/** Orders what one job tells: a later one is greater in the first number that differs. */
export type TellingOrder = readonly [epoch: number, revision: number, index: number];

/** One change of a job, for the agent and for the user. */
export interface RebalanceTelling {
  readonly jobId: string;
  readonly userId: string;
  readonly order: TellingOrder;
  /** RFC 3339. `createdAt` counts when nothing is stored of the job. */
  readonly createdAt: string;
  readonly updatedAt: string;
  /** What the agent reads, without its times. */
  readonly record: JsonObject;
  /** Absent: the job is not handed out with it. */
  readonly pushTo?: string;
  /** Absent: if it still waits in a list, it stays there. */
  readonly takeFrom?: string;
  readonly recordKey: string;
  readonly recordKeptMs: number;
  readonly event: { readonly name: string; readonly data: JsonObject };
}

export interface RebalanceWriter {
  /**
   * Record, list and the user's event, all of it or nothing. A telling that was written before, as its order says, changes nothing.
   * `sockets`: how many of the user's there are now, over all processes.
   */
  tell(telling: RebalanceTelling): Promise<{ readonly written: boolean; readonly sockets: number }>;
  /** Whether the job has been handed out. */
  isTold(jobId: string): Promise<boolean>;
  /** Keeps the records of all jobs that still wait in the list for another `keptMs`. Resolves with how many wait. */
  keepWaiting(list: string, recordKeyOf: (jobId: string) => string, keptMs: number): Promise<number>;
  /** The value that was first given for the key within `keptMs`. */
  firstOf(key: string, value: string, keptMs: number): Promise<string>;
}
