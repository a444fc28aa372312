/**
 * Builds one batch of one partition: merges its entries and its due timers in time, steps the actors, collects the writes.
 *
 * 1. Order: by time; at the same millisecond timers first, then the inbox, then the sources; timers of the same
 *    millisecond by actor, arm revision, index. Timers armed within the batch take part. (I2, I3)
 * 2. A step's time is `max(partition time, min(the entry's ms, watermark))`; a timer's is its due time. An entry waits until
 *    the watermark has reached it: its step time is lower than its ms only when its id is from the future, and by 1 ms when it was
 *    heard of within the very millisecond of its append. (I2, I6)
 * 3. A batch ends early rather than guess: at an actor that is not loaded, at an isolated entry, at a bound. (I7, I8)
 */
import type { LiveActor } from '../core/decision.ts';
import { step, type ParkedActor } from '../core/kernel.ts';
import type { Cause, Outcome, Stimulus } from '../protocol/envelope.ts';
import { typeOf, type ActorKey } from '../protocol/ids.ts';
import type { TimerState } from '../protocol/record.ts';
import type { HostedType, HostedTypes } from './actor-types.ts';
import { BatchWrites, type Batch, type WritesContext } from './batch-writes.ts';
import { readStimulus, readSourceStimulus, refusal, type Refusal } from './stimulus.ts';
import type { InboxItem } from '../protocol/inbox-entry.ts';
import type { Meter } from './meter.ts';
import type { Overdue, Partition, SourceItem, SourceState } from './partition.ts';
import type { EngineSettings } from './settings.ts';

export interface BatchContext {
  readonly types: HostedTypes;
  readonly settings: EngineSettings;
  readonly meter: Meter;
  /** A loaded actor; null when it does not exist; undefined when it is not loaded. */
  readonly find: (partition: Partition, key: ActorKey) => LiveActor | ParkedActor | null | undefined;
  readonly cacheSet: (actor: LiveActor, jsonLength?: number) => void;
  /** The actor must be read from the store before it is used again. */
  readonly evict: (key: ActorKey) => void;
  readonly postsWait: (stream: string) => boolean;
  readonly announcements: WritesContext['announcements'];
  /** For measuring only, ms. */
  readonly now: () => number;
}

/** One step in so many is timed: measuring each would cost a tenth of it. */
const MEASURE_EVERY = 64;
/** Timers of one millisecond that are put in order together. */
const TIE_MAX = 1_000;

export type BuildResult =
  | { readonly kind: 'batch'; readonly batch: Batch }
  | { readonly kind: 'nothing' }
  /** An entry rejected on an actor that the same batch had changed: the partition must be made anew, and that entry applied alone. */
  | { readonly kind: 'isolate'; readonly ref: string };

class Isolate {
  readonly ref: string;
  constructor(ref: string) {
    this.ref = ref;
  }
}

type Next =
  | { readonly kind: 'timer'; readonly at: number; readonly member: string; readonly liveness: boolean }
  | { readonly kind: 'inbox'; readonly at: number; readonly item: InboxItem }
  | { readonly kind: 'source'; readonly at: number; readonly item: SourceItem; readonly state: SourceState };

export class BatchBuilder {
  readonly #context: BatchContext;
  readonly #writes: WritesContext;
  #steps = 0;

  constructor(context: BatchContext) {
    const { types, meter, cacheSet, evict, postsWait, announcements } = context;
    this.#context = context;
    this.#writes = { cacheSet, evict, postsWait, announcements, outlet: (type) => types.outlet(type), lost: () => meter.count('dead_letters') };
  }

  /** `readAt` is Redis's time at the newest read: for the lateness of timers only. */
  build(partition: Partition, readAt: number): BuildResult {
    const { settings, meter } = this.#context;
    const watermark = partition.watermark;
    if (partition.blocked || watermark <= 0) return { kind: 'nothing' };
    if (partition.isIdle(watermark) && !this.#checkpointDue(partition, readAt)) return { kind: 'nothing' };
    const commitId = `${partition.epoch}-${partition.commitNumber + 1}`;
    const writes = new BatchWrites(partition, commitId, this.#writes);
    const firings = new Map<ActorKey, number>();
    while (writes.size < settings.batchEventsMax && writes.bytes < settings.batchBytesMax) {
      const next = this.#next(partition, watermark);
      if (next === undefined) break;
      const goOn = next.kind === 'timer' ? this.#fire(partition, writes, next, readAt, firings) : this.#entry(partition, writes, next);
      if (goOn instanceof Isolate) return { kind: 'isolate', ref: goOn.ref };
      if (!goOn) break;
    }
    this.#sweep(partition, writes);
    if (writes.empty && !this.#checkpointDue(partition, readAt)) return { kind: 'nothing' };
    partition.inbox = writes.inbox;
    const batch = writes.finish();
    partition.storedSources = partition.sourceIds();
    partition.checkpointedAt = readAt;
    partition.commit = commitId;
    partition.commitNumber++;
    for (const actor of batch.changed) partition.uncommitted.set(actor.key, actor);
    for (const key of batch.removed) partition.uncommitted.set(key, null);
    meter.observe('batch_size', batch.size);
    return { kind: 'batch', batch };
  }

  #checkpointDue(partition: Partition, readAt: number): boolean {
    return readAt - partition.checkpointedAt >= this.#context.settings.checkpointMs && partition.sourceIds() !== partition.storedSources;
  }

  /** The earliest of the due timers and the entries read. */
  #next(partition: Partition, watermark: number): Next | undefined {
    for (;;) {
      const entry = nextEntry(partition, watermark);
      const entryAt = entry?.at ?? Infinity;
      const segment = partition.observed.current;
      const clock = partition.timers.peek();
      const live = partition.liveness.peek();
      const clockAt = clock !== undefined && clock.due <= watermark ? clock.due : Infinity;
      const liveFiring = live === undefined ? Infinity : live.due + segment.closedMs;
      const liveAt = liveFiring <= Math.min(watermark, segment.to) ? liveFiring : Infinity;
      const at = Math.min(entryAt, clockAt, liveAt);
      // Beyond this segment the observed clock reads differently: move on before anything later happens.
      if (Math.min(at, watermark) > segment.to && partition.observed.advance()) continue;
      if (at === Infinity) return undefined;
      if (clockAt === at) return { kind: 'timer', at, member: clock?.member ?? '', liveness: false };
      if (liveAt === at) return { kind: 'timer', at, member: live?.member ?? '', liveness: true };
      return entry;
    }
  }

  #entry(partition: Partition, writes: BatchWrites, next: Extract<Next, { kind: 'inbox' | 'source' }>): boolean | Isolate {
    const { item } = next;
    const alone = partition.isolated.size > 0 && partition.isolated.has(item.id);
    if (alone && mustWait(partition, writes)) return false;
    const repeated = next.kind === 'inbox' && this.#isRepeated(partition, next.item);
    if (!repeated) {
      const outcome = this.#apply(partition, writes, next);
      if (outcome !== undefined) return outcome;
    }
    if (next.kind === 'inbox') {
      if (next.item.from !== undefined && next.item.number !== undefined && !repeated) writes.applied(next.item.from, next.item.number);
      partition.inboxPending.shift();
      writes.inbox = item.id;
    } else {
      next.state.pending.shift();
      next.state.position = next.state.pending.length === 0 ? next.state.read : item.id;
    }
    writes.size++;
    this.#context.meter.count('events');
    return !alone;
  }

  /** A message that was appended twice: its number was applied. (I1) */
  #isRepeated(partition: Partition, item: InboxItem): boolean {
    return item.from !== undefined && item.number !== undefined && item.number <= (partition.applied.get(item.from) ?? 0);
  }

  /** Applies one entry. Undefined when that is done; false to end the batch before it. */
  #apply(partition: Partition, writes: BatchWrites, next: Extract<Next, { kind: 'inbox' | 'source' }>): false | Isolate | undefined {
    const { types } = this.#context;
    const ref = next.item.id;
    const source = next.kind === 'inbox' ? next.item.source : (`stream:${next.item.source.stream}` as const);
    const read = next.kind === 'inbox' ? readStimulus(types, next.item) : readSourceStimulus(types, next.item);
    const at = Math.max(partition.time, next.at);
    const replyTo = next.kind === 'inbox' ? next.item.replyTo : undefined;
    if (!read.ok) {
      partition.time = at;
      this.#refuse(writes, read.refusal, { at, source, ref, replyTo });
      return undefined;
    }
    const actor = writes.actor(read.key) ?? this.#context.find(partition, read.key);
    if (actor === undefined) {
      partition.want([read.key]);
      return false;
    }
    partition.time = at;
    if (actor !== null && 'parked' in actor) {
      const parked = refusal('actor_parked', `The actor is parked: ${actor.parked} Replay this when its machine fits again.`);
      this.#refuse(writes, { ...parked, actor: read.key, ...read.quoted() }, { at, source, ref, replyTo });
      return undefined;
    }
    const causation = next.kind === 'inbox' ? next.item.causation : undefined;
    const traceparent = next.kind === 'inbox' ? next.item.traceparent : undefined;
    const cause: Cause = { source, ref, ...(causation === undefined ? {} : { causation }), ...(traceparent === undefined ? {} : { traceparent }) };
    const result = this.#step(partition, writes, { hosted: read.hosted, key: read.key, actor, stimulus: read.stimulus, cause, at });
    if (result instanceof Isolate) return result;
    if (result.kind === 'dead-letter') {
      this.#refuse(writes, { ...refusal(result.code, result.reason, result.field), actor: read.key, ...read.quoted() }, { at, source, ref, replyTo });
    } else {
      writes.reply(replyTo, ref, result);
    }
    return undefined;
  }

  #refuse(
    writes: BatchWrites,
    refused: Refusal,
    entry: { readonly at: number; readonly source: Cause['source']; readonly ref: string; readonly replyTo: string | undefined },
  ): void {
    const { at, source, ref, replyTo } = entry;
    const { code, reason, field } = refused;
    this.#context.meter.count('dead_letters');
    writes.deadLetter({ at, source, ref, ...refused });
    writes.reply(replyTo, ref, { kind: 'dead-letter', code, reason, ...(field === undefined ? {} : { field }) });
  }

  #step(
    partition: Partition,
    writes: BatchWrites,
    input: {
      readonly hosted: HostedType;
      readonly key: ActorKey;
      readonly actor: LiveActor | null;
      readonly stimulus: Stimulus;
      readonly cause: Cause;
      readonly at: number;
    },
  ): Outcome | Isolate {
    const { hosted, key, actor, stimulus, cause, at } = input;
    const { meter, now } = this.#context;
    const measured = this.#steps++ % MEASURE_EVERY === 0;
    const began = measured ? now() : 0;
    const decision = step(hosted.registered, key, actor, stimulus, { at, address: writes.nextAddress(hosted.registered.type) });
    if (measured) meter.observe('step_seconds', (now() - began) / 1_000);
    switch (decision.kind) {
      case 'ignored':
        meter.count('ignored');
        return { kind: 'ignored' };
      case 'rejected': {
        // An assign may have marked the live snapshot before the throw: only the stored actor is sure.
        if (writes.actor(key) !== undefined || partition.uncommitted.has(key)) return new Isolate(cause.ref);
        this.#context.evict(key);
        const { code, reason, field } = decision.rejection;
        return { kind: 'dead-letter', code, reason, ...(field === undefined ? {} : { field }) };
      }
      case 'touch':
        meter.count('touches');
        writes.change(hosted, actor, decision, cause, { at, observed: at - partition.observed.current.closedMs });
        return { kind: 'touch' };
      case 'transition': {
        meter.count('transitions');
        const changed = writes.change(hosted, actor, decision, cause, { at, observed: at - partition.observed.current.closedMs });
        const { revision, status } = changed.record;
        return { kind: 'transition', revision, value: decision.to, status, ...(decision.output === undefined ? {} : { output: decision.output }) };
      }
    }
  }

  #fire(partition: Partition, writes: BatchWrites, next: Extract<Next, { kind: 'timer' }>, readAt: number, firings: Map<ActorKey, number>): boolean | Isolate {
    const queue = next.liveness ? partition.liveness : partition.timers;
    const due = queue.nextDue();
    const tied = queue.dueThrough(due, TIE_MAX);
    const first = tied.length === 1 ? tied[0] : this.#firstOf(partition, tied, writes);
    if (first === undefined) return false;
    const space = first.member.indexOf(' ');
    const key = first.member.slice(0, space) as ActorKey;
    const timer = first.member.slice(space + 1);
    const actor = writes.actor(key) ?? this.#context.find(partition, key);
    if (actor === undefined) return false; // due timers' actors are asked for in every round
    if (actor !== null && 'parked' in actor) {
      queue.cancel(first.member); // it stays stored, for the day the actor fits again
      return true;
    }
    const hosted = this.#context.types.get(typeOf(key));
    const armed = actor?.record.timers[timer];
    if (next.liveness && armed !== undefined && restartsAfterReopening(partition, first.member, due, armed)) return true;
    const fired = (firings.get(key) ?? 0) + 1;
    if (fired > this.#context.settings.firingsPerActorMax) return false;
    const ref = `${key} ${timer}`;
    if (partition.isolated.has(ref) && mustWait(partition, writes)) return false;
    firings.set(key, fired);
    writes.dropTimer(first.member, next.liveness);
    if (hosted === undefined || actor === null || armed === undefined) return true; // the record no longer has it
    const at = Math.max(partition.time, next.at);
    partition.time = at;
    if (!next.liveness) writes.firedThrough = Math.max(writes.firedThrough ?? 0, due);
    this.#context.meter.count('firings');
    this.#context.meter.observe('timer_lateness_seconds', Math.max(0, readAt - next.at) / 1_000);
    const cause: Cause = { source: 'timer', ref: timer };
    const result = this.#step(partition, writes, { hosted, key, actor, stimulus: { kind: 'timer', timer }, cause, at });
    if (result instanceof Isolate) return new Isolate(ref);
    if (result.kind === 'dead-letter') {
      const refused = { ...refusal(result.code, result.reason, result.field), actor: key, excerpt: JSON.stringify(armed.event) };
      this.#refuse(writes, refused, { at, source: 'timer', ref: timer, replyTo: undefined });
    }
    writes.size++;
    return !partition.isolated.has(ref);
  }

  /**
   * Removes actors that have been kept for long enough: last in the batch, so that one that the batch changed is seen to have changed.
   * A removal is part of a commit and takes its turn among the steps: an event before it has left the state or is in its record, an
   * event after it finds no actor and begins a new one; a commit in flight is known by what it leaves, and one that is lost takes the
   * removal with it. Whoever has an invocation or a timer is not at rest and stays.
   */
  #sweep(partition: Partition, writes: BatchWrites): void {
    const { settings, types, meter, find } = this.#context;
    const later: Overdue[] = [];
    for (const overdue of partition.takeOverdue()) {
      const { key, statePath, enteredAt } = overdue;
      if (writes.size >= settings.batchEventsMax) {
        later.push(overdue);
        continue;
      }
      const hosted = types.get(typeOf(key));
      if (hosted === undefined || writes.actor(key) !== undefined) continue; // the next sweep looks again
      const actor = find(partition, key);
      if (actor === undefined) later.push(overdue);
      const record = actor == null ? undefined : 'parked' in actor ? actor.stored : actor.record;
      if (record === undefined || record.entered[statePath] !== enteredAt) continue;
      if (hasAny(record.timers) || hasAny(record.invocations)) continue;
      writes.remove(hosted, key, record);
      meter.count('swept');
    }
    partition.overdue(later);
  }

  /** Invariant 1's order among timers of the same millisecond. Undefined when one of their actors is not loaded. */
  #firstOf(
    partition: Partition,
    tied: readonly { readonly member: string; readonly due: number }[],
    writes: BatchWrites,
  ): { readonly member: string } | undefined {
    let best: { readonly member: string; readonly key: string; readonly armed: readonly [number, number] } | undefined;
    for (const { member } of tied) {
      const space = member.indexOf(' ');
      const key = member.slice(0, space) as ActorKey;
      const actor = writes.actor(key) ?? this.#context.find(partition, key);
      if (actor === undefined) return undefined;
      const armed = (actor !== null && 'record' in actor ? actor.record.timers[member.slice(space + 1)]?.armed : undefined) ?? [0, 0];
      if (best === undefined || isBefore(key, armed, best)) best = { member, key, armed };
    }
    return best;
  }
}

/** An isolated entry is applied to what is stored: alone in its batch, and after all commits in flight. */
function mustWait(partition: Partition, writes: BatchWrites): boolean {
  return !writes.empty || partition.uncommitted.size > 0;
}

function isBefore(key: string, armed: readonly [number, number], best: { readonly key: string; readonly armed: readonly [number, number] }): boolean {
  if (key !== best.key) return key < best.key;
  return armed[0] !== best.armed[0] ? armed[0] < best.armed[0] : armed[1] < best.armed[1];
}

/** A liveness deadline that was armed before the sources were closed starts again in full where they reopened. (I6) */
function restartsAfterReopening(partition: Partition, member: string, due: number, armed: TimerState): boolean {
  const { reopenedAt } = partition.observed.current;
  if (due - armed.delayMs >= reopenedAt) return false;
  const restarted = reopenedAt + (armed.deadlineMs ?? armed.delayMs);
  if (restarted <= due) return false;
  partition.liveness.arm(member, restarted);
  return true;
}

function nextEntry(partition: Partition, watermark: number): Extract<Next, { kind: 'inbox' | 'source' }> | undefined {
  const inbox = partition.inboxPending.peek();
  let next: Extract<Next, { kind: 'inbox' | 'source' }> | undefined =
    inbox === undefined || partition.isAhead(inbox.ms, watermark) ? undefined : { kind: 'inbox', at: Math.min(inbox.ms, watermark), item: inbox };
  for (const state of partition.sourceStates) {
    const item = state.pending.peek();
    if (item === undefined || partition.isAhead(item.ms, watermark)) continue;
    const at = Math.min(item.ms, watermark);
    if (next === undefined || at < next.at) next = { kind: 'source', at, item, state };
  }
  return next;
}

function hasAny(object: object): boolean {
  for (const _ in object) return true;
  return false;
}
