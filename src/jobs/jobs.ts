/**
 * The job service: the port `Jobs` over the engine's client, the readers and the queues.
 *
 * 1. It decides nothing about a job. Every change is an event of the job's machine; what the machine ignores is answered as refused.
 * 2. Any number of processes may do this beside one engine.
 */
import type { Client } from '../engine/client.ts';
import type { Clock } from '../engine/ports.ts';
import type { ActorReader, ArrivedView, Arrivals, StoredView } from '../engine/read-ports.ts';
import type { MachineEvent } from '../protocol/envelope.ts';
import { EventRejectedError, RedisUnusableError, StoppedError } from '../protocol/errors.ts';
import { actorKey } from '../protocol/ids.ts';
import { JOB_END_STATES, type JobCommandResult, type JobQuery, type Jobs, type JobView, type QueueView } from '../protocol/job.ts';
import type { JobLogs } from '../protocol/job-log.ts';
import type { Page } from '../protocol/control-plane.ts';
import type { Queues } from '../protocol/queues.ts';
import { decodeRecord } from '../protocol/stored-record.ts';
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
/** Before Redis is asked again that did not answer. */
const FAILURE_PAUSE_MS = 100;
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
    waitForEnd: async (jobId, timeoutMs, accepted = false) => await waitForEnd(ports, ends, jobId, timeoutMs, accepted),

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
  { client, clock, confirmMs }: JobPorts,
  get: Get,
  jobId: string,
  event: MachineEvent,
  refusal: (job: JobView) => string | undefined,
): Promise<JobCommandResult> {
  let job = await get(jobId);
  // One that was submitted just now without waiting for it has no record yet.
  const appearsBy = clock.now() + (confirmMs === 0 ? APPEAR_MS : 0);
  while (job === undefined && clock.now() < appearsBy) {
    await clock.sleep(LOOK_AGAIN_MS);
    job = await get(jobId);
  }
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

/** A wait outlasts a Redis that is away for a moment. */
async function waitForEnd(ports: JobPorts, ends: JobEnds, jobId: string, timeoutMs: number, accepted: boolean): Promise<JobView | undefined> {
  const { clock, stopped } = ports;
  const began = clock.now();
  const left = (bound: number): number => bound - (clock.now() - began);
  for (;;) {
    if (stopped?.aborted) throw new StoppedError(`The wait for the job ${jobId} ended because the service stops. The job goes on.`);
    try {
      const found = await lookOrHear(ports, ends, jobId, (job) => {
        if (job !== undefined) return Math.min(LOOK_UNTOLD_MS, left(timeoutMs));
        const appearing = left(Math.min(timeoutMs, APPEAR_MS));
        return appearing > 0 ? Math.min(LOOK_AGAIN_MS, appearing) : accepted ? Math.min(LOOK_UNTOLD_MS, left(timeoutMs)) : 0;
      });
      if (found !== 'again') return found;
    } catch (error) {
      if (!(error instanceof RedisUnusableError) || (left(timeoutMs) <= 0 && !stopped?.aborted)) throw error;
      await clock.sleep(Math.min(FAILURE_PAUSE_MS, Math.max(0, left(timeoutMs))), stopped);
    }
  }
}

/**
 * The job when it has ended, or is heard to end within the time that `patience` gives to what was read; as it was read when it gives none.
 * `again`: it may have ended, or the time is over.
 */
async function lookOrHear(
  { reader, queues, clock, stopped }: JobPorts,
  ends: JobEnds,
  jobId: string,
  patience: (job: JobView | undefined) => number,
): Promise<JobView | undefined | 'again'> {
  const key = actorKey('job', jobId);
  const ended = Promise.withResolvers<ArrivedView | undefined>();
  const stopping = Promise.withResolvers<undefined>();
  const lookAgain = (): void => ended.resolve(undefined);
  const stop = (): void => {
    lookAgain();
    stopping.resolve(undefined);
  };
  let seen: StoredView | undefined;
  // Watched from before the look, so that no end falls between. What was told of an earlier try may come late.
  const unwatch = await ends.watch(jobId, (view) => {
    if (view === undefined || isLater(view, seen)) ended.resolve(view);
  });
  stopped?.addEventListener('abort', stop, { once: true });
  try {
    if (stopped?.aborted) return 'again';
    seen = await Promise.race([reader.getActor(key), stopping.promise]);
    if (stopped?.aborted) return 'again';
    const job = seen && jobView(seen);
    if (job !== undefined && JOB_END_STATES.includes(job.state)) return job;
    const patienceMs = patience(job);
    if (patienceMs <= 0) return job && (await withReasons(queues, [job]))[0];
    const cancel = clock.after(patienceMs, lookAgain);
    const told = await ended.promise;
    cancel();
    return (told !== undefined && isLater(told, seen) ? jobView(told) : undefined) ?? 'again';
  } finally {
    stopped?.removeEventListener('abort', stop);
    unwatch();
  }
}

/** Whether what was told comes after what was read. */
function isLater(told: ArrivedView, seen: StoredView | undefined): boolean {
  if (seen === undefined) return true;
  const [one, other] = [decodeRecord(told.record), decodeRecord(seen.record)];
  return one.createdAt === other.createdAt ? one.revision > other.revision : one.createdAt > other.createdAt;
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
