/** The HEARTBEAT_* variables, as `castellan serve` takes them. */
import { DEFAULT_HEARTBEAT, deadlinesOf, type HeartbeatSettings } from '../../machines/node/settings.ts';
import { InvalidSettingError } from '../protocol/errors.ts';

/** A day: whoever writes more has most likely mistaken the unit. */
const MS_MAX = 86_400_000;
/** More missed beats than this is not failure detection any more. */
const MISSED_MAX = 1_000;

/**
 * Reads HEARTBEAT_INTERVAL_MS, HEARTBEAT_MISSED_DEGRADED, HEARTBEAT_MISSED_OFFLINE and HEARTBEAT_SKEW_MS.
 * A missing or empty variable is its default. Throws InvalidSettingError naming the variable.
 */
export function heartbeatSettingsFrom(env: { readonly [name: string]: string | undefined }): HeartbeatSettings {
  const settings: HeartbeatSettings = {
    intervalMs: wholeNumber(env, 'HEARTBEAT_INTERVAL_MS', DEFAULT_HEARTBEAT.intervalMs, 1, MS_MAX),
    missedDegraded: wholeNumber(env, 'HEARTBEAT_MISSED_DEGRADED', DEFAULT_HEARTBEAT.missedDegraded, 1, MISSED_MAX),
    missedOffline: wholeNumber(env, 'HEARTBEAT_MISSED_OFFLINE', DEFAULT_HEARTBEAT.missedOffline, 2, MISSED_MAX),
    skewMs: wholeNumber(env, 'HEARTBEAT_SKEW_MS', DEFAULT_HEARTBEAT.skewMs, 0, MS_MAX),
  };
  deadlinesOf(settings);
  return settings;
}

function wholeNumber(env: { readonly [name: string]: string | undefined }, name: string, fallback: number, least: number, most: number): number {
  const text = env[name]?.trim();
  if (text === undefined || text === '') return fallback;
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < least || value > most) {
    throw new InvalidSettingError(name, `is ${JSON.stringify(text.slice(0, 40))}; it must be a whole number from ${least} to ${most}.`);
  }
  return value;
}
