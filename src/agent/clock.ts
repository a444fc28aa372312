/** Time and chance as the agent sees them; injected so that a test owns both. */
import { setTimeout as delay } from 'node:timers/promises';

export interface AgentClock {
  /** Monotonic, ms. For waiting and measuring. */
  now(): number;
  /** Wall clock, for the timestamps of statuses only. */
  wallTime(): Date;
  /** Resolves after `ms`, or at once when the signal aborts. Never rejects. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Uniform in [0, 1). */
  random(): number;
}

export function systemClock(): AgentClock {
  return {
    now: () => performance.now(),
    wallTime: () => new Date(),
    sleep: (ms, signal) => delay(ms, undefined, signal === undefined ? {} : { signal }).catch(() => undefined),
    random: () => Math.random(),
  };
}
