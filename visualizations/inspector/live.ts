/**
 * What keeps a page true while somebody looks at it.
 *
 * 1. One request at a time; the next begins a pause after the last has ended. A hidden page asks nothing.
 * 2. A failed request leaves what was shown, and says so.
 */
import { useSignal, type ReadonlySignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { api, type Failure } from '../../src/http/pages/session.js';

const TICK_MS = 1_000;

/** The time, a second at a time. */
export function useNow(): number {
  const now = useSignal(Date.now());
  useEffect(() => {
    const timer = setInterval(() => (now.value = Date.now()), TICK_MS);
    return () => clearInterval(timer);
  }, [now]);
  return now.value;
}

export interface Live<Value> {
  readonly value: ReadonlySignal<Value | undefined>;
  readonly failure: ReadonlySignal<Failure | undefined>;
}

/** Reads `path` again and again; `pauseMs` says how long to wait after a value. */
export function useLive<Value>(path: string, pauseMs: (value: Value | undefined) => number): Live<Value> {
  const value = useSignal<Value>();
  const failure = useSignal<Failure>();
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let ended = false;
    let reading = false;
    const read = async () => {
      if (reading) return;
      reading = true;
      clearTimeout(timer);
      try {
        value.value = await api<Value>(path);
        failure.value = undefined;
      } catch (error) {
        failure.value = error as Failure;
      }
      reading = false;
      if (!ended) timer = setTimeout(() => document.visibilityState === 'visible' && void read(), pauseMs(value.value));
    };
    const wake = () => document.visibilityState === 'visible' && void read();
    document.addEventListener('visibilitychange', wake);
    void read();
    return () => {
      ended = true;
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', wake);
    };
  }, [path]);
  return { value, failure };
}
