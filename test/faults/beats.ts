/** Simulated nodes that beat from within a test, so that the test can silence any of them at any moment. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { simulatedNodeId, simulatedStatus, statusEntryFields } from '../../bench/simulated-status.ts';
import { STATUS_STREAM, STATUS_STREAM_LENGTH } from '../../src/agent/status.ts';

export class Beats {
  readonly #redis: Redis;
  readonly #intervalMs: number;
  readonly #silent = new Set<string>();
  readonly #stopped = new AbortController();
  readonly #lives: Promise<void>[] = [];

  constructor(redis: Redis, intervalMs: number) {
    this.#redis = redis;
    this.#intervalMs = intervalMs;
  }

  /** Starts the nodes with these numbers; returns their ids. */
  start(numbers: readonly number[]): readonly string[] {
    for (const [index, number] of numbers.entries()) this.#lives.push(this.#live(number, (index * this.#intervalMs) / numbers.length));
    return numbers.map(simulatedNodeId);
  }

  silence(...nodeIds: readonly string[]): void {
    for (const nodeId of nodeIds) this.#silent.add(nodeId);
  }

  wake(...nodeIds: readonly string[]): void {
    for (const nodeId of nodeIds) this.#silent.delete(nodeId);
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await Promise.all(this.#lives);
  }

  /** Beats on a grid, so that a slow moment of the test does not lengthen the interval. */
  async #live(number: number, offsetMs: number): Promise<void> {
    const { signal } = this.#stopped;
    const born = performance.now() + offsetMs;
    for (let beat = 0; !signal.aborted; beat++) {
      await sleep(Math.max(0, born + beat * this.#intervalMs - performance.now()), undefined, { signal }).catch(() => undefined);
      if (signal.aborted || this.#silent.has(simulatedNodeId(number))) continue;
      const fields = statusEntryFields(simulatedStatus(number, beat, Date.now()));
      await this.#redis.xadd(STATUS_STREAM, 'MAXLEN', '~', STATUS_STREAM_LENGTH, '*', ...fields).catch(() => undefined);
    }
  }
}
