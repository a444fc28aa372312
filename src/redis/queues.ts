/**
 * Worker queues over Redis: their gates, and taking an attempt back.
 *
 * 1. What changes a queue is one Function call, so any number of processes may do it; only looking through a long stream takes several.
 * 2. A name is checked before it becomes a key.
 */
import type { Redis } from 'ioredis';
import { InvalidJobError, RedisUnusableError } from '../protocol/errors.ts';
import { cancelKey, QUEUE_NAME } from '../protocol/job-progress.ts';
import type { QueueLimits, QueueView } from '../protocol/job.ts';
import type { HeldBecause, PumpResult, Queues } from '../protocol/queues.ts';
import { createFunctionLibrary, requireAll, type FunctionCall, type FunctionLibrary } from './function-library.ts';
import { postKeys, QUEUE_LIBRARY_FILES, type QueueFunctionName } from './post-call.ts';

/** Keys looked at in one step of a look over the key space: about 0.2 ms of Redis. */
const SCAN_COUNT = 1_000;
/** Steps of one {@link Queues.list}: a key space of 500,000; queues beyond it are found by the warden, which goes on where it stopped. */
const LIST_STEPS_MAX = 500;
/** Entries that one call of `withdraw` looks at. */
const PAGE = 500;
/** Pages of one withdrawal: 100,000 entries of jobs that are not done. What lies deeper stays there, and its fence refuses what comes of it. */
const PAGES_MAX = 200;
/** Entries that are counted one by one to know how many are unread. */
const UNREAD_MAX = 2_000;
/** A consumer that was seen within this time counts as a worker, ms. */
const ACTIVE_MS = 60_000;
/** Contract 3: as long as a job's status is kept. */
const CANCEL_FLAG_SECONDS = 86_400;
const CONCURRENCY_MAX = 1_000_000;
const RATE_MAX = 1_000_000;
const RATE_MS_MAX = 86_400_000;

export type QueueLibrary = FunctionLibrary<QueueFunctionName>;
export type QueueCall = FunctionCall<QueueFunctionName>;

export function createQueueLibrary(): QueueLibrary {
  return createFunctionLibrary<QueueFunctionName>(QUEUE_LIBRARY_FILES);
}

/** The keys of a queue, and the hash of entries in foreign hands. */
export function queueKeys(queue: string): readonly string[] {
  return [...postKeys(queue), takenKey(queue)];
}

export function takenKey(queue: string): string {
  return `{${queue}}:taken`;
}

/** Makes the calls in one pipeline. Throws RedisUnusableError when one of them failed; all may be repeated. */
export async function callQueues(client: Redis, library: QueueLibrary, calls: readonly QueueCall[]): Promise<unknown[]> {
  return calls.length === 0 ? [] : requireAll(await library.call(client, calls));
}

/** `client`: a write client that nobody blocks. */
export function createQueues(client: Redis, library: QueueLibrary = createQueueLibrary()): Queues {
  const gateCall = async (queue: string, ...args: (string | number)[]): Promise<void> => {
    await callQueues(client, library, [{ name: 'set_gate', keys: postKeys(checked(queue)), args }]);
  };
  const withdrawPage = async (queue: string, jobId: string, attempt: number, after: string, page: number): Promise<[removed: number, next: string]> => {
    const [reply] = await callQueues(client, library, [{ name: 'withdraw', keys: queueKeys(queue), args: [jobId, attempt, after, page] }]);
    return reply as [number, string];
  };

  return {
    async list() {
      const found = new Set<string>();
      let cursor = '0';
      for (let step = 0; step < LIST_STEPS_MAX; step++) {
        const page = await this.scan(cursor);
        for (const queue of page.queues) found.add(queue);
        cursor = page.cursor;
        if (cursor === '0') break;
      }
      return [...found].toSorted();
    },

    async scan(cursor) {
      // Gates as well as streams: a queue that is paused before its first job has only a gate.
      const [next, keys] = await read('look for queues', client.scan(cursor, 'MATCH', '*jobs:v1:*', 'COUNT', SCAN_COUNT));
      const queues = keys.map((key) => /^\{(jobs:v1:[^{}]+)\}:gate$/.exec(key)?.[1] ?? key).filter((key) => QUEUE_NAME.test(key));
      return { cursor: next, queues: [...new Set(queues)] };
    },

    async view(queues) {
      const calls = queues.map((queue): QueueCall => ({ name: 'view_queue', keys: postKeys(checked(queue)), args: [UNREAD_MAX, ACTIVE_MS] }));
      const replies = await callQueues(client, library, calls);
      return replies.map((reply, index) => viewOf(queues[index] as string, reply as (number | string)[]));
    },

    pause: (queue) => gateCall(queue, 'pause'),
    resume: (queue) => gateCall(queue, 'resume'),
    async setLimits(queue, limits) {
      checkLimits(limits);
      await gateCall(queue, 'limits', limits.concurrency ?? '', limits.rate?.max ?? '', limits.rate?.perMs ?? '');
    },

    async pump(queues) {
      const calls = queues.map((queue): QueueCall => ({ name: 'pump', keys: postKeys(queue), args: [] }));
      return (await callQueues(client, library, calls)).map((reply) => pumpResult(reply as (number | string)[]));
    },

    async withdraw({ queue, jobId, attempt, entry }) {
      checked(queue);
      if (entry !== undefined && /^\d{1,20}-\d{1,20}$/.test(entry)) {
        const [removed] = await withdrawPage(queue, jobId, attempt, entry, 1);
        if (removed > 0) return removed;
      }
      let removed = 0;
      let after = '0-0';
      for (let page = 0; page < PAGES_MAX; page++) {
        const [found, next] = await withdrawPage(queue, jobId, attempt, after, PAGE);
        removed += found;
        if (next === '') break;
        after = next;
      }
      return removed;
    },

    async flagCancelled(jobId, attempt) {
      const key = cancelKey(jobId);
      await read<unknown>('set a cancel flag', attempt === null ? client.del(key) : client.set(key, String(attempt), 'EX', CANCEL_FLAG_SECONDS));
    },
  };
}

async function read<Value>(what: string, promise: Promise<Value>): Promise<Value> {
  try {
    return await promise;
  } catch (error) {
    throw new RedisUnusableError(`Redis could not ${what}: ${(error as Error).message}`, { cause: error });
  }
}

function checked(queue: string): string {
  if (!QUEUE_NAME.test(queue)) throw new InvalidJobError('queue', `must match ${QUEUE_NAME.source}.`);
  return queue;
}

function checkLimits({ concurrency, rate }: QueueLimits): void {
  checkWhole('concurrency', concurrency, CONCURRENCY_MAX);
  checkWhole('rate.max', rate?.max, RATE_MAX);
  checkWhole('rate.perMs', rate?.perMs, RATE_MS_MAX);
}

function checkWhole(field: string, value: number | undefined, max: number): void {
  if (value === undefined || (Number.isInteger(value) && value >= 1 && value <= max)) return;
  throw new InvalidJobError(field, `must be a whole number from 1 to ${max}.`);
}

function viewOf(queue: string, [paused, concurrency, rateMax, rateMs, waiting, held, taken, workers, kind = '']: readonly (number | string)[]): QueueView {
  return {
    queue,
    paused: paused === 1,
    limits: {
      ...(concurrency === '' ? {} : { concurrency: Number(concurrency) }),
      ...(rateMax === '' ? {} : { rate: { max: Number(rateMax), perMs: Number(rateMs) } }),
    },
    waiting: Number(waiting),
    held: Number(held),
    taken: Number(taken),
    workers: Number(workers),
    ...(kind === '' ? {} : { fault: `The key ${queue} is a ${kind} and no stream: nothing can be handed out. Delete it, or rename it.` }),
  };
}

function pumpResult([moved, returned, held, because, againMs, more]: readonly (number | string)[]): PumpResult {
  return {
    moved: Number(moved),
    returned: Number(returned),
    held: Number(held),
    because: because as HeldBecause,
    againMs: Number(againMs),
    more: more === 1,
  };
}
