/**
 * A worker's way to its jobs over HTTP (contracts 7): what src/redis/job-transport.ts is with credentials, this is with a token.
 *
 * 1. An answer that was lost may have given us entries that nobody has seen. The next request names those in hand, and is given the others.
 * 2. Reports of one job are stored in their order, and before its entry is acknowledged; different jobs go side by side. What was stored
 *    is not sent again when the call is repeated.
 * 3. What the control plane refuses for good (the job was handed out again, the entry is gone) is left: repeating it would hold up
 *    every report after it.
 * 4. Entries that others left to this node come with `consume`: the control plane looks for them. A cancel flag is looked for less often
 *    than with a link of one's own.
 * 5. Which queues are this node's is the control plane's to say, and may change while the worker runs: what the worker asks for is the
 *    set that it was started with, what is asked of the control plane that of the day.
 */
import type { FabricAcknowledgeBody, FabricAddBody, FabricConsumeBody, FabricConsumeAnswer } from '../protocol/fabric-redis.ts';
import {
  CONSUMER_PREFIX,
  JOB_REPORTS,
  WORKER_GROUP,
  cancelKey,
  decodeJobEntry,
  progressKey,
  type JobEntry,
  type ProgressMessage,
} from '../protocol/job-progress.ts';
import type { ConsumeRequest, JobReport, JobTransport } from '../protocol/worker.ts';
import { ANSWER_MS_MAX } from './api-call.ts';
import { isFinal, type ApiClient } from './api-client.ts';
import { PUBSUB_PUBLISH, STREAMS_ADD } from './api-publisher.ts';
import type { AgentClock } from './clock.ts';
import type { Logger } from 'pino';

export const CONSUME = '/api/fabric/redis/jobs/consume';
export const ACKNOWLEDGE = '/api/fabric/redis/jobs/acknowledge';
const KV = '/api/fabric/redis/kv';
/** Requests of one kind at once: a browser's six, so that one node never looks like an attack. */
const AT_ONCE_MAX = 6;
/** A cancelled job runs on for so long at most, beside the worker's own second. (4) */
const CANCEL_LOOK_MS = 3_000;
/** A worker that is busy for longer than a group's idea of alive is kept so by this. */
const KEEP_ALIVE_MS = 5_000;

type Acknowledged = Pick<JobEntry, 'queue' | 'entryId' | 'attempt'>;

export interface ApiJobTransportOptions {
  readonly client: ApiClient;
  readonly nodeId: string;
  /** New for each process: letters, digits, `._-`. */
  readonly unique: string;
  /** Of the day; not empty. (5) */
  readonly queues: () => readonly string[];
  readonly clock: Pick<AgentClock, 'now'>;
  readonly log: Logger;
}

/** The client is not closed with it. */
export function createApiJobTransport(options: ApiJobTransportOptions): JobTransport {
  return new JobTransportOverApi(options);
}

class JobTransportOverApi implements JobTransport {
  readonly consumer: string;
  readonly #options: ApiJobTransportOptions;
  readonly #closed = new AbortController();
  /** Ids by queue: given to us and not acknowledged. */
  readonly #held = new Map<string, Set<string>>();
  readonly #stored = new WeakSet<ProgressMessage>();
  readonly #logged = new WeakSet<ProgressMessage>();
  #answerLost = false;
  #keptAliveAt = -Infinity;
  #cancelLook: { readonly at: number; readonly jobs: ReadonlyMap<string, boolean> } = { at: -Infinity, jobs: new Map() };

  constructor(options: ApiJobTransportOptions) {
    this.#options = options;
    this.consumer = `${CONSUMER_PREFIX}${options.nodeId}:${options.unique}`;
  }

  async consume({ count, blockMs, signal }: ConsumeRequest): Promise<readonly JobEntry[]> {
    if (signal.aborted) return [];
    const queues = this.#options.queues();
    const held = this.#answerLost ? { held: queues.flatMap((queue) => [...(this.#held.get(queue) ?? [])]) } : {};
    const ended = AbortSignal.any([signal, this.#closed.signal]);
    try {
      const asked = { ...this.#consumeBody(queues), count, blockMs, ...held };
      const answer = await this.#options.client.post<FabricConsumeAnswer>(CONSUME, asked, { timeoutMs: blockMs + ANSWER_MS_MAX, signal: ended });
      const entries = this.#read(answer);
      // A full answer may not have been all of what we had not seen. (1)
      this.#answerLost &&= entries.length >= count;
      return entries;
    } catch (error) {
      if (!isFinal(error)) this.#answerLost = true; // (1)
      if (ended.aborted) return [];
      throw error;
    }
  }

  /** (4) */
  async claimTargeted(): Promise<readonly JobEntry[]> {
    return [];
  }

  async keepAlive(): Promise<void> {
    const now = this.#options.clock.now();
    if (now - this.#keptAliveAt < KEEP_ALIVE_MS) return;
    this.#keptAliveAt = now;
    await this.#post(CONSUME, { ...this.#consumeBody(this.#options.queues()), count: 0, blockMs: 0 });
  }

  async report(reports: readonly JobReport[], acknowledged: readonly Acknowledged[]): Promise<void> {
    const byJob = Map.groupBy(reports, ({ message }) => message.jobId);
    await sideBySide([...byJob.values()], async (ofJob) => {
      for (const report of ofJob) await this.#store(report); // (2)
    });
    await sideBySide(acknowledged, async ({ queue, entryId }) => {
      const body: FabricAcknowledgeBody = { queue, group: WORKER_GROUP, messageId: entryId };
      if (this.#held.get(queue)?.has(entryId) === true) await this.#settle(ACKNOWLEDGE, body, queue);
      this.#held.get(queue)?.delete(entryId);
    });
  }

  async cancelled(jobs: readonly Pick<JobEntry, 'jobId' | 'attempt'>[]): Promise<readonly boolean[]> {
    const now = this.#options.clock.now();
    const before = this.#cancelLook;
    if (now - before.at >= CANCEL_LOOK_MS) {
      const found = new Map<string, boolean>();
      await sideBySide(jobs, async ({ jobId, attempt }) => {
        found.set(`${jobId} ${attempt}`, isCancelled(await this.#flag(jobId), attempt));
      });
      this.#cancelLook = { at: now, jobs: found };
    }
    return jobs.map(({ jobId, attempt }) => this.#cancelLook.jobs.get(`${jobId} ${attempt}`) ?? false);
  }

  /** A node that hears no channel cannot be told; while it is away from the control plane it is given no jobs anyway. */
  onNodeState(): () => void {
    return () => undefined;
  }

  /** (4) */
  onTargeted(): () => void {
    return () => undefined;
  }

  async close(): Promise<void> {
    this.#closed.abort();
  }

  #consumeBody(queues: readonly string[]): Pick<FabricConsumeBody, 'queue' | 'queues' | 'group' | 'consumer'> {
    const [queue = '', ...more] = queues;
    return { queue, ...(more.length === 0 ? {} : { queues: more }), group: WORKER_GROUP, consumer: this.consumer };
  }

  #read({ messages }: FabricConsumeAnswer): readonly JobEntry[] {
    return messages.map(({ id, queue, data }) => {
      let held = this.#held.get(queue);
      if (held === undefined) this.#held.set(queue, (held = new Set()));
      held.add(id);
      return decodeJobEntry(queue, id, Object.entries(data).flat());
    });
  }

  /** The log first, so that whoever sees the end finds it complete. */
  async #store({ message, counts, logged }: JobReport): Promise<void> {
    const text = JSON.stringify(message);
    const { jobId } = message;
    if (logged && !this.#logged.has(message)) {
      await this.#settle(STREAMS_ADD, { stream: progressKey(jobId), values: { progress: text } } satisfies FabricAddBody, jobId);
      this.#logged.add(message);
    }
    if (this.#stored.has(message)) return;
    if (counts) await this.#settle(STREAMS_ADD, { stream: JOB_REPORTS, values: { jobId, progress: text } } satisfies FabricAddBody, jobId);
    else await this.#settle(PUBSUB_PUBLISH, { channel: progressKey(jobId), message: text }, jobId);
    this.#stored.add(message);
  }

  /** Stored, or refused for good. (3) */
  async #settle(path: string, body: unknown, of: string): Promise<void> {
    try {
      await this.#post(path, body);
    } catch (error) {
      if (!isFinal(error)) throw error;
      this.#options.log.warn({ of, reason: (error as Error).message }, 'The control plane refused a report of a job; it is left');
    }
  }

  async #post(path: string, body: unknown): Promise<unknown> {
    return await this.#options.client.post(path, body, { signal: this.#closed.signal });
  }

  async #flag(jobId: string): Promise<string | null> {
    try {
      const path = `${KV}?key=${encodeURIComponent(cancelKey(jobId))}`;
      const { value } = await this.#options.client.ask({ method: 'GET', path, signal: this.#closed.signal });
      return typeof value === 'string' ? value : null;
    } catch (error) {
      if (isFinal(error)) return null;
      throw error;
    }
  }
}

/** A flag that is a number is meant for attempts up to it; any other, and one for an entry without an attempt, stands. */
function isCancelled(flag: string | null, attempt: number | undefined): boolean {
  if (flag === null) return false;
  return attempt === undefined || !/^\d{1,12}$/.test(flag) || attempt <= Number(flag);
}

/** At most {@link AT_ONCE_MAX} at a time. Rejects with the first failure, after all that were begun have ended. */
async function sideBySide<Item>(items: readonly Item[], work: (item: Item) => Promise<void>): Promise<void> {
  const queue = items.values();
  const failures: unknown[] = [];
  const lane = async (): Promise<void> => {
    for (const item of queue) {
      if (failures.length > 0) return;
      await work(item).catch((error: unknown) => failures.push(error));
    }
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE_MAX, items.length) }, lane));
  if (failures.length > 0) throw failures[0];
}
