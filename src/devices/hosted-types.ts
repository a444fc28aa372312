/**
 * The actor types of devices and their alerts as an engine hosts them, and as a client knows them.
 *
 * What contracts know of (channels, the webhook's form) is given to it: this folder knows no outside system.
 */
import { alertType } from '../../machines/alert/definition.ts';
import { deviceType } from '../../machines/device/definition.ts';
import type { DeviceMachineSettings } from '../../machines/device/settings.ts';
import { registerActorType } from '../core/kernel.ts';
import type { HostedType, KeepLimits } from '../engine/actor-types.ts';
import type { Executor } from '../protocol/command.ts';

export interface DeviceHost {
  /** Tells a node's agent on its channel. */
  readonly tellNode: Executor;
  /** Posts to the webhook: see notify-alert.ts. */
  readonly notifyAlert: Executor;
  /** Tells it on the organisation's channel. */
  readonly publishAlert: Executor;
  readonly machine?: DeviceMachineSettings;
}

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** Named by a node and requested by nobody: anybody who may write a status can make such. */
const UNCLAIMED: KeepLimits = { maxAgeMs: HOUR_MS, maxCount: 10_000 };
/** Anybody may ask for a code. */
const NEVER_APPROVED: KeepLimits = { maxAgeMs: DAY_MS, maxCount: 10_000 };
const REVOKED: KeepLimits = { maxAgeMs: 90 * DAY_MS, maxCount: 10_000 };

export function deviceTypes({ tellNode, notifyAlert, publishAlert, machine }: DeviceHost): readonly HostedType[] {
  return [
    {
      registered: registerActorType(deviceType(machine)),
      executors: { tellNode },
      keep: { unclaimed: UNCLAIMED, denied: NEVER_APPROVED, expired: NEVER_APPROVED, revoked: REVOKED },
    },
    { registered: registerActorType(alertType()), executors: { notifyAlert, publishAlert } },
  ];
}
