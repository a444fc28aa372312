/**
 * What committed transitions announce on channels, in the order of the commits of each partition. Best effort: who misses it reads the feed.
 *
 * 1. A channel that had listeners lately is told by the commit itself. Any other is told after the first commit whose answer says that
 *    somebody listens: while nobody does, no message is made.
 */
import type { Transition } from '../protocol/record.ts';
import type { HostedType } from './actor-types.ts';
import type { Notices } from './notices.ts';
import type { EngineStore } from './ports.ts';

/** Transitions of one type that announces its own. */
export interface Announced {
  readonly announce: NonNullable<HostedType['announce']>;
  readonly transitions: readonly Transition[];
}

type Message = readonly [channel: string, message: string];

export class Announcements {
  readonly #store: Pick<EngineStore, 'publish'>;
  readonly #notices: Notices;
  /** Channels with listeners, by the newest answer on each. */
  readonly #heard = new Set<string>();

  constructor(store: Pick<EngineStore, 'publish'>, notices: Notices) {
    this.#store = store;
    this.#notices = notices;
  }

  isHeard(channel: string): boolean {
    return this.#heard.has(channel);
  }

  messages({ announce, transitions }: Announced): readonly Message[] {
    const messages: Message[] = [];
    for (const transition of transitions) {
      try {
        for (const message of announce.message(transition)) messages.push([announce.channel, message]);
      } catch (error) {
        this.#notices.tell('announce-failed', `What ${transition.key} announces on ${announce.channel} could not be made: ${(error as Error).message}`);
      }
    }
    return messages;
  }

  /** A commit was answered: which of the channels that it asked after have listeners, and what it did not tell itself. */
  answered(asked: readonly string[], heard: readonly string[], untold: readonly Announced[]): void {
    for (const channel of asked) {
      if (heard.includes(channel)) this.#heard.add(channel);
      else this.#heard.delete(channel);
    }
    const messages = untold.filter(({ announce }) => heard.includes(announce.channel)).flatMap((announced) => this.messages(announced));
    // Sent at once, on one connection: later ones cannot overtake it.
    if (messages.length > 0) this.#store.publish(messages).catch(() => undefined);
  }
}
