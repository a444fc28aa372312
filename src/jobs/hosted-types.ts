/**
 * The actor types of jobs as an engine hosts them, and as a client knows them.
 *
 * What contracts know of (rebalance keys, the channel of task updates) is given to it: this folder knows no outside system.
 */
import { jobType } from '../../machines/job/definition.ts';
import type { PlaceInput, Placement } from '../../machines/job/events.ts';
import type { JobMachineSettings } from '../../machines/job/settings.ts';
import { scheduleType } from '../../machines/schedule/definition.ts';
import type { ScheduleServices } from '../../machines/schedule/machine.ts';
import { registerActorType } from '../core/kernel.ts';
import type { HostedType } from '../engine/actor-types.ts';
import type { Executor } from '../protocol/command.ts';
import type { Queues } from '../protocol/queues.ts';
import { DEFAULT_JOB_SETTINGS, type JobSettings, type Keep } from './settings.ts';
import { DROPPED, END_PATHS } from './states.ts';
import { withdrawJobExecutor } from './withdraw-job.ts';

export interface JobHost {
  readonly queues: Pick<Queues, 'withdraw' | 'flagCancelled'>;
  /** Finds a node for a job that requires something of it. */
  readonly place: (input: PlaceInput, signal: AbortSignal) => Promise<Placement>;
  /** Tells when a schedule is due next: see next-tick.ts. */
  readonly nextTick: ScheduleServices['nextTick'];
  /** The effects on the rebalance list. Absent: nothing submits such jobs here, and one that comes all the same waits for a host that has them. */
  readonly rebalance?: { readonly pushRebalance: Executor; readonly tellRebalance: Executor };
  /** Where every transition of a job is told. */
  readonly announce?: NonNullable<HostedType['announce']>;
  readonly settings?: JobSettings;
  readonly machine?: JobMachineSettings;
}

const NOT_KEPT: Keep = { maxAgeMs: 0, maxCount: 0 };

/** For the engine of whoever runs jobs. */
export function jobTypes({ queues, place, nextTick, rebalance, announce, settings = DEFAULT_JOB_SETTINGS, machine }: JobHost): readonly HostedType[] {
  const { keepDone, keepFailed } = settings;
  return [
    {
      registered: registerActorType(jobType({ place }, machine)),
      executors: { withdrawJob: withdrawJobExecutor(queues), ...(rebalance ?? { pushRebalance: notHere, tellRebalance: notHere }) },
      arrivals: END_PATHS,
      keep: { done: keepDone, [DROPPED]: NOT_KEPT, error: keepFailed, cancelled: keepFailed },
      ...(announce === undefined ? {} : { announce }),
    },
    { registered: registerActorType(scheduleType({ nextTick })), executors: {}, keep: { removed: NOT_KEPT } },
  ];
}

/** For a client: it checks events and reads actors, and runs nothing. */
export function clientJobTypes(): readonly HostedType[] {
  const nowhere = async (): Promise<Placement> => await Promise.resolve({ reason: 'a client places nothing' });
  return [{ registered: registerActorType(jobType({ place: nowhere })), executors: { withdrawJob: notHere, pushRebalance: notHere, tellRebalance: notHere } }];
}

async function notHere(): Promise<void> {
  await Promise.reject(new Error('No executor for this effect runs here.'));
}
