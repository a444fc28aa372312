import { expect, test } from 'vitest';
import { assert, double, integer, property } from 'fast-check';
import { BEAT_JITTER, backoffDelayMs, beatDelayMs, connectionTimings, secondBeatDelayMs } from '../../src/agent/schedule.ts';

const intervals = integer({ min: 250, max: 3_600_000 });
const chance = double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

test('a beat stays within its jitter', () => {
  assert(
    property(intervals, chance, (intervalMs, random) => {
      const delayMs = beatDelayMs(intervalMs, random);
      expect(delayMs).toBeGreaterThanOrEqual(intervalMs * (1 - BEAT_JITTER));
      expect(delayMs).toBeLessThanOrEqual(intervalMs * (1 + BEAT_JITTER));
    }),
  );
});

test('opposite chances cancel out, so the mean of the beats is the interval', () => {
  assert(
    property(intervals, chance, (intervalMs, random) => {
      expect((beatDelayMs(intervalMs, random) + beatDelayMs(intervalMs, 1 - random)) / 2).toBeCloseTo(intervalMs, 3);
    }),
  );
});

test('the second beat comes within the first interval', () => {
  assert(
    property(intervals, chance, (intervalMs, random) => {
      expect(secondBeatDelayMs(intervalMs, random)).toBeGreaterThan(0);
      expect(secondBeatDelayMs(intervalMs, random)).toBeLessThanOrEqual(intervalMs);
    }),
  );
});

test('a backoff never exceeds its cap, and a fleet at the cap is still spread over half of it', () => {
  assert(
    property(integer({ min: 1, max: 1_000_000 }), chance, (attempt, random) => {
      expect(backoffDelayMs(attempt, 15_000, random)).toBeLessThanOrEqual(15_000);
    }),
  );
  expect(backoffDelayMs(50, 15_000, 0)).toBe(7_500);
  expect(backoffDelayMs(50, 15_000, 0.5)).toBe(11_250);
});

test('the first retry is spread too', () => {
  expect(backoffDelayMs(1, 15_000, 0)).toBeLessThan(backoffDelayMs(1, 15_000, 0.9));
});

test('noticing, waiting and reconnecting together are shorter than an interval', () => {
  assert(
    property(intervals, (intervalMs) => {
      const { commandTimeoutMs, connectTimeoutMs, reconnectDelayMsMax } = connectionTimings(intervalMs);
      expect(commandTimeoutMs + connectTimeoutMs + reconnectDelayMsMax).toBeLessThan(intervalMs);
    }),
  );
});
