/**
 * How long a node may be silent, and what its readings mean.
 *
 * All deadlines count from the node's newest status: `interval × missed + skew`.
 */
import { InvalidSettingError } from '../../src/protocol/errors.ts';

export interface HeartbeatSettings {
  /** How often an agent reports, ms. */
  readonly intervalMs: number;
  /** After so many missed beats a node is shown as degraded. */
  readonly missedDegraded: number;
  /** After so many missed beats the fleet is asked whether the node is offline. */
  readonly missedOffline: number;
  /** Added once to each deadline: the way from the agent to us, ms. */
  readonly skewMs: number;
}

export interface HealthThresholds {
  /** The hottest GPU at or above this is too hot, °C. */
  readonly gpuHighCelsius: number;
  /** It counts as cooled down only below this, so that a reading at the edge does not flap. */
  readonly gpuNormalCelsius: number;
  /** The disk is nearly full at or above this share, %. */
  readonly diskLowPercent: number;
  /** It has room again only below this. */
  readonly diskOkPercent: number;
}

export const DEFAULT_HEARTBEAT: HeartbeatSettings = { intervalMs: 30_000, missedDegraded: 2, missedOffline: 3, skewMs: 5_000 };
export const DEFAULT_HEALTH: HealthThresholds = { gpuHighCelsius: 85, gpuNormalCelsius: 80, diskLowPercent: 90, diskOkPercent: 85 };

/** The full deadlines, ms since the newest status. */
export interface Deadlines {
  readonly lateMs: number;
  readonly degradedMs: number;
  readonly offlineMs: number;
}

/** Throws InvalidSettingError when the deadlines would not follow one another. */
export function deadlinesOf(settings: HeartbeatSettings): Deadlines {
  const { intervalMs, missedDegraded, missedOffline, skewMs } = settings;
  if (!(intervalMs > 0)) throw new InvalidSettingError('HEARTBEAT_INTERVAL_MS', 'must be more than 0 ms.');
  if (!(skewMs >= 0)) throw new InvalidSettingError('HEARTBEAT_SKEW_MS', 'must not be negative.');
  if (!(missedDegraded >= 1)) throw new InvalidSettingError('HEARTBEAT_MISSED_DEGRADED', 'must be at least 1.');
  if (!(missedOffline > missedDegraded)) {
    throw new InvalidSettingError('HEARTBEAT_MISSED_OFFLINE', `must be more than HEARTBEAT_MISSED_DEGRADED (${missedDegraded}).`);
  }
  return {
    lateMs: intervalMs + skewMs,
    degradedMs: intervalMs * missedDegraded + skewMs,
    offlineMs: intervalMs * missedOffline + skewMs,
  };
}

/** Below this a GPU has cooled down, °C: a threshold of its own has the default's distance between the two. */
export function normalCelsius(gpuHigh: number | undefined, { gpuHighCelsius, gpuNormalCelsius }: HealthThresholds): number {
  return gpuHigh === undefined ? gpuNormalCelsius : gpuHigh - (gpuHighCelsius - gpuNormalCelsius);
}

/** For people: `no status for 95 s: 3 beats of 30 s missed, plus 5 s skew`. */
export function silenceReason(missed: number, settings: HeartbeatSettings): string {
  const { intervalMs, skewMs } = settings;
  const beats = missed === 1 ? '1 beat' : `${missed} beats`;
  const skew = skewMs === 0 ? '' : `, plus ${seconds(skewMs)} skew`;
  return `no status for ${seconds(intervalMs * missed + skewMs)}: ${beats} of ${seconds(intervalMs)} missed${skew}`;
}

function seconds(ms: number): string {
  return `${Number((ms / 1000).toFixed(3))} s`;
}
