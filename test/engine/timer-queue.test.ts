import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TimerQueue } from '../../src/engine/timer-queue.ts';

const member = fc.constantFrom('a', 'b', 'c', 'd');
const action = fc.oneof(
  fc.record({ kind: fc.constant('arm' as const), member, due: fc.integer({ min: 0, max: 20 }) }),
  fc.record({ kind: fc.constant('cancel' as const), member }),
  fc.record({ kind: fc.constant('look' as const), through: fc.integer({ min: 0, max: 20 }) }),
  fc.record({ kind: fc.constant('fire' as const) }),
);

describe('a timer queue', () => {
  it('holds what a plain map would hold, whatever was armed, moved and cancelled', () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
        const queue = new TimerQueue();
        const model = new Map<string, number>();
        for (const each of actions) {
          const next = Math.min(Infinity, ...model.values());
          switch (each.kind) {
            case 'arm':
              queue.arm(each.member, each.due);
              model.set(each.member, each.due);
              break;
            case 'cancel':
              queue.cancel(each.member);
              model.delete(each.member);
              break;
            case 'look': {
              const found = queue.dueThrough(each.through, 100);
              const dues = found.map(({ due }) => due);
              expect(dues).toEqual([...dues].sort((left, right) => left - right));
              expect(new Map(found.map((timer) => [timer.member, timer.due]))).toEqual(new Map([...model].filter(([, due]) => due <= each.through)));
              break;
            }
            case 'fire': {
              const top = queue.peek();
              expect(top?.due ?? Infinity).toBe(next);
              if (top === undefined) break;
              expect(model.get(top.member)).toBe(next);
              queue.cancel(top.member);
              model.delete(top.member);
            }
          }
          expect(queue.nextDue()).toBe(Math.min(Infinity, ...model.values()));
          expect(queue.size).toBe(model.size);
          for (const name of ['a', 'b', 'c', 'd']) expect(queue.dueOf(name)).toBe(model.get(name));
        }
      }),
      { numRuns: 500 },
    );
  });

  it('names a timer once, however often it was armed', () => {
    const queue = new TimerQueue([['a', 10]]);
    queue.arm('a', 5);
    queue.arm('a', 10);
    expect(queue.nextDue()).toBe(10);
    expect(queue.dueThrough(10, 10)).toEqual([{ member: 'a', due: 10 }]);
  });

  it('gives no more than asked for, the earliest first, and keeps them', () => {
    const queue = new TimerQueue([
      ['c', 3],
      ['a', 1],
      ['b', 2],
    ]);
    expect(queue.dueThrough(3, 2).map((timer) => timer.member)).toEqual(['a', 'b']);
    expect(queue.size).toBe(3);
    expect(queue.nextDue()).toBe(1);
  });
});
