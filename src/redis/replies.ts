/**
 * Hears what became of the events that this process sent: one pub/sub channel, on which the owners tell outcomes.
 *
 * 1. Best effort: an outcome told while the link was down is not heard; the event stays accepted.
 */
import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import type { ReplyListener } from '../engine/read-ports.ts';
import type { Outcome } from '../protocol/envelope.ts';
import { keepSubscribed } from './clients.ts';
import type { Keys } from './keys.ts';

/** `subscriber` is a connected client; others may use it too. It is not closed here. */
export function createReplyListener(subscriber: Redis, keys: Keys, id: string = randomUUID()): ReplyListener {
  const key = keys.reply(id);
  let onMessage: ((from: string, message: string) => void) | undefined;
  let leave = (): void => undefined;
  return {
    channel: id,
    async listen(told) {
      onMessage = (from, message) => {
        const reply = from === key ? parseReply(message) : undefined;
        if (reply) told(reply.entry, reply.outcome);
      };
      subscriber.on('message', onMessage);
      leave = await keepSubscribed(subscriber, () => subscriber.subscribe(key));
    },
    async close() {
      if (!onMessage) return;
      leave();
      subscriber.off('message', onMessage);
      onMessage = undefined;
      // A link that is down has no subscriptions to end.
      if (subscriber.status === 'ready') await subscriber.unsubscribe(key).catch(() => undefined);
    },
  };
}

/** Undefined for what none of us published. */
function parseReply(message: string): { readonly entry: string; readonly outcome: Outcome } | undefined {
  try {
    const value = JSON.parse(message) as { entry?: unknown; outcome?: unknown } | null;
    if (typeof value?.entry !== 'string' || typeof value.outcome !== 'object' || value.outcome === null) return undefined;
    return value as { entry: string; outcome: Outcome };
  } catch {
    return undefined;
  }
}
