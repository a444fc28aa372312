/**
 * One operating-system process of a simulated run: its clock, its connection to the store, and its end.
 *
 * 1. A crashed process never continues: what it waits for stays unanswered for ever. What it had sent may still arrive.
 * 2. A paused process continues later; what it had sent is carried out meanwhile.
 * 3. A call that is given up (a timeout of the client) may be carried out later.
 */
import type { Clock, Doorbell, EngineStore } from '../../src/engine/ports.ts';
import type { Faults } from './faults.ts';
import type { Gate, MemoryRedis } from './memory-store.ts';
import type { Chance } from './random.ts';
import type { Scheduler } from './scheduler.ts';

/** After so long a client gives a call up, virtual ms. */
const COMMAND_TIMEOUT_MS = 2_000;
/** A ring is heard a second time with this probability. */
const RUNG_TWICE = 0.1;
/** What a crashed process had sent still arrives with this probability. */
const ARRIVES_AFTER_CRASH = 0.6;

export interface Surroundings {
  readonly scheduler: Scheduler;
  readonly redis: MemoryRedis;
  /** The faults of the present moment. */
  faults(): Faults;
  /** Redis does not answer. */
  isDown(): boolean;
  /** Told of everything that happens, for comparing two runs. */
  note(what: string): void;
}

export class SimulatedProcess {
  readonly name: string;
  readonly clock: Clock;
  readonly chance: Chance;
  readonly #around: Surroundings;
  readonly #mayCrash: boolean;
  readonly #bornAt: number;
  readonly #onCrash: (() => void)[] = [];
  #state: 'running' | 'crashed' = 'running';
  #pausedUntil = 0;
  /** The next call arrives only after so long, because its caller will have given it up. */
  #arrivesIn: number | undefined;

  constructor(name: string, around: Surroundings, chance: Chance, mayCrash: boolean) {
    this.name = name;
    this.#around = around;
    this.chance = chance;
    this.#mayCrash = mayCrash;
    this.#bornAt = around.scheduler.now;
    // Clocks of different machines begin anywhere and run at slightly different speeds.
    const begin = chance.between(0, 1_000_000);
    const speed = 0.99 + chance.next() * 0.02;
    this.clock = {
      now: () => begin + (around.scheduler.now - this.#bornAt) * speed,
      random: () => chance.next(),
      // As a platform's timer: whole milliseconds, at least one.
      after: (ms, call) => this.#after(Math.max(1, Math.ceil(ms / speed)), call),
      sleep: (ms, signal) => this.#sleep(Math.max(1, Math.ceil(ms / speed)), signal),
    };
  }

  get crashed(): boolean {
    return this.#state === 'crashed';
  }

  get paused(): boolean {
    return this.#pausedUntil > this.#around.scheduler.now;
  }

  onCrash(then: () => void): void {
    this.#onCrash.push(then);
  }

  crash(): void {
    if (this.crashed) return;
    this.#around.note(`${this.name} crashes`);
    this.#state = 'crashed';
    for (const then of this.#onCrash) then();
  }

  pause(ms: number): void {
    this.#around.note(`${this.name} stands still for ${ms} ms`);
    this.#pausedUntil = Math.max(this.#pausedUntil, this.#around.scheduler.now + ms);
  }

  /** Something happens inside the process: not while it is paused, never after its crash. */
  later(ms: number, run: () => void | false): void {
    const { scheduler } = this.#around;
    scheduler.in(ms, () => {
      if (this.crashed) return false;
      if (!this.paused) return run();
      this.later(this.#pausedUntil - scheduler.now, run);
      return false;
    });
  }

  wait(ms: number): Promise<void> {
    return new Promise((resolve) => this.later(ms, () => resolve()));
  }

  connect(): EngineStore {
    const { redis } = this.#around;
    const store = redis.store((name, phase) => this.#gate(name, phase));
    return Object.fromEntries(
      Object.entries(store).map(([name, call]) => [
        name,
        (...args: unknown[]) => this.#call(name, () => (call as (...args: unknown[]) => Promise<unknown>)(...args)),
      ]),
    ) as unknown as EngineStore;
  }

  doorbell(): Doorbell {
    const bell = this.#around.redis.doorbell();
    this.onCrash(() => void bell.close());
    return {
      listen: (ring, ringSources) => {
        const hear = (then: () => void): void => {
          if (!this.chance.is(this.#around.faults().deaf)) this.later(this.#latency(), then);
        };
        return bell.listen(
          (partition, glance) => {
            hear(() => ring(partition, glance));
            // Rings may be doubled, and an old one may come late.
            if (this.chance.is(RUNG_TWICE)) hear(() => ring(partition, glance));
          },
          () => hear(ringSources),
        );
      },
      close: () => bell.close(),
    };
  }

  async #call(name: string, call: () => Promise<unknown>): Promise<unknown> {
    if (!this.chance.is(this.#around.faults().late)) return call();
    this.#around.note(`${this.name} gives up ${name}`);
    this.#arrivesIn = this.chance.between(0, 3 * COMMAND_TIMEOUT_MS);
    call().catch(() => undefined);
    this.#arrivesIn = undefined;
    await this.wait(COMMAND_TIMEOUT_MS);
    throw new Error('Command timed out');
  }

  #gate(name: string, phase: Parameters<Gate>[1]): Promise<void> {
    const around = this.#around;
    const { crash, failBefore, lostReply } = around.faults();
    const fail = this.chance.is(phase === 'before' ? failBefore : lostReply);
    const arrives = this.chance.is(ARRIVES_AFTER_CRASH);
    const delayMs = this.#arrivesIn ?? this.#latency();
    this.#arrivesIn = undefined;
    if (this.#mayCrash && this.chance.is(crash)) this.later(this.chance.is(0.5) ? 0 : delayMs, () => this.crash());
    return new Promise((resolve, reject) => {
      const answer = (): void => {
        around.note(`${this.name} ${name} ${phase}${fail ? ' fails' : ''}`);
        if (fail || around.isDown()) reject(new Error(phase === 'before' ? 'Connection is closed' : 'Connection reset'));
        else resolve();
      };
      if (phase === 'after' || fail) this.later(delayMs, answer);
      else
        around.scheduler.in(delayMs, () => {
          if (this.crashed && !arrives) return;
          if (around.isDown()) this.later(0, answer);
          else answer();
        });
    });
  }

  #latency(): number {
    const { slow, slowMs } = this.#around.faults();
    return this.chance.is(slow) ? this.chance.between(0, slowMs) : this.chance.between(0, 2);
  }

  #after(ms: number, call: () => void): () => void {
    let prevented = false;
    if (ms !== Infinity) this.later(ms, () => (prevented ? false : call()));
    return () => void (prevented = true);
  }

  #sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      let ended = false;
      const end = (): void | false => {
        if (ended) return false;
        ended = true;
        signal?.removeEventListener('abort', abort);
        resolve();
      };
      const abort = (): void => this.later(0, end);
      if (signal?.aborted) return abort();
      signal?.addEventListener('abort', abort, { once: true });
      if (ms !== Infinity) this.later(ms, end);
    });
  }
}
