/**
 * A worker's way to its jobs over Redis (contracts 3).
 *
 * 1. A read whose answer was lost may have given us entries that nobody has seen. They are newer than all that we have seen as new, and
 *    are read from our own pending list before anything else. So `consumer` must be new for each process.
 * 2. Reports are appended and their entries acknowledged by one Function, all or nothing: a pipeline would acknowledge an entry even
 *    when Redis refused its report. An entry of a foreign producer stays in its stream, ours is dropped with its acknowledgement.
 * 3. A log line that cannot be stored is lost, and nothing else with it.
 * 4. Links are made and restored by themselves; a call waits for one a little, then rejects.
 */
import type { Redis } from 'ioredis';
import { RedisUnusableError } from '../protocol/errors.ts';
import { CONSUMER_PREFIX, WORKER_GROUP, cancelKey, decodeJobEntry, type JobEntry } from '../protocol/job-progress.ts';
import type { ConsumeRequest, JobReport, JobTransport } from '../protocol/worker.ts';
import { closeClient, connectFirst, createBlockingClient, createSubscriber, createWriteClient, type ClientContext } from './clients.ts';
import { createFunctionLibrary, runPipeline, type FunctionCall } from './function-library.ts';
import { InterruptibleRead } from './interruptible-read.ts';
import { isCancelled, logCommands, reportCall, type Acknowledged, type WorkerFunction } from './job-report-calls.ts';
import { createKeys, type Keys } from './keys.ts';
import { PENDING_PAGE, TargetedEntries, type PendingEntry, type StreamEntry } from './targeted-entries.ts';
import type { RedisTarget } from './target.ts';

/** No entry comes after it. (Redis itself takes the very last id for `>`, which would read new entries.) */
const LAST_ID = '18446744073709551615-0';
/** How long a call waits for a link that is being restored. */
const LINK_WAIT_MS = 2_000;

export interface JobTransportOptions extends ClientContext {
  /** Made with {@link workerConsumer}; new for each process. (1) */
  readonly consumer: string;
  readonly nodeId?: string;
  /** Of Castellan's own keys; default `castellan`. */
  readonly prefix?: string;
}

export interface RedisJobTransport extends JobTransport {
  /** Resolves when Redis answers. Throws RedisUnusableError with the way out; the transport is closed then. Not needed. (4) */
  connect(): Promise<void>;
}

/** A consumer's name: `castellan:<node>:<what is unique>`. */
export function workerConsumer(nodeId: string, unique: string): string {
  return `${CONSUMER_PREFIX}${nodeId}:${unique}`;
}

export function createJobTransport(target: RedisTarget, options: JobTransportOptions): RedisJobTransport {
  return new JobTransportOverRedis(target, options);
}

class JobTransportOverRedis implements RedisJobTransport {
  readonly consumer: string;
  readonly #target: RedisTarget;
  readonly #options: JobTransportOptions;
  readonly #keys: Keys;
  readonly #write: Redis;
  readonly #block: Redis;
  readonly #blocking: InterruptibleRead;
  readonly #library = createFunctionLibrary<WorkerFunction>(['worker-functions.lua']);
  readonly #targeted: TargetedEntries;
  readonly #queues = new Set<string>();
  /** By queue: the newest entry that was given to us as new. */
  readonly #newest = new Map<string, string>();
  #answerLost = false;
  /** This user may look where a glance needs it; asked once, for each refusal stands in Redis's log. */
  #mayLook = true;
  #subscriber: Redis | undefined;
  #closed: Promise<void> | undefined;

  constructor(target: RedisTarget, options: JobTransportOptions) {
    this.consumer = options.consumer;
    this.#target = target;
    this.#options = options;
    this.#keys = createKeys(options.prefix);
    this.#write = createWriteClient(target, options);
    this.#block = createBlockingClient(target, options);
    this.#blocking = new InterruptibleRead(this.#block, this.#write);
    this.#targeted = new TargetedEntries({
      consumer: options.consumer,
      nodeId: options.nodeId ?? '',
      pending: (queue, from) => this.#pending(queue, from),
      claim: async (queue, entries, count) => {
        const args = [WORKER_GROUP, this.consumer, options.nodeId ?? '', count, ...entries.flatMap(([id, consumer]) => [id, consumer])];
        const [looked, ...taken] = (await this.#call({ name: 'claim', keys: [queue], args })) as [number, ...StreamEntry[]];
        return { looked, taken };
      },
    });
  }

  async connect(): Promise<void> {
    try {
      await Promise.all([this.#write, this.#block].map((client) => connectFirst(client, this.#target)));
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  async consume({ queues, count, blockMs, signal }: ConsumeRequest): Promise<readonly JobEntry[]> {
    for (const queue of queues) this.#queues.add(queue);
    await this.#ready(this.#block, signal);
    if (signal.aborted) return [];
    if (this.#answerLost) {
      const unseen = await this.#read(queues, count, undefined);
      if (unseen.length > 0) return unseen;
      this.#answerLost = false;
    }
    return await this.#blocking.run(signal, () => this.#read(queues, count, blockMs));
  }

  async claimTargeted(queues: readonly string[], count: number): Promise<readonly JobEntry[]> {
    if (this.#options.nodeId === undefined) return [];
    const taken: JobEntry[] = [];
    for (const queue of queues) {
      if (taken.length >= count) break;
      for (const [id, fields] of await this.#targeted.take(queue, count - taken.length)) taken.push(decodeJobEntry(queue, id, fields ?? []));
    }
    return taken;
  }

  /** A read of our own entries behind the last possible one: nothing comes, and the group notes that we asked. */
  async keepAlive(queues: readonly string[]): Promise<void> {
    await this.#ready(this.#write);
    try {
      await this.#write.call('XREADGROUP', 'GROUP', WORKER_GROUP, this.consumer, 'COUNT', 1, 'STREAMS', ...queues, ...queues.map(() => LAST_ID));
    } catch (error) {
      if (!isGroupMissing(error)) throw unusable('hear that this worker lives', error);
    }
  }

  async report(reports: readonly JobReport[], acknowledged: readonly Acknowledged[]): Promise<void> {
    await this.#ready(this.#write);
    const texts = reports.map(({ message }) => JSON.stringify(message));
    const log = logCommands(reports, texts);
    // The log first, so that whoever sees the end finds it complete; it is not waited for, because the link keeps the order. (3)
    if (log.length > 0) runPipeline(this.#write, log).catch(() => undefined);
    const barred = await this.#call(reportCall(this.#keys, reports, texts, this.#mayLook, acknowledged)); // (2)
    if (barred === 1) this.#mayLook = false;
  }

  async cancelled(jobs: readonly Pick<JobEntry, 'jobId' | 'attempt'>[]): Promise<readonly boolean[]> {
    if (jobs.length === 0) return [];
    await this.#ready(this.#write);
    const flags = await guarded('look for cancelled jobs', this.#write.mget(jobs.map(({ jobId }) => cancelKey(jobId))));
    return jobs.map(({ attempt }, index) => isCancelled(flags[index] ?? null, attempt));
  }

  onNodeState(told: (state: string) => void): () => void {
    const { nodeId } = this.#options;
    if (nodeId === undefined) return () => undefined;
    return this.#listen(`node:state:${nodeId}`, (message) => {
      const state = stateIn(message);
      if (state !== undefined) told(state);
    });
  }

  onTargeted(told: () => void): () => void {
    const { nodeId } = this.#options;
    return nodeId === undefined ? () => undefined : this.#listen(this.#keys.nodeBell(nodeId), told);
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    await this.#leave().catch(() => undefined);
    const clients = this.#subscriber === undefined ? [this.#write, this.#block] : [this.#write, this.#block, this.#subscriber];
    await Promise.all(clients.map(closeClient));
  }

  /** The group forgets us, unless entries of ours are still pending: they are the queue's to hand out again. */
  async #leave(): Promise<void> {
    if (!isReady(this.#write)) return;
    for (const queue of this.#queues) {
      const [pending] = (await this.#write.xpending(queue, WORKER_GROUP, '-', '+', 1, this.consumer)) as readonly PendingEntry[];
      if (pending === undefined) await this.#write.xgroup('DELCONSUMER', queue, WORKER_GROUP, this.consumer);
    }
  }

  /** Without `blockMs`: what was given to us and never seen. (1) */
  async #read(queues: readonly string[], count: number, blockMs: number | undefined): Promise<readonly JobEntry[]> {
    const wait = blockMs === undefined ? [] : ['BLOCK', String(blockMs)];
    const after = queues.map((queue) => (blockMs === undefined ? (this.#newest.get(queue) ?? '0-0') : '>'));
    try {
      const reply = await this.#block.call('XREADGROUP', 'GROUP', WORKER_GROUP, this.consumer, 'COUNT', count, ...wait, 'STREAMS', ...queues, ...after);
      return reply === null ? [] : this.#decode(reply as readonly QueueEntries[]);
    } catch (error) {
      if (!isGroupMissing(error)) {
        this.#answerLost = true;
        throw unusable('take jobs', error);
      }
      await this.#createGroups(queues);
      return [];
    }
  }

  #decode(reply: readonly QueueEntries[]): readonly JobEntry[] {
    const found: JobEntry[] = [];
    const others = new Set<string>();
    for (const [queue, entries] of reply) {
      const newest = entries.at(-1)?.[0];
      if (newest !== undefined) this.#newest.set(queue, newest);
      for (const [id, fields] of entries) {
        // An entry that was dropped while it was pending has no fields.
        if (fields === null || this.#targeted.took(queue, id)) continue;
        const entry = decodeJobEntry(queue, id, fields);
        found.push(entry);
        if (entry.targetNode !== undefined && entry.targetNode !== this.#options.nodeId) others.add(entry.targetNode);
      }
    }
    // That node need not wait for its next look; when nobody hears it, it looks by itself.
    for (const node of others) this.#write.publish(this.#keys.nodeBell(node), '').catch(() => undefined);
    return found;
  }

  async #createGroups(queues: readonly string[]): Promise<void> {
    await this.#ready(this.#write);
    for (const queue of queues) {
      try {
        await this.#write.xgroup('CREATE', queue, WORKER_GROUP, '0', 'MKSTREAM');
        this.#newest.delete(queue);
      } catch (error) {
        if (!(error as Error).message.startsWith('BUSYGROUP')) throw unusable('create the workers’ group', error);
      }
    }
  }

  async #pending(queue: string, from: string): Promise<readonly PendingEntry[]> {
    await this.#ready(this.#write);
    try {
      return (await this.#write.xpending(queue, WORKER_GROUP, from, '+', PENDING_PAGE)) as readonly PendingEntry[];
    } catch (error) {
      if (isGroupMissing(error)) return [];
      throw unusable('look for entries of this node', error);
    }
  }

  async #call(call: FunctionCall<WorkerFunction>): Promise<unknown> {
    const [reply] = await guarded('write reports', this.#library.call(this.#write, [call]));
    if (reply instanceof Error) throw unusable('write reports', reply);
    return reply;
  }

  /** Each channel again after every reconnect; a first time that fails is made good by the next. */
  #listen(channel: string, told: (message: string) => void): () => void {
    const client = (this.#subscriber ??= createSubscriber(this.#target, this.#options));
    const subscribe = (): void => void client.subscribe(channel).catch(() => undefined);
    const onMessage = (from: string, message: string): void => {
      if (from === channel) told(message);
    };
    client.on('message', onMessage);
    client.on('ready', subscribe);
    if (isReady(client)) subscribe();
    else begin(client);
    return () => {
      client.off('message', onMessage);
      client.off('ready', subscribe);
    };
  }

  /** (4) */
  async #ready(client: Redis, signal?: AbortSignal): Promise<void> {
    if (isReady(client)) return;
    begin(client);
    const { promise, resolve } = Promise.withResolvers<void>();
    const end = (): void => resolve();
    const timer = setTimeout(end, LINK_WAIT_MS);
    signal?.addEventListener('abort', end);
    client.once('ready', end).once('end', end);
    await promise;
    clearTimeout(timer);
    signal?.removeEventListener('abort', end);
    client.off('ready', end).off('end', end);
    if (!isReady(client) && signal?.aborted !== true) throw new RedisUnusableError('Redis cannot be reached now; the link is being restored.');
  }
}

type QueueEntries = readonly [queue: string, entries: readonly StreamEntry[]];

/** Later tries are the client's own. */
function begin(client: Redis): void {
  if (client.status === 'wait') client.connect().catch(() => undefined);
}

function isReady(client: Redis): boolean {
  return client.status === 'ready';
}

/** A queue that nobody created, or that was dropped while it was waited for. */
function isGroupMissing(error: unknown): boolean {
  return error instanceof Error && /^(NOGROUP|UNBLOCKED)/.test(error.message);
}

function stateIn(message: string): string | undefined {
  try {
    const { state } = JSON.parse(message) as { readonly state?: unknown };
    return typeof state === 'string' ? state : undefined;
  } catch {
    return undefined;
  }
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
