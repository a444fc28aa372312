/**
 * Virtual time: all that is asynchronous in a simulated run ends here, in an order that the seed decides.
 *
 * 1. One task runs at a time, and the next only when all that it set off has come to rest.
 * 2. Tasks of the same millisecond run in a random order: what real networks and event loops do, only more often.
 */
import type { Chance } from './random.ts';

/** False: nothing was set off. */
type Work = () => void | false;

interface Task {
  readonly at: number;
  readonly tie: number;
  readonly run: Work;
}

export class Scheduler {
  /** Virtual milliseconds since the epoch. */
  now: number;
  /** Tasks that have run. */
  steps = 0;
  readonly #chance: Chance;
  readonly #heap: Task[] = [];

  constructor(chance: Chance, now: number) {
    this.#chance = chance;
    this.now = now;
  }

  /** Runs `run` in `ms` of virtual time, at the earliest after what runs now has come to rest. */
  in(ms: number, run: Work): void {
    this.#push({ at: this.now + Math.max(0, ms), tie: this.#chance.next(), run });
  }

  /** Runs tasks up to a time, or until `done` holds. */
  async run(until: number, done: () => boolean): Promise<void> {
    await settled();
    for (let next = this.#heap[0]; next !== undefined && next.at <= until && !done(); next = this.#heap[0]) {
      this.#pop();
      this.now = Math.max(this.now, next.at);
      if (next.run() === false) continue;
      this.steps++;
      await settled();
    }
    if (!done()) this.now = Math.max(this.now, until);
  }

  #push(task: Task): void {
    const heap = this.#heap;
    let index = heap.length;
    heap.push(task);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent] as Task;
      if (!isBefore(task, above)) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = task;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop() as Task;
    if (heap.length === 0) return;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Task, heap[child] as Task)) child++;
      const below = heap[child] as Task;
      if (!isBefore(below, last)) break;
      heap[index] = below;
      index = child;
    }
    heap[index] = last;
  }
}

function isBefore(left: Task, right: Task): boolean {
  return left.at !== right.at ? left.at < right.at : left.tie < right.tie;
}

/** All promise callbacks have run: they come before the next turn of the event loop. */
function settled(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}
