/** What a report of jobs writes: the arguments of the Function `report` (worker-functions.lua), and the commands that keep a job's log. */
import { Command } from 'ioredis';
import { partitionOf } from '../protocol/ids.ts';
import type { Keys } from './keys.ts';
import { JOB_REPORTS, WORKER_GROUP, progressKey, type JobEntry } from '../protocol/job-progress.ts';
import type { JobReport } from '../protocol/worker.ts';
import type { FunctionCall } from './function-library.ts';

/** A job's log: its newest lines, for a day after the last one. */
const LOG_LENGTH = 1_000;
const LOG_SECONDS = 86_400;

export type WorkerFunction = 'report' | 'claim';
export type Acknowledged = Pick<JobEntry, 'queue' | 'entryId' | 'attempt'>;

export function reportCall(
  keys: Keys,
  reports: readonly JobReport[],
  texts: readonly string[],
  mayLook: boolean,
  acknowledged: readonly Acknowledged[],
): FunctionCall<WorkerFunction> {
  const args: (string | number)[] = [WORKER_GROUP, keys.sourcesBell, partitionsOf(reports), reports.length, mayLook && brings(reports) ? keys.prefix : ''];
  reports.forEach(({ message, counts }, index) => args.push(counts ? '1' : '0', message.jobId, texts[index] as string));
  const streams = [JOB_REPORTS];
  for (const [queue, { ours, foreign }] of byQueue(acknowledged)) {
    streams.push(queue);
    args.push(ours.length + foreign.length, ...ours, ...foreign, ours.length);
  }
  return { name: 'report', keys: streams, args };
}

/** Whose inboxes are to be read with the reports. */
function partitionsOf(reports: readonly JobReport[]): string {
  const numbers = new Set<number>();
  for (const { message, counts } of reports) if (counts) numbers.add(partitionOf(`job/${message.jobId}`));
  return [...numbers].join(' ');
}

/** A single report may come with the ring. */
function brings([only, ...others]: readonly JobReport[]): boolean {
  return only !== undefined && others.length === 0 && only.counts;
}

/** Entries with an attempt are ours. */
function byQueue(acknowledged: readonly Acknowledged[]): ReadonlyMap<string, { readonly ours: string[]; readonly foreign: string[] }> {
  const found = new Map<string, { readonly ours: string[]; readonly foreign: string[] }>();
  for (const { queue, entryId, attempt } of acknowledged) {
    let entries = found.get(queue);
    if (entries === undefined) found.set(queue, (entries = { ours: [], foreign: [] }));
    (attempt === undefined ? entries.foreign : entries.ours).push(entryId);
  }
  return found;
}

/** In the order of the reports; one expiry for each job. */
export function logCommands(reports: readonly JobReport[], texts: readonly string[]): readonly Command[] {
  const commands: Command[] = [];
  const keys = new Set<string>();
  reports.forEach(({ message, logged }, index) => {
    if (!logged) return;
    const key = progressKey(message.jobId);
    keys.add(key);
    commands.push(new Command('xadd', [key, 'MAXLEN', '~', LOG_LENGTH, '*', 'progress', texts[index] as string]));
  });
  for (const key of keys) commands.push(new Command('expire', [key, LOG_SECONDS]));
  return commands;
}

/** A flag that is a number is meant for attempts up to it; any other, and one for an entry without an attempt, stands. */
export function isCancelled(flag: string | null, attempt: number | undefined): boolean {
  if (flag === null) return false;
  return attempt === undefined || !/^\d{1,12}$/.test(flag) || attempt <= Number(flag);
}
