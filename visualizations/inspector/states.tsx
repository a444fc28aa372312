/** How devices, services and what they need are worded and marked. */
import type { DeviceState, DeviceView } from '../../src/protocol/device.ts';
import type { ServicePhase } from '../../src/protocol/device-config.ts';

/** Names of the marks in castellan.css: a colour and a shape each. */
type Mark = 'online' | 'degraded' | 'offline' | 'unknown';

const DEVICE_WORDS: { readonly [state in DeviceState]: readonly [words: string, mark: Mark] } = {
  pending: ['waiting for approval', 'unknown'],
  denied: ['denied', 'offline'],
  expired: ['expired', 'offline'],
  registered: ['registered', 'unknown'],
  configuring: ['configuring', 'unknown'],
  configured: ['configured', 'unknown'],
  'services-running': ['running', 'online'],
  'partially-running': ['partly running', 'degraded'],
  failed: ['failed', 'offline'],
  'rolled-back': ['rolled back', 'degraded'],
  drifted: ['repairing', 'degraded'],
  revoked: ['revoked', 'offline'],
};

const SERVICE_WORDS: { readonly [phase in ServicePhase]: readonly [words: string, mark: Mark] } = {
  waiting: ['waiting', 'unknown'],
  pulling: ['pulling its image', 'unknown'],
  starting: ['starting', 'unknown'],
  healthy: ['healthy', 'online'],
  failed: ['failed', 'offline'],
  stopped: ['stopped', 'unknown'],
  unchanged: ['running, unchanged', 'online'],
};

/** A state that this page does not know yet is shown as it is called. */
function Marked({ words: [words, mark] }: { readonly words: readonly [string, Mark] }) {
  return <span class={`state ${mark}`}>{words}</span>;
}

export function DeviceMark({ state }: { readonly state: DeviceState }) {
  return <Marked words={DEVICE_WORDS[state] ?? [state, 'unknown']} />;
}

export function ServiceMark({ phase }: { readonly phase: ServicePhase }) {
  return <Marked words={SERVICE_WORDS[phase] ?? [phase, 'unknown']} />;
}

const UNDER_WAY: readonly ServicePhase[] = ['waiting', 'pulling', 'starting'];

/** Whether something is under way that a person would wait for: a saved revision on its way to the node, or one at work there. */
export function isMoving({ state, desired, services }: DeviceView): boolean {
  return (
    state === 'configuring' || state === 'drifted' || (state === 'registered' && desired !== null) || services.some(({ phase }) => UNDER_WAY.includes(phase))
  );
}

/** Denied, expired and revoked devices take no configuration. */
export function isOver(state: DeviceState): boolean {
  return state === 'denied' || state === 'expired' || state === 'revoked';
}

export function deviceName({ name, hostname, deviceId }: DeviceView): string {
  return name || hostname || deviceId;
}
