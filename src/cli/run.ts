/**
 * `castellan run TYPE`: submits a job and stays with it until its end.
 *
 * 1. Standard output carries the result and nothing else; progress, log lines and errors go to standard error.
 * 2. Ends with 0 when the job is done, with 1 when it is not.
 * 3. The job belongs to the control plane: leaving the command (Ctrl-C), or losing the control plane for a while, changes nothing for it.
 */
import { randomUUID } from 'node:crypto';
import { Command } from 'commander';
import type { Page } from '../protocol/control-plane.ts';
import { ControlPlaneRefusedError, ControlPlaneUnreachableError } from '../protocol/errors.ts';
import { JOB_END_STATES, type JobLogLine, type JobView, type SubmittedJob } from '../protocol/job.ts';
import { controlPlaneClient, type ControlPlaneClient } from './control-plane-client.ts';
import { addJobOptions, jobRequestFrom, type JobFlags } from './job-options.ts';
import { createJobScreen, type JobScreen } from './job-screen.ts';
import { environmentWith } from './settings.ts';

/** How long the control plane is asked to wait for the end before the screen is drawn again. */
const LOOK_MS_LIVE = 400;
const LOOK_MS_PLAIN = 2_000;
/** A job that ended may have lines in its log that are not read yet; they are few. */
const LOG_LIMIT = 500;
const RETRY_MS_FIRST = 500;
const RETRY_MS_MAX = 15_000;
/** Every command ends with 0 when it is asked to end (contracts 9); the job goes on. */
const LEFT_EXIT_CODE = 0;

interface RunFlags extends JobFlags {
  readonly detach?: boolean;
  readonly json?: boolean;
}

export function runCommand(): Command {
  return addJobOptions(new Command('run').description('submit a job and stay with it until its end; Ctrl-C leaves it running').argument('<type>'))
    .option('--detach', 'print the job’s id and do not stay')
    .option('--json', 'print the whole job as JSON at its end')
    .action(async (type: string, { detach, json, ...flags }: RunFlags) => {
      const client = await controlPlaneClient(environmentWith({}));
      // The key makes a repeat of this request, by whatever lies between, the same job.
      const submitted = await client.post<SubmittedJob>('/api/v1/jobs', await jobRequestFrom(type, flags), { 'idempotency-key': randomUUID() });
      if (detach) return console.log(json ? JSON.stringify(submitted) : submitted.jobId);
      const leaving = new AbortController();
      const leave = (): void => leaving.abort();
      // Once each: a second Ctrl-C ends the process at once.
      for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, leave);
      process.exitCode = await stayWith(client, submitted.jobId, { json: json ?? false, screen: createJobScreen(process.stderr), signal: leaving.signal });
      for (const signal of ['SIGINT', 'SIGTERM']) process.off(signal, leave);
    });
}

export interface StayOptions {
  readonly json: boolean;
  readonly screen: JobScreen;
  readonly signal: AbortSignal;
}

/** The exit code. */
export async function stayWith(client: Pick<ControlPlaneClient, 'get'>, jobId: string, { json, screen, signal }: StayOptions): Promise<number> {
  const path = `/api/v1/jobs/${encodeURIComponent(jobId)}`;
  let seen: string | undefined;
  let wait = 0;
  let retryMs = RETRY_MS_FIRST;
  while (!signal.aborted) {
    try {
      const job = await untilAborted(client.get<JobView>(path, wait === 0 ? {} : { wait }), signal);
      seen = await untilAborted(showLog(client, path, seen, screen), signal);
      screen.show(job);
      retryMs = RETRY_MS_FIRST;
      if (JOB_END_STATES.includes(job.state)) return end(job, json, screen);
      wait = screen.live ? LOOK_MS_LIVE : LOOK_MS_PLAIN;
    } catch (error) {
      if (signal.aborted) break;
      const early = wait === 0 && error instanceof ControlPlaneRefusedError && error.code === 'job_not_found';
      if (!early && !isOutage(error)) throw error;
      screen.say(early ? 'The job is accepted; no engine has taken it in yet.' : 'The control plane does not answer; the job goes on. Trying again.');
      await pause(retryMs * (0.5 + Math.random()), signal);
      retryMs = Math.min(retryMs * 2, RETRY_MS_MAX);
    }
  }
  screen.close();
  screen.say(`Left the job ${jobId}; it goes on. "castellan jobs show ${jobId}" shows it, "castellan jobs cancel ${jobId}" ends it.`);
  return LEFT_EXIT_CODE;
}

async function showLog(client: Pick<ControlPlaneClient, 'get'>, path: string, seen: string | undefined, screen: JobScreen): Promise<string | undefined> {
  let cursor = seen;
  for (;;) {
    const page = await client.get<Page<JobLogLine>>(`${path}/log`, { limit: LOG_LIMIT, cursor });
    for (const line of page.items) screen.log(line);
    cursor = page.items.at(-1)?.id ?? cursor;
    if (page.next === null) return cursor;
  }
}

function end(job: JobView, json: boolean, screen: JobScreen): number {
  screen.close();
  if (json) console.log(JSON.stringify(job, null, 2));
  else if (job.state === 'done' && job.result !== null) console.log(typeof job.result === 'string' ? job.result : JSON.stringify(job.result, null, 2));
  if (job.state === 'done') return 0;
  screen.say(`Job ${job.jobId} ended: ${job.state}. ${job.error === null ? (job.reason ?? '') : `${job.error.code}: ${job.error.message}`}`.trimEnd());
  return 1;
}

function isOutage(error: unknown): boolean {
  return error instanceof ControlPlaneUnreachableError || (error instanceof ControlPlaneRefusedError && error.retryable);
}

/** Rejects as soon as the signal aborts; what was asked for is answered to nobody. */
async function untilAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = (): void => reject(signal.reason as Error);
  if (signal.aborted) abort();
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
  return promise;
}
