/**
 * Hears what workers tell on the channels `stream:v1:{jobId}`.
 *
 * 1. Exact channels, and a pattern only while its user asks for it: a standing one makes every commit publish what nobody else listens to.
 * 2. Best effort: what is told while the link is down is not heard.
 */
import type { Redis } from 'ioredis';
import { progressKey } from '../protocol/job-progress.ts';
import type { ProgressListener } from '../protocol/queues.ts';
import { keepSubscribed } from './clients.ts';

const PREFIX = progressKey('');
const PATTERN = progressKey('*');

/** `subscriber` is a connected client; others may use it too. It is not closed here. */
export function createProgressListener(subscriber: Redis): ProgressListener {
  const wanted = new Set<string>();
  let told: ((jobId: string, message: string) => void) | undefined;
  let leave: (() => void) | undefined;
  let everything = false;

  const onPattern = (pattern: string, channel: string, message: string): void => {
    if (pattern === PATTERN) told?.(channel.slice(PREFIX.length), message);
  };
  const onMessage = (channel: string, message: string): void => {
    if (!everything && wanted.has(channel)) told?.(channel.slice(PREFIX.length), message);
  };
  const subscribe = async (): Promise<void> => {
    if (wanted.size > 0) await subscriber.subscribe(...wanted);
    if (everything) await subscriber.psubscribe(PATTERN);
  };

  return {
    listen(teller) {
      told = teller;
      subscriber.on('message', onMessage);
      subscriber.on('pmessage', onPattern);
    },
    async follow(jobIds, all) {
      const turned = all !== everything;
      everything = all;
      const channels = new Set(jobIds.map(progressKey));
      const gone = [...wanted].filter((channel) => !channels.has(channel));
      const fresh = [...channels].filter((channel) => !wanted.has(channel));
      for (const channel of gone) wanted.delete(channel);
      for (const channel of fresh) wanted.add(channel);
      if (leave === undefined) leave = await keepSubscribed(subscriber, subscribe);
      else if (fresh.length > 0) await subscriber.subscribe(...fresh);
      if (turned) await (all ? subscriber.psubscribe(PATTERN) : subscriber.punsubscribe(PATTERN));
      if (gone.length > 0) await subscriber.unsubscribe(...gone);
    },
    async close() {
      leave?.();
      subscriber.off('message', onMessage);
      subscriber.off('pmessage', onPattern);
      const channels = [...wanted];
      wanted.clear();
      // A link that is down has no subscriptions to end.
      if (subscriber.status !== 'ready') return;
      if (channels.length > 0) await subscriber.unsubscribe(...channels).catch(() => undefined);
      if (everything) await subscriber.punsubscribe(PATTERN).catch(() => undefined);
    },
  };
}
