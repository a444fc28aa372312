/** The cursor's stream and its packs in memory, for tests of those who follow. */
import type { CursorEntry, CursorReader } from '../../src/engine/read-ports.ts';
import { encodePack } from '../../src/protocol/feed-pack.ts';
import { compareEntryIds, typeOf, type ActorKey } from '../../src/protocol/ids.ts';
import type { Transition } from '../../src/protocol/record.ts';

export class MemoryFeed implements CursorReader {
  readonly #entries: CursorEntry[] = [];
  readonly #packs = new Map<string, string | null>();
  #trimmed = false;
  #waiting: (() => void)[] = [];
  #number = 0;
  /** Packs fetched so far. */
  fetched = 0;
  /** The end cannot be told. */
  failing = false;
  /** So many looks at the range of the cursor's stream fail. */
  away = 0;
  /** Reads of the cursor's stream so far. */
  reads = 0;

  /** A commit with a transition for each actor, all of one type. Returns its id in the cursor's stream. */
  commit(keys: readonly ActorKey[], revision: number, payload = ''): string {
    const id = `${++this.#number}-0`;
    const type = typeOf(keys[0] as ActorKey);
    this.#packs.set(id, encodePack(keys.map((key) => transition(key, revision, payload))));
    this.#entries.push({ id, address: { partition: 1, type, id, count: keys.length } });
    for (const wake of this.#waiting.splice(0)) wake();
    return id;
  }

  /** Drops the oldest entries of the cursor's stream. */
  trim(count: number): void {
    this.#entries.splice(0, count);
    this.#trimmed = true;
  }

  /** Drops a pack whose address is still held. */
  trimPack(id: string): void {
    this.#packs.set(id, null);
  }

  async cursorRange() {
    if (this.away > 0 && this.away--) throw new Error('The store does not answer.');
    const [first, last] = [this.#entries[0], this.#entries[this.#entries.length - 1]];
    return first === undefined || last === undefined ? null : { first: first.id, last: last.id, trimmed: this.#trimmed };
  }

  async cursorEnd() {
    if (this.failing) throw new Error('The store does not answer.');
    return this.#entries.at(-1)?.id ?? null;
  }

  /** An entry that no commit made. */
  junk(): void {
    this.#entries.push({ id: `${++this.#number}-0`, address: null });
    for (const wake of this.#waiting.splice(0)) wake();
  }

  async readCursor(after: string, count: number, blockMs: number): Promise<readonly CursorEntry[]> {
    this.reads++;
    const found = (): readonly CursorEntry[] => this.#entries.filter(({ id }) => compareEntryIds(id, after) > 0).slice(0, count);
    if (found().length === 0 && blockMs > 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return found();
  }

  async readPacks(addresses: readonly { readonly id: string }[]): Promise<readonly (string | null)[]> {
    this.fetched += addresses.length;
    return addresses.map(({ id }) => this.#packs.get(id) ?? null);
  }
}

function transition(key: ActorKey, revision: number, payload: string): Transition {
  return {
    key,
    revision,
    at: revision,
    stimulus: { kind: 'event', event: { type: 'go', payload } },
    cause: { source: 'library', ref: `${revision}-0` },
    version: '1',
    from: 'a',
    to: 'b',
    commands: [],
    emitted: [],
    logs: [],
    previous: null,
  };
}
