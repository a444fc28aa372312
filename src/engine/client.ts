/**
 * What a user of the library holds: sends events, reads actors, waits, follows. Works in any process; the engine need not run in it.
 *
 * 1. `send` resolves when the event is accepted: it will be applied exactly once, whatever happens then. (I1)
 * 2. `sendAndWait` resolves with what became of it; when the wait ends first, the event is still accepted.
 */
import { checkEvent, inspect, nextEvents, restore } from '../core/kernel.ts';
import type { ActorStatus, EventSource, MachineEvent, Outcome } from '../protocol/envelope.ts';
import { ActorNotFoundError, EventRejectedError, InvalidEventError, WaitTimeoutError } from '../protocol/errors.ts';
import { actorKey, type ActorKey } from '../protocol/ids.ts';
import type { Json } from '../protocol/json.ts';
import type { ActorRecord, MachineEventJson } from '../protocol/record.ts';
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

/** What `sendAndWait` resolves with; a dead letter is thrown instead. */
export type Settled = Exclude<Outcome, { kind: 'dead-letter' }>;

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

export class Client {
  readonly #ports: ClientPorts;
  readonly #waiting = new Map<string, (outcome: Outcome) => void>();
  /** Outcomes that came before their append was answered. */
  readonly #early = new Map<string, Outcome>();
  #appending = 0;

  constructor(ports: ClientPorts) {
    this.#ports = ports;
  }

  async start(): Promise<void> {
    await this.#ports.replies.listen((entry, outcome) => this.#told(entry, outcome));
    await this.#ports.hub.start();
  }

  async stop(): Promise<void> {
    await this.#ports.hub.stop();
    await this.#ports.replies.close();
  }

  /** Accepts an event. Throws InvalidIdError, UnknownActorTypeError, InvalidEventError before anything is stored. */
  async send(type: string, id: string, event: MachineEvent, options: SendOptions = {}): Promise<AppendResult> {
    return this.#append(type, id, event, options, undefined);
  }

  /**
   * Accepts an event and waits for what becomes of it. Throws EventRejectedError with the dead letter's code, and
   * WaitTimeoutError when the wait ends first (then the event stays accepted). A repeat of a dedupe id waits for nothing.
   */
  async sendAndWait(type: string, id: string, event: MachineEvent, options: SendOptions & { readonly timeoutMs?: number } = {}): Promise<Settled> {
    const { result, outcome } = await this.sendAndHear(type, id, event, options);
    if (outcome === undefined) {
      const why = result.repeated ? 'was accepted before, and its outcome was told then' : 'was accepted, but nothing has been heard of it yet';
      throw new WaitTimeoutError(`The event ${result.id} for ${type}/${id} ${why}. Read the actor, or follow its transitions.`);
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
    if (this.#appending === 0) this.#early.clear();
    return outcome === undefined ? { result } : { result, outcome };
  }

  /** Undefined when there is no such actor. */
  async get(type: string, id: string): Promise<ActorState | undefined> {
    const key = actorKey(type, id);
    const { registered } = this.#ports.types.require(type);
    const stored = await this.#ports.reader.getActor(key);
    if (stored === undefined) return undefined;
    const { dues, document, record: json } = stored;
    const record = JSON.parse(json) as ActorRecord;
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

  /** Resolves with the actor when the condition holds, now or after one of its next transitions. Throws WaitTimeoutError. */
  async waitFor(type: string, id: string, condition: Condition, { timeoutMs = WAIT_MS }: { readonly timeoutMs?: number } = {}): Promise<ActorState> {
    const key = actorKey(type, id);
    const late = new AbortController();
    // Followed from before the first look, so that nothing is missed between.
    const transitions = await this.#ports.hub.follow('new', { types: [type], signal: late.signal });
    const timer = this.#ports.clock.sleep(timeoutMs, late.signal).then(() => late.abort());
    try {
      let state = await this.get(type, id);
      if (state !== undefined && holds(condition, state)) return state;
      for await (const { transition } of transitions) {
        if (transition.key !== key) continue;
        state = await this.get(type, id);
        if (state !== undefined && holds(condition, state)) return state;
      }
      if (state === undefined) throw new ActorNotFoundError(key);
      throw new WaitTimeoutError(`${key} is ${JSON.stringify(state.value)} after ${timeoutMs} ms; what was waited for did not come.`);
    } finally {
      late.abort();
      await timer;
    }
  }

  /** Committed transitions in order, after a cursor or from now on. Throws CursorGoneError. */
  async transitions(cursor: string | 'new', options: FollowOptions): Promise<AsyncIterable<FollowedTransition>> {
    return this.#ports.hub.follow(cursor, options);
  }

  /** Events that machines emitted, in order, after a cursor or from now on. Throws CursorGoneError. */
  async emitted(
    cursor: string | 'new',
    options: FollowOptions,
  ): Promise<AsyncIterable<{ readonly cursor: string; readonly key: ActorKey; readonly event: MachineEventJson }>> {
    return emittedOf(await this.#ports.hub.follow(cursor, options));
  }

  async #append(type: string, id: string, event: MachineEvent, options: SendOptions, replyTo: string | undefined): Promise<AppendResult> {
    const actor = actorKey(type, id);
    const checked = checkEvent(this.#ports.types.require(type).registered, event);
    if (!checked.ok) throw new InvalidEventError(checked.rejection.reason, checked.rejection.field === undefined ? {} : { field: checked.rejection.field });
    const { source = 'library', ...rest } = options;
    const [result] = await this.#ports.store.append([{ actor, event, source, ...rest, ...(replyTo === undefined ? {} : { replyTo }) }]);
    if (result === undefined || result instanceof Error) throw result ?? new Error('The store answered nothing.');
    return result;
  }

  async #outcomeOf(key: string, timeoutMs: number): Promise<Outcome | undefined> {
    const early = this.#early.get(key);
    if (early !== undefined) return early;
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
    if (waiting !== undefined) waiting(outcome);
    else if (this.#appending > 0) this.#early.set(entry, outcome);
  }
}

/** Entry ids are unique in their partition only. */
function waitKey({ partition, id }: AppendResult): string {
  return `${partition}:${id}`;
}

function holds(condition: Condition, state: ActorState): boolean {
  if ('when' in condition) return condition.when(state);
  if ('tag' in condition) return state.tags.includes(condition.tag);
  return state.states.some((path) => path === condition.state || path.startsWith(`${condition.state}.`));
}

async function* emittedOf(
  transitions: AsyncIterable<FollowedTransition>,
): AsyncGenerator<{ readonly cursor: string; readonly key: ActorKey; readonly event: MachineEventJson }> {
  for await (const { cursor, transition } of transitions) for (const event of transition.emitted) yield { cursor, key: transition.key, event };
}
