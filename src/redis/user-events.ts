/**
 * Users' events and the rebalance agent's keys over Redis: each change is one Function (user-functions.lua).
 *
 * 1. What was told once is told: the Function compares the telling's order with the newest that it wrote, so a repeat is safe. (I5)
 * 2. The job's list and record, the marker and the user's keys are written in one call. On a Cluster they lie in several slots;
 *    there the record and the list would have to be written by calls of their own, each guarded by a marker in its slot.
 */
import type { Redis } from 'ioredis';
import { RedisUnusableError } from '../protocol/errors.ts';
import type { JsonObject } from '../protocol/json.ts';
import type { RebalanceWriter } from '../protocol/rebalance.ts';
import { SOCKET_SEEN_MS, USER_EVENTS_KEPT_MS, USER_EVENTS_LENGTH, type Beginning, type UserEvent, type UserEvents } from '../protocol/user-events.ts';
import { keepSubscribed } from './clients.ts';
import { createFunctionLibrary, type FunctionCall } from './function-library.ts';
import { STREAM_START } from '../protocol/ids.ts';
import type { Keys } from './keys.ts';

/** How long a socket may take to be given what waited before another one is given it: three round trips of a very slow link. */
const CLAIM_MS = 15_000;

/** Jobs of the agent's list whose records are kept in one round trip. */
const KEEP_PAGE = 1_000;

type Name = 'tell' | 'begin' | 'reach' | 'leave';

export interface UserEventsParts {
  /** For commands. */
  readonly client: Redis;
  /** Connected; others may use it too. Neither is closed here. */
  readonly subscriber: Redis;
  readonly keys: Keys;
}

export function createUserEvents({ client, subscriber, keys }: UserEventsParts): UserEvents & RebalanceWriter {
  const library = createFunctionLibrary<Name>(['user-functions.lua']);
  const call = async (what: string, request: FunctionCall<Name>): Promise<unknown> => {
    const [reply] = await library.call(client, [request]).catch((error: unknown) => [error]);
    if (reply instanceof Error) throw new RedisUnusableError(`Redis could not ${what}: ${reply.message}`, { cause: reply });
    return reply;
  };
  let stop: (() => Promise<void>) | undefined;

  return {
    async listen(ring) {
      const onMessage = (channel: string, userId: string): void => void (channel === keys.usersBell && ring(userId));
      subscriber.on('message', onMessage);
      const leave = await keepSubscribed(
        subscriber,
        () => subscriber.subscribe(keys.usersBell),
        () => ring(null),
      );
      stop = async () => {
        leave();
        subscriber.off('message', onMessage);
        // A link that is down has no subscriptions to end.
        if (subscriber.status === 'ready') await subscriber.unsubscribe(keys.usersBell).catch(() => undefined);
      };
    },
    async close() {
      await stop?.();
      stop = undefined;
    },
    async begin({ userId, socket }, cursor = '') {
      const own = keys.user(userId);
      const args = [socket, cursor, USER_EVENTS_KEPT_MS, CLAIM_MS, SOCKET_SEEN_MS];
      return readBeginning((await call('begin a socket', { name: 'begin', keys: [own.reached, own.sockets], args })) as string[]);
    },
    async read(userId, after, count) {
      const entries = await guard('read a user’s events', client.xrange(keys.user(userId).events, `(${after}`, '+', 'COUNT', count));
      return (entries as [string, string[]][]).map(([cursor, fields]) => readEvent(cursor, fields));
    },
    async reached({ userId, socket }, cursor) {
      await call('move a user’s position', { name: 'reach', keys: [keys.user(userId).reached], args: [socket, cursor, keys.usersBell, userId] });
    },
    async present(sockets) {
      const pipeline = client.pipeline();
      const until = (await guard('tell the time', client.time())).map(Number) as [number, number];
      const score = until[0] * 1_000 + SOCKET_SEEN_MS;
      for (const { userId, socket } of sockets) {
        const key = keys.user(userId).sockets;
        pipeline.zadd(key, score, socket).pexpire(key, SOCKET_SEEN_MS);
      }
      await guard('say that sockets live', pipeline.exec());
    },
    async end({ userId, socket }) {
      const own = keys.user(userId);
      await call('end a socket', { name: 'leave', keys: [own.reached, own.sockets], args: [socket, keys.usersBell, userId] });
    },

    async tell({ jobId, userId, order, createdAt, updatedAt, record, pushTo, takeFrom, recordKey, recordKeptMs, event }) {
      const own = keys.user(userId);
      const reply = (await call('tell of a rebalance job', {
        name: 'tell',
        // A key that is not used is still named: the Function takes them by their place.
        keys: [keys.rebalance(jobId), recordKey, pushTo ?? takeFrom ?? keys.rebalance(jobId), own.events, own.reached, own.sockets],
        args: [
          ...[
            order.join(' '),
            jobId,
            userId,
            pushTo !== undefined ? 'push' : takeFrom !== undefined ? 'take' : '',
            JSON.stringify(record),
            createdAt,
            updatedAt,
            recordKeptMs,
          ],
          ...[event.name, JSON.stringify(event.data), USER_EVENTS_LENGTH, USER_EVENTS_KEPT_MS, keys.usersBell],
        ],
      })) as [number, number];
      return { written: reply[0] === 1, sockets: reply[1] };
    },
    async isTold(jobId) {
      return (await guard('look for a rebalance job', client.hexists(keys.rebalance(jobId), 'pushed'))) === 1;
    },
    async keepWaiting(list, recordKeyOf, keptMs) {
      for (let from = 0; ; from += KEEP_PAGE) {
        const waiting = await guard('read the list of rebalance jobs', client.lrange(list, from, from + KEEP_PAGE - 1));
        const pipeline = client.pipeline();
        for (const jobId of waiting) pipeline.pexpire(recordKeyOf(jobId), keptMs);
        await guard('keep rebalance jobs', pipeline.exec());
        if (waiting.length < KEEP_PAGE) return from + waiting.length;
      }
    },
    async firstOf(name, value, keptMs) {
      const key = keys.first(name);
      await guard('keep a key', client.set(key, value, 'PX', keptMs, 'NX'));
      return (await guard('read a key', client.get(key))) ?? value;
    },
  };
}

function readBeginning([kind, value, newest]: string[]): Beginning {
  if (kind === 'from') return { kind, cursor: value as string };
  return kind === 'wait' ? { kind, ms: Number(value), newest: newest ?? STREAM_START } : { kind: 'gone' };
}

function readEvent(cursor: string, fields: readonly string[]): UserEvent {
  const [, name = '', , data = '{}'] = fields;
  return { cursor, name, data: JSON.parse(data) as JsonObject };
}

async function guard<Value>(what: string, promise: Promise<Value>): Promise<Value> {
  try {
    return await promise;
  } catch (error) {
    throw new RedisUnusableError(`Redis could not ${what}: ${(error as Error).message}`, { cause: error });
  }
}
