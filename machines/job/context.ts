/**
 * What a job keeps between events, and how it is made.
 *
 * 1. What has its default is absent. A finished job keeps what is shown of it, and drops what only its way there needed:
 *    hundreds of thousands of them lie in the store.
 * 2. The job's id is the actor's and stands nowhere here.
 */
import { EventRejectedError } from '../../src/protocol/errors.ts';
import type { MachineEvent } from '../../src/protocol/envelope.ts';
import type { Json } from '../../src/protocol/json.ts';
import { NODE_ID } from '../node/events.ts';
import { JOB_DEFAULTS, type ChildSpec, type JobEvent, type JobSpec, type JobVia, type WorkerReport } from './events.ts';
import { isOurs } from './rules.ts';

/** The spec but for its children, which become actors of their own, and for what has its default. */
type KeptSpec = { readonly [Field in keyof Omit<JobSpec, 'children' | 'via'>]: JobSpec[Field] } & { readonly via?: Exclude<JobVia, 'queue'> };

/** How it failed; kept while it is tried again and in `error`. */
export type JobFault = { readonly code: string; readonly message: string };

export type JobContext = KeptSpec & {
  /** How often it was handed out by us; absent: never. The fence of its reports. */
  readonly attempt?: number;
  /** Tries that failed since it was submitted, or retried by a person. */
  readonly failures?: number;
  /** Times that its worker was lost with it in hand, since then. */
  readonly losses?: number;
  /** Looks at the fleet since it last was with a worker. */
  readonly looks?: number;
  /** The node that it was placed on. */
  readonly target?: string;

  /** Who has it, or had it last. */
  readonly worker?: string;
  readonly nodeId?: string;
  /** Its worker is none of ours, and tells no signs of life. */
  readonly foreign?: true;
  /** Its entry in the queue, when it is known. */
  readonly entry?: string;
  /** The newest entry of an attempt that is over: a report about it, or an older one, is late even when it tells no attempt. */
  readonly former?: string;
  /** Its worker fell silent. `asked`: its node is asked. `answered`: its node lives, so that one more sign of life is waited for. */
  readonly doubt?: 'asked' | 'answered';
  /** In `retrying`: for how long. */
  readonly pauseMs?: number;

  /** Children that are not submitted yet. */
  readonly unborn?: readonly ChildSpec[];
  readonly children?: readonly string[];
  /** Children that have not ended. */
  readonly open?: readonly string[];
  /** A child is done. */
  readonly childDone?: true;
  /** What became of the first child that was not. */
  readonly childFailed?: string;

  readonly result?: Json;
  readonly error?: JobFault;
  /** Why it waits or was cancelled, for people. */
  readonly reason?: string;
  /** Reports that were refused by the fence. */
  readonly late?: number;
};

/** The machine's input at the job's first event. Throws EventRejectedError when the event tells nothing of what the job is. */
export function contextOf(id: string, event: MachineEvent): JobContext {
  const first = event as unknown as JobEvent;
  if (first.type === 'submit') {
    const context = fromSpec(first.spec);
    // What is posted at once is numbered here already: one assignment less for the most of all jobs.
    return isPostedAtOnce(context) ? { ...context, attempt: 1 } : context;
  }
  if (first.type === 'adopt') {
    const node = first.spec.requires?.node;
    const reason = node === undefined ? undefined : `only node ${node} may take it: its entry names that one`;
    return { ...fromSpec(first.spec), entry: first.entry, ...(reason === undefined ? undefined : { reason }) };
  }
  const { origin, attempt } = first as WorkerReport;
  if (origin === undefined) {
    throw new EventRejectedError('unknown_job', `There is no job ${id}: it was never submitted, or has been dropped.`);
  }
  return attempt === undefined ? fromSpec(origin) : { ...fromSpec(origin), attempt };
}

function isPostedAtOnce({ via, delayMs, unborn, requires }: JobContext): boolean {
  return via === undefined && delayMs === undefined && unborn === undefined && requires === undefined;
}

function fromSpec({ via, children, ...spec }: JobSpec): JobContext {
  const kept: { -readonly [Field in keyof JobContext]: JobContext[Field] } = spec;
  if (via !== 'queue') kept.via = via;
  if (spec.queue === JOB_DEFAULTS.queue) delete kept.queue;
  if (spec.priority === 0) delete kept.priority;
  if (spec.delayMs === 0) delete kept.delayMs;
  if (spec.attempts === JOB_DEFAULTS.attempts) delete kept.attempts;
  if (spec.timeoutMs === JOB_DEFAULTS.timeoutMs) delete kept.timeoutMs;
  if (spec.requeue === JOB_DEFAULTS.requeue) delete kept.requeue;
  if (spec.waitFor === 'all') delete kept.waitFor;
  if (spec.onChildFailure === 'fail') delete kept.onChildFailure;
  if (children !== undefined && children.length > 0) kept.unborn = children;
  return kept;
}

/** Of no use to a job that is done. */
const DROPPED_WHEN_DONE = [
  ...(['delayMs', 'backoff', 'timeoutMs', 'requeue', 'requires', 'waitFor', 'onChildFailure', 'target'] as const),
  ...(['failures', 'losses', 'looks', 'entry', 'former', 'foreign', 'doubt', 'pauseMs', 'open', 'childDone', 'childFailed', 'error', 'reason'] as const),
] satisfies readonly (keyof JobContext)[];

/** What a step changes; a field that is undefined goes. */
export type ContextChange = Partial<JobContext>;
export type Draft = { -readonly [Field in keyof JobContext]?: JobContext[Field] | undefined };

/** A field of an assignment that is undefined is absent from the record: JSON leaves it out. */
export function changed(draft: Draft): ContextChange {
  return draft as ContextChange;
}

/** What `end` changes. (1) */
export function finished(context: JobContext, { result, worker, nodeId }: Extract<JobEvent, { type: 'end' }>): ContextChange {
  const change: Draft = {};
  if (result !== undefined && result !== null) change.result = result;
  if (worker !== undefined) change.worker = worker;
  if (nodeId !== undefined) change.nodeId = nodeId;
  for (const field of DROPPED_WHEN_DONE) if (context[field] !== undefined) change[field] = undefined;
  return changed(change);
}

/** What a report tells of who has the job. A node that can be none is not remembered: it could not be asked. */
export function claimed(context: JobContext, { attempt, worker, nodeId, entry }: WorkerReport): ContextChange {
  const change: Draft = {};
  if (worker !== undefined) change.worker = worker;
  if (nodeId !== undefined && NODE_ID.test(nodeId)) change.nodeId = nodeId;
  if (entry !== undefined) change.entry = entry;
  // Who saw that a foreign worker has it tells the entry's attempt for it.
  if (context.via === undefined && (attempt === undefined || worker !== undefined) && !isOurs(worker)) change.foreign = true;
  for (const field of DROPPED_WHEN_CLAIMED) if (context[field] !== undefined) change[field] = undefined;
  return changed(change);
}

const DROPPED_WHEN_CLAIMED = ['looks', 'reason', 'error', 'doubt', 'pauseMs'] as const satisfies readonly (keyof JobContext)[];

/** The attempt is over: nobody has the job, and reports about its entry are late. */
export function givenBack(context: JobContext, event: WorkerReport): ContextChange {
  const change: Draft = {};
  const entry = context.entry ?? event.entry;
  if (entry !== undefined) change.former = entry;
  for (const field of DROPPED_WHEN_GIVEN_BACK) if (context[field] !== undefined) change[field] = undefined;
  return changed(change);
}

const DROPPED_WHEN_GIVEN_BACK = ['worker', 'nodeId', 'foreign', 'entry', 'doubt', 'target'] as const satisfies readonly (keyof JobContext)[];

/** It begins anew: what it went through is forgotten, but for its attempts, which only grow. */
export function renewed(context: JobContext): ContextChange {
  const change: Draft = { ...givenBack(context, {}) };
  for (const field of DROPPED_WHEN_RENEWED) if (context[field] !== undefined) change[field] = undefined;
  return changed(change);
}

const DROPPED_WHEN_RENEWED = [
  ...(['failures', 'losses', 'looks', 'pauseMs', 'result', 'error', 'reason', 'childDone', 'childFailed'] as const),
] satisfies readonly (keyof JobContext)[];

/** A child ended. */
export function childEnded(context: JobContext, { child, ok, message }: Extract<JobEvent, { type: 'childEnded' }>): ContextChange {
  const open = (context.open ?? []).filter((id) => id !== child);
  const change = { open, reason: `waits for ${open.length} more of ${context.children?.length ?? 0} children` };
  if (ok) return { ...change, childDone: true };
  return context.childFailed === undefined ? { ...change, childFailed: `${child}: ${message ?? 'was not done'}` } : change;
}
