/**
 * A blocking read that a signal ends.
 *
 * 1. Redis ends it (CLIENT UNBLOCK), not the cutting of its link: what it is just being given would be lost with the link.
 * 2. An abort may come just before the read that it shall end, so it is repeated until the read has ended. Where CLIENT is not allowed
 *    the read ends with its BLOCK.
 */
import type { Redis } from 'ioredis';

const AGAIN_MS = 50;

export class InterruptibleRead {
  readonly #other: Redis;
  #id: string | undefined;

  /** `client` blocks; `other` is what unblocks it. */
  constructor(client: Redis, other: Redis) {
    this.#other = other;
    client.on('ready', () => {
      this.#id = undefined;
      client.call('CLIENT', 'ID').then(
        (id) => void (this.#id = String(id)),
        () => undefined,
      );
    });
  }

  async run<T>(signal: AbortSignal, read: () => Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const unblock = (): void => {
      timer = setTimeout(unblock, AGAIN_MS);
      if (this.#id !== undefined) this.#other.call('CLIENT', 'UNBLOCK', this.#id).catch(() => undefined);
    };
    signal.addEventListener('abort', unblock, { once: true });
    try {
      return await read();
    } finally {
      signal.removeEventListener('abort', unblock);
      clearTimeout(timer);
    }
  }
}
