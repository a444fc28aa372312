/** What a job tells: to its queue, the dead letters, its owner, and the executor that takes entries back. */
import type { Json } from '../../src/protocol/json.ts';
import type { JobContext } from './context.ts';
import { JOB_DEFAULTS, type BuryJob, type PlaceInput, type PostJob, type RebalanceChange, type WithdrawJob } from './events.ts';

const QUEUE_PREFIX = 'jobs:v1:';

export function queueOf({ queue = JOB_DEFAULTS.queue }: JobContext): string {
  return queue;
}

export function deadLettersOf(context: JobContext): string {
  const queue = queueOf(context);
  return queue.startsWith(QUEUE_PREFIX) ? queue.slice(QUEUE_PREFIX.length) : queue;
}

export function postOf(context: JobContext, jobId: string): PostJob {
  const { type, payload, attempt = 0, priority, requeue, timeoutMs = JOB_DEFAULTS.timeoutMs, rayId, target } = context;
  return {
    type: 'post',
    jobId,
    jobType: type,
    attempt,
    timeoutMs,
    ...(payload === undefined ? undefined : { payload }),
    ...(priority === undefined ? undefined : { priority }),
    ...(requeue === undefined ? undefined : { requeue }),
    ...(rayId === undefined ? undefined : { rayId }),
    ...(target === undefined ? undefined : { targetNode: target }),
  };
}

export function buryOf(context: JobContext, jobId: string): BuryJob {
  const { type, payload, attempt = 0, failures = 0, losses = 0, error, worker, entry } = context;
  return {
    type: 'bury',
    jobId,
    jobType: type,
    queue: queueOf(context),
    reason: error === undefined ? 'error' : `${error.code}: ${error.message}`,
    // The first try of one that was adopted has no number.
    attempts: Math.max(1, attempt, failures + losses),
    ...(payload === undefined ? undefined : { payload }),
    ...(worker === undefined ? undefined : { worker }),
    ...(entry === undefined ? undefined : { entry }),
  };
}

export function withdrawOf(context: JobContext, jobId: string, cancel: boolean): WithdrawJob {
  const { attempt = 0, entry } = context;
  return { queue: queueOf(context), jobId, attempt, cancel, ...(entry === undefined ? undefined : { entry }) };
}

export function changeOf(context: JobContext, jobId: string, status: RebalanceChange['status'], extra: Json | undefined): RebalanceChange {
  const { userId = '', type, payload, priority, error, reason } = context;
  return {
    jobId,
    userId,
    status,
    type,
    ...(status === 'error' ? { error: error?.message ?? reason ?? 'cancelled' } : undefined),
    ...(payload === undefined ? undefined : { payload }),
    ...(priority === undefined ? undefined : { priority }),
    ...(extra === undefined ? undefined : { extra }),
  };
}

export function placeInputOf({ orgId, requires = {}, looks = 0 }: JobContext, jobId: string): PlaceInput {
  return { jobId, requires, tries: looks, ...(orgId === undefined ? undefined : { orgId }) };
}
