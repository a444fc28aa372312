/**
 * One look of a node's consumer at its queues: what it was given and has not seen, what others came upon for it, what is new.
 *
 * 1. An entry for another node is left pending, that node is told, and it is not looked at again here.
 * 2. What others came upon is looked for at most every {@link LOOK_MS}, and when somebody rings: contracts 2 gives 5 s.
 */
import type { Redis } from 'ioredis';
import type { FabricConsume, FabricMessage } from '../protocol/fabric-redis.ts';
import { decodeJobEntry } from '../protocol/job-progress.ts';
import { guarded, unusable } from './guarded.ts';
import { PENDING_PAGE, TargetedEntries, type PendingEntry, type StreamEntry } from './targeted-entries.ts';

export const LOOK_MS = 3_000;
/** Consumers whose view of pending entries is remembered. One that is forgotten looks at them anew. */
const CONSUMERS_MAX = 5_000;
/** Entries of others that one consumer passes over unread. */
const OTHERS_MAX = 10_000;
const PENDING_PAGES_MAX = 10;
/** No entry comes after it. */
const LAST_ID = '18446744073709551615-18446744073709551615';

export type PresentEntry = readonly [id: string, fields: readonly string[]];

export interface FabricLook {
  readonly messages: readonly FabricMessage[];
  /** By queue: the last entry that was there before the look. */
  readonly after: ReadonlyMap<string, string>;
}

export interface FabricQueuesOptions {
  readonly client: Redis;
  /** Takes over those of the entries that are for the node: the Function `claim`. */
  readonly claim: (queue: string, args: readonly (string | number)[]) => Promise<unknown>;
  /** Told each node for which an entry was left. */
  readonly left: (nodeId: string) => void;
  /** Told what is about to be given out. */
  readonly given: (request: FabricConsume, queue: string, entries: readonly PresentEntry[]) => Promise<void>;
}

interface ConsumerView {
  readonly targeted: TargetedEntries;
  /** Pending with this consumer, and for another node. (1) */
  readonly others: Set<string>;
  /** By queue: when it was last looked for what others came upon. */
  readonly lookedAt: Map<string, number>;
}

export class FabricQueues {
  readonly #options: FabricQueuesOptions;
  readonly #client: Redis;
  readonly #views = new Map<string, ConsumerView>();

  constructor(options: FabricQueuesOptions) {
    this.#options = options;
    this.#client = options.client;
  }

  /** A read of its own entries behind the last possible one: nothing comes, and the groups note that the consumer asked. */
  async showAlive({ queues, group, consumer }: FabricConsume): Promise<void> {
    for (const queue of queues) {
      try {
        await this.#client.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', 1, 'STREAMS', queue, LAST_ID);
      } catch (error) {
        if (!isGroupMissing(error)) throw unusable('hear that a worker lives', error);
      }
    }
  }

  /** `everything`: also what others came upon, however short ago it was looked for. */
  async look(request: FabricConsume, everything: boolean): Promise<FabricLook> {
    const messages: FabricMessage[] = [];
    const after = new Map<string, string>();
    for (const queue of request.queues) {
      const count = request.count - messages.length;
      if (count <= 0) break;
      // Before the look, so that nothing comes between it and the wait.
      const [newest] = await guarded('look at a queue', this.#client.xrevrange(queue, '+', '-', 'COUNT', 1));
      after.set(queue, newest?.[0] ?? '0-0');
      const entries = await this.#entriesOf(queue, request, count, everything);
      if (entries.length > 0) await this.#options.given(request, queue, entries);
      for (const [id, fields] of entries) messages.push({ id, queue, data: objectOf(fields) });
    }
    return { messages, after };
  }

  /** Of the group; of one consumer when it is named. */
  async pending(queue: string, group: string, from: string, to: string, count: number, ...consumer: readonly string[]): Promise<readonly PendingEntry[]> {
    try {
      return (await this.#client.call('XPENDING', queue, group, from, to, count, ...consumer)) as readonly PendingEntry[];
    } catch (error) {
      if (isGroupMissing(error)) return [];
      throw unusable('look at pending entries', error);
    }
  }

  async #entriesOf(queue: string, request: FabricConsume, count: number, everything: boolean): Promise<readonly PresentEntry[]> {
    const view = this.#viewOf(request);
    const unseen = request.held === undefined ? [] : await this.#unseen(queue, request, view, request.held, count);
    if (unseen.length > 0) return unseen;
    const now = performance.now();
    if (everything || now - (view.lookedAt.get(queue) ?? -Infinity) >= LOOK_MS) {
      const taken = (await view.targeted.take(queue, count)).filter(isPresent);
      if (taken.length > 0) return taken;
      view.lookedAt.set(queue, now); // (2)
    }
    return await this.#fresh(queue, request, view, count);
  }

  /** Pending entries of this consumer that its client does not have. */
  async #unseen(queue: string, request: FabricConsume, view: ConsumerView, held: readonly string[], count: number): Promise<readonly PresentEntry[]> {
    const { group, consumer } = request;
    const known = new Set(held);
    const found: PresentEntry[] = [];
    let from = '-';
    for (let page = 0; page < PENDING_PAGES_MAX && found.length < count; page++) {
      const pending = await this.pending(queue, group, from, '+', PENDING_PAGE, consumer);
      const ids = pending.map(([id]) => id).filter((id) => !known.has(id) && !view.others.has(queue + id));
      if (ids.length > 0) {
        // Claimed from ourselves: one that was withdrawn has no fields, and leaves the list.
        const entries = (await guarded('give entries again', this.#client.call('XCLAIM', queue, group, consumer, 0, ...ids))) as StreamEntry[];
        found.push(...this.#own(queue, request, view, entries));
      }
      const last = pending.at(-1)?.[0];
      if (last === undefined || pending.length < PENDING_PAGE) break;
      from = `(${last}`;
    }
    return found.slice(0, count);
  }

  async #fresh(queue: string, request: FabricConsume, view: ConsumerView, count: number): Promise<readonly PresentEntry[]> {
    const { group, consumer } = request;
    const read = async () => await this.#client.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', count, 'STREAMS', queue, '>');
    let reply: unknown;
    try {
      reply = await read();
    } catch (error) {
      if (!isGroupMissing(error)) throw unusable('take jobs', error);
      await this.#createGroup(queue, group);
      reply = await guarded('take jobs', read());
    }
    const entries = (reply as readonly (readonly [string, readonly StreamEntry[]])[] | null)?.[0]?.[1] ?? [];
    return this.#own(queue, request, view, entries);
  }

  /** (1) */
  #own(queue: string, { nodeId }: FabricConsume, { others }: ConsumerView, entries: readonly StreamEntry[]): readonly PresentEntry[] {
    const names = new Set<string>();
    const own = entries.filter(isPresent).filter(([id, fields]) => {
      const target = targetOf(fields);
      if (target === undefined || target === nodeId) return true;
      if (others.size >= OTHERS_MAX) others.clear();
      others.add(queue + id);
      names.add(target);
      return false;
    });
    for (const name of names) this.#options.left(name);
    return own;
  }

  async #createGroup(queue: string, group: string): Promise<void> {
    try {
      await this.#client.xgroup('CREATE', queue, group, '0', 'MKSTREAM');
    } catch (error) {
      if (!(error as Error).message.startsWith('BUSYGROUP')) throw unusable('create a group', error);
    }
  }

  #viewOf({ nodeId, group, consumer }: FabricConsume): ConsumerView {
    const name = `${group} ${consumer}`;
    const known = this.#views.get(name);
    if (known !== undefined) return known;
    const targeted = new TargetedEntries({
      consumer,
      nodeId,
      pending: async (queue, from) =>
        (await this.pending(queue, group, from, '+', PENDING_PAGE)).map(([id, holder, ...more]) => [id, sameNode(holder, consumer, nodeId), ...more]),
      claim: async (queue, entries, count) => {
        const args = [group, consumer, nodeId, count, ...entries.flatMap(([id, holder]) => [id, holder])];
        const [looked, ...taken] = (await this.#options.claim(queue, args)) as [number, ...StreamEntry[]];
        return { looked, taken };
      },
    });
    if (this.#views.size >= CONSUMERS_MAX) this.#views.delete(this.#views.keys().next().value ?? '');
    const view: ConsumerView = { targeted, others: new Set(), lookedAt: new Map() };
    this.#views.set(name, view);
    return view;
  }
}

/** Whether the consumer is one of the node's (protocol/fabric-redis.ts, 2). */
export function isOfNode(consumer: string, nodeId: string): boolean {
  return consumer.startsWith(`castellan:${nodeId}:`) || consumer.startsWith(`fabric:${nodeId}:`);
}

/** What another consumer of this node has is left to it, whatever kind of program it is. */
function sameNode(holder: string, consumer: string, nodeId: string): string {
  return holder !== consumer && isOfNode(holder, nodeId) ? `castellan:${nodeId}:another` : holder;
}

/** An entry that was dropped while it was pending has no fields. */
function isPresent(entry: StreamEntry): entry is PresentEntry {
  return entry[1] !== null;
}

/** The node that the entry names, in a field or in its payload. */
function targetOf(fields: readonly string[]): string | undefined {
  const { targetNode, payload } = decodeJobEntry('', '', fields);
  if (targetNode !== undefined || !payload.includes('target')) return targetNode;
  try {
    const { target_node: snake, targetNode: camel } = (JSON.parse(payload) ?? {}) as { readonly target_node?: unknown; readonly targetNode?: unknown };
    const named = snake ?? camel;
    return typeof named === 'string' && named !== '' ? named : undefined;
  } catch {
    return undefined;
  }
}

/** `fromEntries` makes own properties of all names, whatever they are. */
function objectOf(fields: readonly string[]): { readonly [field: string]: string } {
  const pairs: [string, string][] = [];
  for (let index = 0; index + 1 < fields.length; index += 2) pairs.push([fields[index] as string, fields[index + 1] as string]);
  return Object.fromEntries(pairs);
}

/** A queue that nobody created, or that was dropped. */
function isGroupMissing(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith('NOGROUP');
}
