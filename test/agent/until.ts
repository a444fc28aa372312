/** Waits for a condition, not for a time: asks again until it holds; fails with what was awaited. */
import { setTimeout as sleep } from 'node:timers/promises';

const TIMEOUT_MS = 20_000;
const PAUSE_MS = 20;

export async function until<T>(awaited: string, ask: () => T | undefined | false | Promise<T | undefined | false>, timeoutMs = TIMEOUT_MS): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  while (performance.now() < deadline) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    await sleep(PAUSE_MS);
  }
  throw new Error(`Waited ${timeoutMs} ms in vain until ${awaited}.`);
}
