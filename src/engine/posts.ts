/**
 * Delivers those posts to other systems' streams that could not go with their commit: a line for each stream, one call for the heads of
 * all of them.
 *
 * 1. Within a line strictly in order; the head is repeated until it is taken in. (I1, I5)
 * 2. A line whose stream refuses is paused alone: neither another stream nor a message between actors waits for it. (I7)
 */
import type { Post } from '../protocol/outlet.ts';
import type { Meter } from './meter.ts';
import type { Notices } from './notices.ts';
import type { Clock, EngineStore } from './ports.ts';
import { Wakeup } from './wakeup.ts';

/** Posts of one stream, and of all, in one round trip. */
const LINE_POSTS_MAX = 500;
const POSTS_MAX = 2_000;
/** Between the tries of a stream that refuses, ms. */
const PAUSE_MS = 50;
const PAUSE_MS_MAX = 5_000;

interface Line<Item> {
  /** Another array after some of them were dropped. */
  items: Item[];
  pausedUntil: number;
  pauseMs: number;
}

/** What is sent of a line. */
interface Head<Item> {
  readonly stream: string;
  readonly line: Line<Item>;
  /** The line's array as it was. */
  readonly queue: Item[];
  readonly items: readonly Item[];
}

export interface PostPorts<Item> {
  readonly store: Pick<EngineStore, 'post'>;
  readonly clock: Clock;
  readonly meter: Meter;
  readonly notices: Notices;
  readonly delivered: (items: readonly Item[]) => void;
}

export class PostLines<Item extends { readonly post: Post }> {
  readonly #ports: PostPorts<Item>;
  readonly #lines = new Map<string, Line<Item>>();
  readonly #wakeup: Wakeup;

  constructor(ports: PostPorts<Item>) {
    this.#ports = ports;
    this.#wakeup = new Wakeup(ports.clock);
  }

  add(item: Item): void {
    const { stream } = item.post;
    const line = this.#lines.get(stream);
    if (line === undefined) this.#lines.set(stream, { items: [item], pausedUntil: -Infinity, pauseMs: PAUSE_MS });
    else line.items.push(item);
    this.#wakeup.wake();
  }

  /** Something is still owed to this stream. */
  waits(stream: string): boolean {
    return this.#lines.has(stream);
  }

  /** What a lost partition owed is its next owner's to deliver. */
  drop(isGone: (item: Item) => boolean): void {
    for (const [stream, line] of this.#lines) {
      if (!line.items.some(isGone)) continue;
      line.items = line.items.filter((item) => !isGone(item));
      if (line.items.length === 0) this.#lines.delete(stream);
    }
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const heads = this.#heads();
      if (heads.length === 0) {
        await this.#wakeup.sleep(this.#pausedMs(), signal);
        continue;
      }
      const results = await this.#send(heads.flatMap(({ items }) => items));
      let at = 0;
      for (const head of heads) {
        this.#conclude(head, results.slice(at, at + head.items.length));
        at += head.items.length;
      }
    }
  }

  #heads(): readonly Head<Item>[] {
    const now = this.#ports.clock.now();
    const heads: Head<Item>[] = [];
    let room = POSTS_MAX;
    for (const [stream, line] of this.#lines) {
      if (line.pausedUntil > now) continue;
      const items = line.items.slice(0, Math.min(LINE_POSTS_MAX, room));
      heads.push({ stream, line, queue: line.items, items });
      room -= items.length;
      if (room === 0) break;
    }
    return heads;
  }

  async #send(items: readonly Item[]): Promise<readonly (Error | undefined)[]> {
    try {
      return await this.#ports.store.post(items.map(({ post }) => post));
    } catch (error) {
      const failure = error instanceof Error ? error : new Error(String(error));
      return items.map(() => failure);
    }
  }

  #conclude({ stream, line, queue, items }: Head<Item>, results: readonly (Error | undefined)[]): void {
    const failed = results.findIndex((result) => result !== undefined);
    const taken = failed < 0 ? items : items.slice(0, failed);
    if (line.items === queue) queue.splice(0, taken.length);
    else line.items = line.items.filter((item) => !taken.includes(item));
    if (this.#lines.get(stream) === line) {
      if (failed < 0) line.pauseMs = PAUSE_MS;
      else this.#pause(stream, line, results[failed] as Error);
      // Its turn comes again after the others'.
      this.#lines.delete(stream);
      if (line.items.length > 0) this.#lines.set(stream, line);
    }
    if (taken.length === 0) return;
    this.#ports.meter.count('posts', taken.length);
    this.#ports.delivered(taken);
  }

  #pause(stream: string, line: Line<Item>, refusal: Error): void {
    const { clock, meter, notices } = this.#ports;
    meter.count('delivery_failures');
    line.pausedUntil = clock.now() + line.pauseMs * (0.5 + clock.random());
    line.pauseMs = Math.min(PAUSE_MS_MAX, line.pauseMs * 2);
    notices.tell('post-refused', `${line.items.length} entries for the stream ${stream} wait because it does not take them: ${refusal.message}`);
  }

  /** Until the first paused line goes on. */
  #pausedMs(): number {
    let until = Infinity;
    for (const { pausedUntil } of this.#lines.values()) until = Math.min(until, pausedUntil);
    return Math.max(0, until - this.#ports.clock.now());
  }
}
