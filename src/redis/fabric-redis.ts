/**
 * Redis on behalf of nodes that have no credentials for it (protocol/fabric-redis.ts).
 *
 * 1. What a node was given is remembered by its job's id, before it is given out, so that a report names only the job. Whether it still
 *    holds it is asked of the pending list at each use: the memory alone grants nothing.
 * 2. Nobody's entry is acknowledged, told of or taken over here but the node's own; the Functions check that in the moment of the write.
 * 3. Waiting blocks no connection of its own (StreamWatch); a wait is cut into looks, because an entry for this node may come to be pending
 *    with somebody who rings for nobody.
 */
import type { Redis } from 'ioredis';
import { RedisUnusableError } from '../protocol/errors.ts';
import type { Acknowledgement, FabricConsume, FabricMessage, FabricRedis, HeldEntryOfNode, JobTelling } from '../protocol/fabric-redis.ts';
import { JOB_REPORTS, WORKER_GROUP, decodeJobEntry, progressKey } from '../protocol/job-progress.ts';
import { closeClient, connectFirst, createBlockingClient, createWriteClient, type ClientContext } from './clients.ts';
import { createFunctionLibrary, type FunctionCall } from './function-library.ts';
import { createKeys, type Keys } from './keys.ts';
import { StreamWatch } from './stream-watch.ts';
import type { RedisTarget } from './target.ts';
import { PENDING_PAGE, TargetedEntries, type PendingEntry, type StreamEntry } from './targeted-entries.ts';

/** How often a waiting node looks for entries of its own that others came upon: the contract gives 5 s. (3) */
const LOOK_MS = 2_000;
/** A job's log: as workers with credentials keep it. */
const LOG_LENGTH = 1_000;
const LOG_SECONDS = 86_400;
/** Longer than the longest timeout of a job (a week). */
const HELD_SECONDS = 8 * 86_400;
/** Consumers whose view of pending entries is remembered. One that is forgotten looks at them anew. */
const CONSUMERS_MAX = 5_000;
/** No entry comes after it. */
const LAST_ID = '18446744073709551615-18446744073709551615';
const PENDING_PAGES_MAX = 10;

type FabricFunction = 'claim' | 'tell' | 'settle';

export async function createFabricRedis(target: RedisTarget, context: ClientContext & { readonly prefix?: string } = {}): Promise<FabricRedis> {
  const write = createWriteClient(target, context);
  const block = createBlockingClient(target, context);
  try {
    await Promise.all([write, block].map((client) => connectFirst(client, target)));
  } catch (error) {
    await Promise.all([write, block].map(closeClient));
    throw error;
  }
  return new FabricOverRedis(write, block, createKeys(context.prefix));
}

class FabricOverRedis implements FabricRedis {
  readonly #write: Redis;
  readonly #block: Redis;
  readonly #keys: Keys;
  readonly #watch: StreamWatch;
  readonly #library = createFunctionLibrary<FabricFunction>(['worker-functions.lua', 'fabric-functions.lua']);
  readonly #targeted = new Map<string, TargetedEntries>();

  constructor(write: Redis, block: Redis, keys: Keys) {
    this.#write = write;
    this.#block = block;
    this.#keys = keys;
    this.#watch = new StreamWatch(block, write);
  }

  async ping(): Promise<void> {
    await guarded('answer', this.#write.ping());
  }

  async publish(channel: string, message: string): Promise<void> {
    await guarded('publish', this.#write.publish(channel, message));
  }

  async add(stream: string, fields: readonly string[], maxLength?: number): Promise<string> {
    const length = maxLength === undefined ? [] : ['MAXLEN', '~', String(maxLength)];
    const id = (await guarded('append', this.#write.call('XADD', stream, ...length, '*', ...fields))) as string;
    // A hint: the engine looks by itself.
    this.#write.call('SPUBLISH', this.#keys.sourcesBell, '').catch(() => undefined);
    return id;
  }

  async consume(request: FabricConsume): Promise<readonly FabricMessage[]> {
    const { nodeId, blockMs, signal, count } = request;
    if (count === 0) return await this.#showAlive(request);
    const until = performance.now() + blockMs;
    while (!signal.aborted) {
      const { messages, after } = await this.#take(request);
      if (messages.length > 0) return messages;
      const left = until - performance.now();
      if (left <= 0) break;
      await this.#watch.wait(nodeId, after, Math.min(left, LOOK_MS), signal); // (3)
    }
    return [];
  }

  async held(nodeId: string, jobId: string): Promise<HeldEntryOfNode | undefined> {
    const value = await guarded('look for a job', this.#write.hget(this.#heldKey(nodeId), jobId));
    if (value === null) return undefined;
    const [queue = '', group = '', entryId = ''] = value.split('\n');
    const [pending, entries] = await guarded(
      'look for a job',
      Promise.all([this.#pending(queue, group, entryId, entryId, 1), this.#write.xrange(queue, entryId, entryId)]),
    );
    const consumer = pending[0]?.[1];
    const fields = entries[0]?.[1];
    if (consumer === undefined || fields === undefined || !isOfNode(consumer, nodeId)) {
      await guarded('forget a job', this.#write.hdel(this.#heldKey(nodeId), jobId));
      return undefined;
    }
    return { queue, group, entryId, jobId, consumer, fields };
  }

  async tell(nodeId: string, { queue, group, entryId, jobId }: HeldEntryOfNode, { text, to }: JobTelling): Promise<string | undefined> {
    const report = to === 'report';
    const stream = report ? JOB_REPORTS : progressKey(jobId);
    const entry = to === 'channel' ? [] : report ? ['jobId', jobId, 'progress', text] : ['progress', text];
    const bounds = to === 'log' ? [LOG_LENGTH, LOG_SECONDS] : [0, 0];
    const args = [group, entryId, nodeId, to === 'log' ? '' : progressKey(jobId), report ? this.#keys.sourcesBell : '', text, ...bounds, ...entry];
    return ((await this.#call({ name: 'tell', keys: [queue, stream], args })) as string | null) ?? undefined;
  }

  async acknowledge(nodeId: string, queue: string, group: string, entryId: string): Promise<Acknowledgement> {
    const reply = await this.#call({ name: 'settle', keys: [queue, this.#heldKey(nodeId)], args: [group, entryId, nodeId, WORKER_GROUP] });
    return reply === 1 ? 'acknowledged' : reply === 0 ? 'not-pending' : 'held-by-another';
  }

  async get(key: string): Promise<{ readonly value: string | null; readonly ttl: number }> {
    const [type, ttl] = await guarded('read a key', Promise.all([this.#write.type(key), this.#write.ttl(key)]));
    if (type === 'string') return { value: await guarded('read a key', this.#write.get(key)), ttl };
    // Clients with credentials write a status as a hash.
    if (type === 'hash') return { value: JSON.stringify(await guarded('read a key', this.#write.hgetall(key))), ttl };
    return { value: null, ttl: -2 };
  }

  async set(key: string, value: string, ttlS: number): Promise<void> {
    await guarded('write a key', this.#write.set(key, value, 'EX', ttlS));
  }

  async delete(key: string): Promise<boolean> {
    return (await guarded('delete a key', this.#write.del(key))) > 0;
  }

  async close(): Promise<void> {
    this.#watch.close();
    await Promise.all([this.#write, this.#block].map(closeClient));
  }

  /** A read of its own entries behind the last possible one: nothing comes, and the groups note that the consumer asked. */
  async #showAlive({ queues, group, consumer }: FabricConsume): Promise<readonly FabricMessage[]> {
    for (const queue of queues) {
      try {
        await this.#write.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', 1, 'STREAMS', queue, LAST_ID);
      } catch (error) {
        if (!(error as Error).message.startsWith('NOGROUP')) throw unusable('hear that a worker lives', error);
      }
    }
    return [];
  }

  /** One look at all queues: what was given before and not seen, what others came upon, what is new. */
  async #take(request: FabricConsume): Promise<{ readonly messages: readonly FabricMessage[]; readonly after: ReadonlyMap<string, string> }> {
    const found: FabricMessage[] = [];
    const after = new Map<string, string>();
    for (const queue of request.queues) {
      const [newest] = await guarded('look at a queue', this.#write.xrevrange(queue, '+', '-', 'COUNT', 1));
      after.set(queue, newest?.[0] ?? '0-0');
      const left = request.count - found.length;
      if (left <= 0) break;
      const entries = await this.#entriesOf(queue, request, left);
      await this.#remember(request, queue, entries); // (1)
      for (const [id, fields] of entries) found.push({ id, queue, data: objectOf(fields) });
    }
    return { messages: found, after };
  }

  async #entriesOf(queue: string, request: FabricConsume, count: number): Promise<readonly Present[]> {
    const unseen = request.held === undefined ? [] : await this.#unseen(queue, request, request.held, count);
    if (unseen.length > 0) return unseen;
    const taken = (await this.#targetedOf(request).take(queue, count)).filter(isPresent);
    if (taken.length > 0) return taken;
    return await this.#new(queue, request, count);
  }

  /** Pending entries of this consumer that its client does not have. */
  async #unseen(queue: string, { group, consumer, nodeId }: FabricConsume, held: readonly string[], count: number): Promise<readonly Present[]> {
    const known = new Set(held);
    const ids: string[] = [];
    let from = '-';
    for (let page = 0; page < PENDING_PAGES_MAX && ids.length < count; page++) {
      const pending = await this.#pending(queue, group, from, '+', PENDING_PAGE, consumer);
      ids.push(...pending.map(([id]) => id).filter((id) => !known.has(id)));
      const last = pending.at(-1)?.[0];
      if (last === undefined || pending.length < PENDING_PAGE) break;
      from = `(${last}`;
    }
    if (ids.length === 0) return [];
    // Claimed from ourselves: one that was withdrawn has no fields, and leaves the list.
    const entries = (await guarded('give entries again', this.#write.call('XCLAIM', queue, group, consumer, 0, ...ids))) as StreamEntry[];
    return entries
      .filter(isPresent)
      .filter(([, fields]) => isFor(fields, nodeId))
      .slice(0, count);
  }

  async #new(queue: string, { group, consumer, nodeId }: FabricConsume, count: number): Promise<readonly Present[]> {
    const read = async () => await this.#write.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', count, 'STREAMS', queue, '>');
    let reply: unknown;
    try {
      reply = await read();
    } catch (error) {
      if (!(error as Error).message.startsWith('NOGROUP')) throw unusable('take jobs', error);
      await this.#createGroup(queue, group);
      reply = await guarded('take jobs', read());
    }
    const entries = ((reply as readonly (readonly [string, readonly StreamEntry[]])[] | null)?.[0]?.[1] ?? []).filter(isPresent);
    const others = new Set<string>();
    const own = entries.filter(([, fields]) => {
      const target = targetOf(fields);
      if (target === undefined || target === nodeId) return true;
      others.add(target);
      return false;
    });
    // Left pending: that node may wait here, or hear the bell, or look by itself.
    for (const node of others) {
      this.#watch.wake(node);
      this.#write.publish(this.#keys.nodeBell(node), '').catch(() => undefined);
    }
    return own;
  }

  async #createGroup(queue: string, group: string): Promise<void> {
    try {
      await this.#write.xgroup('CREATE', queue, group, '0', 'MKSTREAM');
    } catch (error) {
      if (!(error as Error).message.startsWith('BUSYGROUP')) throw unusable('create a group', error);
    }
  }

  async #remember({ nodeId, group }: FabricConsume, queue: string, entries: readonly Present[]): Promise<void> {
    const pairs: string[] = [];
    for (const [id, fields] of entries) {
      const { jobId } = decodeJobEntry(queue, id, fields);
      if (jobId !== '') pairs.push(jobId, [queue, group, id].join('\n'));
    }
    if (pairs.length === 0) return;
    const key = this.#heldKey(nodeId);
    await guarded('remember what was given', Promise.all([this.#write.hset(key, ...pairs), this.#write.expire(key, HELD_SECONDS)]));
  }

  #targetedOf({ nodeId, group, consumer }: FabricConsume): TargetedEntries {
    const name = `${group} ${consumer}`;
    let targeted = this.#targeted.get(name);
    if (targeted === undefined) {
      if (this.#targeted.size >= CONSUMERS_MAX) this.#targeted.delete(this.#targeted.keys().next().value ?? '');
      targeted = new TargetedEntries({
        consumer,
        nodeId,
        pending: async (queue, from) =>
          (await this.#pending(queue, group, from, '+', PENDING_PAGE)).map(([id, holder, ...more]) => [id, sameNode(holder, consumer, nodeId), ...more]),
        claim: async (queue, entries, most) => {
          const args = [group, consumer, nodeId, most, ...entries.flatMap(([id, holder]) => [id, holder])];
          const [looked, ...taken] = (await this.#call({ name: 'claim', keys: [queue], args })) as [number, ...StreamEntry[]];
          return { looked, taken };
        },
      });
      this.#targeted.set(name, targeted);
    }
    return targeted;
  }

  async #pending(queue: string, group: string, from: string, to: string, count: number, ...consumer: readonly string[]): Promise<readonly PendingEntry[]> {
    try {
      return (await this.#write.call('XPENDING', queue, group, from, to, count, ...consumer)) as readonly PendingEntry[];
    } catch (error) {
      if ((error as Error).message.startsWith('NOGROUP')) return [];
      throw unusable('look at pending entries', error);
    }
  }

  async #call(call: FunctionCall<FabricFunction>): Promise<unknown> {
    const [reply] = await guarded('write for a node', this.#library.call(this.#write, [call]));
    if (reply instanceof Error) throw unusable('write for a node', reply);
    return reply;
  }

  #heldKey(nodeId: string): string {
    return `${this.#keys.prefix}:fabric:held:${nodeId}`;
  }
}

type Present = readonly [id: string, fields: readonly string[]];

/** An entry that was dropped while it was pending has no fields. */
function isPresent(entry: StreamEntry): entry is Present {
  return entry[1] !== null;
}

function isOfNode(consumer: string, nodeId: string): boolean {
  return consumer.startsWith(`castellan:${nodeId}:`) || consumer.startsWith(`fabric:${nodeId}:`);
}

/** What another consumer of this node has is left to it, whatever kind of program it is. */
function sameNode(holder: string, consumer: string, nodeId: string): string {
  return holder !== consumer && isOfNode(holder, nodeId) ? `castellan:${nodeId}:another` : holder;
}

function isFor(fields: readonly string[], nodeId: string): boolean {
  const target = targetOf(fields);
  return target === undefined || target === nodeId;
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

/** Without a prototype's names: `fromEntries` makes own properties of all. */
function objectOf(fields: readonly string[]): { readonly [field: string]: string } {
  const pairs: [string, string][] = [];
  for (let index = 0; index + 1 < fields.length; index += 2) pairs.push([fields[index] as string, fields[index + 1] as string]);
  return Object.fromEntries(pairs);
}

async function guarded<T>(what: string, answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    throw unusable(what, error);
  }
}

function unusable(what: string, error: unknown): RedisUnusableError {
  return new RedisUnusableError(`Redis could not ${what}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
}
