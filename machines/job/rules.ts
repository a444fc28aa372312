/**
 * Which report counts, and what a failure or a loss leads to.
 *
 * 1. The fence: a report of any but the present attempt is late, whatever it says. Who tells no attempt (a worker that knows only the
 *    contract, or one of ours with an entry that we did not make) is known by the entry, and where that is not known, believed.
 * 2. A job that is only followed has no attempts: whatever is told of it counts, but for what names an entry that another has followed.
 * 3. A failure spends a try. A loss does not, but a job that loses its worker too often ends: it may be what kills them.
 */
import { compareEntryIds } from '../../src/protocol/ids.ts';
import { CONSUMER_PREFIX } from '../../src/protocol/job-progress.ts';
import type { JobContext } from './context.ts';
import { JOB_DEFAULTS, LOSSES_MAX, type WorkerReport } from './events.ts';

/** Whether the report is about the present attempt and from who may tell it. */
export function counts(context: JobContext, report: WorkerReport): boolean {
  if (report.userId !== undefined && isStranger(context, report)) return false;
  const { attempt = 0, via, entry, former } = context;
  if (via !== undefined) return report.entry === undefined || entry === undefined || report.entry === entry || isNewer(report.entry, entry); // (2)
  if (report.attempt !== undefined) return report.attempt === attempt; // (1)
  if (attempt > 0 && isOurs(report.worker)) return false;
  if (report.entry === undefined) return true;
  return entry === undefined ? isNewer(report.entry, former) : entry === report.entry;
}

/** The report names another owner than the job has, or one for a job that has none. */
export function isStranger({ userId }: JobContext, report: WorkerReport): boolean {
  return report.userId !== undefined && report.userId !== userId;
}

export function isOurs(worker: string | undefined): boolean {
  return worker?.startsWith(CONSUMER_PREFIX) === true;
}

function isNewer(entry: string, former: string | undefined): boolean {
  return former === undefined || compareEntryIds(entry, former) > 0;
}

/** Whoever brought a job that is only followed enqueued it once more. */
export function isPutBack({ via, entry, former }: JobContext, enqueued: string): boolean {
  return via === 'none' && isNewer(enqueued, entry ?? former);
}

/** Whether the entry is, or may be, that of the present attempt. */
export function isItsEntry({ attempt = 0, entry, former }: JobContext, stalled: { readonly entry: string; readonly attempt?: number }): boolean {
  if (stalled.attempt !== undefined && stalled.attempt !== attempt) return false;
  return entry === undefined ? isNewer(stalled.entry, former) : entry === stalled.entry;
}

/** One more failure, and no try is left. (3) */
export function isLastTry({ via, attempts = JOB_DEFAULTS.attempts, failures = 0 }: JobContext): boolean {
  return via !== undefined || failures + 1 >= attempts;
}

/** One more loss ends it. (3) */
export function isLastLoss({ requeue, losses = 0 }: JobContext): boolean {
  return requeue === 'never' || losses + 1 > LOSSES_MAX;
}

/** A parent whose children cannot give it any more what it waits for. */
export function isForsaken({ waitFor, onChildFailure, open = [], childDone, childFailed }: JobContext): boolean {
  if (onChildFailure === 'continue' || childFailed === undefined) return false;
  return waitFor === 'any' ? open.length === 0 && childDone === undefined : true;
}

/** A parent that need not wait for its children any more. */
export function isServed({ waitFor, open = [], childDone }: JobContext): boolean {
  return open.length === 0 || (waitFor === 'any' && childDone === true);
}
