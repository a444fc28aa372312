/** What comes on a bell's channel may be anybody's: only a whole glance is taken for one. */
import { describe, expect, it } from 'vitest';
import { readGlance } from '../../src/redis/glance.ts';

const told = [5, 1_700_000_000_000, '7-3', '90-0', ['beats', '80-1', 'job:reports', '0-0'], 'job:reports', '1700000000000-0', ['jobId', 'a'], false];

describe('a message of a bell', () => {
  it('is a glance with what was added to a source', () => {
    expect(readGlance(JSON.stringify(told))).toEqual({
      partition: 5,
      time: 1_700_000_000_000,
      commit: '7-3',
      inbox: { before: '90-0', added: [] },
      sources: new Map([
        ['beats', { before: '80-1', added: [] }],
        ['job:reports', { before: '0-0', added: [['1700000000000-0', ['jobId', 'a']]] }],
      ]),
      unknown: undefined,
    });
  });

  it('is a glance with what was added to the inbox, before the first commit, without sources', () => {
    const message = JSON.stringify([5, 1, '', '0-0', {}, '', '1-0', ['job/a', '{}'], true]);
    expect(readGlance(message)).toEqual({
      partition: 5,
      time: 1,
      commit: '0-0',
      inbox: { before: '0-0', added: [['1-0', ['job/a', '{}']]] },
      sources: new Map(),
      unknown: 'job/a',
    });
  });

  const others: { readonly [what: string]: string } = {
    'a plain ring': '1',
    'the numbers of partitions': '3 17',
    nothing: '',
    'no JSON': '[5, 1',
    'a shorter list': JSON.stringify(told.slice(0, 8)),
    ...Object.fromEntries(told.map((_, at) => [`a list with null at ${at}`, JSON.stringify(told.with(at, null as never))]).filter((_, at) => at !== 4)),
    'a list with a wrong id of a source': JSON.stringify(told.with(4, ['beats', 'soon'])),
    'a list with a partition that there is not': JSON.stringify(told.with(0, 64)),
    'a list with a source without an id': JSON.stringify(told.with(4, ['beats'])),
    'a list without fields': JSON.stringify(told.with(7, [])),
    'a list with a number as field': JSON.stringify(told.with(7, ['jobId', 1] as never)),
  };
  for (const [what, message] of Object.entries(others)) {
    it(`is a plain ring: ${what}`, () => expect(readGlance(message)).toBeUndefined());
  }
});
