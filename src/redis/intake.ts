/**
 * Lists and channels of other systems over Redis. The layout of the calls stands in list-functions.lua.
 *
 * 1. What stands beside a list has its key in braces: it lies in the list's own hash slot, so that one Function may move items.
 * 2. One link listens for all: a channel is left when the last of those who listen to it leaves.
 */
import type { Redis } from 'ioredis';
import type { Intake } from '../engine/ports.ts';
import { RedisUnusableError } from '../protocol/errors.ts';
import { keepSubscribed } from './clients.ts';
import { createFunctionLibrary, type FunctionCall } from './function-library.ts';
import type { Keys } from './keys.ts';

type ListFunctionName = 'take' | 'settle' | 'hold' | 'let_go';

/** `client` for the calls, `subscriber` for channels alone; both are the caller's, who also closes them. */
export async function createIntake(client: Redis, subscriber: Redis, keys: Keys): Promise<Intake> {
  const library = createFunctionLibrary<ListFunctionName>(['list-functions.lua']);
  await library.load(client);
  const call = async (one: FunctionCall<ListFunctionName>): Promise<unknown> => {
    const [reply] = await library.call(client, [one]).catch((error: unknown) => [error as Error]);
    if (reply instanceof Error) throw new RedisUnusableError(`Redis could not ${one.name.replace('_', ' ')}: ${reply.message}`, { cause: reply });
    return reply;
  };

  const listeners = new Map<string, number>();

  return {
    async take({ list, side, owner, leaseMs, max }) {
      const own = keysOf(list);
      const args = [owner, leaseMs, side === 'left' ? 'LEFT' : 'RIGHT', max];
      const reply = await call({ name: 'take', keys: [list, own.processing, own.settled, own.reader], args });
      const [taken, value, ...rest] = reply as [number, string, ...(string | number)[]];
      if (taken === 1) return { kind: 'taken', first: Number(value), items: rest as string[] };
      return { kind: 'held', owner: value, remainingMs: Number(rest[0]) };
    },

    async settle({ list, owner, first, count }) {
      const own = keysOf(list);
      await call({ name: 'settle', keys: [own.processing, own.settled, own.reader], args: [owner, first, count] });
    },

    async releaseList(list, owner) {
      await call({ name: 'let_go', keys: [keysOf(list).reader], args: [owner] });
    },

    async hold(channel, owner, leaseMs) {
      return (await call({ name: 'hold', keys: [keys.reader(channel)], args: [owner, leaseMs] })) === 1;
    },

    async releaseChannel(channel, owner) {
      await call({ name: 'let_go', keys: [keys.reader(channel)], args: [owner] });
    },

    async subscribe(channel, heard) {
      const isPattern = channel.includes('*');
      const onMessage = (from: string, message: string): void => {
        if (from === channel) heard(message, from);
      };
      const onPatternMessage = (pattern: string, from: string, message: string): void => {
        if (pattern === channel) heard(message, from);
      };
      listeners.set(channel, (listeners.get(channel) ?? 0) + 1);
      if (isPattern) subscriber.on('pmessage', onPatternMessage);
      else subscriber.on('message', onMessage);
      /** True when nobody else listens. (2) */
      const stopHearing = (): boolean => {
        subscriber.off('pmessage', onPatternMessage).off('message', onMessage);
        const others = (listeners.get(channel) ?? 1) - 1;
        if (others > 0) listeners.set(channel, others);
        else listeners.delete(channel);
        return others === 0;
      };
      try {
        const leave = await keepSubscribed(subscriber, () => (isPattern ? subscriber.psubscribe(channel) : subscriber.subscribe(channel)));
        return async () => {
          leave();
          // A link that is down has no subscriptions to end.
          if (!stopHearing() || subscriber.status !== 'ready') return;
          await (isPattern ? subscriber.punsubscribe(channel) : subscriber.unsubscribe(channel)).catch(() => undefined);
        };
      } catch (error) {
        stopHearing();
        throw error;
      }
    },
  };
}

/** Invariant 1. */
function keysOf(list: string): { readonly processing: string; readonly settled: string; readonly reader: string } {
  return { processing: `{${list}}:processing`, settled: `{${list}}:settled`, reader: `{${list}}:reader` };
}
