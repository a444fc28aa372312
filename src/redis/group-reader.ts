/**
 * Reads one stream as a consumer of its groups, with a blocking connection of its own.
 *
 * 1. One read at a time: a second one waits for the first, for a connection that blocks answers nobody else.
 * 2. A read whose answer was lost has perhaps taken entries. The next read of that group looks for them among this consumer's own,
 *    leaving out what was handed to the caller before.
 * 3. A read that cannot be done rejects with RedisUnusableError, after `close` with StoppedError.
 */
import type { Redis } from 'ioredis';
import { RedisUnusableError, StoppedError } from '../protocol/errors.ts';
import { BLOCK_MS_MAX, closeClient, connectFirst, createBlockingClient, type ClientContext } from './clients.ts';
import { describeTarget, type RedisTarget } from './target.ts';

export interface GroupRead {
  readonly group: string;
  readonly count: number;
  /** At most {@link BLOCK_MS_MAX}; 0: not at all. */
  readonly blockMs: number;
}

/** Each field with one character a byte; null: the entry was trimmed before it was acknowledged. */
export type GroupEntry = readonly [id: string, fields: readonly string[] | null];

/** Entries handed out and not acknowledged that are remembered; more than a reader has in hand, unless it never acknowledges. */
const HANDED_MAX = 10_000;
const NEW = '>';

/** `[key, [id, fields]][]`, as RESP2 answers. */
type GroupReply = [Buffer, [Buffer, Buffer[] | null][]][] | null;

export class GroupReader {
  readonly #client: Redis;
  readonly #target: RedisTarget;
  readonly #stream: string;
  readonly #consumer: string;
  /** `<group> <id>`, oldest first. */
  readonly #handed = new Set<string>();
  /** By group: where to look on among this consumer's own entries, because an answer was lost. (2) */
  readonly #doubtful = new Map<string, string>();
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(target: RedisTarget, stream: string, consumer: string, context: ClientContext = {}) {
    this.#client = createBlockingClient(target, context);
    this.#target = target;
    this.#stream = stream;
    this.#consumer = consumer;
  }

  /** Throws RedisUnusableError with the way out. */
  async connect(): Promise<void> {
    await connectFirst(this.#client, this.#target);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await closeClient(this.#client);
  }

  async read(request: GroupRead): Promise<readonly GroupEntry[]> {
    const reading = this.#last.then(async () => await this.#readNext(request)); // (1)
    this.#last = reading.catch(() => undefined);
    return await reading;
  }

  /** The caller has acknowledged it. */
  forget(group: string, id: string): void {
    this.#handed.delete(`${group} ${id}`);
  }

  async #readNext(request: GroupRead): Promise<readonly GroupEntry[]> {
    for (let after = this.#doubtful.get(request.group); after !== undefined; after = this.#doubtful.get(request.group)) {
      const own = await this.#ask(request, after);
      const last = own.at(-1);
      if (last === undefined) this.#doubtful.delete(request.group);
      else this.#doubtful.set(request.group, last[0]);
      const lost = own.filter(([id]) => !this.#handed.has(`${request.group} ${id}`));
      if (lost.length > 0) return this.#hand(request.group, lost);
    }
    return this.#hand(request.group, await this.#ask(request, NEW));
  }

  async #ask({ group, count, blockMs }: GroupRead, after: string): Promise<GroupEntry[]> {
    if (this.#closed) throw new StoppedError('The reader is closed.');
    const wait = blockMs > 0 ? ['BLOCK', Math.min(blockMs, BLOCK_MS_MAX)] : [];
    const args = ['GROUP', group, this.#consumer, 'COUNT', count, ...wait, 'STREAMS', this.#stream, after];
    try {
      const reply = (await this.#client.callBuffer('XREADGROUP', ...args)) as GroupReply;
      return (reply?.[0]?.[1] ?? []).map(([id, fields]) => [id.toString(), fields?.map((field) => field.toString('latin1')) ?? null]);
    } catch (error) {
      if (this.#closed) throw new StoppedError('The reader was closed while it waited.', { cause: error });
      const { message } = error as Error;
      if (!message.startsWith('NOGROUP') && !this.#doubtful.has(group)) this.#doubtful.set(group, '0-0'); // (2)
      throw new RedisUnusableError(`The stream ${this.#stream} cannot be read from Redis at ${describeTarget(this.#target)}: ${message}. Read again.`, {
        cause: error,
      });
    }
  }

  #hand(group: string, entries: readonly GroupEntry[]): readonly GroupEntry[] {
    for (const [id] of entries) this.#handed.add(`${group} ${id}`);
    for (const oldest of this.#handed) {
      if (this.#handed.size <= HANDED_MAX) break;
      this.#handed.delete(oldest);
    }
    return entries;
  }
}
