import { describe, expect, it } from 'vitest';
import { deadlinesOf } from '../../machines/node/settings.ts';
import { heartbeatSettingsFrom } from '../../src/fleet/heartbeat-settings.ts';
import { InvalidSettingError } from '../../src/protocol/errors.ts';

describe('the heartbeat settings', () => {
  it('have the documented defaults, also for empty variables', () => {
    const defaults = { intervalMs: 30_000, missedDegraded: 2, missedOffline: 3, skewMs: 5_000 };
    expect(heartbeatSettingsFrom({})).toEqual(defaults);
    expect(heartbeatSettingsFrom({ HEARTBEAT_INTERVAL_MS: ' ', HEARTBEAT_SKEW_MS: '' })).toEqual(defaults);
    expect(deadlinesOf(defaults)).toEqual({ lateMs: 35_000, degradedMs: 65_000, offlineMs: 95_000 });
  });

  it('come from the environment', () => {
    const settings = heartbeatSettingsFrom({
      HEARTBEAT_INTERVAL_MS: '1000',
      HEARTBEAT_MISSED_DEGRADED: '3',
      HEARTBEAT_MISSED_OFFLINE: '5',
      HEARTBEAT_SKEW_MS: '500',
    });
    expect(settings).toEqual({ intervalMs: 1_000, missedDegraded: 3, missedOffline: 5, skewMs: 500 });
    expect(deadlinesOf(settings)).toEqual({ lateMs: 1_500, degradedMs: 3_500, offlineMs: 5_500 });
  });

  it.each([
    ['HEARTBEAT_INTERVAL_MS', '0'],
    ['HEARTBEAT_INTERVAL_MS', '30s'],
    ['HEARTBEAT_INTERVAL_MS', '1e3'],
    ['HEARTBEAT_INTERVAL_MS', '-1'],
    ['HEARTBEAT_MISSED_DEGRADED', '0'],
    ['HEARTBEAT_MISSED_DEGRADED', '1.5'],
    ['HEARTBEAT_MISSED_OFFLINE', '2'],
    ['HEARTBEAT_MISSED_OFFLINE', '999999'],
    ['HEARTBEAT_SKEW_MS', 'NaN'],
  ])('%s=%s is refused by name', (name, value) => {
    const refused = () => heartbeatSettingsFrom({ [name]: value });
    expect(refused).toThrow(InvalidSettingError);
    expect(refused).toThrow(name);
  });
});
