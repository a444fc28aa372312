/** Chance with a seed: the same seed draws the same numbers. */

export interface Chance {
  /** Uniform in [0, 1). */
  next(): number;
  /** An integer of [from, to]. */
  between(from: number, to: number): number;
  /** True with this probability. */
  is(probability: number): boolean;
  pick<Item>(items: readonly Item[]): Item;
  /** An own generator, so that what draws more or less from it moves nothing else. */
  fork(): Chance;
}

/** mulberry32: small, fast, and good enough to spread faults. */
export function chanceOf(seed: number): Chance {
  let state = seed | 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
  const chance: Chance = {
    next,
    between: (from, to) => from + Math.floor(next() * (to - from + 1)),
    is: (probability) => next() < probability,
    pick: (items) => items[Math.floor(next() * items.length)] as (typeof items)[number],
    fork: () => chanceOf(Math.floor(next() * 4_294_967_296)),
  };
  return chance;
}
