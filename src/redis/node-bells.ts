/**
 * Hears that somebody came upon an entry for a node that waits here.
 *
 * 1. Exact channels, never a pattern: a standing pattern subscription would make every report of a job publish.
 * 2. A hint: while the link is down nothing is heard, and whoever waits looks by itself.
 * 3. Bounded: of too many nodes the one that asked longest ago is not listened for any more.
 */
import type { Redis } from 'ioredis';
import { keepSubscribed } from './clients.ts';
import type { Keys } from './keys.ts';

const NODES_MAX = 10_000;

export class NodeBells {
  readonly #client: Redis;
  readonly #keys: Keys;
  /** Channel → node, the one that asked last at the end. */
  readonly #wanted = new Map<string, string>();
  #leave: (() => void) | undefined;

  /** `client` is connected, and used for nothing else. `rung` must not throw. */
  constructor(client: Redis, keys: Keys, rung: (nodeId: string) => void) {
    this.#client = client;
    this.#keys = keys;
    client.on('message', (channel: string) => {
      const nodeId = this.#wanted.get(channel);
      if (nodeId !== undefined) rung(nodeId);
    });
  }

  async start(): Promise<void> {
    this.#leave = await keepSubscribed(this.#client, async () => {
      if (this.#wanted.size > 0) await this.#client.subscribe(...this.#wanted.keys());
    });
  }

  hear(nodeId: string): void {
    const channel = this.#keys.nodeBell(nodeId);
    const known = this.#wanted.delete(channel);
    this.#wanted.set(channel, nodeId);
    if (known) return;
    this.#client.subscribe(channel).catch(() => undefined); // (2)
    const [oldest] = this.#wanted.keys();
    if (this.#wanted.size <= NODES_MAX || oldest === undefined) return;
    this.#wanted.delete(oldest); // (3)
    this.#client.unsubscribe(oldest).catch(() => undefined);
  }

  close(): void {
    this.#leave?.();
  }
}
