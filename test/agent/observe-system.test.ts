import { statfs } from 'node:fs/promises';
import { totalmem, uptime } from 'node:os';
import { expect, test } from 'vitest';
import { systemClock } from '../../src/agent/clock.ts';
import { systemObserver } from '../../src/agent/observe-system.ts';

const GB = 1024 ** 3;

test('this machine: load, memory and disk are read and agree with the system', async () => {
  const observer = systemObserver(systemClock());
  const found = await observer.observe();
  expect(found.cpu_percent).toBeGreaterThanOrEqual(0);
  expect(found.cpu_percent).toBeLessThanOrEqual(100);
  expect(found.memory_total_gb).toBeCloseTo(totalmem() / GB, 1);
  expect(found.memory_used_gb).toBeGreaterThan(0);
  expect(found.memory_used_gb).toBeLessThan(found.memory_total_gb ?? 0);
  const { blocks, bsize } = await statfs('/');
  expect(found.disk_total_gb).toBeCloseTo((blocks * bsize) / GB, 1);
  expect(found.disk_percent).toBeCloseTo((100 * (found.disk_used_gb ?? 0)) / (found.disk_total_gb ?? 1), 5);
  expect(Math.abs(observer.uptimeSeconds() - uptime())).toBeLessThan(5);
});
