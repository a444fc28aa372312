/** The job as an actor type: its machine, its events, and which delays run on observed time. */
import type { ActorTypeDefinition } from '../../src/core/actor-type.ts';
import type { JsonObject } from '../../src/protocol/json.ts';
import { contextOf } from './context.ts';
import { jobEvents } from './events.ts';
import { createJobMachine } from './machine.ts';
import { DEFAULT_JOB_MACHINE, type JobMachineSettings } from './settings.ts';
import type { JobServices } from './setup.ts';

/**
 * The actor type `job`; its id is the job's id. Effects: `withdrawJob` ({@link WithdrawJob}), `pushRebalance` and `tellRebalance`
 * ({@link RebalanceChange}). Messages: to the outlets `queue` ({@link PostJob}) and `dlq` ({@link BuryJob}), to `node` (`doubt`), to `job`.
 *
 * A job that is created by a report carries the report's attempt; one that was never submitted and has no origin is refused (`unknown_job`).
 */
export function jobType(services: JobServices, settings: JobMachineSettings = DEFAULT_JOB_MACHINE): ActorTypeDefinition {
  return {
    type: 'job',
    version: '1',
    machine: createJobMachine(services, settings),
    events: jobEvents,
    input: (id, event) => contextOf(id, event) as unknown as JsonObject,
    effects: ['pushRebalance', 'tellRebalance', 'withdrawJob'],
    // Never at rest.
    unindexed: ['new'],
    liveness: { lease: { deadlineMs: settings.leaseMs } },
  };
}
