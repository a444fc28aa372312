/**
 * The job service: the port `Jobs` over the engine's client, the readers and the queues.
 *
 * 1. It decides nothing about a job. Every change is an event of the job's machine; what the machine ignores is answered as refused.
 * 2. Any number of processes may do this beside one engine.
 */
import type { Client } from '../engine/client.ts';
import type { Clock } from '../engine/ports.ts';
import type { ActorReader, ArrivedView, Arrivals } from '../engine/read-ports.ts';
import type { MachineEvent } from '../protocol/envelope.ts';
import { EventRejectedError, StoppedError } from '../protocol/errors.ts';
import { actorKey } from '../protocol/ids.ts';
import { JOB_END_STATES, type JobCommandResult, type JobQuery, type Jobs, type JobView, type QueueView } from '../protocol/job.ts';
import type { JobLogs } from '../protocol/job-log.ts';
import type { Page } from '../protocol/control-plane.ts';
import type { Queues } from '../protocol/queues.ts';
import { JobEnds } from './job-ends.ts';
import { listJobs } from './listing.ts';
import { listSchedules, putSchedule, removeSchedule } from './schedules.ts';
import { submitJob, submitJobs } from './submission.ts';
import { jobView } from './views.ts';

export interface JobPorts {
  readonly client: Pick<Client, 'sendAll' | 'sendAndHear' | 'sendAndWait'>;
  /** Of jobs that ended, for those who wait for one. */
  readonly arrivals: Arrivals;
  readonly reader: Pick<ActorReader, 'getActor' | 'getActors' | 'listActors'>;
  readonly queues: Pick<Queues, 'list' | 'view' | 'pause' | 'resume' | 'setLimits'>;
  readonly logs: JobLogs;
  readonly clock: Clock;
  /** Redis's clock, ms since the epoch. */
  readonly time: () => Promise<number>;
  /** Wall clock, ms since the epoch. */
  readonly now: () => number;
  readonly makeId: () => string;
  /** Kept with the jobs that are submitted here: `http`, `library`. */
  readonly source: string;
  /** See SubmissionPorts. */
  readonly confirmMs: number;
  /** Who waits for a job's end gets StoppedError when it aborts. */
  readonly stopped?: AbortSignal;
  /** Told when what is held back in a queue may go, so that nobody need wait for the next look. */
  readonly ring?: (queue: string) => void;
}

/** A job that was just submitted has its record after a few ms; with an engine that is behind, later. */
const APPEAR_MS = 2_000;
const LOOK_AGAIN_MS = 20;
/** Who waits for an end looks so often, in case it was told and not heard. */
const LOOK_UNTOLD_MS = 1_000;

export function createJobs(ports: JobPorts): Jobs {
  const { reader, queues, logs, time } = ports;
  const ends = new JobEnds(ports.arrivals, ports.clock);
  ports.stopped?.addEventListener('abort', () => ends.close(), { once: true });

  const get = async (jobId: string): Promise<JobView | undefined> => {
    const view = await reader.getActor(actorKey('job', jobId));
    const job = view === undefined ? undefined : jobView(view);
    return job === undefined ? undefined : (await withReasons(queues, [job]))[0];
  };

  const viewOf = async (queue: string): Promise<QueueView> => (await queues.view([queue]))[0] as QueueView;

  return {
    submit: async (request, orgId) => await submitJob(ports, request, orgId),
    submitAll: async (requests, orgId) => await submitJobs(ports, requests, orgId),
    get,

    async list(query: JobQuery): Promise<Page<JobView>> {
      const { items, next } = await listJobs({ reader, time }, query);
      return { items: await withReasons(queues, items), next };
    },

    cancel: async (jobId, reason) =>
      await command(ports, get, jobId, { type: 'cancel', ...(reason === undefined ? {} : { reason }) }, (job) =>
        JOB_END_STATES.includes(job.state) ? `The job is ${job.state} already; there is nothing to cancel.` : undefined,
      ),

    retry: async (jobId) =>
      await command(ports, get, jobId, { type: 'retry' }, ({ state }) =>
        state === 'error' || state === 'cancelled' ? undefined : `The job is ${state}; only a job in error or cancelled can be handed out again.`,
      ),

    log: async (jobId, query) => {
      actorKey('job', jobId);
      return await logs.page(jobId, query);
    },
    waitForEnd: async (jobId, timeoutMs) => await waitForEnd(ports, ends, get, jobId, timeoutMs),

    listQueues: async () => await queues.view(await queues.list()),
    pause: async (queue) => {
      await queues.pause(queue);
      return await viewOf(queue);
    },
    resume: async (queue) => {
      await queues.resume(queue);
      ports.ring?.(queue);
      return await viewOf(queue);
    },
    setLimits: async (queue, limits) => {
      await queues.setLimits(queue, limits);
      ports.ring?.(queue);
      return await viewOf(queue);
    },

    putSchedule: async (request) => await putSchedule(ports, request),
    listSchedules: async (query) => await listSchedules(ports, query),
    removeSchedule: async (name) => await removeSchedule(ports, name),
  };
}

type Get = (jobId: string) => Promise<JobView | undefined>;

/** `refusal`: what is known beforehand; an event for an actor that has ended would only become a dead letter. */
async function command(
  { client }: JobPorts,
  get: Get,
  jobId: string,
  event: MachineEvent,
  refusal: (job: JobView) => string | undefined,
): Promise<JobCommandResult> {
  const job = await get(jobId);
  if (job === undefined) return { kind: 'missing' };
  const refused = refusal(job);
  if (refused !== undefined) return { kind: 'refused', reason: refused };
  try {
    const settled = await client.sendAndWait('job', jobId, event);
    const now = await get(jobId);
    if (now === undefined) return { kind: 'missing' };
    return settled.kind === 'ignored'
      ? { kind: 'refused', reason: `The job is ${now.state} and does not take "${event.type}" now.` }
      : { kind: 'done', job: now };
  } catch (error) {
    if (error instanceof EventRejectedError) return { kind: 'refused', reason: error.message };
    throw error;
  }
}

async function waitForEnd({ clock, stopped }: JobPorts, ends: JobEnds, get: Get, jobId: string, timeoutMs: number): Promise<JobView | undefined> {
  const began = clock.now();
  const left = (bound: number): number => bound - (clock.now() - began);
  for (;;) {
    if (stopped?.aborted) throw new StoppedError(`The wait for the job ${jobId} ended because the service stops. The job goes on.`);
    const ended = Promise.withResolvers<ArrivedView | undefined>();
    const lookAgain = (): void => ended.resolve(undefined);
    // Watched from before the look, so that no end falls between.
    const unwatch = await ends.watch(jobId, ended.resolve);
    stopped?.addEventListener('abort', lookAgain, { once: true });
    try {
      const job = await get(jobId);
      if (job !== undefined && (JOB_END_STATES.includes(job.state) || left(timeoutMs) <= 0)) return job;
      if (job === undefined && left(Math.min(timeoutMs, APPEAR_MS)) <= 0) return undefined;
      const cancel = clock.after(Math.min(job === undefined ? LOOK_AGAIN_MS : LOOK_UNTOLD_MS, left(timeoutMs)), lookAgain);
      const told = await ended.promise;
      cancel();
      const view = told && jobView(told);
      if (view !== undefined) return view;
    } finally {
      stopped?.removeEventListener('abort', lookAgain);
      unwatch();
    }
  }
}

/** What the machine cannot know: that the queue in which a job lies hands nothing out. */
async function withReasons(queues: Pick<Queues, 'view'>, jobs: readonly JobView[]): Promise<readonly JobView[]> {
  const names = [...new Set(jobs.flatMap(({ state, queue }) => (state === 'queued' && queue !== null ? [queue] : [])))];
  if (names.length === 0) return jobs;
  const views = await queues.view(names);
  const reasons = new Map(views.map((view) => [view.queue, reasonOf(view)]));
  return jobs.map((job) => {
    const reason = job.state === 'queued' && job.queue !== null ? reasons.get(job.queue) : undefined;
    return reason === undefined ? job : { ...job, reason };
  });
}

function reasonOf({ queue, paused, fault }: QueueView): string | undefined {
  return fault ?? (paused ? `The queue ${queue} is paused.` : undefined);
}
