/** One kind of trouble of one node as an actor type. */
import type { ActorTypeDefinition } from '../../src/core/actor-type.ts';
import { alertEvents } from './events.ts';
import { createAlertMachine, type AlertContext } from './machine.ts';

/** The actor type `alert`; its id is `<nodeId>.<kind>`. Effects: `notifyAlert` and `publishAlert` ({@link AlertNotice}). */
export function alertType(): ActorTypeDefinition {
  return {
    type: 'alert',
    version: '1',
    machine: createAlertMachine(),
    events: alertEvents,
    input: (id): AlertContext => ({ id, nodeId: '', orgId: '', kind: 'offline', reason: '', holdMs: 0, incidents: 0 }),
    effects: ['notifyAlert', 'publishAlert'],
  };
}
