/**
 * The timers of a test actor on a virtual clock and on virtual observed time.
 * Both move together; only while the sources are closed does observed time stand still.
 */
import type { TimerChange } from '../core/decision.ts';
import type { ActorRecord, MachineEventJson, TimerClock } from '../protocol/record.ts';

type Timers = ActorRecord['timers'];

export interface ArmedTimer {
  readonly key: string;
  readonly event: MachineEventJson;
  readonly clock: TimerClock;
  /** How long until it is due if nothing else happens, ms. */
  readonly inMs: number;
}

export class VirtualTimers {
  #now: number;
  #observed = 0;
  readonly #due = new Map<string, { readonly clock: TimerClock; readonly at: number }>();

  constructor(now: number) {
    this.#now = now;
  }

  get now(): number {
    return this.#now;
  }

  apply(changes: readonly TimerChange[]): void {
    for (const change of changes) {
      if (change.kind === 'cancel') this.#due.delete(change.key);
      else this.#due.set(change.key, { clock: change.clock, at: this.#time(change.clock) + change.delayMs });
    }
  }

  /** Moves to the next timer that is due by `end` and names it. Of those due together, the one armed first. */
  next(end: number, observed: boolean, timers: Timers): string | undefined {
    const due = [...this.#due]
      .filter(([, { clock }]) => observed || clock === 'clock')
      .map(([key, { clock, at }]) => ({ key, wait: Math.max(0, at - this.#time(clock)), armed: timers[key]?.armed ?? ([0, 0] as const) }))
      .filter(({ wait }) => this.#now + wait <= end)
      .sort((left, right) => left.wait - right.wait || left.armed[0] - right.armed[0] || left.armed[1] - right.armed[1])[0];
    if (due === undefined) return undefined;
    this.moveTo(this.#now + due.wait, observed);
    return due.key;
  }

  moveTo(time: number, observed: boolean): void {
    if (observed) this.#observed += time - this.#now;
    this.#now = time;
  }

  /** After a time in which the sources were closed: every liveness timer has its full deadline again. */
  reopen(timers: Timers): void {
    for (const [key, { clock, at }] of this.#due) {
      if (clock === 'liveness') this.#due.set(key, { clock, at: Math.max(at, this.#observed + (timers[key]?.deadlineMs ?? 0)) });
    }
  }

  armed(timers: Timers): readonly ArmedTimer[] {
    return [...this.#due]
      .map(([key, { clock, at }]) => ({ key, event: timers[key]?.event ?? { type: '' }, clock, inMs: at - this.#time(clock) }))
      .sort((left, right) => left.inMs - right.inMs);
  }

  #time(clock: TimerClock): number {
    return clock === 'clock' ? this.#now : this.#observed;
  }
}
