/**
 * What an adapter that shows the control plane to the outside (HTTP, realtime, a command line) needs from it.
 *
 * 1. Every value is JSON and is sent as it is. Times are RFC 3339 strings in UTC with milliseconds.
 * 2. What does not exist is `undefined`; what the caller did wrong or cannot be reached is a CastellanError.
 * 3. `orgId` stands beside everything that belongs to an organisation. The adapter, which knows the caller,
 *    hides what belongs to another; null belongs to none and is shown only to callers of the whole fleet.
 * 4. Pages are at most `limit` long; `next` is null at the end. A list whose cursor is not understood throws CursorGoneError.
 */
import type { ActorStatus, Cause, MachineEvent, Outcome } from './envelope.ts';
import type { Command } from './command.ts';
import type { DeadLetter } from './dead-letter.ts';
import type { Json } from './json.ts';
import type { ActorRecord, MachineEventJson, Transition } from './record.ts';
import { idOf, typeOf } from './ids.ts';

export type Timestamp = string;

export interface Page<Item> {
  readonly items: readonly Item[];
  readonly next: string | null;
}

export interface PageQuery {
  readonly cursor?: string;
  readonly limit: number;
}

export interface HealthReport {
  readonly status: 'healthy' | 'unhealthy';
  readonly uptime_seconds: number;
  /** By component: `redis`, `engine`, `delivery`, … */
  readonly checks: { readonly [component: string]: { readonly status: 'up' | 'down'; readonly detail?: string } };
}

export const NODE_STATES = ['online', 'degraded', 'offline', 'unknown'] as const;
export type NodeState = (typeof NODE_STATES)[number];

export interface NodeView {
  readonly nodeId: string;
  readonly name: string;
  readonly orgId: string | null;
  readonly state: NodeState;
  /** When it entered that state. */
  readonly since: Timestamp;
  readonly lastSeenAt: Timestamp | null;
  readonly tags: readonly string[];
  /** The newest status in the shape of contracts 1 (the inner `status` object); null before the first. */
  readonly status: Json;
}

export interface NodeQuery extends PageQuery {
  readonly state?: NodeState;
  readonly orgId?: string;
}

/** Where a node says that it serves its status. Untrusted: the adapter checks the address when it connects. */
export interface LiveTarget {
  readonly nodeId: string;
  readonly orgId: string | null;
  readonly tailscaleIp?: string;
  readonly networkIp?: string;
  readonly statusPort?: number;
}

export interface MachineView {
  readonly type: string;
  readonly version: string;
  /** Events that may come from outside. */
  readonly events: readonly string[];
  readonly effects: readonly string[];
  /** XState's definition (states, transitions) as JSON. */
  readonly definition: Json;
}

export interface ActorQuery extends PageQuery {
  readonly type?: string;
  /** A state path such as `connection.online`. */
  readonly state?: string;
  readonly inStateLongerThanMs?: number;
  readonly orgId?: string;
}

export interface ActorSummary {
  readonly type: string;
  readonly id: string;
  readonly orgId: string | null;
  readonly revision: number;
  readonly status: ActorStatus;
  readonly value: Json;
  readonly tags: readonly string[];
  /** When the newest entered of its active atomic states (of the state asked for, if one was) was entered. */
  readonly enteredAt: Timestamp;
}

export interface TimerView {
  /** The timer's key in the record: `<child path>|<send id>`. */
  readonly id: string;
  readonly event: MachineEventJson;
  readonly dueAt: Timestamp;
}

export interface ActorView extends ActorSummary {
  readonly context: Json;
  readonly document?: Json;
  /** When each active atomic state was entered, by state path. */
  readonly entered: { readonly [statePath: string]: Timestamp };
  readonly timers: readonly TimerView[];
  /** Types of the declared events that would change it now or that it would take. */
  readonly nextEvents: readonly string[];
  readonly machineVersion: string;
  /** Set while the stored version does not fit the registered machine. */
  readonly parked?: string;
}

/** One committed transition for a person or a program outside; also one item of the realtime stream. */
export interface TransitionView {
  readonly type: string;
  readonly id: string;
  readonly revision: number;
  readonly at: Timestamp;
  /** The event, or what stood for one: `{ type: <send id> }` of a timer, `{ type: <invocation>, ok }` of a settled promise. */
  readonly event: MachineEventJson;
  readonly from: Json;
  readonly to: Json;
  readonly commands: readonly Command[];
  readonly emitted: readonly MachineEventJson[];
  readonly cause: Cause;
  readonly machineVersion: string;
}

/** Newest first. `truncated` is true on the page behind which older transitions were trimmed. */
export interface HistoryPage extends Page<TransitionView> {
  readonly truncated: boolean;
}

/** The actor as it was after one revision (folded from the feed). */
export interface PastActorView {
  readonly type: string;
  readonly id: string;
  readonly revision: number;
  readonly at: Timestamp;
  readonly status: ActorStatus;
  readonly value: Json;
  readonly context: Json;
  readonly record: ActorRecord;
}

/** `gone`: the revision existed, but what is needed to fold it was trimmed. */
export type PastActor = { readonly kind: 'found'; readonly actor: PastActorView } | { readonly kind: 'missing' } | { readonly kind: 'gone' };

export interface SendOptions {
  readonly dedupeId?: string;
  readonly traceparent?: string;
  /** Wait so long for the outcome; absent: answer at the append. */
  readonly waitMs?: number;
}

export interface SendResult {
  /** The inbox entry's id. */
  readonly entry: string;
  readonly partition: number;
  /** The dedupe id was known: `entry` is the first append's and nothing was appended. */
  readonly repeated: boolean;
  /** Absent when nobody waited or the wait ran out; the event stays accepted. */
  readonly outcome?: Outcome;
}

export type DryRun =
  | {
      readonly kind: 'transition';
      readonly revision: number;
      readonly status: ActorStatus;
      readonly from: Json;
      readonly value: Json;
      readonly context: Json;
      readonly commands: readonly Command[];
      readonly emitted: readonly MachineEventJson[];
      readonly nextEvents: readonly string[];
    }
  | { readonly kind: 'touch' }
  | { readonly kind: 'ignored' }
  | { readonly kind: 'rejected'; readonly code: string; readonly reason: string; readonly field?: string };

export type DeadLetterView = Omit<DeadLetter, 'at'> & { readonly at: Timestamp };

/** `not-replayable`: it was not JSON, named no actor, or was too large to keep. */
export type ReplayResult = { readonly kind: 'replayed'; readonly entry: string } | { readonly kind: 'missing' } | { readonly kind: 'not-replayable' };

export interface PartitionView {
  readonly partition: number;
  readonly owner: string | null;
  readonly epoch: number;
  /** Id of the last inbox entry that was applied. */
  readonly position: string;
  /** Inbox entries accepted and not applied. */
  readonly lag: number;
  readonly timers: number;
  readonly outbox: number;
  /** Id of the newest commit, `<epoch>-<number>`. */
  readonly commit: string;
  /** Effects that failed and are tried again. */
  readonly retries: number;
  /** By source stream: how old the oldest of its entries is that is not applied here, ms; of the engine in this process. */
  readonly sourceLagMs: { readonly [stream: string]: number };
}

export interface FeedItem {
  /** Follow from here to receive what comes after this item. */
  readonly cursor: string;
  readonly orgId: string | null;
  readonly transition: TransitionView;
}

export interface FollowOptions {
  readonly types?: readonly string[];
  /** Ends the iteration without an error. */
  readonly signal: AbortSignal;
}

export interface ControlPlane {
  health(): Promise<HealthReport>;
  /** Prometheus text, version 0.0.4. */
  metrics(): Promise<string>;

  listNodes(query: NodeQuery): Promise<Page<NodeView>>;
  getNode(nodeId: string): Promise<NodeView | undefined>;
  liveTarget(nodeId: string): Promise<LiveTarget | undefined>;

  listMachines(): Promise<readonly MachineView[]>;
  listActors(query: ActorQuery): Promise<Page<ActorSummary>>;
  getActor(type: string, id: string): Promise<ActorView | undefined>;
  /** Undefined when the actor does not exist. */
  history(type: string, id: string, query: PageQuery): Promise<HistoryPage | undefined>;
  at(type: string, id: string, revision: number): Promise<PastActor>;

  /** Throws UnknownActorTypeError, InvalidIdError, InvalidEventError (undeclared or wrong fields). Creates the actor with its first event. */
  send(type: string, id: string, event: MachineEvent, options: SendOptions): Promise<SendResult>;
  /** Like send, but stores nothing. */
  dryRun(type: string, id: string, event: MachineEvent): Promise<DryRun>;

  listDeadLetters(query: PageQuery): Promise<Page<DeadLetterView>>;
  replayDeadLetter(id: string): Promise<ReplayResult>;
  listPartitions(): Promise<readonly PartitionView[]>;

  /**
   * Committed transitions in order, after `cursor` or from now on. Rejects with CursorGoneError when the cursor is not held.
   * Pulled: the next one is read when it is asked for, and what waits for a slow reader is bounded; a reader that fell behind
   * what is kept gets CursorGoneError from `next()`.
   */
  follow(cursor: string | 'new', options: FollowOptions): Promise<AsyncIterable<FeedItem>>;
}

/** A time of the engine (ms since the epoch) as it is shown outside. */
export function timestamp(ms: number): Timestamp {
  return new Date(ms).toISOString();
}

/** How a committed transition is shown outside. */
export function transitionView(transition: Transition): TransitionView {
  return {
    type: typeOf(transition.key),
    id: idOf(transition.key),
    revision: transition.revision,
    at: timestamp(transition.at),
    event: shownEvent(transition),
    from: transition.from,
    to: transition.to,
    commands: transition.commands,
    emitted: transition.emitted,
    cause: transition.cause,
    machineVersion: transition.version,
  };
}

function shownEvent({ stimulus }: Transition): MachineEventJson {
  switch (stimulus.kind) {
    case 'event':
      return stimulus.event as MachineEventJson;
    case 'timer':
      return { type: stimulus.timer.slice(stimulus.timer.indexOf('|') + 1) };
    case 'settled':
      return { type: stimulus.invocation.slice(stimulus.invocation.indexOf('|') + 1), ok: stimulus.outcome.ok };
  }
}
