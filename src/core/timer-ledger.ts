/**
 * The timers of one step: what the machine arms and cancels, against what the record already has.
 *
 * 1. The changes, applied to the armed timers of the record before, give exactly those of the record after;
 *    so a fired timer counts as cancelled unless it is armed again.
 * 2. Arming a timer that the record has with the same event, clock and recipient keeps its place in the order of
 *    firing and changes nothing that a fold needs: `structural` stays false. Only the delay may differ then.
 */
import type { ActorRecord, TimerState } from '../protocol/record.ts';
import type { TimerChange } from './decision.ts';
import { sameJson } from './json-exact.ts';

type Timers = ActorRecord['timers'];
export type Arming = Omit<TimerState, 'armed'>;

interface Entry {
  readonly key: string;
  /** Undefined: cancelled. */
  readonly arming: Arming | undefined;
}

export interface TimerOutcome {
  readonly timers: Timers;
  readonly changes: readonly TimerChange[];
  /** The set of timers, or what one of them does, is another than before. */
  readonly structural: boolean;
}

const NO_CHANGES: readonly TimerChange[] = Object.freeze([]);

export class TimerLedger {
  readonly #before: Timers;
  /** At most one entry for a key, in the order of the last word on each. */
  readonly #entries: Entry[] = [];

  constructor(before: Timers) {
    this.#before = before;
  }

  arm(key: string, arming: Arming): void {
    this.#forget(key);
    this.#entries.push({ key, arming });
  }

  cancel(key: string): void {
    this.#forget(key);
    if (Object.hasOwn(this.#before, key)) this.#entries.push({ key, arming: undefined });
  }

  /** Cancels all timers whose owner is the child at `path` or below it; with the root's path, all. */
  cancelUnder(path: string): void {
    const keys = [...Object.keys(this.#before), ...this.#entries.map(({ key }) => key)];
    for (const key of new Set(keys)) {
      const owner = key.slice(0, key.indexOf('|'));
      if (path === '' || owner === path || owner.startsWith(`${path}/`)) this.cancel(key);
    }
  }

  /** A key for a timer that the machine did not name: the first that is free, so that the same step always takes the same. */
  unnamedKey(path: string): string {
    for (let number = 0; ; number++) {
      const key = `${path}|~${number}`;
      if (!this.#has(key)) return key;
    }
  }

  close(revision: number): TimerOutcome {
    if (this.#entries.length === 0) return { timers: this.#before, changes: NO_CHANGES, structural: false };
    const changes: TimerChange[] = [];
    let timers: Record<string, TimerState> | undefined;
    let structural = false;
    for (const { key, arming } of this.#entries) {
      const existing = this.#before[key];
      if (arming === undefined) {
        timers ??= { ...this.#before };
        delete timers[key];
        structural = true;
        if (existing !== undefined) changes.push({ kind: 'cancel', key, clock: existing.clock });
        continue;
      }
      if (existing !== undefined && existing.clock !== arming.clock) changes.push({ kind: 'cancel', key, clock: existing.clock });
      const armed = existing !== undefined && doesTheSame(existing, arming) ? existing.armed : ([revision, changes.length] as const);
      if (existing === undefined || armed !== existing.armed) structural = true;
      if (structural || existing?.delayMs !== arming.delayMs || existing.deadlineMs !== arming.deadlineMs) {
        timers ??= { ...this.#before };
        timers[key] = { ...arming, armed };
      }
      changes.push({ kind: 'arm', key, clock: arming.clock, delayMs: arming.delayMs });
    }
    return { timers: timers ?? this.#before, changes, structural };
  }

  #has(key: string): boolean {
    const entry = this.#entries.find((candidate) => candidate.key === key);
    return entry === undefined ? Object.hasOwn(this.#before, key) : entry.arming !== undefined;
  }

  #forget(key: string): void {
    for (let index = this.#entries.length - 1; index >= 0; index--) {
      if (this.#entries[index]?.key === key) this.#entries.splice(index, 1);
    }
  }
}

function doesTheSame(left: TimerState, right: Arming): boolean {
  return left.clock === right.clock && left.target === right.target && left.to === right.to && sameJson(left.event, right.event);
}
