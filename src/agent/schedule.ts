/**
 * When the agent speaks: pure arithmetic over an injected random number.
 *
 * 1. The mean distance of two beats is the interval, so that a reader may count missed beats.
 * 2. Jitter is applied after a cap, never inside it: a fleet that has waited long must not retry in step.
 * 3. A lost connection is noticed, awaited and reopened in less than one interval (see {@link connectionTimings}).
 */

/** Half the width of the beat's jitter, as a part of the interval: 10 % spreads 30 s beats over 6 s and stays well inside the skew that a reader allows. */
export const BEAT_JITTER = 0.1;

/** Distance from one beat to the next, ms: uniform in interval × [0.9, 1.1). (1) */
export function beatDelayMs(intervalMs: number, random: number): number {
  return intervalMs * (1 + BEAT_JITTER * (2 * random - 1));
}

/** Distance from the first beat, which is sent at once, to the second: uniform over the interval, so that machines that were powered on together part company. */
export function secondBeatDelayMs(intervalMs: number, random: number): number {
  return intervalMs * (BEAT_JITTER + (1 - BEAT_JITTER) * random);
}

/** First step of the backoff: short, because most interruptions are. */
const BACKOFF_FIRST_MS = 200;
/** Doublings after which the cap is reached at any sensible interval; keeps the power finite. */
const BACKOFF_DOUBLINGS_MAX = 16;

/** Delay before try number `attempt` (1, 2, …), ms: doubled up to the cap, then spread over its upper half; the first too. (2) */
export function backoffDelayMs(attempt: number, capMs: number, random: number): number {
  const doublings = Math.min(Math.max(attempt - 1, 0), BACKOFF_DOUBLINGS_MAX);
  const capped = Math.min(capMs, BACKOFF_FIRST_MS * 2 ** doublings);
  return capped * (0.5 + 0.5 * random);
}

export interface ConnectionTimings {
  readonly commandTimeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly reconnectDelayMsMax: number;
}

/** Longest that one command or one connection attempt may take: a healthy Redis answers in milliseconds. */
const ANSWER_MS_MAX = 5_000;

/** A command that times out, the wait and the new connection take at most three quarters of an interval together. (3) */
export function connectionTimings(intervalMs: number): ConnectionTimings {
  const quarter = Math.max(1, Math.floor(intervalMs / 4));
  const answer = Math.min(ANSWER_MS_MAX, quarter);
  return { commandTimeoutMs: answer, connectTimeoutMs: answer, reconnectDelayMsMax: quarter };
}
