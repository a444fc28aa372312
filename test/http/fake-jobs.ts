/** A double of the jobs port at this adapter's own boundary. */
import { InvalidJobError } from '../../src/protocol/errors.ts';
import type { JobLogLine, JobQuery, JobRequest, Jobs, JobView, QueueLimits, QueueView, ScheduleView, SubmittedJob } from '../../src/protocol/job.ts';

export interface FakeJobs extends Jobs {
  readonly jobs: Map<string, JobView>;
  readonly logs: Map<string, JobLogLine[]>;
  readonly schedules: Map<string, ScheduleView>;
  readonly asked: JobQuery[];
  readonly waits: number[];
  queue: QueueView;
}

const AT = '2030-01-01T00:00:00.000Z';

export function fakeJob(jobId: string, overrides: Partial<JobView> = {}): JobView {
  return {
    jobId,
    type: 'ECHO',
    queue: 'jobs:v1:gpu-general',
    state: 'queued',
    reason: null,
    payload: { text: 'hello' },
    result: null,
    error: null,
    progress: null,
    attempt: 1,
    attemptsMax: 3,
    priority: 0,
    worker: null,
    nodeId: null,
    parent: null,
    children: [],
    lateReports: 0,
    orgId: 'acme',
    userId: null,
    createdAt: AT,
    updatedAt: AT,
    ...overrides,
  };
}

export function createFakeJobs(): FakeJobs {
  const jobs = new Map<string, JobView>();
  const logs = new Map<string, JobLogLine[]>();
  const schedules = new Map<string, ScheduleView>();
  const asked: JobQuery[] = [];
  const waits: number[] = [];
  const submitOne = ({ jobId = `new-${jobs.size}`, type, payload = {} }: JobRequest, orgId?: string): SubmittedJob => {
    if (type === 'BROKEN') throw new InvalidJobError('payload', 'is broken.');
    if (jobs.has(jobId)) return { jobId, existing: true };
    jobs.set(jobId, fakeJob(jobId, { type, payload, orgId: orgId ?? null }));
    return { jobId, existing: false };
  };
  const page = <Item>(items: readonly Item[], { cursor, limit }: { readonly cursor?: string; readonly limit: number }) => {
    const from = Number(cursor ?? 0);
    return { items: items.slice(from, from + limit), next: from + limit < items.length ? String(from + limit) : null };
  };
  const fake: FakeJobs = {
    jobs,
    logs,
    schedules,
    asked,
    waits,
    queue: { queue: 'jobs:v1:gpu-general', paused: false, limits: {}, waiting: 2, held: 0, taken: 1, workers: 1 },
    submit: async (request, orgId) => submitOne(request, orgId),
    submitAll: async (requests, orgId) => requests.map((request) => submitOne(request, orgId)),
    get: async (jobId) => jobs.get(jobId),
    async list(query) {
      asked.push(query);
      return page(
        [...jobs.values()].filter(({ orgId }) => query.orgId === undefined || orgId === query.orgId),
        query,
      );
    },
    cancel: async (jobId, reason = 'asked for') => change(jobId, { state: 'cancelled', reason }),
    retry: async (jobId) =>
      jobs.get(jobId)?.state === 'done' ? { kind: 'refused', reason: 'It is done; submit another one.' } : change(jobId, { state: 'queued' }),
    log: async (jobId, query) => page(logs.get(jobId) ?? [], query),
    async waitForEnd(jobId, timeoutMs) {
      waits.push(timeoutMs);
      const job = jobs.get(jobId);
      return job === undefined ? undefined : { ...job, state: 'done', result: 42 };
    },
    listQueues: async () => [fake.queue],
    pause: async (queue) => (fake.queue = { ...fake.queue, queue, paused: true }),
    resume: async (queue) => (fake.queue = { ...fake.queue, queue, paused: false }),
    setLimits: async (queue: string, limits: QueueLimits) => (fake.queue = { ...fake.queue, queue, limits }),
    async putSchedule(request) {
      const schedule = { ...request, nextAt: AT, lastJobId: null, runs: 0, reason: null };
      schedules.set(request.name, schedule);
      return schedule;
    },
    listSchedules: async (query) => page([...schedules.values()], query),
    removeSchedule: async (name) => schedules.delete(name),
  };
  const change = (jobId: string, changed: Partial<JobView>) => {
    const job = jobs.get(jobId);
    if (job === undefined) return { kind: 'missing' as const };
    jobs.set(jobId, { ...job, ...changed });
    return { kind: 'done' as const, job: { ...job, ...changed } };
  };
  return fake;
}
