/**
 * The armed timers of one partition in due order, in memory.
 *
 * 1. Re-arming to a later time, which every heartbeat does, touches no heap: the entry is moved when it surfaces.
 * 2. A cancelled timer never surfaces. Its heap entry is dropped when its turn comes, or reused by a later arming.
 */

interface Armed {
  /** Infinity when cancelled. */
  due: number;
  /** The due time under which the heap holds the member: never later than `due`. */
  surfacing: number;
}

interface HeapEntry {
  readonly due: number;
  readonly member: string;
}

export class TimerQueue {
  readonly #armed = new Map<string, Armed>();
  readonly #heap: HeapEntry[] = [];
  #size = 0;

  constructor(members: Iterable<readonly [member: string, due: number]> = []) {
    for (const [member, due] of members) this.arm(member, due);
  }

  /** How many timers are armed. */
  get size(): number {
    return this.#size;
  }

  arm(member: string, due: number): void {
    const armed = this.#armed.get(member);
    if (armed === undefined) {
      this.#armed.set(member, { due, surfacing: due });
      this.#push({ due, member });
      this.#size++;
      return;
    }
    if (armed.due === Infinity) this.#size++;
    armed.due = due;
    if (due < armed.surfacing) {
      armed.surfacing = due;
      this.#push({ due, member });
    }
  }

  cancel(member: string): void {
    const armed = this.#armed.get(member);
    if (armed === undefined || armed.due === Infinity) return;
    armed.due = Infinity;
    this.#size--;
  }

  dueOf(member: string): number | undefined {
    const due = this.#armed.get(member)?.due;
    return due === Infinity ? undefined : due;
  }

  /** The due time of the earliest timer; Infinity when none is armed. */
  nextDue(): number {
    this.#settleTop();
    return this.#heap[0]?.due ?? Infinity;
  }

  /** The earliest timer; undefined when none is armed. */
  peek(): HeapEntry | undefined {
    this.#settleTop();
    return this.#heap[0];
  }

  /** Up to `limit` timers due at or before `through`, earliest first. They stay armed. */
  dueThrough(through: number, limit: number): readonly HeapEntry[] {
    const found: HeapEntry[] = [];
    // A timer that was armed to where it had stood before is in the heap twice: once is enough.
    const members = new Set<string>();
    while (found.length < limit && this.nextDue() <= through) {
      const entry = this.#pop();
      if (members.has(entry.member)) continue;
      members.add(entry.member);
      found.push(entry);
    }
    for (const entry of found) this.#push(entry);
    return found;
  }

  /** Brings a true entry to the top: drops cancelled ones, moves re-armed ones to their later place. */
  #settleTop(): void {
    for (let top = this.#heap[0]; top !== undefined; top = this.#heap[0]) {
      const armed = this.#armed.get(top.member);
      if (armed === undefined || armed.surfacing !== top.due) {
        this.#pop();
      } else if (armed.due === Infinity) {
        this.#pop();
        this.#armed.delete(top.member);
      } else if (armed.due > top.due) {
        this.#pop();
        armed.surfacing = armed.due;
        this.#push({ due: armed.due, member: top.member });
      } else {
        return;
      }
    }
  }

  #push(entry: HeapEntry): void {
    const heap = this.#heap;
    let index = heap.length;
    heap.push(entry);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent] as HeapEntry;
      if (above.due <= entry.due) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = entry;
  }

  #pop(): HeapEntry {
    const heap = this.#heap;
    const top = heap[0] as HeapEntry;
    const last = heap.pop() as HeapEntry;
    if (heap.length === 0) return top;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && (heap[child + 1] as HeapEntry).due < (heap[child] as HeapEntry).due) child++;
      const below = heap[child] as HeapEntry;
      if (below.due >= last.due) break;
      heap[index] = below;
      index = child;
    }
    heap[index] = last;
    return top;
  }
}
