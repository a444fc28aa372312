import { expect, it } from 'vitest';
import { DEFAULT_JOB_SETTINGS, jobSettingsFrom } from '../../src/jobs/settings.ts';

it('what the environment does not say has its default', () => {
  expect(jobSettingsFrom({})).toEqual(DEFAULT_JOB_SETTINGS);
  expect(jobSettingsFrom({ JOB_KEEP_DONE_MS: ' ', JOB_KEEP_FAILED_COUNT: '' })).toEqual(DEFAULT_JOB_SETTINGS);
});

it('says how long and how many are kept', () => {
  const environment = { JOB_KEEP_DONE_MS: '0', JOB_KEEP_DONE_COUNT: '10', JOB_KEEP_FAILED_MS: '60000', JOB_KEEP_FAILED_COUNT: '0' };
  expect(jobSettingsFrom(environment)).toEqual({ keepDone: { maxAgeMs: 0, maxCount: 10 }, keepFailed: { maxAgeMs: 60_000, maxCount: 0 } });
});

it.each(['-1', '1.5', 'a day', '99999999999999'])('refuses %s and names the variable', (text) => {
  expect(() => jobSettingsFrom({ JOB_KEEP_DONE_MS: text })).toThrow('JOB_KEEP_DONE_MS');
});
