/** The device machine's states as people are shown them. */
import { DEVICE_STATES, type DeviceState } from '../protocol/device.ts';

const APPROVED = 'active.';

const PATHS: { readonly [state in DeviceState]: string } = {
  pending: 'pending',
  denied: 'denied',
  expired: 'expired',
  registered: 'active.registered',
  configuring: 'active.configuring',
  configured: 'active.configured',
  'services-running': 'active.servicesRunning',
  'partially-running': 'active.partiallyRunning',
  failed: 'active.failed',
  'rolled-back': 'active.rolledBack',
  drifted: 'active.drifted',
  revoked: 'revoked',
};

export function pathOf(state: DeviceState): string {
  return PATHS[state];
}

/** Undefined for a device that nobody ever requested. */
export function shownStateOf(path: string): DeviceState | undefined {
  return DEVICE_STATES.find((state) => PATHS[state] === path);
}

export function isApproved(state: DeviceState): boolean {
  return PATHS[state].startsWith(APPROVED);
}
