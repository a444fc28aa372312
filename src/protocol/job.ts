/**
 * What a job is to those who submit and show jobs: requests, views, and the port behind HTTP, command line and library.
 *
 * 1. A job is the actor `job/<jobId>`; all that is shown here stands in its record or its document.
 * 2. `attempt` is the fence: it grows by one whenever the job is handed out again, and a report of an older attempt is refused.
 * 3. Times are RFC 3339 strings; durations are ms.
 */
import type { Page, PageQuery, Timestamp } from './control-plane.ts';
import type { Json } from './json.ts';

/** The states of the job machine that people are shown. */
export const JOB_STATES = ['scheduled', 'waiting', 'placing', 'queued', 'processing', 'retrying', 'done', 'error', 'cancelled'] as const;
export type JobState = (typeof JOB_STATES)[number];

/** States in which a job has come to its end. */
export const JOB_END_STATES: readonly JobState[] = ['done', 'error', 'cancelled'];

/**
 * What becomes of a job whose worker is lost with it in hand.
 * - `idempotent`: it is handed out again. - `fenced`: as well; its handler passes the attempt on as a fence, so that what the lost worker still does is refused.
 * - `never`: it may have happened and must not happen twice, so it ends in error and a person decides.
 */
export const REQUEUE_POLICIES = ['idempotent', 'fenced', 'never'] as const;
export type RequeuePolicy = (typeof REQUEUE_POLICIES)[number];

export interface Backoff {
  readonly kind: 'fixed' | 'exponential';
  /** Before the second try, ms. Exponential: doubled before each later one. */
  readonly delayMs: number;
  readonly delayMsMax?: number;
  /** Share of the delay that is spread by chance of the job's id, 0 to 1. */
  readonly jitter?: number;
}

/** What a node must have to be given the job. */
export interface JobRequirements {
  /** All of them. */
  readonly tags?: readonly string[];
  /** Free on one GPU, MiB. */
  readonly gpuMemoryMb?: number;
  /** This node and no other. */
  readonly node?: string;
  /** A service that runs there. */
  readonly service?: string;
}

export interface JobRequest {
  readonly type: string;
  /** Default `{}`. */
  readonly payload?: Json;
  /** Default: made here. An id that exists already answers with the existing job. */
  readonly jobId?: string;
  /** The same key, type and queue are the same job for as long as that job is kept. */
  readonly dedupeKey?: string;
  /** Default `jobs:v1:gpu-general`. */
  readonly queue?: string;
  /** Larger is sooner; default 0. `high` is 10, `low` is -10. */
  readonly priority?: number | 'high' | 'normal' | 'low';
  readonly delayMs?: number;
  /** Tries in all, the first included. Default 3. */
  readonly attempts?: number;
  /** Default exponential from 1,000 ms up to 300,000 ms. */
  readonly backoff?: Backoff;
  /** Longest time in processing. Default 300,000. */
  readonly timeoutMs?: number;
  /** Default `idempotent`. */
  readonly requeue?: RequeuePolicy;
  readonly requires?: JobRequirements;
  /** Jobs that must end first. They are submitted by the parent, with it or not at all. */
  readonly children?: readonly JobRequest[];
  /** Until all children ended, or until one is done. Default `all`. */
  readonly waitFor?: 'all' | 'any';
  /** What a child in error or cancelled does to the parent. Default `fail`. */
  readonly onChildFailure?: 'fail' | 'continue';
  readonly rayId?: string;
  /** Done, it is dropped with the next sweep instead of being kept. */
  readonly removeOnDone?: boolean;
}

export interface JobView {
  readonly jobId: string;
  readonly type: string;
  readonly queue: string | null;
  readonly state: JobState;
  /** Why it waits, or why it ended; null when there is nothing to say. */
  readonly reason: string | null;
  readonly payload: Json;
  readonly result: Json;
  readonly error: { readonly code: string; readonly message: string } | null;
  readonly progress: Json;
  readonly attempt: number;
  readonly attemptsMax: number;
  readonly priority: number;
  readonly worker: string | null;
  readonly nodeId: string | null;
  readonly parent: string | null;
  readonly children: readonly string[];
  /** Reports of older attempts that were refused. */
  readonly lateReports: number;
  readonly orgId: string | null;
  /** The owner of a rebalance job. */
  readonly userId: string | null;
  readonly createdAt: Timestamp;
  readonly updatedAt: Timestamp;
}

export interface SubmittedJob {
  readonly jobId: string;
  /** The job existed already: nothing was submitted. */
  readonly existing: boolean;
}

export interface JobQuery extends PageQuery {
  readonly state?: JobState;
  readonly type?: string;
  readonly queue?: string;
  readonly nodeId?: string;
  /** Only those that have been in their state for longer. */
  readonly olderThanMs?: number;
  readonly orgId?: string;
}

/** What an operator sets for a queue; absent: no bound. */
export interface QueueLimits {
  /** At most so many handed to workers at once. */
  readonly concurrency?: number;
  /** At most so many handed out within `perMs`. */
  readonly rate?: { readonly max: number; readonly perMs: number };
}

export interface QueueView {
  readonly queue: string;
  readonly paused: boolean;
  readonly limits: QueueLimits;
  /** Handed to the stream and not taken by a worker yet. */
  readonly waiting: number;
  /** Held back here by pause, limits or order. */
  readonly held: number;
  /** Taken by a worker and not acknowledged. */
  readonly taken: number;
  /** Consumers of the group that were seen within a minute. */
  readonly workers: number;
  /** Why nothing can be handed out, and the way out: the queue's key belongs to something else. */
  readonly fault?: string;
}

export type JobCommandResult =
  { readonly kind: 'done'; readonly job: JobView } | { readonly kind: 'missing' } | { readonly kind: 'refused'; readonly reason: string };

export interface ScheduleRequest {
  /** Name of the schedule, an actor id. */
  readonly name: string;
  /** Cron expression of five or six fields, or nothing when `everyMs` is given. */
  readonly cron?: string;
  /** IANA time zone of `cron`; default UTC. */
  readonly timeZone?: string;
  readonly everyMs?: number;
  readonly job: JobRequest;
}

export interface ScheduleView extends ScheduleRequest {
  readonly nextAt: Timestamp | null;
  readonly lastJobId: string | null;
  readonly runs: number;
  /** Why there is no next time. */
  readonly reason: string | null;
}

/** One line that a job's worker wrote, or one of its progress messages. */
export interface JobLogLine {
  readonly id: string;
  readonly at: Timestamp;
  readonly type: string;
  readonly data: Json;
}

/** Throws InvalidJobError naming the field, RedisUnusableError, UnknownActorTypeError. `orgId`: who owns what is submitted. */
export interface Jobs {
  submit(request: JobRequest, orgId?: string): Promise<SubmittedJob>;
  /** In order; one bad request refuses all, before anything is stored. */
  submitAll(requests: readonly JobRequest[], orgId?: string): Promise<readonly SubmittedJob[]>;
  get(jobId: string): Promise<JobView | undefined>;
  list(query: JobQuery): Promise<Page<JobView>>;
  cancel(jobId: string, reason?: string): Promise<JobCommandResult>;
  /** Hands a job in error or cancelled out again, with all its tries. */
  retry(jobId: string): Promise<JobCommandResult>;
  log(jobId: string, query: PageQuery): Promise<Page<JobLogLine>>;
  /**
   * Resolves at the end of the job, or with its present state when the time is over; undefined when none was heard of for 2 s, or, of one that
   * was `accepted`, in all that time.
   */
  waitForEnd(jobId: string, timeoutMs: number, accepted?: boolean): Promise<JobView | undefined>;

  listQueues(): Promise<readonly QueueView[]>;
  pause(queue: string): Promise<QueueView>;
  resume(queue: string): Promise<QueueView>;
  setLimits(queue: string, limits: QueueLimits): Promise<QueueView>;

  putSchedule(request: ScheduleRequest): Promise<ScheduleView>;
  listSchedules(query: PageQuery): Promise<Page<ScheduleView>>;
  removeSchedule(name: string): Promise<boolean>;
}
