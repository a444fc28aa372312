/**
 * How much goes wrong in a run: drawn once per seed, so that some runs are calm, some have one kind of fault, and some have all.
 */
import type { Chance } from './random.ts';

export interface Faults {
  /** Of an engine, at each point where it waits for the store. */
  readonly crash: number;
  /** The call fails and nothing was written. */
  readonly failBefore: number;
  /** Written, and the reply is lost. */
  readonly lostReply: number;
  /** The caller gives up; the call is carried out some time later all the same. */
  readonly late: number;
  /** A call or a reply takes up to {@link slowMs}. */
  readonly slow: number;
  readonly slowMs: number;
  /** Per virtual second: the whole engine process stands still for a while, at times for longer than its lease. */
  readonly pause: number;
  /** Per virtual second: Redis is away for a while. */
  readonly outage: number;
  /** Per virtual second: a stream of another system takes nothing for a while. */
  readonly refusal: number;
  /** A ring of the doorbell is lost. */
  readonly deaf: number;
  /** An effect fails. */
  readonly effect: number;
  /** A sender sends again what was accepted. */
  readonly resend: number;
  /** Engines that compete for the partitions. */
  readonly engines: number;
}

export const NO_FAULTS: Faults = {
  crash: 0,
  failBefore: 0,
  lostReply: 0,
  late: 0,
  slow: 0,
  slowMs: 0,
  pause: 0,
  outage: 0,
  refusal: 0,
  deaf: 0,
  effect: 0,
  resend: 0,
  engines: 1,
};

export function drawFaults(chance: Chance): Faults {
  const sometimes = (share: number, most: number): number => (chance.is(share) ? chance.next() * most : 0);
  return {
    crash: sometimes(0.6, 0.004),
    failBefore: sometimes(0.5, 0.05),
    lostReply: sometimes(0.5, 0.05),
    late: sometimes(0.4, 0.02),
    slow: sometimes(0.5, 0.05),
    slowMs: chance.pick([20, 200, 3_000]),
    pause: sometimes(0.5, 0.1),
    outage: sometimes(0.3, 0.05),
    deaf: sometimes(0.4, 1),
    effect: sometimes(0.6, 0.5),
    resend: sometimes(0.6, 0.4),
    engines: chance.is(0.5) ? 2 : 1,
    refusal: sometimes(0.5, 0.3),
  };
}
