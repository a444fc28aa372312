/**
 * What the job's states name: its guards, its actions, its delays and the promise it invokes. The states stand in machine.ts, the rules
 * behind the guards in rules.ts, what an action changes in context.ts.
 */
import { assign, cancel, enqueueActions, fromPromise, raise, sendTo, setup, type DoneActorEvent } from 'xstate';
import { durableActor } from '../../src/protocol/actor-reference.ts';
import { EventRejectedError } from '../../src/protocol/errors.ts';
import type { Json } from '../../src/protocol/json.ts';
import { changed, childEnded, claimed, finished, givenBack, renewed, type ContextChange, type JobContext, type JobFault } from './context.ts';
import { backoffMs, leaseMs, lookMs, paceMs, placedMs, timeoutMs } from './delays.ts';
import type { JobEvent, PlaceInput, Placement, RebalanceChange, WithdrawJob, WorkerReport } from './events.ts';
import { buryOf, changeOf, deadLettersOf, postOf, queueOf, withdrawOf } from './messages.ts';
import { counts, isForsaken, isItsEntry, isLastLoss, isLastTry, isPutBack, isServed, isStranger } from './rules.ts';
import type { JobMachineSettings } from './settings.ts';

export interface JobServices {
  /** Looks at the fleet for a node that has what the job requires. */
  readonly place: (input: PlaceInput, signal: AbortSignal) => Promise<Placement>;
}

/** Timers that the job sets itself; never from outside. `timeout`: it runs too long. `look`: for a place again. `untaken`: its node did not take it. */
type OwnEvent = { readonly type: 'timeout' | 'look' | 'untaken' };
type Event = JobEvent | OwnEvent;
type Args = { readonly context: JobContext; readonly event: Event };

const seconds = (ms: number): string => `${Number((ms / 1000).toFixed(1))} s`;

/** Everything that the states of machine.ts name. */
export function jobSetup({ place }: JobServices, settings: JobMachineSettings) {
  const base = setup({
    types: { context: {} as JobContext, events: {} as Event, input: {} as JobContext },
    actors: { place: fromPromise<Placement, PlaceInput>(({ input, signal }) => place(input, signal)) },
    delays: {
      scheduled: ({ context }) => context.delayMs ?? 0,
      pause: ({ context }) => context.pauseMs ?? 0,
      timeout: ({ context }) => timeoutMs(context),
      lease: ({ context }) => leaseMs(context, settings),
      placed: ({ context }) => placedMs(context, settings),
    },
    guards: {
      /** It was numbered with its input. */
      isPlain: ({ context }) => context.attempt !== undefined,
      isDelayed: ({ context }) => context.delayMs !== undefined,
      isPushed: ({ context }) => context.via === 'rebalance',
      isFollowed: ({ context }) => context.via !== undefined,
      isOnlyFollowed: ({ context }) => context.via === 'none',
      isPutBack: ({ context, event }) => event.type === 'adopt' && isPutBack(context, event.entry),
      hasChildren: ({ context: { unborn, open } }) => unborn !== undefined || (open !== undefined && open.length > 0),
      needsNode: ({ context }) => context.requires !== undefined,
      isForsaken: ({ context }) => isForsaken(context),
      isServedAndNeedsNode: ({ context }) => isServed(context) && context.requires !== undefined,
      isServed: ({ context }) => isServed(context),
      isOpenChild: ({ context, event }) => event.type === 'childEnded' && context.open?.includes(event.child) === true,
      counts: ({ context, event }) => counts(context, event as WorkerReport),
      isPlainReport: ({ context, event }) => isPlainlyWith(context) && counts(context, event as WorkerReport),
      isPlainClaim: ({ context, event }) =>
        isPlainlyWith(context) && event.type === 'claimed' && event.progress === undefined && event.message === undefined && counts(context, event),
      isPlainSign: ({ context, event }) =>
        context.via === undefined &&
        context.doubt === undefined &&
        event.type === 'alive' &&
        event.progress === undefined &&
        event.message === undefined &&
        counts(context, event),
      isSign: ({ context, event }) => context.via === undefined && context.doubt === undefined && counts(context, event as WorkerReport),
      /** Of a job that is only followed: every report counts. */
      isTold: ({ context, event }) => context.via !== undefined && counts(context, event as WorkerReport),
      isSameWorker: ({ context, event }) => {
        const { worker, entry } = event as WorkerReport;
        const same = (worker === undefined || worker === context.worker) && (entry === undefined || entry === context.entry);
        return same && context.via === undefined && context.doubt === undefined && counts(context, event as WorkerReport);
      },
      /** As well, and it is more than the acknowledgement of an entry. */
      isToldOutright: ({ context, event }) =>
        context.via !== undefined && (event as WorkerReport).entry === undefined && counts(context, event as WorkerReport),
      countsAndNeedsNode: ({ context, event }) => context.requires !== undefined && counts(context, event as WorkerReport),
      isRemoved: ({ context, event }) => context.removeOnDone === true && counts(context, event as WorkerReport),
      isLastFailure: ({ context, event }) => event.type === 'error' && counts(context, event) && (event.retryable === false || isLastTry(context)),
      isLastTry: ({ context }) => isLastTry(context),
      isLastLoss: ({ context }) => isLastLoss(context),
      isStalledForGood: ({ context, event }) => event.type === 'stalled' && isStalled(context, event) && isLastLoss(context),
      isStalled: ({ context, event }) => event.type === 'stalled' && isStalled(context, event),
      isUnleased: ({ context }) => context.via !== undefined || context.foreign === true,
      hasNode: ({ context }) => context.nodeId !== undefined && context.doubt !== 'answered',
      nodeLives: ({ context, event }) => context.doubt === 'asked' && event.type === 'nodeState' && event.state === 'online',
      nodeIsGone: ({ context, event }) => isDoubted(context) && event.type === 'nodeState' && (event.state === 'offline' || event.state === 'unheard'),
      nodeIsGoneForGood: ({ context, event }) =>
        isDoubted(context) && event.type === 'nodeState' && (event.state === 'offline' || event.state === 'unheard') && isLastLoss(context),
      nodeIsInDoubt: ({ context, event }) =>
        isDoubted(context) &&
        event.type === 'nodeState' &&
        (event.state === 'degraded' || event.state === 'unknown') &&
        context.reason !== nodeReason(context, event.state),
      isPlaced: ({ event }) => 'nodeId' in outputOf(event),
      isStranger: ({ context, event }) => isStranger(context, event as WorkerReport),
    },
    actions: {
      /** Built in: stores what the worker told of its progress. */
      setDocument: (_args, _params: { readonly document: Json }) => {},
      /** Effect: the job is put into the agent's list. */
      pushRebalance: (_args, _change: RebalanceChange) => {},
      /** Effect: its owner is told its state. */
      tellRebalance: (_args, _change: RebalanceChange) => {},
      /** Effect: what was handed out is taken back. */
      withdrawJob: (_args, _withdraw: WithdrawJob) => {},

      repeat: raise(({ event }) => event as JobEvent),
      nextAttempt: assign(({ context }) => ({ attempt: (context.attempt ?? 0) + 1 })),
      post: sendTo(
        ({ context }) => durableActor('queue', queueOf(context)),
        ({ context, self }) => postOf(context, self.id),
      ),
      bury: enqueueActions(({ context, self, enqueue }) => {
        if (context.via === undefined) enqueue.sendTo(durableActor('dlq', deadLettersOf(context)), buryOf(context, self.id));
      }),
      startTimeout: raise({ type: 'timeout' }, { id: 'timeout', delay: 'timeout' }),
      stopTimeout: cancel('timeout'),
      stopTimers: enqueueActions(({ enqueue }) => {
        enqueue.cancel('timeout');
        enqueue.cancel('untaken');
      }),
      claim: assign(({ context, event }) => claimed(context, event as WorkerReport)),
      finish: assign(({ context, event }) => (event.type === 'end' ? finished(context, event) : {})),
      /** The attempt failed and another follows. */
      fail: assign(({ context, event, self }) => {
        const failures = (context.failures ?? 0) + 1;
        const error = faultOf({ context, event });
        const pauseMs = backoffMs(context, self.id, failures);
        const reason = `try ${failures} failed: ${error.message.slice(0, REASON_LENGTH_MAX)}; tried again after ${seconds(pauseMs)}`;
        return { ...givenBack(context, event as WorkerReport), failures, error, pauseMs, reason };
      }),
      /** The attempt failed and none follows. What is known of the claim stays, for people. */
      failForGood: assign(({ context, event }) => ({
        ...claimed(context, event.type === 'error' ? event : {}),
        failures: (context.failures ?? 0) + 1,
        error: faultOf({ context, event }),
      })),
      lose: assign(({ context, event, self }) => {
        const pauseMs = paceMs(self.id, settings);
        const reason = `${lossOf({ context, event })}; handed out again after ${seconds(pauseMs)}`;
        return { ...givenBack(context, event.type === 'stalled' ? { entry: event.entry } : {}), losses: (context.losses ?? 0) + 1, pauseMs, reason };
      }),
      loseForGood: assign(({ context, event }) => {
        const losses = (context.losses ?? 0) + 1;
        const why = context.requeue === 'never' ? 'it may have been done and must not be done twice' : `it lost its worker ${losses} times`;
        return changed({ losses, doubt: undefined, reason: undefined, error: { code: 'worker_lost', message: `${lossOf({ context, event })}; ${why}` } });
      }),
      giveBack: assign(({ context, event }) => givenBack(context, event as WorkerReport)),
      renew: assign(({ context }) => renewed(context)),
      putBack: assign(({ context, event }) => (event.type === 'adopt' ? { ...renewed(context), entry: event.entry, ...payloadOf(event) } : {})),
      failByChild: assign(({ context }) => ({ error: { code: 'child_failed', message: context.childFailed ?? '' } })),
      noteChild: assign(({ context, event }) => (event.type === 'childEnded' ? childEnded(context, event) : {})),
      noteCancel: assign(({ event }) => changed({ reason: event.type === 'cancel' ? event.reason : undefined })),
      noteNode: assign(({ context, event }) => (event.type === 'nodeState' ? { reason: nodeReason(context, event.state) } : {})),
      doubt: assign(({ context }) => ({ doubt: 'asked' as const, reason: `its worker is silent; node ${context.nodeId ?? ''} is asked` })),
      trustNode: assign(({ context }) => ({ doubt: 'answered' as const, reason: `its worker is silent, and node ${context.nodeId ?? ''} lives` })),
      askNode: sendTo(
        ({ context }) => durableActor('node', context.nodeId ?? ''),
        ({ self }) => ({ type: 'doubt', job: self.id }),
      ),
      notePlace: assign(({ event }) => {
        const { nodeId = '' } = outputOf(event);
        return { target: nodeId, reason: `placed on node ${nodeId}` };
      }),
      noteNoPlace: assign(({ context, event }) => ({ looks: (context.looks ?? 0) + 1, reason: noPlaceReason(event) })),
      countLook: assign(({ context }) => ({ looks: (context.looks ?? 0) + 1 })),
      lookLater: raise({ type: 'look' }, { id: 'look', delay: ({ context, self }) => lookMs(context, self.id, settings) }),
      stopLooking: cancel('look'),
      startUntaken: raise({ type: 'untaken' }, { id: 'untaken', delay: 'placed' }),
      stopUntaken: cancel('untaken'),
      countLate: assign(({ context }) => ({ late: (context.late ?? 0) + 1 })),
      refuse: assign(({ event, self }) => refuseStranger(self.id, event as WorkerReport)),
    },
  });

  return base.extend({
    actions: {
      setProgress: base.enqueueActions(({ event, enqueue }) => {
        const { progress, message } = event as { readonly progress?: Json; readonly message?: string };
        if (progress === undefined && message === undefined) return;
        const document = { ...(progress === undefined ? undefined : { progress }), ...(message === undefined ? undefined : { message }) };
        enqueue({ type: 'setDocument', params: { document } });
      }),
      /** For whoever was handed out: takes it back; with `cancel`, who has it is told to end. */
      withdraw: base.enqueueActions(({ context, self, enqueue }) => {
        if (wasHandedOut(context)) enqueue({ type: 'withdrawJob', params: withdrawOf(context, self.id, false) });
      }),
      withdrawAndCancel: base.enqueueActions(({ context, self, enqueue }) => {
        if (wasHandedOut(context)) enqueue({ type: 'withdrawJob', params: withdrawOf(context, self.id, true) });
      }),
      push: base.enqueueActions(({ context, self, enqueue }) => {
        if (context.via === 'rebalance') enqueue({ type: 'pushRebalance', params: changeOf(context, self.id, 'queued', undefined) });
      }),
      tellQueued: base.enqueueActions(({ context, event, self, enqueue }) => {
        if (context.via === 'rebalance') enqueue({ type: 'tellRebalance', params: changeOf(context, self.id, 'queued', extraOf(event)) });
      }),
      tellProcessing: base.enqueueActions(({ context, event, self, enqueue }) => {
        if (context.via === 'rebalance') enqueue({ type: 'tellRebalance', params: changeOf(context, self.id, 'processing', extraOf(event)) });
      }),
      tellDone: base.enqueueActions(({ context, event, self, enqueue }) => {
        if (context.via === 'rebalance') enqueue({ type: 'tellRebalance', params: changeOf(context, self.id, 'done', extraOf(event)) });
        if (context.parent !== undefined) enqueue.sendTo(durableActor('job', context.parent), { type: 'childEnded', child: self.id, ok: true });
      }),
      tellEnd: base.enqueueActions(({ context, event, self, enqueue }) => {
        if (context.via === 'rebalance') {
          const change = changeOf(context, self.id, 'error', extraOf(event));
          enqueue({ type: 'tellRebalance', params: event.type === 'cancel' ? { ...change, withdrawn: true } : change });
        }
        if (context.parent === undefined) return;
        const message = (context.error?.message ?? context.reason ?? 'cancelled').slice(0, CHILD_MESSAGE_MAX);
        enqueue.sendTo(durableActor('job', context.parent), { type: 'childEnded', child: self.id, ok: false, message });
      }),
      submitChildren: base.enqueueActions(({ context, self, enqueue }) => {
        const { unborn } = context;
        if (unborn === undefined) return;
        for (const { jobId, ...spec } of unborn) enqueue.sendTo(durableActor('job', jobId), { type: 'submit', spec: { ...spec, parent: self.id } });
        const children = unborn.map(({ jobId }) => jobId);
        enqueue.assign(changed({ unborn: undefined, children, open: children, reason: `waits for ${children.length} children` }));
      }),
      cancelChildren: base.enqueueActions(({ context, enqueue }) => {
        for (const child of context.open ?? []) enqueue.sendTo(durableActor('job', child), { type: 'cancel', reason: 'its parent needs it no more' });
      }),
      leaveChildren: base.assign(({ context }) => (context.open === undefined ? {} : changed({ open: undefined, reason: undefined }))),
    },
  });
}

/** For people; a job's record is read by the hundred thousand. */
const REASON_LENGTH_MAX = 300;
/** As the event `childEnded` bounds it. */
const CHILD_MESSAGE_MAX = 1_024;

/** Nobody but its worker has to do with it. */
function isPlainlyWith({ via, parent, removeOnDone, target }: JobContext): boolean {
  return via === undefined && parent === undefined && removeOnDone === undefined && target === undefined;
}

function isDoubted({ doubt }: JobContext): boolean {
  return doubt !== undefined;
}

/** A worker that told of the job itself has a lease; that it reads no entries while it is busy says nothing. */
function isStalled(context: JobContext, event: Extract<JobEvent, { type: 'stalled' }>): boolean {
  const speaksForItself = context.foreign !== true && context.worker !== undefined && context.worker === event.worker;
  return context.via === undefined && !speaksForItself && isItsEntry(context, event);
}

/** Something of it may lie in a queue. */
function wasHandedOut({ via, attempt, entry }: JobContext): boolean {
  return via === undefined && (attempt !== undefined || entry !== undefined);
}

function payloadOf({ spec: { payload } }: Extract<JobEvent, { type: 'adopt' }>): ContextChange {
  return payload === undefined ? {} : { payload };
}

function faultOf({ context, event }: Args): JobFault {
  if (event.type === 'error') return { code: event.code ?? 'failed', message: event.message ?? 'its worker gave no reason' };
  const limit = seconds(timeoutMs(context));
  return { code: 'timeout', message: context.via === undefined ? `it ran longer than ${limit}` : `nothing was heard of it for ${limit}` };
}

function lossOf({ context, event }: Args): string {
  const worker = context.worker ?? 'unknown';
  if (event.type === 'stalled') return `its entry lies with ${event.worker ?? worker}, which is gone`;
  if (event.type === 'nodeState')
    return event.state === 'offline' ? `its node ${context.nodeId ?? ''} is offline` : `its node ${context.nodeId ?? ''} never reported`;
  return `its worker ${worker} is gone`;
}

function nodeReason({ nodeId = '' }: JobContext, state: string): string {
  return `its worker is silent, and so is its node ${nodeId} (${state}); it waits for either`;
}

/** What the invoked promise gave. */
function outputOf(event: unknown): { readonly nodeId?: string; readonly reason?: string } {
  return (event as DoneActorEvent<{ readonly nodeId?: string; readonly reason?: string }>).output;
}

function noPlaceReason(event: unknown): string {
  const { output, error } = event as { readonly output?: { readonly reason?: string }; readonly error?: { readonly message?: string } };
  return (output?.reason ?? error?.message ?? 'no node was found').slice(0, REASON_LENGTH_MAX);
}

function extraOf(event: Event): Json | undefined {
  return (event as WorkerReport).extra;
}

function refuseStranger(jobId: string, { userId }: WorkerReport): never {
  throw new EventRejectedError('wrong_user', `Job ${jobId} belongs to another user than ${JSON.stringify(userId)}.`, 'userId');
}
