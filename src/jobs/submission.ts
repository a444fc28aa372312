/**
 * Jobs on their way in.
 *
 * 1. One append for all of a request's jobs; one bad job refuses all of them, before anything is stored.
 * 2. A job that exists is recognised by its record; one that was submitted a moment ago and has no record yet, by its append.
 *    What the answer `existing` may miss, the machine does not: a second `submit` changes nothing.
 * 3. An id that belongs to another organisation's job is refused without saying more.
 */
import type { Client } from '../engine/client.ts';
import type { ActorReader } from '../engine/read-ports.ts';
import type { MachineEvent } from '../protocol/envelope.ts';
import { EventRejectedError, InvalidJobError } from '../protocol/errors.ts';
import { actorKey } from '../protocol/ids.ts';
import type { JobRequest, SubmittedJob } from '../protocol/job.ts';
import type { Json } from '../protocol/json.ts';
import { newJob, type NewJob } from './request.ts';
import { ownerOf } from './views.ts';

export interface SubmissionPorts {
  readonly client: Pick<Client, 'sendAll' | 'sendAndHear'>;
  readonly reader: Pick<ActorReader, 'getActors'>;
  readonly makeId: () => string;
  /** Wall clock, ms since the epoch. */
  readonly now: () => number;
  /** Kept with the job: `http`, `library`. */
  readonly source: string;
  /**
   * A single submission is answered when the job stands in the store, so that whoever submits finds it: after so long at the latest.
   * 0: at the append.
   */
  readonly confirmMs: number;
}

/** Two submissions of one id within this time are told apart by their append; after it, the first has its record. (2) */
const APPEND_WINDOW_MS = 60_000;

export async function submitJobs(ports: SubmissionPorts, requests: readonly JobRequest[], orgId: string | undefined): Promise<readonly SubmittedJob[]> {
  const { makeId, source } = ports;
  const made = requests.map((request, index) => newJob(request, { makeId, source, ...(orgId === undefined ? {} : { orgId }) }, `jobs[${index}]`));
  return await append(ports, made, orgId);
}

export async function submitJob(ports: SubmissionPorts, request: JobRequest, orgId: string | undefined): Promise<SubmittedJob> {
  const { makeId, source, confirmMs, client } = ports;
  const job = newJob(request, { makeId, source, ...(orgId === undefined ? {} : { orgId }) });
  if (confirmMs === 0) return (await append(ports, [job], orgId))[0] as SubmittedJob;
  const { jobId } = job;
  if (job.named && (await existing(ports, [job], orgId)).has(jobId)) return { jobId, existing: true };
  const { outcome } = await client.sendAndHear('job', jobId, submitEvent(job), { timeoutMs: confirmMs });
  if (outcome?.kind === 'dead-letter') throw new EventRejectedError(outcome.code, outcome.reason, outcome.field);
  return { jobId, existing: outcome?.kind === 'ignored' };
}

async function append(ports: SubmissionPorts, jobs: readonly NewJob[], orgId: string | undefined): Promise<readonly SubmittedJob[]> {
  const known = new Set(await existing(ports, jobs, orgId));
  const fresh: NewJob[] = [];
  const answers = jobs.map((job): { jobId: string; existing: boolean } => {
    const answer = { jobId: job.jobId, existing: known.has(job.jobId) };
    if (!answer.existing) fresh.push(job);
    known.add(job.jobId);
    return answer;
  });
  if (fresh.length === 0) return answers;
  const window = Math.floor(ports.now() / APPEND_WINDOW_MS);
  const results = await ports.client.sendAll(
    'job',
    fresh.map((job) => ({ id: job.jobId, event: submitEvent(job), ...(job.named ? { dedupeId: `submit:${job.jobId}:${window}` } : {}) })),
  );
  const repeated = fresh.filter((_, index) => results[index]?.repeated);
  if (repeated.length === 0) return answers;
  await appendAgain(ports, repeated, orgId);
  const again = new Set(repeated.map(({ jobId }) => jobId));
  return answers.map((answer) => (again.has(answer.jobId) ? { ...answer, existing: true } : answer));
}

/** Submitted within this window already: most have their record by now. One without may have ended and been removed since, so it is sent again. (2) */
async function appendAgain(ports: SubmissionPorts, jobs: readonly NewJob[], orgId: string | undefined): Promise<void> {
  const known = await existing(ports, jobs, orgId);
  const missing = jobs.filter(({ jobId }) => !known.has(jobId));
  if (missing.length > 0)
    await ports.client.sendAll(
      'job',
      missing.map((job) => ({ id: job.jobId, event: submitEvent(job) })),
    );
}

/** Ids of those that have a record. New ids are not looked for. Upholds (3). */
async function existing({ reader }: SubmissionPorts, jobs: readonly NewJob[], orgId: string | undefined): Promise<ReadonlySet<string>> {
  const named = [...new Set(jobs.filter((job) => job.named).map(({ jobId }) => jobId))];
  if (named.length === 0) return new Set();
  const views = await reader.getActors(named.map((jobId) => actorKey('job', jobId)));
  return new Set(
    named.filter((jobId, index) => {
      const view = views[index];
      if (view === undefined) return false;
      if (orgId !== undefined && ownerOf(view) !== orgId) throw new InvalidJobError('jobId', `${JSON.stringify(jobId)} cannot be used; choose another one.`);
      return true;
    }),
  );
}

function submitEvent({ spec }: NewJob): MachineEvent {
  return { type: 'submit', spec: spec as unknown as Json };
}
