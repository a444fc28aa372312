/**
 * What a user of the library holds: sends events, reads actors, waits, follows. Works in any process; the engine need not run in it.
 *
 * 1. `send` resolves when the event is accepted: it will be applied exactly once, whatever happens then. (I1)
 * 2. `sendAndWait` resolves with what became of it; when the wait ends first, the event is still accepted.
 */
import { checkEvent, inspect, nextEvents, restore } from '../core/kernel.ts';
import type { ActorStatus, Envelope, EventSource, MachineEvent, Outcome } from '../protocol/envelope.ts';
import {
  ActorEndedError,
  ActorNotFoundError,
  CastellanError,
  CursorGoneError,
  EventRejectedError,
  InvalidEventError,
  StoppedError,
  WaitTimeoutError,
} from '../protocol/errors.ts';
import { actorKey, idOf, typeOf, type ActorKey } from '../protocol/ids.ts';
import type { Json } from '../protocol/json.ts';
import type { ActorRecord, MachineEventJson } from '../protocol/record.ts';
import { decodeRecord } from '../protocol/stored-record.ts';
import type { HostedTypes } from './actor-types.ts';
import type { FollowedTransition, FollowOptions, Hub } from './hub.ts';
import type { AppendResult, Clock, EngineStore } from './ports.ts';
import type { ActorReader, ReplyListener } from './read-ports.ts';

export interface ClientPorts {
  readonly store: Pick<EngineStore, 'append'>;
  readonly reader: Pick<ActorReader, 'getActor'>;
  readonly replies: ReplyListener;
  readonly hub: Hub;
  readonly types: HostedTypes;
  readonly clock: Clock;
}

export interface SendOptions {
  /** The same id within the dedupe window (24 h) is the same event. */
  readonly dedupeId?: string;
  readonly source?: EventSource;
  readonly causation?: string;
  readonly traceparent?: string;
}

/** One of many events that are sent together. */
export interface AddressedEvent extends Pick<SendOptions, 'dedupeId'> {
  readonly id: string;
  readonly event: MachineEvent;
}

/**
 * What `sendAndWait` resolves with; a dead letter is thrown instead.
 * `repeated`: the dedupe id was known, `entry` is the first append's; its outcome was told to whoever waited then.
 */
export type Settled = Exclude<Outcome, { kind: 'dead-letter' }> | { readonly kind: 'repeated'; readonly entry: string };

/** An actor as it stands. */
export interface ActorState {
  readonly key: ActorKey;
  readonly revision: number;
  readonly status: ActorStatus;
  readonly value: Json;
  readonly context: Json;
  readonly tags: readonly string[];
  /** Atomic state paths, such as `connection.online`. */
  readonly states: readonly string[];
  /** Declared events that it would take now. */
  readonly nextEvents: readonly string[];
  readonly output?: Json;
  readonly document?: Json;
  /** Why it takes no events; see ARCHITECTURE.md, Versions. */
  readonly parked?: string;
  readonly record: ActorRecord;
  /** Due times by timer key, ms. */
  readonly dues: { readonly [timer: string]: number };
}

/** What to wait for: a state path or its beginning (`processing`), a tag, or anything. */
export type Condition = { readonly state: string } | { readonly tag: string } | { readonly when: (state: ActorState) => boolean };

const WAIT_MS = 10_000;
/** Between two tries of a read that failed within a wait. */
const LOOK_AGAIN_MS = 100;
/** Outcomes that come before the append is answered are few; the rest of them nobody waits for any more. */
const EARLY_MAX = 10_000;

/** An event that a machine emitted: those of one transition together, so that the cursor after them misses and repeats nothing. */
export interface EmittedEvents {
  /** Follow from here to receive what comes after. */
  readonly cursor: string;
  readonly key: ActorKey;
  readonly revision: number;
  /** Step time of the transition, ms since the epoch. */
  readonly at: number;
  readonly events: readonly MachineEventJson[];
}

export class Client {
  readonly #ports: ClientPorts;
  readonly #waiting = new Map<string, (outcome: Outcome | undefined) => void>();
  /** Outcomes that came before their append was answered. */
  readonly #early = new Map<string, Outcome>();
  #appending = 0;
  /** Ends what waits when the client stops. */
  readonly #stopped = new AbortController();

  constructor(ports: ClientPorts) {
    this.#ports = ports;
  }

  async start(): Promise<void> {
    await this.#ports.replies.listen((entry, outcome) => this.#told(entry, outcome));
    await this.#ports.hub.start();
  }

  /** Ends followed iterations; whoever waits gets StoppedError. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    for (const end of this.#waiting.values()) end(undefined);
    this.#ports.hub.stop();
    await this.#ports.replies.close();
  }

  /** A cursor at the present end, or a little before it: what is committed from now on comes after it. */
  get newestCursor(): string {
    return this.#ports.hub.newest;
  }

  /** Accepts an event. Throws InvalidIdError, UnknownActorTypeError, InvalidEventError before anything is stored. */
  async send(type: string, id: string, event: MachineEvent, options: SendOptions = {}): Promise<AppendResult> {
    return this.#append(type, id, event, options, undefined);
  }

  /**
   * Accepts many events for actors of one type with one append, in order. One bad event refuses all of them, before anything is stored.
   * Any other error leaves open which of them were stored.
   */
  async sendAll(type: string, events: readonly AddressedEvent[], options: Omit<SendOptions, 'dedupeId'> = {}): Promise<readonly AppendResult[]> {
    const envelopes = events.map(({ id, event, dedupeId }) =>
      this.#envelope(type, id, event, { ...options, ...(dedupeId === undefined ? {} : { dedupeId }) }, undefined),
    );
    const results = await this.#ports.store.append(envelopes);
    return results.map((result) => {
      if (result instanceof Error) throw result;
      return result;
    });
  }

  /**
   * Accepts an event and waits for what becomes of it. Throws EventRejectedError with the dead letter's code and field, and
   * WaitTimeoutError or StoppedError when the wait ends first (then the event stays accepted). A repeat of a dedupe id waits for nothing.
   */
  async sendAndWait(type: string, id: string, event: MachineEvent, options: SendOptions & { readonly timeoutMs?: number } = {}): Promise<Settled> {
    const { result, outcome } = await this.sendAndHear(type, id, event, options);
    if (result.repeated) return { kind: 'repeated', entry: result.id };
    if (outcome === undefined) {
      const accepted = `The event ${result.id} for ${type}/${id} was accepted, but nothing has been heard of it yet. Read the actor, or follow its transitions.`;
      throw this.#stopped.signal.aborted ? new StoppedError(accepted) : new WaitTimeoutError(accepted);
    }
    if (outcome.kind === 'dead-letter') throw new EventRejectedError(outcome.code, outcome.reason, outcome.field);
    return outcome;
  }

  /** As sendAndWait, but tells what it knows instead of throwing. */
  async sendAndHear(
    type: string,
    id: string,
    event: MachineEvent,
    { timeoutMs = WAIT_MS, ...options }: SendOptions & { readonly timeoutMs?: number },
  ): Promise<{ readonly result: AppendResult; readonly outcome?: Outcome }> {
    this.#appending++;
    let result: AppendResult;
    try {
      result = await this.#append(type, id, event, options, this.#ports.replies.channel);
    } finally {
      this.#appending--;
    }
    const outcome = result.repeated ? undefined : await this.#outcomeOf(waitKey(result), timeoutMs);
    return outcome === undefined ? { result } : { result, outcome };
  }

  /** Undefined when there is no such actor. */
  async get(type: string, id: string): Promise<ActorState | undefined> {
    const key = actorKey(type, id);
    const { registered } = this.#ports.types.require(type);
    const stored = await this.#ports.reader.getActor(key);
    if (stored === undefined) return undefined;
    const { dues, document, record: json } = stored;
    const record = decodeRecord(json);
    const extras = { dues, record, ...(document === null ? {} : { document: JSON.parse(document) as Json }) };
    const actor = restore(registered, key, json);
    if ('parked' in actor) {
      const { value = null, context = null } = record.snapshot as { value?: Json; context?: Json };
      const { revision, status } = record;
      return { key, revision, status, value, context, tags: [], states: Object.keys(record.entered), nextEvents: [], parked: actor.parked, ...extras };
    }
    const { value, context, tags, states } = inspect(registered, actor);
    const { output } = record.snapshot as { output?: Json };
    const shown = { value, context, tags, states, nextEvents: nextEvents(registered, actor), ...(output === undefined ? {} : { output }) };
    return { key, revision: record.revision, status: record.status, ...shown, ...extras };
  }

  /**
   * Resolves with the actor when the condition holds, now or after one of its next transitions. Throws ActorEndedError when it ended
   * otherwise, WaitTimeoutError, ActorNotFoundError when the wait ends and there is still no such actor, StoppedError when the client stops.
   */
  async waitFor(type: string, id: string, condition: Condition, { timeoutMs = WAIT_MS }: { readonly timeoutMs?: number } = {}): Promise<ActorState> {
    const key = actorKey(type, id);
    const late = new AbortController();
    const timer = this.#ports.clock.sleep(timeoutMs, late.signal).then(() => late.abort());
    let state: ActorState | undefined;
    try {
      for await (state of this.#looks(key, AbortSignal.any([late.signal, this.#stopped.signal]))) {
        if (state !== undefined && awaited(condition, state)) return state;
      }
      if (this.#stopped.signal.aborted) throw stoppedWait(key);
      if (state === undefined) throw new ActorNotFoundError(key);
      throw new WaitTimeoutError(`${key} is ${JSON.stringify(state.value)} after ${timeoutMs} ms; what was waited for did not come.`);
    } finally {
      late.abort();
      await timer;
    }
  }

  /** The actor as it stands, and again after each of its transitions, until the signal aborts. */
  async *#looks(key: ActorKey, signal: AbortSignal): AsyncGenerator<ActorState | undefined> {
    while (!signal.aborted) {
      // Followed from before the first look, so that nothing is missed between.
      const transitions = await this.#ports.hub.follow('new', { types: [typeOf(key)], signal });
      yield await this.#look(key, signal);
      try {
        for await (const { transition } of transitions) if (transition.key === key) yield await this.#look(key, signal);
      } catch (error) {
        if (!(error instanceof CursorGoneError)) throw error; // fell behind what is kept: look anew
      }
    }
  }

  /** As get, but a Redis that is away for a moment does not end the wait. */
  async #look(key: ActorKey, signal: AbortSignal): Promise<ActorState | undefined> {
    for (;;) {
      try {
        return await this.get(typeOf(key), idOf(key));
      } catch (error) {
        if (this.#stopped.signal.aborted) throw stoppedWait(key);
        if ((error instanceof CastellanError && !error.retryable) || signal.aborted) throw error;
        await this.#ports.clock.sleep(LOOK_AGAIN_MS, signal);
      }
    }
  }

  /** Committed transitions in order, after a cursor or from now on. Throws CursorGoneError. */
  async transitions(cursor: string | 'new', options: FollowOptions): Promise<AsyncIterable<FollowedTransition>> {
    return this.#ports.hub.follow(cursor, options);
  }

  /** Events that machines emitted, in order, after a cursor or from now on. Throws CursorGoneError. */
  async emitted(cursor: string | 'new', options: FollowOptions): Promise<AsyncIterable<EmittedEvents>> {
    return emittedOf(await this.#ports.hub.follow(cursor, options));
  }

  async #append(type: string, id: string, event: MachineEvent, options: SendOptions, replyTo: string | undefined): Promise<AppendResult> {
    const [result] = await this.#ports.store.append([this.#envelope(type, id, event, options, replyTo)]);
    if (result === undefined || result instanceof Error) throw result ?? new Error('The store answered nothing.');
    return result;
  }

  #envelope(type: string, id: string, event: MachineEvent, options: SendOptions, replyTo: string | undefined): Envelope {
    const actor = actorKey(type, id);
    const checked = checkEvent(this.#ports.types.require(type).registered, event);
    if (!checked.ok) throw new InvalidEventError(checked.rejection.reason, checked.rejection.field === undefined ? {} : { field: checked.rejection.field });
    const { source = 'library', ...rest } = options;
    return { actor, event, source, ...rest, ...(replyTo === undefined ? {} : { replyTo }) };
  }

  async #outcomeOf(key: string, timeoutMs: number): Promise<Outcome | undefined> {
    const early = this.#early.get(key);
    this.#early.delete(key);
    if (early !== undefined || this.#stopped.signal.aborted) return early;
    const heard = new AbortController();
    let outcome: Outcome | undefined;
    this.#waiting.set(key, (told) => {
      outcome = told;
      heard.abort();
    });
    await this.#ports.clock.sleep(timeoutMs, heard.signal);
    this.#waiting.delete(key);
    return outcome;
  }

  #told(entry: string, outcome: Outcome): void {
    const waiting = this.#waiting.get(entry);
    if (waiting !== undefined) return waiting(outcome);
    if (this.#appending === 0) return;
    this.#early.set(entry, outcome);
    // The oldest is of an event whose sender gave up waiting.
    if (this.#early.size > EARLY_MAX) this.#early.delete(this.#early.keys().next().value as string);
  }
}

/** Entry ids are unique in their partition only. */
function waitKey({ partition, id }: AppendResult): string {
  return `${partition}:${id}`;
}

function stoppedWait(key: ActorKey): StoppedError {
  return new StoppedError(`The wait for ${key} ended because the client was stopped.`);
}

/** Throws {@link ActorEndedError} when it does not hold and never will: an actor that ended takes no more events. */
function awaited(condition: Condition, state: ActorState): boolean {
  if (holds(condition, state)) return true;
  if (state.status !== 'active') throw new ActorEndedError(state.key, state.status, state.value);
  return false;
}

function holds(condition: Condition, state: ActorState): boolean {
  if ('when' in condition) return condition.when(state);
  if ('tag' in condition) return state.tags.includes(condition.tag);
  return state.states.some((path) => path === condition.state || path.startsWith(`${condition.state}.`));
}

async function* emittedOf(transitions: AsyncIterable<FollowedTransition>): AsyncGenerator<EmittedEvents> {
  for await (const { cursor, transition } of transitions) {
    const { key, revision, at, emitted: events } = transition;
    if (events.length > 0) yield { cursor, key, revision, at, events };
  }
}
