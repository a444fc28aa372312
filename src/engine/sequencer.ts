/**
 * Lines up the packs of all partitions in one stream, so that a subscriber follows one cursor.
 *
 * 1. Packs of one partition stand in the order of their commits.
 * 2. A call whose reply is lost is repeated: the store remembers, in the same call, how far each feed is lined up.
 * 3. What the last owner committed and did not line up comes first at takeover.
 */
import type { Meter } from './meter.ts';
import type { Clock, CommitId, EngineStore, PackAddress } from './ports.ts';
import { Wakeup } from './wakeup.ts';

/** Addresses in one call. */
const ADDRESSES_MAX = 1_000;
const FAILURE_PAUSE_MS = 20;

export class Sequencer {
  readonly #store: Pick<EngineStore, 'sequence'>;
  readonly #clock: Clock;
  readonly #meter: Meter;
  #waiting: PackAddress[] = [];
  readonly #wakeup: Wakeup;
  /** Newest pack lined up, by `<partition>:<type>`: trimming stops there. */
  readonly #through = new Map<string, CommitId>();

  constructor(store: Pick<EngineStore, 'sequence'>, clock: Clock, meter: Meter) {
    this.#store = store;
    this.#clock = clock;
    this.#meter = meter;
    this.#wakeup = new Wakeup(clock);
  }

  /** A partition was taken over: what its last owner did not line up comes first (3); of the other types everything up to `commit` is. */
  open(partition: number, types: readonly string[], commit: CommitId, unsequenced: readonly PackAddress[]): void {
    for (const type of types) if (!unsequenced.some((pack) => pack.type === type)) this.#through.set(`${partition}:${type}`, commit);
    this.add(unsequenced);
  }

  add(addresses: readonly PackAddress[]): void {
    if (addresses.length === 0) return;
    this.#waiting.push(...addresses);
    this.#wakeup.wake();
  }

  /** The partition is closed: its next owner asks the store what is not lined up. What waits here may be of commits that were lost. */
  drop(partition: number): void {
    if (this.#waiting.some((one) => one.partition === partition)) this.#waiting = this.#waiting.filter((one) => one.partition !== partition);
  }

  /** Up to where subscribers can see a feed; undefined while what the last owner left is not lined up. */
  through(partition: number, type: string): CommitId | undefined {
    return this.#through.get(`${partition}:${type}`);
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      if (this.#waiting.length === 0) await this.#wakeup.sleep(Infinity, signal);
      else if (!(await this.#line())) await this.#clock.sleep(FAILURE_PAUSE_MS * (0.5 + this.#clock.random()), signal);
    }
    // What is left over is found by the next owner.
    if (this.#waiting.length > 0) await this.#line();
  }

  async #line(): Promise<boolean> {
    const waiting = this.#waiting;
    const addresses = waiting.slice(0, ADDRESSES_MAX);
    try {
      await this.#store.sequence(addresses);
    } catch {
      this.#meter.count('read_failures');
      return false;
    }
    if (this.#waiting === waiting) waiting.splice(0, addresses.length);
    else this.#waiting = this.#waiting.filter((one) => !addresses.includes(one)); // a partition was dropped meanwhile
    for (const { partition, type, id } of addresses) this.#through.set(`${partition}:${type}`, id);
    return true;
  }
}
