/**
 * Pending entries of other consumers that name this node: found, taken over, remembered.
 *
 * 1. An entry is looked into once: what was not for this node is remembered by its id and passed over.
 * 2. Consumers of this same node are left alone: what they hold they run.
 * 3. A takeover whose answer was lost may have happened: those entries are taken again, from ourselves.
 * 4. A look is bounded, and takes no more than was asked for; the next one goes on where it ended.
 */
import { CONSUMER_PREFIX } from '../protocol/job-progress.ts';

export type StreamEntry = readonly [id: string, fields: readonly string[] | null];
export type PendingEntry = readonly [id: string, consumer: string, idleMs: number, deliveries: number];

export const PENDING_PAGE = 200;
const PAGES_MAX = 25;
/** As many as one look can see, twice over. */
const REMEMBERED_MAX = 10_000;

export interface TargetedEntriesOptions {
  readonly consumer: string;
  readonly nodeId: string;
  /** At most {@link PENDING_PAGE} of the queue's pending entries; `from` as XPENDING takes it. */
  readonly pending: (queue: string, from: string) => Promise<readonly PendingEntry[]>;
  /** Takes over the first `count` that are for this node, if the consumer seen still holds them. `looked`: how many it looked at for that. */
  readonly claim: (
    queue: string,
    entries: readonly PendingEntry[],
    count: number,
  ) => Promise<{ readonly looked: number; readonly taken: readonly StreamEntry[] }>;
}

export class TargetedEntries {
  readonly #options: TargetedEntriesOptions;
  readonly #sameNode: string;
  readonly #strangers = new Remembered();
  readonly #taken = new Remembered();
  readonly #asked = new Remembered();
  /** By queue: where the next look begins. */
  readonly #from = new Map<string, string>();

  constructor(options: TargetedEntriesOptions) {
    this.#options = options;
    this.#sameNode = `${CONSUMER_PREFIX}${options.nodeId}:`;
  }

  /** Whether the entry was taken here, and not read as new. */
  took(queue: string, id: string): boolean {
    return this.#taken.has(queue + id);
  }

  /** At most `count`. */
  async take(queue: string, count: number): Promise<readonly StreamEntry[]> {
    const taken: StreamEntry[] = [];
    let from = this.#from.get(queue) ?? '-';
    for (let page = 0; page < PAGES_MAX; page++) {
      const entries = await this.#options.pending(queue, from);
      const unknown = entries.filter((entry) => this.#isUnknown(queue, entry));
      if (unknown.length > 0) {
        const found = await this.#claim(queue, unknown, count - taken.length);
        taken.push(...found.taken);
        if (found.looked < unknown.length) {
          from = `(${unknown[found.looked - 1]?.[0]}`;
          break;
        }
      }
      const last = entries.at(-1)?.[0];
      from = last === undefined || entries.length < PENDING_PAGE ? '-' : `(${last}`;
      if (from === '-') break;
    }
    this.#from.set(queue, from); // (4)
    return taken;
  }

  #isUnknown(queue: string, [id, consumer]: PendingEntry): boolean {
    if (consumer === this.#options.consumer) return this.#asked.has(queue + id) && !this.#taken.has(queue + id); // (3)
    return !consumer.startsWith(this.#sameNode) && !this.#strangers.has(queue + id); // (1, 2)
  }

  async #claim(queue: string, entries: readonly PendingEntry[], count: number): Promise<{ readonly looked: number; readonly taken: readonly StreamEntry[] }> {
    try {
      const found = await this.#options.claim(queue, entries, count);
      for (const [id] of found.taken) this.#taken.add(queue + id);
      for (const [id] of entries.slice(0, found.looked)) if (!this.#taken.has(queue + id)) this.#strangers.add(queue + id);
      return found;
    } catch (error) {
      for (const [id] of entries) this.#asked.add(queue + id);
      throw error;
    }
  }
}

/** A set that forgets its oldest members. */
class Remembered {
  #newer = new Set<string>();
  #older = new Set<string>();

  has(member: string): boolean {
    return this.#newer.has(member) || this.#older.has(member);
  }

  add(member: string): void {
    if (this.#newer.size >= REMEMBERED_MAX) {
      this.#older = this.#newer;
      this.#newer = new Set();
    }
    this.#newer.add(member);
  }
}
