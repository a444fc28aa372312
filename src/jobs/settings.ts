/** How long jobs are kept after their end: the JOB_KEEP_* variables. */
import { InvalidSettingError } from '../protocol/errors.ts';

export interface Keep {
  /** Since the end. */
  readonly maxAgeMs: number;
  /** The newest so many stay, in all. */
  readonly maxCount: number;
}

export interface JobSettings {
  readonly keepDone: Keep;
  /** Jobs in error and cancelled ones, each: they wait for a person. */
  readonly keepFailed: Keep;
}

export const DEFAULT_JOB_SETTINGS: JobSettings = {
  keepDone: { maxAgeMs: 86_400_000, maxCount: 100_000 },
  keepFailed: { maxAgeMs: 604_800_000, maxCount: 100_000 },
};

/** Ten years: whoever writes more has most likely mistaken the unit. */
const MS_MAX = 315_360_000_000;
/** About 10 GB of records. */
const COUNT_MAX = 10_000_000;

/**
 * Reads JOB_KEEP_DONE_MS, JOB_KEEP_DONE_COUNT, JOB_KEEP_FAILED_MS and JOB_KEEP_FAILED_COUNT.
 * A missing or empty variable is its default. Throws InvalidSettingError naming the variable.
 */
export function jobSettingsFrom(environment: { readonly [name: string]: string | undefined }): JobSettings {
  const keep = (outcome: 'DONE' | 'FAILED', { maxAgeMs, maxCount }: Keep): Keep => ({
    maxAgeMs: wholeNumber(environment, `JOB_KEEP_${outcome}_MS`, maxAgeMs, MS_MAX),
    maxCount: wholeNumber(environment, `JOB_KEEP_${outcome}_COUNT`, maxCount, COUNT_MAX),
  });
  return { keepDone: keep('DONE', DEFAULT_JOB_SETTINGS.keepDone), keepFailed: keep('FAILED', DEFAULT_JOB_SETTINGS.keepFailed) };
}

function wholeNumber(environment: { readonly [name: string]: string | undefined }, name: string, missing: number, most: number): number {
  const text = environment[name]?.trim();
  if (text === undefined || text === '') return missing;
  const value = Number(text);
  if (!/^\d+$/.test(text) || value > most)
    throw new InvalidSettingError(name, `is ${JSON.stringify(text.slice(0, 40))}; it must be a whole number up to ${most}.`);
  return value;
}
