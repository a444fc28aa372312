import { expect, it } from 'vitest';
import { Notices } from '../../src/engine/notices.ts';
import { ManualClock } from './manual-clock.ts';

it('tells a kind of notice at most once a minute, and how many were left out', async () => {
  const clock = new ManualClock();
  const told: string[] = [];
  const notices = new Notices(clock, (message) => void told.push(message));
  notices.tell('fenced', 'one');
  notices.tell('fenced', 'two');
  notices.tell('diverged', 'other');
  expect(told).toEqual(['one', 'other']);
  await clock.advance(60_000);
  notices.tell('fenced', 'three');
  expect(told.at(-1)).toBe('three (and 1 more like it since the last warning)');
});
