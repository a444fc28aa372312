/** How often an agent reports. A file of its own, so that `start` can refuse a value without holding the agent in memory. */
import { InvalidSettingError } from '../protocol/errors.ts';
import type { Environment } from './settings.ts';

const DEFAULT_INTERVAL_MS = 30_000;
/** Below this, observing would take a good part of the interval. */
const INTERVAL_MS_MIN = 250;
const INTERVAL_MS_MAX = 3_600_000;

/** Reads `HEARTBEAT_INTERVAL_MS` as the agent takes it. Throws InvalidSettingError. */
export function agentInterval(env: Environment): number {
  const text = env['HEARTBEAT_INTERVAL_MS'];
  if (!text) return DEFAULT_INTERVAL_MS;
  const value = Number(text);
  if (!Number.isInteger(value) || value < INTERVAL_MS_MIN || value > INTERVAL_MS_MAX) {
    throw new InvalidSettingError('HEARTBEAT_INTERVAL_MS', `must be a whole number from ${INTERVAL_MS_MIN} to ${INTERVAL_MS_MAX} where an agent runs.`);
  }
  return value;
}
