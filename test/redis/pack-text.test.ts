import { expect, it } from 'vitest';
import { packFromText, packToText } from '../../src/redis/pack-text.ts';

const transitions = (count: number): string => JSON.stringify(Array.from({ length: count }, (_, index) => ({ key: `job/j-${index}`, event: { type: 'end' } })));

it('keeps a short pack as it is, and a long one in a fraction of its length', () => {
  const short = transitions(3);
  expect(packToText(short)).toBe(short);

  const long = transitions(100);
  const text = packToText(long);
  expect(text.length).toBeLessThan(long.length / 4);
  expect(packFromText(text)).toBe(long);
  expect(packFromText(short)).toBe(short);
});

it('keeps what is not ASCII', () => {
  const pack = JSON.stringify(Array.from({ length: 200 }, () => 'Grüße 🚀'));
  expect(packFromText(packToText(pack))).toBe(pack);
});

it('gives a damaged pack back as it lies there', () => {
  expect(packFromText('zAAAA====')).toBe('zAAAA====');
});
