/**
 * Given / when / then for durable machines: `given(definition)`, then `.when(event)`, `.after(ms)`, `.settle(…)`, then look.
 *
 * 1. No Redis, no engine, no waiting: the real kernel on a virtual clock.
 * 2. Every step runs twice, the second time from the stored record with everything it is given frozen; two decisions that
 *    differ, and a context or event changed in place, are failures. So is a journal that does not fold to the record.
 * 3. Timers fire at their due time, in the order of the engine: by time, then by the order in which they were armed.
 */
import type { ActorTypeDefinition } from '../core/actor-type.ts';
import type { Decision, LiveActor, Rejection } from '../core/decision.ts';
import { checkEvent, fold, inspect, nextEvents, registerActorType, type RegisteredType } from '../core/kernel.ts';
import type { EffectCommand, MessageCommand } from '../protocol/command.ts';
import type { ActorStatus, InvocationOutcome, MachineEvent, Stimulus } from '../protocol/envelope.ts';
import type { ActorRecord, InvocationState, MachineEventJson, Transition } from '../protocol/record.ts';
import { actorKey, type ActorKey } from '../protocol/ids.ts';
import type { Json } from '../protocol/json.ts';
import { MachineTestError } from '../protocol/errors.ts';
import { stepTwice } from './step-twice.ts';
import { difference } from './difference.ts';
import { VirtualTimers, type ArmedTimer } from './virtual-timers.ts';

/** More firings in one `after` than any honest test has: a timer that re-arms itself with no delay never ends. */
export const FIRINGS_MAX = 10_000;

export interface GivenOptions {
  /** The actor's id. Default `test`. */
  readonly id?: string;
  /** The time at the beginning, ms since the epoch. Default 2026-01-01T00:00:00Z. */
  readonly at?: number;
}

const DEFAULT_START_MS = 1_767_225_600_000;

/** A durable actor that does not exist yet: its first event creates it. Throws MachineNotDurableError. */
export function given(definition: ActorTypeDefinition | RegisteredType, options: GivenOptions = {}): TestActor {
  const type = 'interpreter' in definition ? definition : registerActorType(definition);
  return new TestActor(type, actorKey(type.type, options.id ?? 'test'), options.at ?? DEFAULT_START_MS);
}

/** What the newest verb (`when`, `after`, `settle`, …) brought about, all its steps together. */
interface Outcome {
  readonly decisions: Exclude<Decision, { kind: 'rejected' }>[];
  document: Json | undefined;
}

export class TestActor {
  readonly key: ActorKey;
  readonly #type: RegisteredType;
  readonly #timers: VirtualTimers;
  readonly #journal: Transition[] = [];
  readonly #addresses: string[] = [];
  #actor: LiveActor | null = null;
  #document: Json | undefined;
  #newest: Outcome = { decisions: [], document: undefined };

  constructor(type: RegisteredType, key: ActorKey, at: number) {
    this.#type = type;
    this.key = key;
    this.#timers = new VirtualTimers(at);
  }

  /** Sends an event, checked by its schema as it would be from outside. `document` is what setDocument stores. Fails when it is rejected. */
  when(event: MachineEvent, document?: Json): this {
    this.#begin();
    const rejection = this.#send(event, document);
    if (rejection !== undefined) throw new MachineTestError(`The event "${event.type}" was rejected (${rejection.code}): ${rejection.reason}`);
    return this;
  }

  /** Sends an event that must be rejected, and tells why it was. The actor stays as it was. */
  rejects(event: unknown): Rejection {
    this.#begin();
    const rejection = this.#send(event, undefined);
    if (rejection === undefined) throw new MachineTestError('The event was accepted, but the test expects that it is rejected.');
    return rejection;
  }

  /** Lets time pass, for the clock and for observed time alike; timers fire when they are due. */
  after(ms: number): this {
    this.#begin();
    this.#fireUntil(this.#timers.now + ms, true);
    return this;
  }

  /**
   * Lets time pass in which the sources were closed to us: the clock goes on, observed time stands still, and then
   * every liveness timer has its full deadline again.
   */
  closed(ms: number): this {
    this.#begin();
    this.#fireUntil(this.#timers.now + ms, false);
    this.#timers.reopen(this.#actor?.record.timers ?? {});
    return this;
  }

  /**
   * Ends an invocation. `id` is the invoke's id, or `<child path>|<id>` in a child. Settling one that no longer runs needs the
   * `token` it had and is ignored, as a late result is.
   */
  settle(id: string, outcome: InvocationOutcome, token?: string): this {
    this.#begin();
    const invocation = id.includes('|') ? id : `|${id}`;
    const known = token ?? this.invocations[invocation]?.token;
    if (known === undefined) throw new MachineTestError(`No invocation "${id}" is running. Running: ${Object.keys(this.invocations).join(', ') || 'none'}.`);
    const rejection = this.#step({ kind: 'settled', invocation, token: known, outcome });
    if (rejection !== undefined) throw new MachineTestError(`The result of "${id}" was rejected (${rejection.code}): ${rejection.reason}`);
    return this;
  }

  /** What became of the newest verb; with several steps the weightiest of them. */
  get outcome(): 'transition' | 'touch' | 'ignored' {
    const kinds = new Set(this.#newest.decisions.map(({ kind }) => kind));
    if (kinds.has('transition')) return 'transition';
    return kinds.has('touch') ? 'touch' : 'ignored';
  }

  /** The effects that the newest verb decided. */
  get commands(): readonly { readonly name: string; readonly params: Json }[] {
    return this.#commands.filter((command): command is EffectCommand => command.kind === 'effect').map(({ name, params }) => ({ name, params }));
  }

  /** The messages to other actors that the newest verb decided. */
  get messages(): readonly { readonly to: ActorKey; readonly event: MachineEventJson }[] {
    return this.#commands.filter((command): command is MessageCommand => command.kind === 'message').map(({ to, event }) => ({ to, event }));
  }

  get emitted(): readonly MachineEventJson[] {
    return this.#transitions.flatMap(({ emitted }) => emitted);
  }

  get logs(): readonly Json[] {
    return this.#transitions.flatMap(({ logs }) => logs);
  }

  /** The document that the newest verb set; undefined when it set none. */
  get document(): Json | undefined {
    return this.#newest.document;
  }

  /** The document as it is stored now. */
  get storedDocument(): Json | undefined {
    return this.#document;
  }

  /** Armed timers by key, `<child path>|<send id>`, soonest first. */
  get timers(): readonly ArmedTimer[] {
    return this.#timers.armed(this.#actor?.record.timers ?? {});
  }

  get exists(): boolean {
    return this.#actor !== null;
  }

  get record(): ActorRecord {
    return this.#live.record;
  }

  get revision(): number {
    return this.#actor?.record.revision ?? 0;
  }

  get status(): ActorStatus {
    return this.record.status;
  }

  get value(): Json {
    return inspect(this.#type, this.#live).value;
  }

  get context(): Json {
    return inspect(this.#type, this.#live).context;
  }

  get tags(): readonly string[] {
    return inspect(this.#type, this.#live).tags;
  }

  /** State paths of the active atomic states, such as `connection.online`. */
  get states(): readonly string[] {
    return inspect(this.#type, this.#live).states;
  }

  get output(): Json | undefined {
    return (this.record.snapshot as { readonly output?: Json }).output;
  }

  get nextEvents(): readonly string[] {
    return nextEvents(this.#type, this.#live);
  }

  /** Children by path, with their persisted snapshots. */
  get children(): ActorRecord['children'] {
    return this.record.children;
  }

  /** Running promises by key. */
  get invocations(): { readonly [key: string]: InvocationState } {
    return this.#actor?.record.invocations ?? {};
  }

  /** Virtual time, ms since the epoch. */
  get now(): number {
    return this.#timers.now;
  }

  /** The committed transitions, oldest first. */
  get journal(): readonly Transition[] {
    return this.#journal;
  }

  get #live(): LiveActor {
    if (this.#actor === null) throw new MachineTestError(`There is no actor "${this.key}" yet: its first event creates it.`);
    return this.#actor;
  }

  get #transitions(): readonly Extract<Decision, { kind: 'transition' }>[] {
    return this.#newest.decisions.filter((decision) => decision.kind === 'transition');
  }

  get #commands(): readonly (EffectCommand | MessageCommand)[] {
    return this.#transitions.flatMap(({ commands }) => commands);
  }

  #begin(): void {
    this.#newest = { decisions: [], document: undefined };
  }

  #send(event: unknown, document: Json | undefined): Rejection | undefined {
    const checked = checkEvent(this.#type, event);
    if (!checked.ok) return checked.rejection;
    return this.#step({ kind: 'event', event: checked.event, ...(document === undefined ? undefined : { document: JSON.stringify(document) }) });
  }

  #fireUntil(end: number, observed: boolean): void {
    for (let firings = 0; ; firings++) {
      if (firings > FIRINGS_MAX) throw new MachineTestError(`More than ${FIRINGS_MAX} timers fired: one re-arms itself without end.`);
      const due = this.#timers.next(end, observed, this.#actor?.record.timers ?? {});
      if (due === undefined) break;
      const rejection = this.#step({ kind: 'timer', timer: due });
      if (rejection !== undefined) throw new MachineTestError(`The timer "${due}" was rejected (${rejection.code}): ${rejection.reason}`);
    }
    this.#timers.moveTo(end, observed);
  }

  #step(stimulus: Stimulus): Rejection | undefined {
    const moment = { at: this.now, address: `0:1-${this.#journal.length + 1}:0` };
    const decision = stepTwice(this.#type, this.key, this.#actor, stimulus, moment);
    if (decision.kind === 'rejected') return decision.rejection;
    this.#newest.decisions.push(decision);
    if (decision.kind === 'ignored') return undefined;
    this.#timers.apply(decision.timers);
    if (decision.document !== undefined) this.#newest.document = this.#document = JSON.parse(decision.document) as Json;
    if (decision.kind === 'touch') this.#actor = decision.actor;
    else this.#commit(decision, moment.address);
    return undefined;
  }

  #commit(decision: Extract<Decision, { kind: 'transition' }>, address: string): void {
    const { stimulus, from, to, commands, emitted, logs } = decision;
    const previous = this.#actor;
    const { record } = decision.actor;
    const transition: Transition = {
      key: this.key,
      revision: record.revision,
      at: this.now,
      stimulus,
      cause: { source: stimulus.kind === 'event' ? 'library' : stimulus.kind === 'timer' ? 'timer' : 'invocation', ref: 'test' },
      version: record.version,
      from,
      to,
      commands,
      emitted,
      logs,
      previous: previous?.record.head ?? null,
    };
    this.#journal.push(transition);
    this.#addresses.push(address);
    this.#actor = decision.actor;
    this.#checkFold(previous, transition, address);
  }

  /** Folding the newest journal entry on what was stored before it gives what is stored now (2). */
  #checkFold(previous: LiveActor | null, transition: Transition, address: string): void {
    const folded = fold(this.#type, this.key, previous?.record ?? null, [transition], [address]);
    if (folded.kind !== 'folded') throw new MachineTestError(`The journal does not fold at revision ${transition.revision}: ${folded.reason}`);
    const found = difference(folded.actor.record, this.record, 'record');
    if (found !== undefined) throw new MachineTestError(`Folding the journal at revision ${transition.revision} gives another record: ${found}`);
  }
}
