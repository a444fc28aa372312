import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { joinEvidence, ObservedTime } from '../../src/engine/observed-time.ts';

const GAP_MS = 10;

describe('observed time', () => {
  it('runs with the evidence while that is dense', () => {
    const time = new ObservedTime(GAP_MS, 100, 100);
    time.observe([[105, 120]]);
    time.observe([[130, 131]]);
    expect(time.observed).toBe(131);
    expect(time.advance()).toBe(false);
  });

  it('passes no more than the gap of a hole, and says where it was heard again', () => {
    const time = new ObservedTime(GAP_MS, 100, 100);
    time.observe([[150, 160]]);
    expect(time.observed).toBe(100 + GAP_MS + 10);
    expect(time.current.to).toBe(100);
    expect(time.advance()).toBe(true);
    expect(time.current).toEqual({ from: 150, to: 160, closedMs: 40, reopenedAt: 100 + GAP_MS });
    expect(time.closedMsTotal).toBe(40);
  });

  it('begins with its first evidence when it never heard anything', () => {
    const time = new ObservedTime(GAP_MS, 0, 0);
    time.observe([[1_000_000, 1_000_005]]);
    expect(time.observed).toBe(1_000_005);
    expect(time.current.reopenedAt).toBe(1_000_000);
    expect(time.closedMsTotal).toBe(0);
  });

  it('counts what was trimmed before it was read as closed, even a short stretch', () => {
    const time = new ObservedTime(GAP_MS, 100, 100);
    time.reopen(105);
    expect(time.advance()).toBe(true);
    expect(time.current).toEqual({ from: 105, to: 105, closedMs: 0, reopenedAt: 105 });
  });

  it('goes on where it stood for a partition that is made anew, and remembers its newest hole', () => {
    const time = new ObservedTime(GAP_MS, 100, 100);
    time.observe([
      [150, 160],
      [161, 170],
    ]);
    const again = time.resumed();
    expect([again.observed, again.watermark, again.closedMsTotal]).toEqual([time.observed, 170, 40]);
    expect(again.current.reopenedAt).toBe(110);
    again.observe([[175, 180]]);
    expect(again.observed).toBe(time.observed + 10);
    expect(again.advance()).toBe(false);
  });

  it('never goes back, never runs ahead of the evidence, and passes at most the gap of any hole', () => {
    const stretch = fc.tuple(fc.integer({ min: 1, max: 2_000 }), fc.integer({ min: 0, max: 30 }));
    fc.assert(
      fc.property(fc.array(fc.tuple(stretch, fc.boolean()), { maxLength: 30 }), (steps) => {
        const time = new ObservedTime(GAP_MS, 1, 1);
        const heard: [number, number][] = [[1, 1]];
        for (const [[from, length], trimmed] of steps) {
          const [before, newest] = [time.observed, time.watermark];
          if (trimmed && from > newest) time.reopen(from);
          time.observe([[from, from + length]]);
          expect(time.observed).toBeGreaterThanOrEqual(before);
          expect(time.watermark).toBe(Math.max(newest, from + length));
          expect(time.observed - before).toBeLessThanOrEqual(time.watermark - newest);
          if (from + length > newest) heard.push([Math.max(from, newest), from + length]);
        }
        let expected = 1;
        for (let index = 1; index < heard.length; index++) {
          const [from, to] = heard[index] as [number, number];
          expected += Math.min(GAP_MS, from - (heard[index - 1] as [number, number])[1]) + (to - from);
        }
        expect(time.observed).toBe(expected);
      }),
    );
  });

  it('has segments that follow one another and read alike at their seams', () => {
    const time = new ObservedTime(GAP_MS, 100, 100);
    time.observe([
      [105, 110],
      [200, 210],
      [500, 505],
    ]);
    let last = time.current;
    while (time.advance()) {
      const { from, closedMs, reopenedAt } = time.current;
      expect(from).toBeGreaterThanOrEqual(last.to);
      expect(closedMs).toBeGreaterThanOrEqual(last.closedMs);
      expect(reopenedAt).toBe(from - closedMs);
      last = time.current;
    }
    expect(last.to).toBe(505);
  });
});

describe('joining evidence', () => {
  it('makes stretches of what lies within the gap', () => {
    expect(joinEvidence([1, 5, 15, 26, 26, 30], GAP_MS)).toEqual([
      [1, 15],
      [26, 30],
    ]);
    expect(joinEvidence([], GAP_MS)).toEqual([]);
  });

  it('gives the same clock as the single times', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 2, max: 500 }), { maxLength: 40 }), (times) => {
        const sorted = [...times].sort((left, right) => left - right);
        const [joined, single] = [new ObservedTime(GAP_MS, 1, 1), new ObservedTime(GAP_MS, 1, 1)];
        joined.observe(joinEvidence(sorted, GAP_MS));
        single.observe(sorted.map((each) => [each, each] as const));
        expect(joined.observed).toBe(single.observed);
        expect(joined.closedMsTotal).toBe(single.closedMsTotal);
      }),
    );
  });
});
