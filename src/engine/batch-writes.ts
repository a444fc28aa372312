/**
 * Collects what one batch of one partition writes, and what is owed to the world once it is committed.
 *
 * 1. An actor that changes several times in a batch is written once, as it is at the end.
 * 2. A command's key is `<actor>#<epoch>-<revision>-<index>`: stable over tries, never another command's. (I5)
 * 3. A transition's address is known before its commit, because the commit's id is. (I2)
 */
import type { Decision, LiveActor } from '../core/decision.ts';
import { isIndexed, serialize, type RegisteredType } from '../core/kernel.ts';
import type { Delivery } from '../protocol/command.ts';
import type { DeadLetter } from '../protocol/dead-letter.ts';
import type { Cause, Outcome } from '../protocol/envelope.ts';
import { encodePack, formatAddress } from '../protocol/feed-pack.ts';
import { partitionOf, typeOf, type ActorKey } from '../protocol/ids.ts';
import type { MessageCommand } from '../protocol/command.ts';
import { EXCERPT_LENGTH } from '../protocol/dead-letter.ts';
import type { Outlet, Post } from '../protocol/outlet.ts';
import { CHECKPOINT_EVERY, type ActorRecord, type Transition } from '../protocol/record.ts';
import type { Announced, Announcements } from './announcements.ts';
import type { HostedType } from './actor-types.ts';
import { makeEntry } from './outlet-entry.ts';
import type { Partition } from './partition.ts';
import type { Arrival, CommitId, CommitRequest, DocumentPublication, FeedPack, NumberedEnvelope } from './ports.ts';

type Changed = Exclude<Decision, { kind: 'ignored' } | { kind: 'rejected' }>;

/** One thing in a packed outbox entry. */
export type OutboxItem = { readonly delivery: Delivery } | { readonly message: NumberedEnvelope } | { readonly post: Post };

/** What is owed once the batch is committed. */
export interface Owed {
  readonly commit: CommitId;
  readonly outbox: readonly OutboxItem[];
  readonly replies: readonly { readonly to: string; readonly entry: string; readonly outcome: Outcome }[];
  /** Actors whose invocations may have started or ended: their records before and after. */
  readonly invoking: readonly { readonly key: ActorKey; readonly before: ActorRecord | null; readonly after: ActorRecord }[];
  /** What its types announce and the commit does not tell. */
  readonly untold: readonly Announced[];
}

export interface Batch {
  readonly partition: Partition;
  readonly request: CommitRequest;
  readonly owed: Owed;
  /** Actors as this commit leaves them. */
  readonly changed: readonly LiveActor[];
  /** Actors that it removes. */
  readonly removed: readonly ActorKey[];
  readonly size: number;
}

/** What the writes of all batches share. */
export interface WritesContext {
  readonly cacheSet: (actor: LiveActor, jsonLength?: number) => void;
  /** The actor must be read from the store before it is used again. */
  readonly evict: (key: ActorKey) => void;
  readonly outlet: (type: string) => Outlet | undefined;
  /** Earlier posts of this stream are still owed: later ones may not overtake them. */
  readonly postsWait: (stream: string) => boolean;
  readonly announcements: Pick<Announcements, 'isHeard' | 'messages'>;
  /** A dead letter was written that no entry caused. */
  readonly lost: () => void;
}

interface Dirty {
  readonly hosted: HostedType;
  readonly before: ActorRecord | null;
  actor: LiveActor;
  recordChanged: boolean;
  document?: string;
}

const NO_CHANNELS: readonly string[] = [];

export class BatchWrites {
  readonly id: CommitId;
  readonly #partition: Partition;
  readonly #dirty = new Map<ActorKey, Dirty>();
  readonly #transitions = new Map<string, { readonly hosted: HostedType; readonly transitions: Transition[] }>();
  readonly #removed = new Map<ActorKey, { readonly registered: RegisteredType; readonly record: ActorRecord }>();
  readonly #outbox: OutboxItem[] = [];
  readonly #posts: Post[] = [];
  readonly #replies: Owed['replies'][number][] = [];
  readonly #deadLetters: string[] = [];
  readonly #timers = new Map<string, number | null>();
  readonly #liveness = new Map<string, number | null>();
  readonly #applied = new Map<number, number>();
  readonly #sent = new Map<number, number>();
  readonly #context: WritesContext;
  /** Entries and firings that this batch takes in. */
  size = 0;
  /** Rough JSON bytes so far. */
  bytes = 0;
  firedThrough: number | undefined;
  inbox: string;

  constructor(partition: Partition, id: CommitId, context: WritesContext) {
    this.#partition = partition;
    this.id = id;
    this.inbox = partition.inbox;
    this.#context = context;
  }

  get empty(): boolean {
    return this.size === 0;
  }

  /** Where the next transition of this type will lie. */
  nextAddress(type: string): string {
    return formatAddress(this.#partition.number, this.id, this.#transitions.get(type)?.transitions.length ?? 0);
  }

  /** The actor as this batch has it so far. */
  actor(key: ActorKey): LiveActor | undefined {
    return this.#dirty.get(key)?.actor;
  }

  applied(from: number, number: number): void {
    this.#partition.applied.set(from, number);
    this.#applied.set(from, number);
  }

  reply(to: string | undefined, entry: string, outcome: Outcome): void {
    // An entry's id is unique in its partition only.
    if (to !== undefined) this.#replies.push({ to, entry: `${this.#partition.number}:${entry}`, outcome });
  }

  deadLetter(letter: Omit<DeadLetter, 'id'>): void {
    const json = JSON.stringify(letter);
    this.#deadLetters.push(json);
    this.bytes += json.length;
  }

  /** Takes in a touch or a transition. `now` are the step's clocks: step time and observed time. Returns the actor as stored from now on. */
  change(hosted: HostedType, before: LiveActor | null, decision: Changed, cause: Cause, now: { readonly at: number; readonly observed: number }): LiveActor {
    const { key } = decision.actor;
    const actor = decision.kind === 'transition' ? this.#transition(hosted, before, decision, cause, now.at) : decision.actor;
    const recordChanged = decision.kind === 'transition' || decision.recordChanged;
    const dirty = this.#dirty.get(key);
    if (dirty === undefined) {
      const document = decision.document === undefined ? {} : { document: decision.document };
      this.#dirty.set(key, { hosted, before: before?.record ?? null, actor, recordChanged, ...document });
    } else {
      dirty.actor = actor;
      dirty.recordChanged ||= recordChanged;
      if (decision.document !== undefined) dirty.document = decision.document;
    }
    if (decision.document !== undefined) this.bytes += decision.document.length;
    for (const change of decision.timers) this.#timer(key, change, now);
    return actor;
  }

  /** The actor is kept no longer. It must not have changed in this batch, and have neither invocations nor timers. */
  remove(hosted: HostedType, key: ActorKey, record: ActorRecord): void {
    this.#removed.set(key, { registered: hosted.registered, record });
    this.size++;
  }

  /** A timer that fires: whatever becomes of its step, it does not fire again. */
  dropTimer(member: string, liveness: boolean): void {
    (liveness ? this.#partition.liveness : this.#partition.timers).cancel(member);
    (liveness ? this.#liveness : this.#timers).set(member, null);
  }

  #timer(key: ActorKey, change: Changed['timers'][number], now: { readonly at: number; readonly observed: number }): void {
    const member = `${key} ${change.key}`;
    const onClock = change.clock === 'clock';
    const queue = onClock ? this.#partition.timers : this.#partition.liveness;
    const writes = onClock ? this.#timers : this.#liveness;
    if (change.kind === 'cancel') {
      queue.cancel(member);
      writes.set(member, null);
      return;
    }
    const due = (onClock ? now.at : now.observed) + change.delayMs;
    queue.arm(member, due);
    writes.set(member, due);
  }

  #transition(hosted: HostedType, before: LiveActor | null, decision: Extract<Changed, { kind: 'transition' }>, cause: Cause, at: number): LiveActor {
    const { key, record } = decision.actor;
    const { type } = hosted.registered;
    const { actor } = decision;
    const checkpoint = record.revision % CHECKPOINT_EVERY === 0;
    const known = this.#transitions.get(type);
    const transition: Transition = {
      key,
      revision: record.revision,
      at,
      stimulus: decision.stimulus,
      cause,
      version: record.version,
      from: decision.from,
      to: decision.to,
      commands: decision.commands,
      emitted: decision.emitted,
      logs: decision.logs,
      previous: before?.record.head ?? null,
      ...(checkpoint ? { checkpoint: actor.record } : {}),
    };
    if (known === undefined) this.#transitions.set(type, { hosted, transitions: [transition] });
    else known.transitions.push(transition);
    for (const [index, command] of decision.commands.entries()) {
      if (command.kind === 'effect') {
        const { epoch } = this.#partition;
        const delivery = { key: `${key}#${epoch}-${record.revision}-${index}`, actor: key, epoch, revision: record.revision, at, command };
        this.#outbox.push({ delivery });
      } else {
        const outlet = this.#context.outlet(typeOf(command.to));
        if (outlet === undefined) this.#outbox.push({ message: this.#message(key, record.head ?? '', command) });
        else this.#post(outlet, key, record.head ?? '', command, at);
      }
    }
    return actor;
  }

  /** What an outlet cannot encode is told, and no reason to stop the actor. */
  #post(outlet: Outlet, from: ActorKey, address: string, command: MessageCommand, at: number): void {
    const made = makeEntry(outlet, from, command, at);
    if (!made.ok) {
      const { to, event } = command;
      this.#context.lost();
      const excerpt = JSON.stringify({ to, event }).slice(0, EXCERPT_LENGTH);
      this.deadLetter({ at, source: `actor:${from}`, ref: address, code: 'post_not_encoded', reason: made.reason, actor: from, excerpt });
      return;
    }
    const { entry } = made;
    const partition = this.#partition;
    const post: Post = { ...entry, from: partition.number, number: `${partition.epoch}-${++partition.posted}` };
    if (partition.owesPosts(entry.stream) || this.#context.postsWait(entry.stream)) {
      this.#outbox.push({ post });
      partition.owePost(entry.stream, this.id);
    } else {
      this.#posts.push(post);
    }
    for (const field of entry.fields) this.bytes += field.length;
  }

  #message(from: ActorKey, address: string, command: MessageCommand): NumberedEnvelope {
    const destination = partitionOf(command.to);
    const number = (this.#partition.sent.get(destination) ?? 0) + 1;
    this.#partition.sent.set(destination, number);
    this.#sent.set(destination, number);
    return { envelope: { actor: command.to, event: command.event, source: `actor:${from}`, causation: address }, from: this.#partition.number, number };
  }

  /** Closes the batch. Serializes every changed actor once. */
  finish(): Batch {
    const partition = this.#partition;
    const records: [ActorKey, string][] = [];
    const documents: [ActorKey, string][] = [];
    const index = { add: [] as CommitRequest['index']['add'][number][], remove: [] as CommitRequest['index']['remove'][number][] };
    const invoking = { add: [] as ActorKey[], remove: [] as ActorKey[] };
    const owedInvoking: Owed['invoking'][number][] = [];
    const publications: DocumentPublication[] = [];
    const arrivals: Arrival[] = [];
    for (const [key, dirty] of this.#dirty) {
      const { record } = dirty.actor;
      const json = dirty.recordChanged ? serialize(dirty.actor) : undefined;
      if (json !== undefined) {
        records.push([key, json]);
        if (dirty.before?.entered !== record.entered) {
          indexChanges(dirty.hosted.registered, key, dirty.before, record, index);
          if (arrives(dirty)) arrivals.push({ type: dirty.hosted.registered.type, record: records.length - 1 });
        }
        if (invocationChanges(key, dirty.before, record, invoking)) owedInvoking.push({ key, before: dirty.before, after: record });
      }
      // Who only waits to be dropped would fill the memory with what nobody asks for.
      if (isKept(dirty.hosted, record)) this.#context.evict(key);
      else this.#context.cacheSet(dirty.actor, json?.length);
      if (dirty.document === undefined) continue;
      documents.push([key, dirty.document]);
      const publication = dirty.hosted.publishDocument?.(key, dirty.document, record);
      if (publication !== undefined) publications.push({ ...publication, document: documents.length - 1 });
    }
    for (const [key, { registered, record }] of this.#removed) {
      this.#context.evict(key);
      index.remove.push([registered.type, '', key]);
      for (const path in record.entered) if (isIndexed(registered, path)) index.remove.push([registered.type, path, key]);
    }
    const feed: FeedPack[] = [];
    const announcing: Announced[] = [];
    const untold: Announced[] = [];
    for (const [type, { hosted, transitions }] of this.#transitions) {
      feed.push({ type, count: transitions.length, pack: encodePack(transitions) });
      const { announce } = hosted;
      if (announce !== undefined) (this.#context.announcements.isHeard(announce.channel) ? announcing : untold).push({ announce, transitions });
    }
    const request: CommitRequest = {
      partition: partition.number,
      owner: partition.owner,
      epoch: partition.epoch,
      previous: partition.commit,
      id: this.id,
      time: partition.time,
      ...(this.firedThrough === undefined ? {} : { firedThrough: this.firedThrough }),
      inbox: this.inbox,
      sources: partition.sourcePositions(),
      applied: Object.fromEntries(this.#applied),
      sent: Object.fromEntries(this.#sent),
      records,
      documents,
      removed: [...this.#removed.keys()],
      publications,
      arrivals,
      announcements: announcing.flatMap((announced) => this.#context.announcements.messages(announced)),
      channels: channelsOf([...announcing, ...untold]),
      timers: timerWrites(this.#timers),
      liveness: timerWrites(this.#liveness),
      index,
      invoking,
      feed,
      ...(this.#outbox.length === 0 ? {} : { outbox: JSON.stringify(this.#outbox) }),
      posts: this.#posts,
      deadLetters: this.#deadLetters,
    };
    const owed: Owed = { commit: this.id, outbox: this.#outbox, replies: this.#replies, invoking: owedInvoking, untold };
    const changed = [...this.#dirty.values()].map((dirty) => dirty.actor);
    return { partition, request, owed, changed, removed: request.removed, size: this.size };
  }
}

function channelsOf(announced: readonly Announced[]): readonly string[] {
  return announced.length === 0 ? NO_CHANNELS : [...new Set(announced.map(({ announce }) => announce.channel))];
}

function isKept({ keep }: HostedType, { entered }: ActorRecord): boolean {
  if (keep === undefined) return false;
  for (const path in entered) if (keep[path] !== undefined) return true;
  return false;
}

function arrives({ hosted: { arrivals }, before, actor }: Dirty): boolean {
  return arrivals?.some((path) => isNewIn(path, before, actor.record)) ?? false;
}

function isNewIn(path: string, before: ActorRecord | null, { entered }: ActorRecord): boolean {
  return entered[path] !== undefined && entered[path] !== before?.entered[path];
}

function timerWrites(writes: ReadonlyMap<string, number | null>): CommitRequest['timers'] {
  const set: [string, number][] = [];
  const remove: string[] = [];
  for (const [member, due] of writes) {
    if (due === null) remove.push(member);
    else set.push([member, due]);
  }
  return { set, remove };
}

/** The set difference of active states before and after the batch; a state that was left and entered again has a new time. */
function indexChanges(
  registered: RegisteredType,
  key: ActorKey,
  before: ActorRecord | null,
  after: ActorRecord,
  index: { readonly add: CommitRequest['index']['add'][number][]; readonly remove: CommitRequest['index']['remove'][number][] },
): void {
  const { type } = registered;
  if (before === null) index.add.push([type, '', key, after.createdAt]);
  for (const path in before?.entered) if (after.entered[path] === undefined && isIndexed(registered, path)) index.remove.push([type, path, key]);
  for (const path in after.entered) {
    const enteredAt = after.entered[path] as number;
    if (before?.entered[path] !== enteredAt && isIndexed(registered, path)) index.add.push([type, path, key, enteredAt]);
  }
}

function invocationChanges(key: ActorKey, before: ActorRecord | null, after: ActorRecord, invoking: { add: ActorKey[]; remove: ActorKey[] }): boolean {
  if (before?.invocations === after.invocations) return false;
  const had = before !== null && hasAny(before.invocations);
  const has = hasAny(after.invocations);
  if (has && !had) invoking.add.push(key);
  if (had && !has) invoking.remove.push(key);
  return had || has;
}

function hasAny(object: object): boolean {
  for (const _ in object) return true;
  return false;
}
