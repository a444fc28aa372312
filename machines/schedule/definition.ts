/** The schedule as an actor type: its machine and its events. */
import type { ActorTypeDefinition } from '../../src/core/actor-type.ts';
import type { JsonObject } from '../../src/protocol/json.ts';
import { scheduleEvents } from './events.ts';
import { createScheduleMachine, scheduleContextOf, type ScheduleServices } from './machine.ts';

/** The actor type `schedule`; its id is its name. It sends `submit` to `job/<name>.<ms of the tick>`. */
export function scheduleType(services: ScheduleServices): ActorTypeDefinition {
  return {
    type: 'schedule',
    version: '1',
    machine: createScheduleMachine(services),
    events: scheduleEvents,
    input: (name, event) => scheduleContextOf(name, event) as unknown as JsonObject,
    unindexed: ['new'],
  };
}
