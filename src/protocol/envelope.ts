/**
 * One event for one actor, as it lies in an inbox, and the stimulus that a step receives.
 */
import type { ActorKey } from './ids.ts';
import type { Json } from './json.ts';

/** An event of a machine: a type and any JSON beside it. */
export interface MachineEvent {
  readonly type: string;
  readonly [field: string]: Json | undefined;
}

/** Where an event came from. The part after the colon is an actor's address, a stream's or a list's key, or a channel. */
export type EventSource =
  'http' | 'library' | 'cli' | 'replay' | 'timer' | 'invocation' | `actor:${string}` | `stream:${string}` | `list:${string}` | `channel:${string}`;

/** What a sender appends to a partition's inbox. */
export interface Envelope {
  readonly actor: ActorKey;
  readonly event: MachineEvent;
  readonly source: EventSource;
  /** The same id within the dedupe window is the same event: a repeat is answered with the first one's entry id. */
  readonly dedupeId?: string;
  /** Address of the transition or entry that made the sender send this. */
  readonly causation?: string;
  /** W3C trace context. */
  readonly traceparent?: string;
  /** Channel on which the sender waits for the outcome; see {@link Outcome}. */
  readonly replyTo?: string;
}

/** What an invocation (a promise that a state invokes) ended with. */
export type InvocationOutcome = { readonly ok: true; readonly output: Json } | { readonly ok: false; readonly error: InvocationError };
export interface InvocationError {
  readonly name: string;
  readonly message: string;
}

/**
 * What a step is given besides the record and the time.
 *
 * - `event`: from outside or from another actor; its name may not begin with `xstate.`.
 *   `document`, when present, is what the built-in action `setDocument` stores; the step does not read it.
 * - `timer`: a timer of the record is due. Ignored when the record no longer has it.
 * - `settled`: an invocation ended. Ignored unless `token` is the record's present one.
 */
export type Stimulus =
  | { readonly kind: 'event'; readonly event: MachineEvent; readonly document?: string }
  | { readonly kind: 'timer'; readonly timer: string }
  | { readonly kind: 'settled'; readonly invocation: string; readonly token: string; readonly outcome: InvocationOutcome };

/** Why a transition happened: kept in the feed. */
export interface Cause {
  readonly source: EventSource;
  /** The inbox or source entry's id, the timer's key, or the invocation's key. */
  readonly ref: string;
  readonly causation?: string;
  readonly traceparent?: string;
}

/** What became of an appended event, as told to the sender that waits for it. */
export type Outcome =
  | { readonly kind: 'transition'; readonly revision: number; readonly value: Json; readonly status: ActorStatus; readonly output?: Json }
  | { readonly kind: 'touch' }
  | { readonly kind: 'ignored' }
  | { readonly kind: 'dead-letter'; readonly code: string; readonly reason: string; readonly field?: string };

export type ActorStatus = 'active' | 'done' | 'error' | 'stopped';
