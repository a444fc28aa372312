/**
 * Lets any number of subscribers in this process follow the committed transitions, each pack read once.
 *
 * 1. A cursor is `<id in the cursor's stream>.<transitions of that pack already seen>`; resuming from it misses and repeats nothing.
 * 2. Subscribers pull. Recent packs are shared in a window bounded by bytes; who falls behind it reads from the store,
 *    and who falls behind the store is told so (CursorGoneError). Nothing waits for a slow subscriber. (I8)
 * 3. While nobody follows, nothing is read but, now and then, where the end is: each read would cost a commit's time on a quiet machine.
 */
import { CursorGoneError, StoppedError } from '../protocol/errors.ts';
import { decodePack } from '../protocol/feed-pack.ts';
import { compareEntryIds, STREAM_START } from '../protocol/ids.ts';
import type { Transition } from '../protocol/record.ts';
import type { Clock } from './ports.ts';
import type { CursorEntry, CursorReader } from './read-ports.ts';
import { Wakeup } from './wakeup.ts';

export interface FollowedTransition {
  /** Follow from here to receive what comes after. */
  readonly cursor: string;
  readonly transition: Transition;
}

export interface FollowOptions {
  /** Only these actor types. */
  readonly types?: readonly string[];
  /** Ends the iteration without an error. */
  readonly signal: AbortSignal;
}

interface Window {
  readonly id: string;
  readonly type: string;
  /** Null when retention took the pack while its address was still held. */
  readonly transitions: readonly Transition[] | null;
  readonly bytes: number;
}

/** Packs in memory for those who follow live. */
const WINDOW_BYTES_MAX = 16_777_216;
/** Entries of the cursor's stream read at once. */
const ENTRIES_MAX = 256;
/** A blocking read ends after so long, so that a stop is not waited for and a dead link is noticed. */
const BLOCK_MS = 1_000;
const FAILURE_PAUSE_MS = 100;
/** Upholds (3): so old may the known end be while nobody follows. */
const IDLE_MS = 1_000;

export class Hub {
  readonly #reader: CursorReader;
  readonly #clock: Clock;
  #window: Window[] = [];
  #windowBytes = 0;
  /** The window holds all that comes after this id. */
  #windowStart: string | null = null;
  #tail = STREAM_START;
  #waiters: (() => void)[] = [];
  #followers = 0;
  #running: AbortController | undefined;
  /** Somebody begins to follow. */
  readonly #begun: Wakeup;

  constructor(reader: CursorReader, clock: Clock) {
    this.#reader = reader;
    this.#clock = clock;
    this.#begun = new Wakeup(clock);
  }

  /** Begins to follow the stream's end. Rejects when Redis does not answer. */
  async start(): Promise<void> {
    this.#tail = this.#windowStart = await this.#end();
    const abort = new AbortController();
    this.#running = abort;
    void this.#run(abort.signal);
  }

  /** Ends every iteration. A read that still waits is not waited for: it ends with its connection, or by itself within BLOCK_MS. */
  stop(): void {
    const running = this.#running;
    // Before the subscribers are woken: each looks at it, and ends its iteration.
    this.#running = undefined;
    running?.abort();
    this.#wake();
  }

  /** A cursor at the present end, or a little before it while nobody follows. */
  get newest(): string {
    return `${this.#tail}.0`;
  }

  /**
   * Transitions after `cursor`, or from now on. Rejects with CursorGoneError when the cursor is not held;
   * `next()` throws it when this reader fell behind what is kept.
   */
  async follow(cursor: string | 'new', options: FollowOptions): Promise<AsyncIterable<FollowedTransition>> {
    if (this.#running === undefined) throw new StoppedError('Nothing is followed here: the hub is not running.');
    // While the store does not answer, the end that was seen last: nothing is missed.
    const start = cursor === 'new' ? { id: await this.#end().catch(() => this.#tail), seen: 0 } : parseCursor(cursor);
    if (cursor !== 'new') await this.#requireHeld(start.id, cursor);
    return this.#iterate(start, options);
  }

  async *#iterate(start: { readonly id: string; readonly seen: number }, { types, signal }: FollowOptions): AsyncGenerator<FollowedTransition> {
    let after = start.id;
    // A cursor inside a pack names that pack: it is read again, and what was seen is skipped.
    const skip = start.seen;
    if (skip > 0) after = before(after);
    this.#followers++;
    this.#begun.wake();
    try {
      yield* this.#follow(after, skip, types, signal);
    } finally {
      this.#followers--;
    }
  }

  async *#follow(from: string, seen: number, types: readonly string[] | undefined, signal: AbortSignal): AsyncGenerator<FollowedTransition> {
    let after = from;
    let skip = seen;
    while (!signal.aborted && this.#running !== undefined) {
      const packs = this.#inWindow(after) ?? (await this.#fromStore(after).catch(unlessGone));
      if (packs === undefined) {
        // The store does not answer for a moment: nothing is missed meanwhile.
        await this.#clock.sleep(FAILURE_PAUSE_MS * (0.5 + this.#clock.random()), signal);
        continue;
      }
      if (packs.length === 0) {
        await this.#change(signal);
        continue;
      }
      for (const pack of packs) {
        if (types === undefined || types.includes(pack.type)) {
          if (pack.transitions === null) throw new CursorGoneError(`${after}.0`); // (2)
          for (let index = skip; index < pack.transitions.length; index++) {
            if (signal.aborted || this.#running === undefined) return;
            const last = index === pack.transitions.length - 1;
            yield { cursor: last ? `${pack.id}.0` : `${pack.id}.${index + 1}`, transition: pack.transitions[index] as Transition };
          }
        }
        skip = 0;
        after = pack.id;
      }
    }
  }

  /** Undefined when `after` lies before the window. */
  #inWindow(after: string): readonly Window[] | undefined {
    if (this.#windowStart === null || compareEntryIds(after, this.#windowStart) < 0) return undefined;
    let low = 0;
    let high = this.#window.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (compareEntryIds((this.#window[middle] as Window).id, after) <= 0) low = middle + 1;
      else high = middle;
    }
    return this.#window.slice(low, low + ENTRIES_MAX);
  }

  async #fromStore(after: string): Promise<readonly Window[]> {
    await this.#requireHeld(after, after);
    return this.#fetch(await this.#reader.readCursor(after, ENTRIES_MAX, 0));
  }

  /** What a cursor points to must not have been trimmed, and must have been given out. */
  async #requireHeld(id: string, cursor: string): Promise<void> {
    const range = await this.#reader.cursorRange();
    if (range === null ? id === STREAM_START : compareEntryIds(id, range.last) <= 0 && (!range.trimmed || compareEntryIds(id, before(range.first)) >= 0))
      return;
    throw new CursorGoneError(cursor);
  }

  async #fetch(entries: readonly CursorEntry[]): Promise<readonly Window[]> {
    const packs = await this.#reader.readPacks(entries.flatMap(({ address }) => address ?? []));
    let next = 0;
    return entries.map(({ id, address }): Window => {
      if (address === null) return { id, type: '', transitions: [], bytes: 0 };
      const pack = packs[next++] ?? null;
      return { id, type: address.type, transitions: pack === null ? null : decodePack(address.type, pack), bytes: pack?.length ?? 0 };
    });
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        if (this.#followers === 0) {
          await this.#begun.sleep(IDLE_MS, signal);
          if (!signal.aborted) this.#passBy(await this.#end()); // (3)
          continue;
        }
        const entries = await this.#reader.readCursor(this.#tail, ENTRIES_MAX, BLOCK_MS);
        const newest = entries[entries.length - 1];
        if (newest === undefined) continue;
        const packs = await this.#fetch(entries);
        this.#window.push(...packs);
        for (const { bytes } of packs) this.#windowBytes += bytes;
        this.#tail = newest.id;
        this.#shrink();
        this.#wake();
      } catch {
        await this.#clock.sleep(FAILURE_PAUSE_MS * (0.5 + this.#clock.random()), signal);
      }
    }
  }

  async #end(): Promise<string> {
    return (await this.#reader.cursorEnd()) ?? STREAM_START;
  }

  /** Who begins to follow meanwhile finds what was passed by in the store. */
  #passBy(newest: string): void {
    this.#window = [];
    this.#windowBytes = 0;
    this.#tail = this.#windowStart = newest;
    this.#wake();
  }

  #shrink(): void {
    let dropped = 0;
    while (this.#windowBytes > WINDOW_BYTES_MAX && dropped < this.#window.length - 1) {
      const oldest = this.#window[dropped++] as Window;
      this.#windowBytes -= oldest.bytes;
      this.#windowStart = oldest.id;
    }
    if (dropped > 0) this.#window = this.#window.slice(dropped);
  }

  #wake(): void {
    for (const wake of this.#waiters.splice(0)) wake();
  }

  async #change(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const end = (): void => {
        signal.removeEventListener('abort', end);
        resolve();
      };
      this.#waiters.push(end);
      signal.addEventListener('abort', end, { once: true });
    });
  }
}

function unlessGone(error: unknown): undefined {
  if (error instanceof CursorGoneError) throw error;
  return undefined;
}

function parseCursor(cursor: string): { readonly id: string; readonly seen: number } {
  const match = /^(\d{1,16}-\d{1,16})(?:\.(\d{1,6}))?$/.exec(cursor);
  if (match === null) throw new CursorGoneError(cursor);
  return { id: match[1] as string, seen: Number(match[2] ?? 0) };
}

/** The greatest id before this one. */
function before(id: string): string {
  const [milliseconds = '0', sequence = '0'] = id.split('-');
  if (sequence !== '0') return `${milliseconds}-${BigInt(sequence) - 1n}`;
  return milliseconds === '0' ? STREAM_START : `${BigInt(milliseconds) - 1n}-18446744073709551615`;
}
