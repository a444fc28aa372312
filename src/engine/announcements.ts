/** Builds what committed transitions announce and publishes it, in the order of the commits of each partition. Best effort. */
import type { Announced } from './batch-writes.ts';
import type { Notices } from './notices.ts';
import type { EngineStore } from './ports.ts';

export function publishAnnounced(announced: readonly Announced[], store: Pick<EngineStore, 'publish'>, notices: Notices): void {
  const messages: [channel: string, message: string][] = [];
  for (const { announce, transitions } of announced) {
    for (const transition of transitions) {
      try {
        for (const message of announce.message(transition)) messages.push([announce.channel, message]);
      } catch (error) {
        notices.tell('announce-failed', `What ${transition.key} announces on ${announce.channel} could not be made: ${(error as Error).message}`);
      }
    }
  }
  // Sent at once, on one connection: later ones cannot overtake it. Who misses them reads the feed.
  if (messages.length > 0) store.publish(messages).catch(() => undefined);
}
