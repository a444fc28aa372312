/** The executor of the effect `withdrawJob`: what was handed out for an attempt is taken back. */
import type { WithdrawJob } from '../../machines/job/events.ts';
import type { Executor } from '../protocol/command.ts';
import { QUEUE_NAME } from '../protocol/job-progress.ts';
import type { Queues } from '../protocol/queues.ts';

/** Repeatable: a second time finds nothing. */
export function withdrawJobExecutor(queues: Pick<Queues, 'withdraw' | 'flagCancelled'>): Executor {
  return async ({ command }) => {
    const { queue, jobId, attempt, entry, cancel } = command.params as WithdrawJob;
    // The flag first: a worker that takes the entry meanwhile sees it. Withdrawn to be handed out again, the job must not find an old one.
    await queues.flagCancelled(jobId, cancel ? attempt : null);
    if (QUEUE_NAME.test(queue)) await queues.withdraw({ queue, jobId, attempt, ...(entry === undefined ? {} : { entry }) });
  };
}
