import { expect, it } from 'vitest';
import { PullProgress, type PullLine } from '../../../src/agent/apply/pull-progress.ts';

function told(lines: readonly PullLine[]): (number | undefined)[] {
  const progress = new PullProgress();
  return lines.map((line) => progress.take(line));
}

const downloading = (id: string, current: number, total: number): PullLine => ({ id, status: 'Downloading', progressDetail: { current, total } });

it('counts the bytes of all layers: four fifths for the download, the rest for unpacking', () => {
  expect(
    told([
      { id: 'latest', status: 'Pulling from ollama/ollama' },
      downloading('a', 50, 100),
      { id: 'a', status: 'Download complete' },
      { id: 'a', status: 'Extracting', progressDetail: { current: 50, total: 100 } },
      { id: 'a', status: 'Pull complete' },
    ]),
  ).toEqual([undefined, 40, 80, 90, 100]);
});

it('weighs a layer by its size', () => {
  expect(
    told([downloading('small', 100, 100), { id: 'small', status: 'Pull complete' }, downloading('large', 0, 300), downloading('large', 300, 300)]),
  ).toEqual([80, 100, undefined, undefined]);
  expect(told([downloading('small', 0, 100), downloading('large', 150, 300)])).toEqual([undefined, 30]);
});

it('never falls when a layer becomes known late, and is not told again while it stands', () => {
  expect(told([downloading('a', 50, 100), downloading('b', 0, 100), downloading('b', 25, 100), downloading('b', 100, 100)])).toEqual([
    40,
    undefined,
    undefined,
    60,
  ]);
});

it('takes a layer that is there already for done', () => {
  expect(told([{ id: 'a', status: 'Already exists' }])).toEqual([100]);
});
