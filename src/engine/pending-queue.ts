/** A first-in-first-out queue whose head moves without copying: what was read and not yet applied. */
export class PendingQueue<Item> {
  #items: Item[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  push(item: Item): void {
    this.#items.push(item);
  }

  peek(): Item | undefined {
    return this.#items[this.#head];
  }

  shift(): Item | undefined {
    const item = this.#items[this.#head];
    if (item === undefined) return undefined;
    this.#head++;
    if (this.#head === this.#items.length) {
      this.#items = [];
      this.#head = 0;
    }
    return item;
  }

  /** The first items, in order, without taking them. */
  *first(count: number): Iterable<Item> {
    const end = Math.min(this.#items.length, this.#head + count);
    for (let index = this.#head; index < end; index++) yield this.#items[index] as Item;
  }
}
