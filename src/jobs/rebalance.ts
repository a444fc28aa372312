/**
 * Rebalance jobs for their users: submitted to the job's actor, shown to their owner.
 *
 * 1. An id is `<epoch ms>-<7 base-36 characters>`, as the agent expects it.
 * 2. With an Idempotency-Key the first id that was made for the key is kept before anything is submitted, and submitting an id again changes
 *    nothing: after a crash anywhere between, a repeat ends with the same one job.
 * 3. `create` answers when the job stands in the agent's list, because its callers look there; when that takes too long, when it is accepted.
 */
import { createHash, randomInt } from 'node:crypto';
import { JOB_TYPE, type JobSpec } from '../../machines/job/events.ts';
import type { Client } from '../engine/client.ts';
import type { Clock } from '../engine/ports.ts';
import type { MachineEvent } from '../protocol/envelope.ts';
import { InvalidJobError } from '../protocol/errors.ts';
import type { Jobs, JobState, JobView } from '../protocol/job.ts';
import type { Json, JsonObject } from '../protocol/json.ts';
import type { RebalanceJobs, RebalanceRequest, RebalanceStatus, RebalanceView, RebalanceWriter } from '../protocol/rebalance.ts';

export interface RebalanceParts {
  readonly client: Pick<Client, 'send'>;
  readonly jobs: Pick<Jobs, 'get'>;
  readonly writer: Pick<RebalanceWriter, 'isTold' | 'firstOf'>;
  readonly clock: Clock;
  /** Wall clock, ms since the epoch. */
  readonly now: () => number;
  /** Uniform in [0, below). Default: the system's. */
  readonly random?: (below: number) => number;
}

const ID_CHANCE_DIGITS = 7;
const DIGITS = '0123456789abcdefghijklmnopqrstuvwxyz';
const IDEMPOTENCY_KEPT_MS = 86_400_000;
/** Between looks whether the job stands in the list: usually it does after one or two ms. Together about a second. */
const LOOK_MS = [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377] as const;
const PRIORITY_MAX = 1_000_000;
const PRIORITIES: { readonly [name: string]: number | undefined } = { high: 10, normal: 0, low: -10 };

export function createRebalanceJobs({ client, jobs, writer, clock, now, random = (below) => randomInt(below) }: RebalanceParts): RebalanceJobs {
  const newId = (): string => {
    let id = `${now()}-`;
    for (let digit = 0; digit < ID_CHANCE_DIGITS; digit++) id += DIGITS[random(DIGITS.length)] as string;
    return id;
  };
  return {
    async create(request) {
      const spec = specOf(request);
      const { userId, idempotencyKey: key } = request;
      const jobId = key === undefined ? newId() : await writer.firstOf(keyName(userId, key), newId(), IDEMPOTENCY_KEPT_MS); // (2)
      const event = { type: 'submit', spec: spec as unknown as Json } satisfies MachineEvent;
      await client.send('job', jobId, event, { source: 'http', dedupeId: `rebalance:${jobId}` });
      for (const ms of LOOK_MS) {
        if (await writer.isTold(jobId).catch(() => true)) break; // (3)
        await clock.sleep(ms);
      }
      return { jobId };
    },
    async get(jobId, userId) {
      const job = await jobs.get(jobId);
      return job === undefined || job.userId !== userId ? undefined : viewOf(job);
    },
  };
}

function specOf({ userId, orgId, body }: RebalanceRequest): JobSpec {
  const { type = 'rebalance' } = body;
  if (typeof type !== 'string' || !JOB_TYPE.test(type)) throw new InvalidJobError('type', `must match ${JOB_TYPE.source}.`);
  const priority = priorityOf(body);
  return {
    type,
    via: 'rebalance',
    payload: body,
    userId,
    // The agent decides whether it tries again: twice done is twice moved.
    attempts: 1,
    source: 'http',
    ...(priority === undefined ? {} : { priority }),
    ...(orgId === null ? {} : { orgId }),
  };
}

/** Only for show: the agent's list has one order. What is no priority stays in the payload. */
function priorityOf({ priority }: JsonObject): number | undefined {
  const number = typeof priority === 'string' ? (Object.hasOwn(PRIORITIES, priority) ? PRIORITIES[priority] : undefined) : priority;
  return typeof number === 'number' && Number.isInteger(number) && Math.abs(number) <= PRIORITY_MAX ? number : undefined;
}

function keyName(userId: string, key: string): string {
  return `rebalance:${createHash('sha256')
    .update(JSON.stringify([userId, key]))
    .digest('base64url')}`;
}

const STATUS_OF: { readonly [state in JobState]: RebalanceStatus } = {
  scheduled: 'queued',
  waiting: 'queued',
  placing: 'queued',
  queued: 'queued',
  retrying: 'queued',
  processing: 'processing',
  done: 'done',
  error: 'error',
  cancelled: 'error',
};

function viewOf({ jobId, state, type, payload, result, error, reason, createdAt, updatedAt }: JobView): RebalanceView {
  const said = error?.message ?? (state === 'cancelled' ? (reason ?? 'The job was cancelled.') : undefined);
  return {
    jobId,
    status: STATUS_OF[state],
    ...(said === undefined ? {} : { error: said }),
    type,
    payload,
    ...(result === null || result === undefined ? {} : { result }),
    createdAt,
    updatedAt,
  };
}
