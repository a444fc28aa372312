/** The device as an actor type: its machine, its events and its effect. */
import type { ActorTypeDefinition } from '../../src/core/actor-type.ts';
import type { JsonObject } from '../../src/protocol/json.ts';
import { contextOf } from './context.ts';
import { deviceEvents } from './events.ts';
import { createDeviceMachine } from './machine.ts';
import { DEFAULT_DEVICE_MACHINE, type DeviceMachineSettings } from './settings.ts';

/**
 * The actor type `device`; its id is made of the device code (src/provisioning/device-code.ts). Effect: `tellNode` ({@link NodeNotice}).
 * Messages: to the outlet `config` ({@link PushConfig}), to `node` ({@link NodeOwner}), to `alert` ({@link AlertCondition}).
 * Document: the newest report of its node.
 */
export function deviceType(settings: DeviceMachineSettings = DEFAULT_DEVICE_MACHINE): ActorTypeDefinition {
  return {
    type: 'device',
    version: '1',
    machine: createDeviceMachine(settings),
    events: deviceEvents,
    input: (id) => contextOf(id) as unknown as JsonObject,
    effects: ['tellNode'],
  };
}
