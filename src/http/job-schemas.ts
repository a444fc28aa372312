/**
 * The shapes of requests and answers about jobs, queues and schedules.
 * What a job may be is checked by the job service, which names the field; here stands what a program needs to know to write one.
 */
import { z } from 'zod';
import {
  JOB_STATES,
  REQUEUE_POLICIES,
  type JobLogLine,
  type JobRequest,
  type JobView,
  type QueueLimits,
  type QueueView,
  type ScheduleRequest,
  type ScheduleView,
} from '../protocol/job.ts';
import { QUEUE_NAME } from '../protocol/job-progress.ts';
import type { Json } from '../protocol/json.ts';
import { pageQuery, WAIT_MS_MAX } from './schemas.ts';

/** Jobs in one bulk request. The body is bounded as any other: 1 MiB and 20,000 values. */
export const BULK_MAX = 1_000;
const DURATION_MS_MAX = 10 * 365 * 86_400_000;

const json = z.any() as z.ZodType<Json>;
const time = z.iso.datetime();
const jobId = z.string().regex(/^[A-Za-z0-9._:@-]{1,128}$/);
const queueName = z.string().regex(QUEUE_NAME);
const ms = z.number();

const jobFields = {
  type: z.string().describe('What is to be done: the name that workers have a handler for.'),
  payload: json.optional().describe('Any JSON up to 256 KiB.'),
  queue: z.string().optional().describe('Default jobs:v1:gpu-general.'),
  priority: z.union([z.number(), z.string()]).optional().describe('high, normal, low or a number; larger is sooner.') as z.ZodType<JobRequest['priority']>,
  delayMs: ms.optional(),
  attempts: z.number().optional().describe('Tries in all; default 3.'),
  backoff: z.looseObject({ kind: z.string(), delayMs: ms, delayMsMax: ms.optional(), jitter: z.number().optional() }).optional() as z.ZodType<
    JobRequest['backoff']
  >,
  timeoutMs: ms.optional().describe('Longest time with a worker; default 300000.'),
  requeue: z
    .string()
    .optional()
    .describe(`What becomes of it when its worker is lost: ${REQUEUE_POLICIES.join(', ')}.`) as z.ZodType<JobRequest['requeue']>,
  requires: z
    .looseObject({ tags: z.array(z.string()).optional(), gpuMemoryMb: z.number().optional(), node: z.string().optional(), service: z.string().optional() })
    .optional()
    .describe('What the node must have.') as z.ZodType<JobRequest['requires']>,
  children: z
    .array(z.looseObject({ type: z.string() }))
    .optional()
    .describe('Jobs that must end first, in the same shape.') as unknown as z.ZodType<JobRequest['children']>,
  waitFor: z.string().optional().describe('all or any.') as z.ZodType<JobRequest['waitFor']>,
  onChildFailure: z.string().optional().describe('fail or continue.') as z.ZodType<JobRequest['onChildFailure']>,
  rayId: z.string().optional(),
  removeOnDone: z.boolean().optional(),
};
export const jobRequest = z.looseObject({
  ...jobFields,
  jobId: z.string().optional().describe('An id that exists already answers with the existing job.'),
  dedupeKey: z.string().optional().describe('The same key, type and queue are the same job for as long as it is kept.'),
}) as unknown as z.ZodType<JobRequest>;
export const bulkRequest = z.strictObject({ jobs: z.array(jobRequest).min(1).max(BULK_MAX) });

export const jobHeaders = z.object({
  'idempotency-key': z
    .string()
    .regex(/^[\x21-\x7e]{1,255}$/)
    .optional()
    .describe('The same key of the same caller is the same job for as long as that job is kept.'),
});
export const jobParams = z.object({ jobId });
export const jobGetQuery = z.object({
  wait: z.coerce.number().int().min(0).max(WAIT_MS_MAX).optional().describe('Milliseconds to wait for the end of the job.'),
});
export const jobQuery = pageQuery.extend({
  state: z.enum(JOB_STATES).optional(),
  type: z.string().max(64).optional(),
  queue: queueName.optional(),
  node: z.string().max(128).optional(),
  olderThan: z.coerce.number().int().min(0).max(DURATION_MS_MAX).optional().describe('Milliseconds in the present state.'),
});
export const cancelBody = z.strictObject({ reason: z.string().max(1_024).optional() }).nullish();
export const queueParams = z.object({ queue: queueName });
export const queueLimits: z.ZodType<QueueLimits> = z.strictObject({
  concurrency: z.number().int().min(1).max(1_000_000).optional(),
  rate: z.strictObject({ max: z.number().int().min(1).max(1_000_000), perMs: z.number().int().min(1).max(86_400_000) }).optional(),
}) as unknown as z.ZodType<QueueLimits>;
export const scheduleParams = z.object({ name: jobId });
const scheduleFields = { cron: z.string().optional(), timeZone: z.string().optional(), everyMs: ms.optional(), job: jobRequest };
export const scheduleBody = z.strictObject(scheduleFields) as unknown as z.ZodType<Omit<ScheduleRequest, 'name'>>;

// Answers

export const submitted = z.object({ jobId: z.string(), existing: z.boolean() });
export const submittedAll = z.object({ jobs: z.array(submitted) });

export const jobView: z.ZodType<JobView> = z.object({
  jobId: z.string(),
  type: z.string(),
  queue: z.string().nullable(),
  state: z.enum(JOB_STATES),
  reason: z.string().nullable(),
  payload: json,
  result: json,
  error: z.object({ code: z.string(), message: z.string() }).nullable(),
  progress: json,
  attempt: z.int(),
  attemptsMax: z.int(),
  priority: z.number(),
  worker: z.string().nullable(),
  nodeId: z.string().nullable(),
  parent: z.string().nullable(),
  children: z.array(z.string()),
  lateReports: z.int(),
  orgId: z.string().nullable(),
  userId: z.string().nullable(),
  createdAt: time,
  updatedAt: time,
});

export const jobLogLine: z.ZodType<JobLogLine> = z.object({ id: z.string(), at: time, type: z.string(), data: json });

export const queueView = z.object({
  queue: z.string(),
  paused: z.boolean(),
  limits: queueLimits,
  waiting: z.int(),
  held: z.int(),
  taken: z.int(),
  workers: z.int(),
  fault: z.string().optional(),
}) as unknown as z.ZodType<QueueView>;

export const scheduleView = z.object({
  name: z.string(),
  ...scheduleFields,
  nextAt: time.nullable(),
  lastJobId: z.string().nullable(),
  runs: z.int(),
  reason: z.string().nullable(),
}) as unknown as z.ZodType<ScheduleView>;
