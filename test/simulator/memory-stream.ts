/** A Redis stream in memory: entries in the order of their ids, which never go back. */
import type { StreamEntry } from '../../src/engine/ports.ts';
import { compareEntryIds, millisecondsOf, STREAM_START } from '../../src/protocol/ids.ts';

export class MemoryStream {
  #entries: StreamEntry[] = [];
  #last = STREAM_START;

  /** Like `XADD key *` at that time, or with an id of the caller's. Throws when the id is not higher than the last. */
  add(fields: readonly string[], id: string | { readonly now: number }): string {
    const next = typeof id === 'string' ? id : this.#nextId(id.now);
    if (compareEntryIds(next, this.#last) <= 0) throw new Error('ERR The ID specified in XADD is equal or smaller than the target stream top item');
    this.#entries.push([next, fields]);
    this.#last = next;
    return next;
  }

  after(id: string, count = Number.POSITIVE_INFINITY): StreamEntry[] {
    const start = this.#indexAfter(id);
    return this.#entries.slice(start, Math.min(this.#entries.length, start + count));
  }

  get(id: string): StreamEntry | undefined {
    return this.#entries.find(([each]) => each === id);
  }

  get firstId(): string | null {
    return this.#entries[0]?.[0] ?? null;
  }

  /** Of the entries that are there; {@link lastId} is the highest that ever was. */
  get newestId(): string {
    return this.#entries.at(-1)?.[0] ?? STREAM_START;
  }

  get lastId(): string {
    return this.#last;
  }

  get length(): number {
    return this.#entries.length;
  }

  /** Drops all entries with lower ids, or also the one with this id. */
  trim(id: string, bound: 'before' | 'through'): void {
    const last = this.#indexAfter(id);
    const cut = bound === 'through' || this.#entries[last - 1]?.[0] !== id ? last : last - 1;
    this.#entries = this.#entries.slice(cut);
  }

  /** Keeps the newest entries. */
  cap(length: number): void {
    if (this.#entries.length > length) this.#entries = this.#entries.slice(-length);
  }

  #nextId(now: number): string {
    const lastMs = millisecondsOf(this.#last);
    return now > lastMs ? `${now}-0` : `${lastMs}-${Number(this.#last.slice(this.#last.indexOf('-') + 1)) + 1}`;
  }

  #indexAfter(id: string): number {
    let low = 0;
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareEntryIds((this.#entries[middle] as StreamEntry)[0], id) <= 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
