/**
 * How long a job pauses. Where many jobs pause for the same reason, the hash of the job's id spreads them: the same job always pauses
 * alike, so that folding its journal repeats it (I2).
 */
import type { JobContext } from './context.ts';
import { JOB_DEFAULTS } from './events.ts';
import type { JobMachineSettings } from './settings.ts';

/** Beyond it no doubling goes: the largest delay that a schema allows is below. */
const DOUBLINGS_MAX = 30;
const DAY_MS = 86_400_000;
/** A job without a lease: longer than any timeout, which is what ends its silence. */
const NO_LEASE_MS = 10 * 365 * DAY_MS;

/**
 * A hash of the text as a share from 0 up to 1: FNV-1a (32 bit), mixed as murmur3 ends. Without the mixing, texts that differ in their
 * last character alone, as numbered ids do, would lie within a sixteenth of the range.
 */
export function shareOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    hash ^= text.charCodeAt(index);
    hash = Math.imul(hash, 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) / 0x1_0000_0000;
}

/** The pause after the `failures`th failure. */
export function backoffMs({ backoff = JOB_DEFAULTS.backoff }: JobContext, jobId: string, failures: number): number {
  const { kind, delayMs, delayMsMax = DAY_MS } = backoff;
  const full = kind === 'fixed' ? delayMs : Math.min(delayMs * 2 ** Math.min(failures - 1, DOUBLINGS_MAX), delayMsMax);
  const jitter = 'jitter' in backoff ? (backoff.jitter ?? 0) : 0;
  return Math.round(full * (1 - jitter * shareOf(`${jobId}#${failures}`)));
}

/** The pause of a job that lost its worker. */
export function paceMs(jobId: string, settings: JobMachineSettings): number {
  return Math.floor(shareOf(jobId) * settings.paceMs);
}

export function timeoutMs({ timeoutMs: own = JOB_DEFAULTS.timeoutMs }: JobContext): number {
  return own;
}

export function leaseMs({ via, foreign, doubt }: JobContext, settings: JobMachineSettings): number {
  if (via !== undefined || foreign === true) return NO_LEASE_MS;
  if (doubt === 'asked') return settings.askMs;
  // It had its lease; now its node was heard again, and it has time for two signs of life.
  return doubt === 'answered' ? Math.ceil((settings.leaseMs * 2) / 3) : settings.leaseMs;
}

export function lookMs({ looks = 1 }: JobContext, jobId: string, settings: JobMachineSettings): number {
  return Math.ceil(doubled(settings.lookMs, looks, settings.lookMsMax) * (1 - shareOf(jobId) / 4));
}

export function placedMs({ looks = 0 }: JobContext, settings: JobMachineSettings): number {
  return doubled(settings.placedMs, looks, settings.placedMsMax);
}

function doubled(firstMs: number, times: number, mostMs: number): number {
  return Math.min(firstMs * 2 ** Math.min(Math.max(0, times - 1), DOUBLINGS_MAX), mostMs);
}
