/**
 * The engine under faults, seed by seed. `CASTELLAN_SEEDS=10000` runs more of them, `CASTELLAN_SEED=123` one alone.
 */
import { describe, expect, it } from 'vitest';
import { faultsOf } from './checks.ts';
import { simulate } from './world.ts';

const SEEDS = 500;
/** A limit for "it hangs": a run takes about a tenth of a second. */
const TIMEOUT_MS_PER_SEED = 2_000;
/** Enough to see whether one bug or several are behind them. */
const FAILURES_MAX = 5;

function seeds(): readonly number[] {
  const { CASTELLAN_SEED: one, CASTELLAN_SEEDS: many } = process.env;
  if (one !== undefined) return [Number(one)];
  return Array.from({ length: many === undefined ? SEEDS : Number(many) }, (_, index) => index + 1);
}

describe('the engine under faults', () => {
  const chosen = seeds();
  it(
    `keeps its invariants in ${chosen.length} simulated runs`,
    async () => {
      const failures: string[] = [];
      for (const seed of chosen) {
        const faults = faultsOf(await simulate(seed));
        if (faults.length > 0) failures.push(`CASTELLAN_SEED=${seed}: ${faults.slice(0, 10).join('\n  ')}`);
        if (failures.length === FAILURES_MAX) break;
      }
      expect(failures).toEqual([]);
    },
    chosen.length * TIMEOUT_MS_PER_SEED,
  );
});
