/** The fleet of an organisation as an actor type. */
import type { ActorTypeDefinition } from '../../src/core/actor-type.ts';
import { DEFAULT_HEARTBEAT, deadlinesOf, type HeartbeatSettings } from '../node/settings.ts';
import { fleetEvents } from './events.ts';
import { createFleetMachine, DEFAULT_BRAKE, type BrakeSettings } from './machine.ts';

/** The actor type `fleet`; its id is the organisation's id. Effect: `publishFleetIncident` ({@link FleetIncident}). */
export function fleetType(heartbeat: HeartbeatSettings = DEFAULT_HEARTBEAT, brake: BrakeSettings = DEFAULT_BRAKE): ActorTypeDefinition {
  const { offlineMs } = deadlinesOf(heartbeat);
  return {
    type: 'fleet',
    version: '1',
    machine: createFleetMachine(brake, offlineMs),
    events: fleetEvents,
    input: (id) => ({ org: id }),
    effects: ['publishFleetIncident'],
    liveness: { easing: { deadlineMs: offlineMs } },
  };
}
