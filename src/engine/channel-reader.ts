/**
 * Reads one pub/sub channel of another system, while this process holds the channel's lease.
 *
 * 1. A lease that may have ended is no lease: the subscription ends before another reader can begin, by our clock.
 * 2. What arrived waits in a bounded queue until it is appended; what does not fit is lost, counted and told. (I8)
 * 3. A message that is in an inbox is applied exactly once. Before that a channel promises nothing: the one that is being appended
 *    when Redis does not answer may be appended again, unless its contract gives it a dedupe id.
 */
import type { ChannelSource } from '../protocol/source.ts';
import { appendItems, type IntakeStore } from './intake-append.ts';
import type { Meter } from './meter.ts';
import type { Notices } from './notices.ts';
import type { ChannelIntake, Clock } from './ports.ts';
import { Wakeup } from './wakeup.ts';

/** Messages that arrived and are not appended: a second of a busy channel. */
export const CHANNEL_WAITING_MAX = 10_000;
/** Messages appended at once: one append a partition, so that they stay in order. */
const MESSAGES_MAX = 100;
const RENEWALS_PER_LEASE = 4;
const FAILURE_PAUSE_MS = 50;
const FAILURE_PAUSE_MS_MAX = 2_000;

export interface ChannelReaderPorts {
  readonly intake: ChannelIntake;
  readonly store: IntakeStore;
  readonly clock: Clock;
  readonly meter: Meter;
  readonly notices: Notices;
  readonly owner: string;
  readonly leaseMs: number;
}

interface Waiting {
  readonly text: string;
  readonly channel: string;
}

export class ChannelReader {
  readonly #source: ChannelSource;
  readonly #ports: ChannelReaderPorts;
  readonly #waiting: Waiting[] = [];
  readonly #wakeup: Wakeup;
  #leave: (() => Promise<void>) | undefined;
  /** When the lease was last known to be ours, by our clock. */
  #heldAt = -Infinity;
  #heard = 0;

  constructor(source: ChannelSource, ports: ChannelReaderPorts) {
    this.#source = source;
    this.#ports = ports;
    this.#wakeup = new Wakeup(ports.clock);
  }

  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#keepLease(signal), this.#appendWaiting(signal)]);
    // One more try for what arrived last: nobody else has heard it.
    while (this.#waiting.length > 0 && (await this.#appendSome().then(() => true, () => false))); // prettier-ignore
  }

  async #keepLease(signal: AbortSignal): Promise<void> {
    const { clock, intake, leaseMs, owner } = this.#ports;
    const { channel } = this.#source;
    while (!signal.aborted) {
      const askedAt = clock.now();
      const held = await intake.hold(channel, owner, leaseMs).catch(() => undefined);
      if (held === true) this.#heldAt = askedAt;
      if (held === false || clock.now() - this.#heldAt >= leaseMs) await this.#unsubscribe();
      else if (held === true && this.#leave === undefined) await this.#subscribe();
      await clock.sleep(leaseMs / RENEWALS_PER_LEASE, signal);
    }
    await this.#unsubscribe();
    await intake.releaseChannel(channel, owner).catch(() => undefined); // the lease then ends by itself
  }

  async #subscribe(): Promise<void> {
    const { channel, onSubscribed, onFailed } = this.#source;
    try {
      this.#leave = await this.#ports.intake.subscribe(channel, (text, from) => this.#arrived(text, from));
      onSubscribed?.();
    } catch (error) {
      onFailed?.(error as Error); // the next turn tries again
    }
  }

  async #unsubscribe(): Promise<void> {
    const leave = this.#leave;
    this.#leave = undefined;
    await leave?.();
  }

  #arrived(text: string, channel: string): void {
    const { meter, notices } = this.#ports;
    this.#source.onMessage?.(text);
    meter.count('channel_messages');
    if (this.#waiting.length >= CHANNEL_WAITING_MAX) {
      meter.count('channel_overflows');
      notices.tell('channel-overflow', `A message of the channel ${channel} was lost: ${CHANNEL_WAITING_MAX} others wait to be accepted.`);
      return;
    }
    this.#waiting.push({ text, channel });
    this.#wakeup.wake();
  }

  async #appendWaiting(signal: AbortSignal): Promise<void> {
    const { clock, notices } = this.#ports;
    let failures = 0;
    while (!signal.aborted) {
      if (this.#waiting.length === 0) {
        await this.#wakeup.sleep(Infinity, signal);
        continue;
      }
      try {
        await this.#appendSome();
        failures = 0;
      } catch (error) {
        notices.tell('intake-failed', `Messages of the channel ${this.#source.channel} are not being accepted: ${(error as Error).message}`);
        const pauseMs = Math.min(FAILURE_PAUSE_MS_MAX, FAILURE_PAUSE_MS * 2 ** Math.min(failures++, 10));
        await clock.sleep(pauseMs * (0.5 + clock.random()), signal);
      }
    }
  }

  async #appendSome(): Promise<void> {
    const { channel: source, decode } = this.#source;
    const some = this.#waiting.slice(0, MESSAGES_MAX);
    const items = some.map(({ text, channel }, index) => ({
      ref: `${channel}#${this.#heard + index + 1}`,
      text,
      decode: (message: string) => decode(message, channel),
    }));
    await appendItems(this.#ports.store, `channel:${source}`, items);
    this.#waiting.splice(0, some.length);
    this.#heard += some.length;
  }
}
