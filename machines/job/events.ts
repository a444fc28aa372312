/**
 * The events of a job and what its machine keeps. Everything outside that speaks to a job is translated into these by a contract.
 *
 * Context leaves out what has its default: the record of a finished job is kept by the hundred thousand.
 */
import { z } from 'zod';
import type { Json } from '../../src/protocol/json.ts';

/** How a job reaches who does it. `queue`: posted to a worker queue. `rebalance`: pushed to the rebalance list. `none`: it is out there already and only followed. */
export const JOB_VIAS = ['queue', 'rebalance', 'none'] as const;
export type JobVia = (typeof JOB_VIAS)[number];

export const JOB_TYPE = /^[A-Za-z][A-Za-z0-9_.:-]{0,63}$/;

export const JOB_DEFAULTS = {
  queue: 'jobs:v1:gpu-general',
  attempts: 3,
  backoff: { kind: 'exponential', delayMs: 1_000, delayMsMax: 300_000 },
  timeoutMs: 300_000,
  requeue: 'idempotent',
} as const;

/** Losses of a worker with the job in hand before the job ends in error: a job that kills its worker must not go on for ever. */
export const LOSSES_MAX = 3;
export const CHILDREN_MAX = 1_000;

/** Every event is known to be JSON before its schema is asked; looking again would cost more than all the rest of the check. */
const json = z.any() as z.ZodType<Json>;
const jobId = z.string().regex(/^[A-Za-z0-9._:@-]{1,128}$/);
const small = z.string().max(256);

const requirements = z.strictObject({
  tags: z.array(z.string().min(1).max(64)).max(32).optional(),
  gpuMemoryMb: z.number().min(0).optional(),
  node: small.optional(),
  service: small.optional(),
});

const backoff = z.strictObject({
  kind: z.enum(['fixed', 'exponential']),
  delayMs: z.number().int().min(0).max(86_400_000),
  delayMsMax: z.number().int().min(0).max(86_400_000).optional(),
  jitter: z.number().min(0).max(1).optional(),
});

const specFields = {
  type: z.string().regex(JOB_TYPE),
  via: z.enum(JOB_VIAS),
  payload: json.optional(),
  /** An actor id: messages to the queue are addressed with it. */
  queue: jobId.optional(),
  priority: z.number().int().min(-1_000_000).max(1_000_000).optional(),
  delayMs: z.number().int().min(0).max(31_536_000_000).optional(),
  attempts: z.number().int().min(1).max(1_000).optional(),
  backoff: backoff.optional(),
  timeoutMs: z.number().int().min(1).max(604_800_000).optional(),
  requeue: z.enum(['idempotent', 'fenced', 'never']).optional(),
  requires: requirements.optional(),
  waitFor: z.enum(['all', 'any']).optional(),
  onChildFailure: z.enum(['fail', 'continue']).optional(),
  rayId: small.optional(),
  removeOnDone: z.literal(true).optional(),
  parent: jobId.optional(),
  orgId: small.optional(),
  userId: small.optional(),
  /** Which contract or program brought it: `http`, `library`, `schedule`, `jobs:v1:…`, `task_updates`, … */
  source: small.optional(),
};

/** A child carries its own id; children of children are submitted in the same way. */
export type ChildSpec = JobSpec & { readonly jobId: string };
const childSpec: z.ZodType<ChildSpec> = z.lazy(() =>
  z.strictObject({ ...specFields, children: z.array(childSpec).max(CHILDREN_MAX).optional(), jobId }),
) as never;
export const jobSpec: z.ZodType<JobSpec> = z.strictObject({ ...specFields, children: z.array(childSpec).max(CHILDREN_MAX).optional() }) as never;

export interface JobSpec {
  readonly type: string;
  readonly via: JobVia;
  readonly payload?: Json;
  readonly queue?: string;
  readonly priority?: number;
  readonly delayMs?: number;
  readonly attempts?: number;
  readonly backoff?: { readonly kind: 'fixed' | 'exponential'; readonly delayMs: number; readonly delayMsMax?: number; readonly jitter?: number };
  readonly timeoutMs?: number;
  readonly requeue?: 'idempotent' | 'fenced' | 'never';
  readonly requires?: { readonly tags?: readonly string[]; readonly gpuMemoryMb?: number; readonly node?: string; readonly service?: string };
  readonly waitFor?: 'all' | 'any';
  readonly onChildFailure?: 'fail' | 'continue';
  readonly rayId?: string;
  readonly removeOnDone?: true;
  readonly parent?: string;
  readonly orgId?: string;
  readonly userId?: string;
  readonly source?: string;
  readonly children?: readonly ChildSpec[];
}

/** What a report of a worker says beside its kind. Absent `attempt`: the worker knows of none (it has the contract's keys alone); it is taken for the present one. */
const report = {
  attempt: z.number().int().optional(),
  worker: small.optional(),
  nodeId: small.optional(),
  entry: small.optional(),
  /** Who the sender says owns the job; another owner's report is refused. */
  userId: small.optional(),
  /** Further fields of the sender's message, passed on with the change. */
  extra: json.optional(),
  /** What the job is when nobody submitted it here: the report creates it. Left aside when the job exists. */
  origin: jobSpec.optional(),
};
const fault = { code: z.string().max(64).optional(), message: z.string().max(4_096).optional() };

export const jobEvents = {
  /** The first event; on a job that exists it changes nothing. */
  submit: z.strictObject({ type: z.literal('submit'), spec: jobSpec }),
  /** An entry that someone else enqueued was found in a queue: the job is adopted as it lies there, without being posted again. */
  adopt: z.strictObject({ type: z.literal('adopt'), spec: jobSpec, entry: small }),
  /** A worker took it. `progress`, `message`: for those who tell both in one. */
  claimed: z.strictObject({ type: z.literal('claimed'), ...report, progress: json.optional(), message: z.string().max(4_096).optional() }),
  /** A sign of life of its worker, with or without progress. */
  alive: z.strictObject({ type: z.literal('alive'), ...report, progress: json.optional(), message: z.string().max(4_096).optional() }),
  /** Its worker finished it. `startedAt`: for a job so short that its claim was not told by itself. */
  end: z.strictObject({ type: z.literal('end'), ...report, result: json.optional(), message: z.string().max(4_096).optional() }),
  /** Its worker failed; `retryable: false` spends no further tries. */
  error: z.strictObject({ type: z.literal('error'), ...report, ...fault, retryable: z.boolean().optional() }),
  /** Its worker gives it back untouched, because it stops. */
  released: z.strictObject({ type: z.literal('released'), ...report }),
  /** Its worker saw the cancel flag and ended. */
  aborted: z.strictObject({ type: z.literal('aborted'), ...report }),
  /** Its queue entry lies with a consumer that is gone, and nobody reported: take it back. `attempt`: as it stands in the entry, if it does. */
  stalled: z.strictObject({ type: z.literal('stalled'), entry: small, worker: small.optional(), attempt: z.number().int().optional() }),
  /** Somebody wants it to end. */
  cancel: z.strictObject({ type: z.literal('cancel'), reason: z.string().max(1_024).optional() }),
  /** Somebody wants it done again after its end. */
  retry: z.strictObject({ type: z.literal('retry') }),
  /** Its node's answer to a doubt. `unheard`: no such node ever reported. */
  nodeState: z.strictObject({ type: z.literal('nodeState'), state: z.enum(['online', 'degraded', 'offline', 'unknown', 'unheard']) }),
  /** A child ended. */
  childEnded: z.strictObject({ type: z.literal('childEnded'), child: jobId, ok: z.boolean(), message: z.string().max(1_024).optional() }),
};

export type WorkerReport = {
  readonly attempt?: number;
  readonly worker?: string;
  readonly nodeId?: string;
  readonly entry?: string;
  readonly userId?: string;
  readonly extra?: Json;
  readonly origin?: JobSpec;
};

export type JobEvent =
  | { readonly type: 'submit'; readonly spec: JobSpec }
  | { readonly type: 'adopt'; readonly spec: JobSpec; readonly entry: string }
  | ({ readonly type: 'claimed'; readonly progress?: Json; readonly message?: string } & WorkerReport)
  | ({ readonly type: 'alive'; readonly progress?: Json; readonly message?: string } & WorkerReport)
  | ({ readonly type: 'end'; readonly result?: Json; readonly message?: string } & WorkerReport)
  | ({ readonly type: 'error'; readonly code?: string; readonly message?: string; readonly retryable?: boolean } & WorkerReport)
  | ({ readonly type: 'released' } & WorkerReport)
  | ({ readonly type: 'aborted' } & WorkerReport)
  | { readonly type: 'stalled'; readonly entry: string; readonly worker?: string; readonly attempt?: number }
  | { readonly type: 'cancel'; readonly reason?: string }
  | { readonly type: 'retry' }
  | { readonly type: 'nodeState'; readonly state: 'online' | 'degraded' | 'offline' | 'unknown' | 'unheard' }
  | { readonly type: 'childEnded'; readonly child: string; readonly ok: boolean; readonly message?: string };

/** Message to the outlet `queue/<stream key>`: the job is handed out. */
export type PostJob = {
  readonly type: 'post';
  readonly jobId: string;
  readonly jobType: string;
  readonly payload?: Json;
  readonly attempt: number;
  readonly priority?: number;
  readonly requeue?: string;
  readonly timeoutMs: number;
  readonly rayId?: string;
  readonly targetNode?: string;
};

/** Message to the outlet `dlq/<queue without jobs:v1:>`: the job ended in error with all its tries spent. */
export type BuryJob = {
  readonly type: 'bury';
  readonly jobId: string;
  readonly jobType: string;
  readonly payload?: Json;
  readonly queue: string;
  readonly reason: string;
  readonly attempts: number;
  readonly worker?: string;
  /** The queue's entry id, when it is known. */
  readonly entry?: string;
};

/**
 * Parameters of the effect `withdrawJob`: what was handed out for this attempt (and any earlier one) is taken out of queue, gate
 * and pending list; with `cancel` its cancel flag is set, so that a worker that has it ends. Repeatable.
 */
export type WithdrawJob = { readonly queue: string; readonly jobId: string; readonly attempt: number; readonly entry?: string; readonly cancel: boolean };

/** Parameters of the effects `pushRebalance` (the job is new) and `tellRebalance` (its state changed): see src/contracts/rebalance.ts. */
export type RebalanceChange = {
  readonly jobId: string;
  readonly userId: string;
  readonly status: 'queued' | 'processing' | 'done' | 'error';
  readonly error?: string;
  readonly type: string;
  readonly payload?: Json;
  readonly priority?: number;
  /** Further fields of the agent's message, told on to the client. */
  readonly extra?: Json;
  /** It was cancelled: nobody is to take it any more. */
  readonly withdrawn?: true;
};

/** Input and answer of the invoked promise `place`. */
export type PlaceInput = { readonly jobId: string; readonly orgId?: string; readonly requires: NonNullable<JobSpec['requires']>; readonly tries: number };
export type Placement = { readonly nodeId: string } | { readonly reason: string };
