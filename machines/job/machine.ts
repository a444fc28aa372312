/**
 * A job: from its submission over its attempts to its end, whatever brought it and whoever does it.
 *
 * `new` is never at rest: the first event moves on from it in the same step. The states are flat, so that each is one entry of the index.
 *
 * 1. The plain life is short: submitted → queued → done, or queued → processing → done. The first transition of each list serves it,
 *    with one guard and no action that it does not need; `queued` without a placement and the ends have no timer and no invocation.
 * 2. Each hand-out has a number, `attempt`, that only grows, and is posted once. A report of any other attempt changes nothing but the
 *    count of late ones (rules.ts). Reports that no transition below takes are late: that is what the root's transitions say.
 * 3. Nobody but the job decides that an attempt is over. What then still lies in the queue is withdrawn, by its number: the next attempt may
 *    lie there already.
 * 4. A sign of life is a touch: it re-enters `processing`, which re-arms the lease (observed time: an outage of ours is not their silence),
 *    and sets the document. The timeout is a timer of its own that it does not re-arm, and the ends and pauses cancel it.
 * 5. A silent worker is lost when nobody can vouch for it: a node that lives (it is heard after the doubt) and whose worker still tells
 *    nothing, a node that is offline, or none. A node that is itself in doubt keeps its jobs: nothing is requeued while most of a fleet is silent.
 * 6. Not handed out by us (`via` rebalance or none): there are no attempts. Every report counts, a late `end` wins over a timeout, done is final.
 */
import { placeInputOf } from './messages.ts';
import { jobSetup, type JobServices } from './setup.ts';
import type { JobMachineSettings } from './settings.ts';

function described(description: string) {
  return { description };
}

export function createJobMachine(services: JobServices, settings: JobMachineSettings) {
  const handOut = ['nextAttempt', 'post'] as const;
  /** From whatever held it back: to its children, to a node, or to its queue. */
  const onward = [
    { guard: 'hasChildren', target: 'waiting' },
    { guard: 'needsNode', target: 'placing' },
    { target: 'queued', actions: handOut },
  ] as const;
  const lossForGood = { target: 'error', actions: ['stopTimers', 'withdrawAndCancel', 'loseForGood', 'bury', 'tellEnd'] } as const;
  const loss = { target: 'retrying', actions: ['stopTimers', 'withdraw', 'lose'] } as const;
  const failureForGood = { target: 'error', actions: ['stopTimers', 'failForGood', 'bury', 'tellEnd'] } as const;
  const cancelled = { target: 'cancelled', actions: ['stopTimers', 'noteCancel', 'cancelChildren', 'tellEnd'] } as const;
  /** What can become of a job that lies in a queue or is with a worker. */
  const handedOut = {
    end: [
      { guard: 'isRemoved', target: 'dropped', actions: ['stopTimers', 'finish', 'tellDone'] },
      { guard: 'counts', target: 'done', actions: ['stopTimers', 'finish', 'tellDone'] },
    ],
    error: [
      { guard: 'isLastFailure', ...failureForGood },
      { guard: 'counts', target: 'retrying', actions: ['stopTimers', 'fail'] },
    ],
    aborted: { guard: 'counts', target: 'cancelled', actions: ['stopTimers', 'tellEnd'] },
    stalled: [
      { guard: 'isStalledForGood', ...lossForGood },
      { guard: 'isStalled', ...loss },
    ],
    cancel: { target: 'cancelled', actions: ['stopTimers', 'withdrawAndCancel', 'noteCancel', 'cancelChildren', 'tellEnd'] },
  } as const;
  /** By a person. Withdrawing takes the cancel flag away. */
  const retried = [
    { guard: 'isOnlyFollowed' },
    { guard: 'isPushed', target: 'queued', actions: ['renew', 'push'] },
    { guard: 'hasChildren', target: 'waiting', actions: ['withdraw', 'renew'] },
    { guard: 'needsNode', target: 'placing', actions: ['withdraw', 'renew'] },
    { target: 'queued', actions: ['withdraw', 'renew', ...handOut] },
  ] as const;
  /** Whoever enqueued a job that is only followed did so again: that is its next attempt. */
  const putBack = { guard: 'isPutBack', target: 'queued', reenter: true, actions: ['stopTimers', 'putBack'] } as const;
  const late = [{ guard: 'isStranger', actions: 'refuse' }, { actions: 'countLate' }] as const;
  const again = { target: 'queued', actions: 'repeat' } as const;

  return jobSetup(services, settings).createMachine({
    id: 'job',
    context: ({ input }) => input,
    initial: 'new',
    on: { claimed: late, alive: late, end: late, error: late, released: late, aborted: late }, // (2)
    states: {
      new: {
        meta: described('It exists from its first event on, which moves it on at once.'),
        tags: ['waits'],
        on: {
          submit: [
            { guard: 'isPlain', target: 'queued', actions: 'post' }, // (1)
            { guard: 'isPushed', target: 'queued', actions: 'push' },
            { guard: 'isFollowed', target: 'queued' },
            { guard: 'isDelayed', target: 'scheduled' },
            ...onward,
          ],
          adopt: 'queued',
          claimed: again,
          alive: again,
          end: again,
          error: again,
          released: again,
          aborted: again,
        },
      },
      scheduled: {
        meta: described('It was submitted with a delay. When that is over it goes on.'),
        tags: ['waits'],
        on: { cancel: cancelled },
        after: { scheduled: onward },
      },
      waiting: {
        meta: described('It waits for its children: for all of them, or for the first that is done.'),
        tags: ['waits'],
        entry: 'submitChildren',
        on: { childEnded: { guard: 'isOpenChild', actions: 'noteChild' }, cancel: cancelled },
        always: [
          { guard: 'isForsaken', target: 'error', actions: ['failByChild', 'tellEnd'] },
          { guard: 'isServedAndNeedsNode', target: 'placing', actions: ['cancelChildren', 'leaveChildren'] },
          { guard: 'isServed', target: 'queued', actions: ['cancelChildren', 'leaveChildren', ...handOut] },
        ],
      },
      placing: {
        meta: described('A node is looked for that has what it requires. While none has, the reason stands in it, and it looks again with growing pauses.'),
        tags: ['waits'],
        invoke: {
          id: 'place',
          src: 'place',
          input: ({ context, self }) => placeInputOf(context, self.id),
          onDone: [{ guard: 'isPlaced', target: 'queued', actions: ['notePlace', ...handOut, 'startUntaken'] }, { actions: ['noteNoPlace', 'lookLater'] }],
          onError: { actions: ['noteNoPlace', 'lookLater'] },
        },
        exit: 'stopLooking',
        on: { look: { target: 'placing', reenter: true }, cancel: cancelled },
      },
      queued: {
        meta: described(
          'It lies in its queue, or is with those who do it but have not begun. A worker takes it; the end of a short job is told together with its claim.',
        ),
        tags: ['handed-out'],
        on: {
          ...handedOut,
          end: [{ guard: 'isPlainReport', target: 'done', actions: 'finish' }, ...handedOut.end], // (1)
          claimed: [
            { guard: 'isPlainClaim', target: 'processing', actions: ['claim', 'startTimeout'] }, // (1)
            { guard: 'counts', target: 'processing', actions: ['stopUntaken', 'claim', 'startTimeout', 'setProgress', 'tellProcessing'] },
          ],
          alive: { guard: 'counts', target: 'processing', actions: ['stopUntaken', 'claim', 'startTimeout', 'setProgress', 'tellProcessing'] },
          released: [
            { guard: 'isTold' },
            { guard: 'countsAndNeedsNode', target: 'placing', actions: ['stopUntaken', 'giveBack'] },
            { guard: 'counts', target: 'queued', reenter: true, actions: ['giveBack', ...handOut] },
          ],
          untaken: { target: 'placing', actions: ['withdraw', 'giveBack', 'countLook'] },
          adopt: putBack,
        },
      },
      processing: {
        meta: described(
          'A worker has it. Its end, its failure, its timeout or the loss of its worker ends that; a silent worker is doubted before it is given up.',
        ),
        tags: ['handed-out', 'busy'],
        on: {
          ...handedOut,
          end: [{ guard: 'isPlainReport', target: 'done', actions: ['stopTimeout', 'finish'] }, ...handedOut.end], // (1)
          alive: [
            { guard: 'isPlainSign', target: 'processing', reenter: true }, // (4)
            { guard: 'isSign', target: 'processing', reenter: true, actions: 'setProgress' },
            { guard: 'isTold', target: 'processing', reenter: true, actions: ['startTimeout', 'setProgress', 'tellProcessing'] }, // (6)
            { guard: 'counts', target: 'processing', reenter: true, actions: ['claim', 'setProgress'] },
          ],
          claimed: [
            { guard: 'isSameWorker', target: 'processing', reenter: true, actions: 'setProgress' },
            { guard: 'isTold', target: 'processing', reenter: true, actions: ['startTimeout', 'setProgress', 'tellProcessing'] },
            { guard: 'counts', target: 'processing', reenter: true, actions: ['claim', 'setProgress'] },
          ],
          released: [
            { guard: 'isTold', target: 'queued', actions: ['stopTimers', 'tellQueued'] },
            { guard: 'countsAndNeedsNode', target: 'placing', actions: ['stopTimers', 'giveBack'] },
            { guard: 'counts', target: 'queued', actions: ['stopTimers', 'giveBack', ...handOut] },
          ],
          timeout: [
            { guard: 'isLastTry', target: 'error', actions: ['withdrawAndCancel', 'failForGood', 'bury', 'tellEnd'] },
            { target: 'retrying', actions: ['withdraw', 'fail'] },
          ],
          nodeState: [
            { guard: 'nodeLives', target: 'processing', reenter: true, actions: 'trustNode' }, // (5)
            { guard: 'nodeIsGoneForGood', ...lossForGood },
            { guard: 'nodeIsGone', ...loss },
            { guard: 'nodeIsInDoubt', actions: 'noteNode' },
          ],
          adopt: putBack,
        },
        after: {
          lease: [
            { guard: 'isUnleased' },
            { guard: 'hasNode', target: 'processing', reenter: true, actions: ['doubt', 'askNode'] }, // (5)
            { guard: 'isLastLoss', ...lossForGood },
            loss,
          ],
        },
      },
      retrying: {
        meta: described('An attempt failed or lost its worker. After a pause it is handed out again, under a new number.'),
        tags: ['waits'],
        on: { cancel: cancelled },
        after: { pause: onward },
      },
      done: {
        meta: described('It was done; its result is kept until retention removes it.'),
        tags: ['ended'],
        on: { adopt: putBack },
      },
      dropped: {
        meta: described('It was done and asked not to be kept: the next sweep removes it.'),
        tags: ['ended'],
      },
      error: {
        meta: described('It failed and is not tried again by itself. A person may retry it.'),
        tags: ['ended', 'attention'],
        on: {
          // (6)
          end: [{ guard: 'isToldOutright', target: 'done', actions: ['finish', 'tellDone'] }, { guard: 'isTold' }],
          claimed: { guard: 'isTold', target: 'processing', actions: ['claim', 'startTimeout', 'setProgress', 'tellProcessing'] },
          alive: { guard: 'isTold', target: 'processing', actions: ['claim', 'startTimeout', 'setProgress', 'tellProcessing'] },
          adopt: putBack,
          retry: retried,
          childEnded: { guard: 'isOpenChild', actions: 'noteChild' },
        },
      },
      cancelled: {
        meta: described('Somebody cancelled it. A person may retry it.'),
        tags: ['ended'],
        on: { retry: retried, childEnded: { guard: 'isOpenChild', actions: 'noteChild' } },
      },
    },
  });
}
