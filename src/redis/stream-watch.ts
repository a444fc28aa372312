/**
 * Waits for new entries of many streams for many waiters over one connection.
 *
 * 1. One XREAD without a group blocks for all: a thousand nodes that wait hold one connection of Redis, not a thousand.
 * 2. A waiter says after which id it looked last, so an entry that came between its look and its wait wakes it at once.
 * 3. As many waiters are woken as entries came, those that wait longest first: a job does not make the whole fleet read.
 *    Who is called by name while it is between two waits is called at the next one.
 *    What nobody takes, because it was for somebody else, is found by the next look: every waiter has an end.
 */
import type { Redis } from 'ioredis';
import { compareEntryIds } from '../protocol/ids.ts';
import { BLOCK_MS_MAX } from './clients.ts';
import { InterruptibleRead } from './interruptible-read.ts';

/** Entries read to count them; more of them wake no more waiters at once. */
const COUNT = 100;
/** After a failed read: the link restores itself meanwhile. */
const AGAIN_MS = 500;

interface Waiter {
  /** By stream: the last id seen. */
  readonly after: ReadonlyMap<string, string>;
  readonly name: string;
  readonly wake: (why: Woken) => void;
}

/** `called`: by name. */
export type Woken = 'entry' | 'called' | 'over';
/** Names called while they did not wait; forgotten together, for each looks by itself too. */
const CALLED_MAX = 10_000;

export class StreamWatch {
  readonly #client: Redis;
  readonly #read: InterruptibleRead;
  readonly #waiters = new Set<Waiter>();
  /** Of each stream that is watched: the last id that was told. */
  readonly #position = new Map<string, string>();
  readonly #called = new Set<string>();
  #restart: AbortController | undefined;
  #closed = false;

  /** `client` blocks and is used for nothing else; `other` unblocks it. */
  constructor(client: Redis, other: Redis) {
    this.#client = client;
    this.#read = new InterruptibleRead(client, other);
  }

  /** Resolves with a new entry of one of the streams, with {@link wake} of the name, with the signal, or after so many ms. */
  async wait(name: string, after: ReadonlyMap<string, string>, ms: number, signal: AbortSignal): Promise<Woken> {
    if (signal.aborted || this.#closed) return 'over';
    if (this.#called.delete(name)) return 'called';
    if (this.#cameMeanwhile(after)) return 'entry';
    const { promise, resolve } = Promise.withResolvers<Woken>();
    const waiter: Waiter = { after, name, wake: resolve };
    const end = (): void => resolve('over');
    const timer = setTimeout(end, ms);
    signal.addEventListener('abort', end, { once: true });
    this.#waiters.add(waiter);
    this.#watch(after);
    const why = await promise;
    clearTimeout(timer);
    signal.removeEventListener('abort', end);
    this.#waiters.delete(waiter);
    return why;
  }

  /** Calls who waits under this name, now or next. */
  wake(name: string): void {
    let found = false;
    for (const waiter of this.#waiters) {
      if (waiter.name !== name) continue;
      waiter.wake('called');
      found = true;
    }
    if (found) return;
    if (this.#called.size >= CALLED_MAX) this.#called.clear();
    this.#called.add(name);
  }

  close(): void {
    this.#closed = true;
    this.#restart?.abort();
    for (const waiter of this.#waiters) waiter.wake('over');
  }

  /** (2) */
  #cameMeanwhile(after: ReadonlyMap<string, string>): boolean {
    for (const [stream, id] of after) {
      const position = this.#position.get(stream);
      if (position !== undefined && compareEntryIds(position, id) > 0) return true;
    }
    return false;
  }

  #watch(after: ReadonlyMap<string, string>): void {
    let fresh = false;
    for (const [stream, id] of after) {
      if (this.#position.has(stream)) continue;
      this.#position.set(stream, id);
      fresh = true;
    }
    if (this.#restart === undefined) void this.#run();
    else if (fresh) this.#restart.abort();
  }

  async #run(): Promise<void> {
    while (!this.#closed && this.#waiters.size > 0) {
      this.#forgetUnwatched();
      const restart = (this.#restart = new AbortController());
      const streams = [...this.#position];
      try {
        const names = streams.map(([stream]) => stream);
        const ids = streams.map(([, id]) => id);
        const reply = await this.#read.run(
          restart.signal,
          async () => await this.#client.call('XREAD', 'COUNT', COUNT, 'BLOCK', BLOCK_MS_MAX, 'STREAMS', ...names, ...ids),
        );
        if (reply !== null) this.#tell(reply as readonly (readonly [string, readonly (readonly [string])[]])[]);
      } catch {
        // Nobody is woken: every waiter looks by itself at its end. (3)
        if (!this.#closed) await pause(AGAIN_MS, restart.signal);
      }
    }
    this.#restart = undefined;
    this.#position.clear();
  }

  #tell(reply: readonly (readonly [string, readonly (readonly [string])[]])[]): void {
    for (const [stream, entries] of reply) {
      const last = entries.at(-1)?.[0];
      if (last === undefined) continue;
      this.#position.set(stream, last);
      let left = entries.length;
      for (const waiter of this.#waiters) {
        if (left === 0) break;
        if (!waiter.after.has(stream)) continue;
        waiter.wake('entry');
        this.#waiters.delete(waiter);
        left--;
      }
    }
  }

  #forgetUnwatched(): void {
    const watched = new Set([...this.#waiters].flatMap(({ after }) => [...after.keys()]));
    for (const stream of this.#position.keys()) if (!watched.has(stream)) this.#position.delete(stream);
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  signal.addEventListener('abort', () => resolve(), { once: true });
  await promise;
  clearTimeout(timer);
}
