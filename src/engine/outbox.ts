/**
 * Delivers committed commands, from memory; the stored outbox is read at takeover only.
 *
 * 1. At least once, in order per (actor, executor), under a key that is the same at every try. (I5)
 * 2. The stored position passes a command when it is delivered or stands in the retry set: a failing executor
 *    stops no other. Both facts are stored by one fenced call a partition.
 * 3. Messages between actors go out in the order of their numbers; the receiver drops repeats. So do posts to other systems (posts.ts).
 */
import type { Delivery } from '../protocol/command.ts';
import type { DeadLetter } from '../protocol/dead-letter.ts';
import { EXCERPT_LENGTH } from '../protocol/dead-letter.ts';
import { typeOf } from '../protocol/ids.ts';
import type { Post } from '../protocol/outlet.ts';
import type { HostedTypes } from './actor-types.ts';
import type { OutboxItem } from './batch-writes.ts';
import { EffectLane, type LaneEvent, type RetryState } from './effect-lane.ts';
import type { Meter } from './meter.ts';
import type { Notices } from './notices.ts';
import type { Clock, CommitId, EngineStore, NumberedEnvelope, RetryEntry } from './ports.ts';
import { PostLines } from './posts.ts';
import type { EngineSettings } from './settings.ts';
import { Wakeup } from './wakeup.ts';

/** Acknowledgements are gathered for so long: a crash meanwhile only repeats deliveries under their old keys. */
const ACKNOWLEDGE_EVERY_MS = 20;
/** Messages appended in one round trip. */
const MESSAGES_MAX = 1_000;
const FAILURE_PAUSE_MS = 50;

export interface OutboxPorts {
  readonly store: Pick<EngineStore, 'appendMessages' | 'post' | 'acknowledge'>;
  readonly clock: Clock;
  readonly settings: EngineSettings;
  readonly types: HostedTypes;
  readonly meter: Meter;
  readonly notices: Notices;
  readonly owner: string;
  /** Redis's time, for dead letters. */
  readonly redisNow: () => number;
  /** The partition was found to belong to another engine. */
  readonly fenced: (partition: number) => void;
}

interface Entry {
  readonly commit: CommitId;
  remaining: number;
}

interface Acknowledgement {
  readonly request: Parameters<EngineStore['acknowledge']>[0];
  /** Entries that it drops from the account. */
  readonly delivered: number;
}

/** What one partition still owes. */
interface Account {
  /** Commands, messages and posts not delivered. */
  depth: number;
  readonly partition: number;
  readonly epoch: number;
  readonly entries: Entry[];
  /** Stored retries by delivery key: needed to remove them. */
  readonly retriesSet: Map<string, RetryEntry>;
  readonly retriesRemoved: Set<string>;
  readonly deadLetters: string[];
  /** Entries that count as delivered once the retry set that holds them is stored. */
  readonly moved: Entry[];
  /** How many were made in this epoch. */
  acknowledgements: number;
  /** The newest acknowledgement, as long as its fate is unknown: it is repeated as it is, and the next one waits for it. */
  unanswered: Acknowledgement | undefined;
  readonly stop: AbortController;
}

interface OwedItem {
  readonly account: Account;
  readonly entry: Entry;
}

interface OwedMessage extends OwedItem {
  readonly message: NumberedEnvelope;
}

interface OwedPost extends OwedItem {
  readonly post: Post;
}

export class Outbox {
  readonly #ports: OutboxPorts;
  readonly #accounts = new Map<number, Account>();
  readonly #lanes = new Map<string, EffectLane>();
  /** Another array after a partition with messages here was closed. */
  #messages: OwedMessage[] = [];
  readonly #posts: PostLines<OwedPost>;
  readonly #messageWakeup: Wakeup;
  readonly #acknowledgeWakeup: Wakeup;

  /** When something was last delivered, or nothing waited. */
  #progressAt: number;

  constructor(ports: OutboxPorts) {
    this.#ports = ports;
    this.#progressAt = ports.clock.now();
    this.#posts = new PostLines({ ...ports, delivered: (posts) => this.#delivered(posts) });
    this.#messageWakeup = new Wakeup(ports.clock);
    this.#acknowledgeWakeup = new Wakeup(ports.clock);
  }

  /** Commands, messages and posts committed and not yet delivered, retries included. */
  get depth(): number {
    let depth = 0;
    for (const account of this.#accounts.values()) depth += account.depth;
    return depth;
  }

  /** Posts to this stream are still owed. */
  postsWait(stream: string): boolean {
    return this.#posts.waits(stream);
  }

  /** How long something has been waiting while nothing was delivered, ms. */
  get stalledMs(): number {
    const now = this.#ports.clock.now();
    if (this.depth === 0) this.#progressAt = now;
    return now - this.#progressAt;
  }

  /** A partition was taken over: what its last owner still owed, oldest first. */
  open(partition: number, epoch: number, outbox: readonly (readonly [CommitId, string])[], retries: readonly RetryEntry[]): void {
    this.close(partition);
    const account: Account = {
      depth: 0,
      partition,
      epoch,
      entries: [],
      retriesSet: new Map(),
      retriesRemoved: new Set(),
      deadLetters: [],
      moved: [],
      acknowledgements: 0,
      unanswered: undefined,
      stop: new AbortController(),
    };
    this.#accounts.set(partition, account);
    // The store keeps them in no order; each actor's must come in theirs. (I5)
    const states = retries.map((retry) => JSON.parse(retry.value) as RetryState).sort((left, right) => inOrder(left.delivery, right.delivery));
    for (const state of states) {
      account.depth++;
      this.#lane(state.delivery).resume(state, account.stop.signal, (event) => this.#concluded(account, undefined, event));
    }
    for (const [commit, pack] of outbox) this.add(partition, commit, JSON.parse(pack) as readonly OutboxItem[]);
  }

  /** The partition is no longer ours: its deliveries are aborted, its next owner repeats them. */
  close(partition: number): void {
    const account = this.#accounts.get(partition);
    if (account === undefined) return;
    account.stop.abort();
    this.#accounts.delete(partition);
    // The commit of what waits here may have been lost, and its numbers be given out anew.
    if (this.#messages.some((one) => one.account === account)) this.#messages = this.#messages.filter((one) => one.account !== account);
    this.#posts.drop((one) => one.account === account);
  }

  /** What one commit owes. */
  add(partition: number, commit: CommitId, items: readonly OutboxItem[]): void {
    const account = this.#accounts.get(partition);
    if (account === undefined || items.length === 0) return;
    const entry: Entry = { commit, remaining: items.length };
    account.entries.push(entry);
    if (this.depth === 0) this.#progressAt = this.#ports.clock.now();
    account.depth += items.length;
    for (const item of items) {
      if ('message' in item) this.#messages.push({ message: item.message, account, entry });
      else if ('post' in item) this.#posts.add({ post: item.post, account, entry });
      else this.#lane(item.delivery).add(item.delivery, account.stop.signal, (event) => this.#concluded(account, entry, event));
    }
    this.#messageWakeup.wake();
  }

  /** Runs until the signal aborts, then stores what has been delivered so far. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#runMessages(signal), this.#posts.run(signal), this.#runAcknowledgements(signal)]);
    for (const lane of this.#lanes.values()) await lane.idle();
    await this.#acknowledge();
    for (const account of this.#accounts.values()) account.stop.abort();
  }

  #lane(delivery: Delivery): EffectLane {
    const type = typeOf(delivery.actor);
    const name = `${type}:${delivery.command.name}`;
    const known = this.#lanes.get(name);
    if (known !== undefined) return known;
    const executor = this.#ports.types.get(type)?.executors[delivery.command.name];
    const { clock, settings, meter } = this.#ports;
    const lane = new EffectLane({ name, executor, clock, settings, meter });
    this.#lanes.set(name, lane);
    return lane;
  }

  /** Something became of a delivery. `entry` is absent for one that was resumed from the retry set. */
  #concluded(account: Account, entry: Entry | undefined, event: LaneEvent): void {
    if (this.#accounts.get(account.partition) !== account) return;
    const { key } = event.delivery;
    switch (event.kind) {
      case 'delivered':
        account.depth--;
        this.#progressAt = this.#ports.clock.now();
        if (event.wasRetry) this.#dropRetry(account, key);
        else if (entry !== undefined) entry.remaining--;
        break;
      case 'retry':
        account.retriesSet.set(key, { key, value: JSON.stringify(event.state) });
        if (event.first && entry !== undefined) account.moved.push(entry);
        break;
      case 'exhausted':
        account.depth--;
        if (event.wasRetry) this.#dropRetry(account, key);
        else if (entry !== undefined) account.moved.push(entry);
        account.deadLetters.push(JSON.stringify(this.#deadLetter(event.delivery, event.error)));
        this.#ports.meter.count('dead_letters');
        this.#ports.notices.tell(
          'effect-exhausted',
          `The effect ${key} was given up after its last try and is a dead letter now. The last time: ${event.error}`,
        );
        break;
    }
    this.#acknowledgeWakeup.wake();
  }

  #dropRetry(account: Account, key: string): void {
    account.retriesSet.delete(key);
    account.retriesRemoved.add(key);
  }

  #deadLetter(delivery: Delivery, error: string): Omit<DeadLetter, 'id'> {
    return {
      at: this.#ports.redisNow(),
      source: `actor:${delivery.actor}`,
      ref: delivery.key,
      code: 'effect_failed',
      reason: `The effect "${delivery.command.name}" failed ${this.#ports.settings.effectAttemptsMax} times. The last time: ${error}`,
      actor: delivery.actor,
      excerpt: JSON.stringify(delivery.command).slice(0, EXCERPT_LENGTH),
    };
  }

  async #runMessages(signal: AbortSignal): Promise<void> {
    const { clock, store, meter } = this.#ports;
    while (!signal.aborted) {
      const queue = this.#messages;
      const sending = queue.slice(0, MESSAGES_MAX);
      if (sending.length === 0) {
        await this.#messageWakeup.sleep(Infinity, signal);
        continue;
      }
      try {
        await store.appendMessages(sending.map(({ message }) => message));
      } catch {
        meter.count('delivery_failures');
        await clock.sleep(FAILURE_PAUSE_MS * (0.5 + clock.random()), signal);
        continue;
      }
      if (this.#messages === queue) queue.splice(0, sending.length);
      else this.#messages = without(this.#messages, sending);
      meter.count('messages', sending.length);
      this.#delivered(sending);
    }
  }

  #delivered(items: readonly OwedItem[]): void {
    for (const { account, entry } of items) {
      account.depth--;
      entry.remaining--;
    }
    this.#progressAt = this.#ports.clock.now();
    this.#acknowledgeWakeup.wake();
  }

  async #runAcknowledgements(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#acknowledgeWakeup.sleep(Infinity, signal);
      await this.#ports.clock.sleep(ACKNOWLEDGE_EVERY_MS, signal);
      if (!(await this.#acknowledge())) {
        await this.#ports.clock.sleep(FAILURE_PAUSE_MS, signal);
        this.#acknowledgeWakeup.wake();
      }
    }
  }

  /** False when a store call failed: it is repeated. */
  async #acknowledge(): Promise<boolean> {
    const calls = [...this.#accounts.values()].map((account) => this.#acknowledgeOne(account));
    return (await Promise.all(calls)).every(Boolean);
  }

  async #acknowledgeOne(account: Account): Promise<boolean> {
    const { store, fenced } = this.#ports;
    for (;;) {
      const isRepeat = account.unanswered !== undefined;
      const acknowledgement = (account.unanswered ??= this.#gather(account));
      if (acknowledgement === undefined) return true;
      try {
        const ours = await store.acknowledge(acknowledgement.request);
        if (!ours) fenced(account.partition);
      } catch {
        return false;
      }
      account.unanswered = undefined;
      account.entries.splice(0, acknowledgement.delivered);
      if (!isRepeat) return true;
    }
  }

  /** What has changed since the last one; undefined when nothing has. */
  #gather(account: Account): Acknowledgement | undefined {
    const { partition, epoch, entries } = account;
    for (const entry of account.moved.splice(0)) entry.remaining--;
    const retriesSet = [...account.retriesSet.values()];
    const retriesRemoved = [...account.retriesRemoved];
    const deadLetters = account.deadLetters.splice(0);
    account.retriesSet.clear();
    account.retriesRemoved.clear();
    let delivered = 0;
    while (entries[delivered]?.remaining === 0) delivered++;
    const through = entries[delivered - 1]?.commit ?? null;
    if (through === null && retriesSet.length + retriesRemoved.length + deadLetters.length === 0) return undefined;
    const number = ++account.acknowledgements;
    return { request: { partition, owner: this.#ports.owner, epoch, number, through, retriesSet, retriesRemoved, deadLetters }, delivered };
  }
}

/** Orders deliveries of one actor as they were decided: by revision, then by their index there, which ends the key. */
function inOrder(left: Delivery, right: Delivery): number {
  const indexOf = ({ key }: Delivery): number => Number(key.slice(key.lastIndexOf('-') + 1));
  return left.revision - right.revision || indexOf(left) - indexOf(right);
}

function without<Item>(items: readonly Item[], gone: readonly Item[]): Item[] {
  const dropped = new Set(gone);
  return items.filter((item) => !dropped.has(item));
}
