/** Time as a worker sees it; injected so that a test owns it. */

export interface WorkerClock {
  /** Monotonic, ms. */
  now(): number;
  /** Wall clock, ms since the epoch: for timestamps alone. */
  wallTime(): number;
  /** Calls once after `ms`; the function returned prevents it. */
  after(ms: number, call: () => void): () => void;
  /** Calls when what is settled already has been heard: work of one turn comes together. */
  soon(call: () => void): void;
}

export const systemWorkerClock: WorkerClock = {
  now: () => performance.now(),
  wallTime: () => Date.now(),
  after: (ms, call) => {
    const timer = setTimeout(call, ms);
    return () => clearTimeout(timer);
  },
  soon: (call) => void setImmediate(call),
};

/** Resolves after `ms`, or when the signal aborts. */
export function sleep(clock: WorkerClock, ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const end = (): void => {
      cancel();
      signal.removeEventListener('abort', end);
      resolve();
    };
    const cancel = clock.after(ms, end);
    signal.addEventListener('abort', end);
  });
}
