/**
 * What is stored of one actor, and what a committed transition looks like in the feed.
 *
 * 1. A record is JSON and stands for itself: with the actor type's machine it restores the actor.
 * 2. The due times of timers are not in the record but in the partition's sorted sets, so that a touch
 *    (which only re-arms) need not rewrite the record.
 */
import type { ActorStatus, Cause, Stimulus } from './envelope.ts';
import type { ActorKey } from './ids.ts';
import type { Command } from './command.ts';
import type { Json, JsonObject } from './json.ts';

/** Timers run on the partition's time (`clock`) or on the time in which the sources were really observed (`liveness`). */
export type TimerClock = 'clock' | 'liveness';

/** An armed timer. Its key in the record is `<child path>|<send id>`; the root's path is empty. */
export interface TimerState {
  readonly event: MachineEventJson;
  readonly clock: TimerClock;
  /** The delay it was armed with, in ms. */
  readonly delayMs: number;
  /** For liveness timers: what a full deadline is, in ms of observed time, after the sources were closed. */
  readonly deadlineMs?: number;
  /** Revision and index of the arming: the order of timers that are due in the same millisecond. */
  readonly armed: readonly [revision: number, index: number];
  /** Child path that receives the event when it is not the timer's own owner (a delayed sendTo to a child or the parent). */
  readonly target?: string;
  /** Address of another durable actor, for a delayed message to it. */
  readonly to?: ActorKey;
}
export type MachineEventJson = { readonly type: string } & JsonObject;

/** A child machine as a value. Its key is its path: ids joined with `/`. */
export interface ChildState {
  /** Name of the machine in the parent's `setup({ actors })`. */
  readonly source: string;
  readonly snapshot: Json;
}

/** A promise that the present state invokes. Its key is `<child path>|<invoke id>`. */
export interface InvocationState {
  /** Name of the promise logic in `setup({ actors })` of the machine that invokes it. */
  readonly source: string;
  readonly input: Json;
  /** Unique to this start: a result with another token is from an earlier run and is ignored. */
  readonly token: string;
}

export interface ActorRecord {
  readonly revision: number;
  /** The machine's version as declared by its actor type. */
  readonly version: string;
  readonly status: ActorStatus;
  /** XState's persisted snapshot without its children. */
  readonly snapshot: Json;
  /** When each active atomic state was entered (ms since the epoch, step time), by state path such as `connection.online`. */
  readonly entered: { readonly [statePath: string]: number };
  readonly timers: { readonly [key: string]: TimerState };
  readonly children: { readonly [path: string]: ChildState };
  readonly invocations: { readonly [key: string]: InvocationState };
  /** Step time of the first and of the newest transition. */
  readonly createdAt: number;
  readonly updatedAt: number;
  /** Address of the newest transition in the feed, `<partition>:<feed id>:<index>`; null before the first commit. */
  readonly head: string | null;
  /** Set when the stored machine version does not fit the registered one: the actor takes no events until then. */
  readonly parked?: string;
}

/** One committed transition, as the feed keeps it. Field names are short because the feed holds millions. */
export interface Transition {
  readonly key: ActorKey;
  readonly revision: number;
  /** Step time, ms since the epoch. Folding uses this and never the clock. */
  readonly at: number;
  readonly stimulus: Stimulus;
  readonly cause: Cause;
  readonly version: string;
  readonly from: Json;
  readonly to: Json;
  readonly commands: readonly Command[];
  readonly emitted: readonly MachineEventJson[];
  readonly logs: readonly Json[];
  /** Address of this actor's previous transition, or null for its first. */
  readonly previous: string | null;
  /** The whole record after this transition, at every {@link CHECKPOINT_EVERY}th. The first needs none: its event on nothing gives it. */
  readonly checkpoint?: ActorRecord;
}

/** A checkpoint bounds how many transitions a fold replays. */
export const CHECKPOINT_EVERY = 50;
