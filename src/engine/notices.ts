/** What an operator should hear of: told to the host's log, the same kind at most once a minute. Counting all of it is the meter's job. */
import type { Clock } from './ports.ts';

export type NoticeKind =
  | 'fenced'
  | 'diverged'
  | 'isolate'
  | 'commit-failed'
  | 'source-gap'
  | 'future-id'
  | 'effect-exhausted'
  | 'post-refused'
  | 'announce-failed'
  | 'channel-overflow'
  | 'intake-failed';

const SILENCE_MS = 60_000;

export class Notices {
  readonly #clock: Clock;
  readonly #warn: (message: string) => void;
  readonly #told = new Map<NoticeKind, { at: number; suppressed: number }>();

  constructor(clock: Clock, warn: (message: string) => void) {
    this.#clock = clock;
    this.#warn = warn;
  }

  tell(kind: NoticeKind, message: string): void {
    const now = this.#clock.now();
    const last = this.#told.get(kind);
    if (last !== undefined && now - last.at < SILENCE_MS) {
      last.suppressed++;
      return;
    }
    this.#warn(last === undefined || last.suppressed === 0 ? message : `${message} (and ${last.suppressed} more like it since the last warning)`);
    this.#told.set(kind, { at: now, suppressed: 0 });
  }
}
