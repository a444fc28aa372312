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
import type { Acknowledgement, FabricConsume, FabricMessage, FabricRedis, HeldEntryOfNode, JobTelling } from '../protocol/fabric-redis.ts';
import { compareEntryIds } from '../protocol/ids.ts';
import { JOB_REPORTS, WORKER_GROUP, decodeJobEntry, progressKey } from '../protocol/job-progress.ts';
import { closeClient, connectFirst, createBlockingClient, createSubscriber, createWriteClient, type ClientContext } from './clients.ts';
import { FabricQueues, isOfNode, LOOK_MS, type PresentEntry } from './fabric-queues.ts';
import { createFunctionLibrary, type FunctionCall } from './function-library.ts';
import { guarded, unusable } from './guarded.ts';
import { createKeys, type Keys } from './keys.ts';
import { NodeBells } from './node-bells.ts';
import { StreamWatch } from './stream-watch.ts';
import type { RedisTarget } from './target.ts';

/** A job's log: as workers with credentials keep it. */
const LOG_LENGTH = 1_000;
const LOG_SECONDS = 86_400;
/** Longer than the longest timeout of a job (a week). */
const HELD_SECONDS = 8 * 86_400;
/** Far more than one node works on; what is beyond was taken away from it and never spoken of again. */
const HELD_MAX = 5_000;

type FabricFunction = 'claim' | 'tell' | 'settle';

/** Throws RedisUnusableError with the way out when Redis cannot be reached. */
export async function createFabricRedis(target: RedisTarget, { prefix, ...context }: ClientContext & { readonly prefix?: string } = {}): Promise<FabricRedis> {
  const write = createWriteClient(target, context);
  const block = createBlockingClient(target, context);
  const listen = createSubscriber(target, context);
  try {
    await Promise.all([write, block, listen].map((client) => connectFirst(client, target)));
    const fabric = new FabricOverRedis({ write, block, listen }, createKeys(prefix));
    await fabric.start();
    return fabric;
  } catch (error) {
    await Promise.all([write, block, listen].map(closeClient));
    throw error;
  }
}

type Clients = { readonly [use in 'write' | 'block' | 'listen']: Redis };

class FabricOverRedis implements FabricRedis {
  readonly #clients: Clients;
  readonly #write: Redis;
  readonly #keys: Keys;
  readonly #watch: StreamWatch;
  readonly #bells: NodeBells;
  readonly #queues: FabricQueues;
  readonly #library = createFunctionLibrary<FabricFunction>(['worker-functions.lua', 'fabric-functions.lua']);

  constructor(clients: Clients, keys: Keys) {
    this.#clients = clients;
    this.#write = clients.write;
    this.#keys = keys;
    this.#watch = new StreamWatch(clients.block, clients.write);
    this.#bells = new NodeBells(clients.listen, keys, (nodeId) => this.#watch.wake(nodeId));
    this.#queues = new FabricQueues({
      client: clients.write,
      claim: async (queue, args) => await this.#call({ name: 'claim', keys: [queue], args }),
      // It may wait here, or with another control plane, or be a worker with credentials.
      left: (nodeId) => void this.#write.publish(keys.nodeBell(nodeId), '').catch(() => undefined),
      given: async (request, queue, entries) => await this.#remember(request, queue, entries), // (1)
    });
  }

  async start(): Promise<void> {
    await this.#bells.start();
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
    if (count === 0) {
      await this.#queues.showAlive(request);
      return [];
    }
    const until = performance.now() + blockMs;
    this.#bells.hear(nodeId);
    let everything = false;
    while (!signal.aborted) {
      const { messages, after } = await this.#queues.look(request, everything);
      if (messages.length > 0) return messages;
      const left = until - performance.now();
      if (left <= 0) break;
      everything = (await this.#watch.wait(nodeId, after, Math.min(left, LOOK_MS), signal)) !== 'entry'; // (3)
    }
    return [];
  }

  async held(nodeId: string, jobId: string): Promise<HeldEntryOfNode | undefined> {
    const value = await guarded('look for a job', this.#write.hget(this.#heldKey(nodeId), jobId));
    if (value === null) return undefined;
    const [queue = '', group = '', entryId = ''] = value.split('\n');
    const [pending, entries] = await Promise.all([
      this.#queues.pending(queue, group, entryId, entryId, 1),
      guarded('look for a job', this.#write.xrange(queue, entryId, entryId)),
    ]);
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
    this.#bells.close();
    await Promise.all(Object.values(this.#clients).map(closeClient));
  }

  /** (1) */
  async #remember({ nodeId, group }: FabricConsume, queue: string, entries: readonly PresentEntry[]): Promise<void> {
    const pairs: string[] = [];
    for (const [id, fields] of entries) {
      const { jobId } = decodeJobEntry(queue, id, fields);
      if (jobId !== '') pairs.push(jobId, [queue, group, id].join('\n'));
    }
    if (pairs.length === 0) return;
    const key = this.#heldKey(nodeId);
    const written = Promise.all([this.#write.hset(key, ...pairs), this.#write.expire(key, HELD_SECONDS), this.#write.hlen(key)]);
    const [, , held] = await guarded('remember what was given', written);
    if (held > HELD_MAX) await this.#forgetOldest(key);
  }

  async #forgetOldest(key: string): Promise<void> {
    const idOf = (value: string): string => value.slice(value.lastIndexOf('\n') + 1);
    const all = Object.entries(await guarded('forget jobs', this.#write.hgetall(key)));
    const oldest = all.toSorted(([, left], [, right]) => compareEntryIds(idOf(left), idOf(right))).slice(0, Math.ceil(all.length / 2));
    if (oldest.length > 0) await guarded('forget jobs', this.#write.hdel(key, ...oldest.map(([jobId]) => jobId)));
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
