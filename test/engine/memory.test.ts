/** What the engine holds in memory between reads and commits: the queue of what was read, and the cache of actors. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { LiveActor } from '../../src/core/decision.ts';
import { ActorCache } from '../../src/engine/actor-cache.ts';
import { PendingQueue } from '../../src/engine/pending-queue.ts';
import type { ActorKey } from '../../src/protocol/ids.ts';

describe('the pending queue', () => {
  it('gives what was pushed, in order, and shows its head without taking it', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.integer(), fc.constant('take' as const)), { maxLength: 80 }), (actions) => {
        const queue = new PendingQueue<number>();
        const model: number[] = [];
        for (const each of actions) {
          if (each === 'take') expect(queue.shift()).toBe(model.shift());
          else {
            queue.push(each);
            model.push(each);
          }
          expect(queue.length).toBe(model.length);
          expect(queue.peek()).toBe(model[0]);
          expect([...queue.first(3)]).toEqual(model.slice(0, 3));
        }
      }),
    );
  });
});

describe('the actor cache', () => {
  const actor = (key: string, revision = 1): LiveActor => ({ key: key as ActorKey, record: { revision }, live: undefined }) as unknown as LiveActor;

  it('stays within its bytes, and never evicts below one actor', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: 30 }), fc.integer({ min: 0, max: 3_000 })), { maxLength: 100 }), fc.nat(), (sets, seed) => {
        let state = seed;
        const cache = new ActorCache(10_000, () => (state = (state * 16_807 + 7) % 2_147_483_647) / 2_147_483_647);
        for (const [id, length] of sets) {
          cache.set(actor(`a/${id}`), length);
          expect(cache.bytes <= 10_000 || cache.size === 1).toBe(true);
        }
        for (let id = 0; id <= 30; id++) cache.delete(`a/${id}`);
        expect([cache.size, cache.bytes]).toEqual([0, 0]);
      }),
    );
  });

  it("keeps an actor's size when only the actor is new", () => {
    const cache = new ActorCache(100_000, () => 0);
    cache.set(actor('a/1'), 500);
    const { bytes } = cache;
    cache.set(actor('a/1', 2));
    expect(cache.bytes).toBe(bytes);
    expect(cache.get('a/1')?.record.revision).toBe(2);
  });

  it('forgets the actors of a partition that is no longer ours', () => {
    const cache = new ActorCache(100_000, () => 0);
    for (const id of ['1', '2', '3', '4']) cache.set(actor(`a/${id}`), 10);
    cache.forget((key) => key === 'a/2' || key === 'a/4');
    expect(['1', '2', '3', '4'].map((id) => cache.get(`a/${id}`) !== undefined)).toEqual([true, false, true, false]);
  });
});
