/**
 * What a step decides. A step is pure: `(actor type, actor, stimulus, moment) → decision`.
 */
import type { MachineEventJson, TimerClock, ActorRecord } from '../protocol/record.ts';
import type { Stimulus } from '../protocol/envelope.ts';
import type { Command } from '../protocol/command.ts';
import type { ActorKey } from '../protocol/ids.ts';
import type { Json } from '../protocol/json.ts';

/** The step's time and the address under which its transition will be committed. Both are recorded, so folding repeats them. */
export interface Moment {
  /** Step time, ms since the epoch. */
  readonly at: number;
  /** `<partition>:<feed id>:<index>`. Makes invocation tokens unique across epochs. */
  readonly address: string;
}

/** An actor in memory: its record, and the interpreter's live snapshots, which only the kernel looks into. */
export interface LiveActor {
  readonly key: ActorKey;
  readonly record: ActorRecord;
  /** Opaque to all but the kernel. */
  readonly live: unknown;
}

/** Timer changes in the order in which the machine made them; applied to the timers armed before they give those of the new record, so a fired one is cancelled. The engine turns a delay into a due time: step time or observed time plus delay. */
export type TimerChange =
  | { readonly kind: 'arm'; readonly key: string; readonly clock: TimerClock; readonly delayMs: number }
  | { readonly kind: 'cancel'; readonly key: string; readonly clock: TimerClock };

export interface Rejection {
  readonly code: string;
  readonly reason: string;
  readonly field?: string;
}

export type Decision =
  /** Nothing to store: same snapshot, no action. */
  | { readonly kind: 'ignored' }
  /**
   * No revision and no journal entry: timers that the record has are armed again, or the document set. `actor` differs from the one
   * before only if the record does, which is when a timer was armed with another delay. A new or a lost timer, or one that fired for nothing, is a transition (I2).
   */
  | { readonly kind: 'touch'; readonly actor: LiveActor; readonly recordChanged: boolean; readonly timers: readonly TimerChange[]; readonly document?: string }
  | {
      readonly kind: 'transition';
      readonly actor: LiveActor;
      readonly timers: readonly TimerChange[];
      readonly document?: string;
      readonly stimulus: Stimulus;
      readonly from: Json;
      readonly to: Json;
      readonly commands: readonly Command[];
      readonly emitted: readonly MachineEventJson[];
      readonly logs: readonly Json[];
      readonly output?: Json;
    }
  /** The event goes to the dead letters; the stored state stays and the actor must leave the cache. */
  | { readonly kind: 'rejected'; readonly rejection: Rejection };
