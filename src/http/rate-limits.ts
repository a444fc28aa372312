/**
 * Counts requests by caller in fixed windows.
 *
 * 1. Bounded: with too many callers in one window the oldest window gives way, which lets a caller ask more, never less.
 * 2. Each process counts for itself: with several of them a caller gets as many times the limit.
 */
import type { WallClock } from './auth/tokens.ts';

const CALLERS_MAX = 20_000;

export interface Limited {
  readonly limit: number;
  readonly windowS: number;
  readonly retryAfterS: number;
  /** ms since the epoch. */
  readonly resetAt: number;
}

export interface RateLimit {
  /** Counts one request. Undefined: it may go on. */
  take(caller: string): Limited | undefined;
}

export function rateLimit({ limit, windowMs }: { readonly limit: number; readonly windowMs: number }, now: WallClock): RateLimit {
  const windows = new Map<string, { count: number; readonly resetAt: number }>();
  return {
    take(caller) {
      const at = now();
      let window = windows.get(caller);
      if (window === undefined || window.resetAt <= at || window.resetAt > at + windowMs) {
        windows.delete(caller);
        if (windows.size >= CALLERS_MAX) windows.delete(windows.keys().next().value ?? ''); // (1)
        windows.set(caller, (window = { count: 0, resetAt: at + windowMs }));
      }
      window.count++;
      if (window.count <= limit) return undefined;
      return { limit, windowS: windowMs / 1000, retryAfterS: Math.max(1, Math.ceil((window.resetAt - at) / 1000)), resetAt: window.resetAt };
    },
  };
}
