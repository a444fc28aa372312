/**
 * Lets entries that are held back go as soon as their queue's gate allows.
 *
 * 1. The pump itself is one atomic call, so any number of processes may run this beside one another.
 * 2. A queue is pumped only while something is held there; who sees that rings.
 */
import { Wakeup } from '../engine/wakeup.ts';
import type { Clock } from '../engine/ports.ts';
import type { PumpResult, Queues } from '../protocol/queues.ts';

/** Between two looks at a queue that hands nothing out at the moment, ms: how long a free place may stay empty. */
const PAUSE_MS = 50;
/** When the last look moved something: workers are taking, and few entries lie there. */
const BUSY_PAUSE_MS = 10;
/** A rate's next turn is looked for no later than this, ms: its limit may have been changed. */
const RATE_PAUSE_MS_MAX = 1_000;
const FAILURE_PAUSE_MS = 500;
/** Queues pumped in one round trip. */
const QUEUES_AT_ONCE = 50;

export interface QueuePumpPorts {
  readonly queues: Pick<Queues, 'pump'>;
  readonly clock: Clock;
  /** Told of a failure; the pump goes on. Must not throw. */
  readonly onError?: (error: Error) => void;
}

export class QueuePump {
  readonly #ports: QueuePumpPorts;
  /** Queues in which something is held, and when to look at them again (clock). */
  readonly #due = new Map<string, number>();
  readonly #wakeup: Wakeup;
  readonly #stopping = new AbortController();
  #running: Promise<void> | undefined;

  constructor(ports: QueuePumpPorts) {
    this.#ports = ports;
    this.#wakeup = new Wakeup(ports.clock);
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  /** Something is held in this queue. (2) */
  ring(queue: string): void {
    if (this.#due.has(queue)) return;
    this.#due.set(queue, this.#ports.clock.now());
    this.#wakeup.wake();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const now = this.#ports.clock.now();
      const due = [...this.#due].filter(([, at]) => at <= now).map(([queue]) => queue);
      if (due.length > 0) await this.#pump(due.slice(0, QUEUES_AT_ONCE));
      const next = Math.min(...this.#due.values());
      if (next > this.#ports.clock.now()) await this.#wakeup.sleep(next - this.#ports.clock.now(), signal);
    }
  }

  async #pump(queues: readonly string[]): Promise<void> {
    try {
      const results = await this.#ports.queues.pump(queues);
      queues.forEach((queue, index) => this.#plan(queue, results[index] as PumpResult));
    } catch (error) {
      this.#ports.onError?.(error as Error);
      for (const queue of queues) this.#due.set(queue, this.#ports.clock.now() + FAILURE_PAUSE_MS);
    }
  }

  #plan(queue: string, { moved, held, because, againMs, more }: PumpResult): void {
    // A paused queue is rung again by who sees that entries are held there.
    if (!more && (held === 0 || because === 'paused')) this.#due.delete(queue);
    else this.#due.set(queue, this.#ports.clock.now() + pauseOf(moved, because === 'rate' ? againMs : 0, more));
  }
}

function pauseOf(moved: number, rateMs: number, more: boolean): number {
  if (more) return 0;
  if (rateMs > 0) return Math.min(rateMs, RATE_PAUSE_MS_MAX);
  return moved > 0 ? BUSY_PAUSE_MS : PAUSE_MS;
}
