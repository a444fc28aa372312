/** When a ring answers the read that it asks for. */
import { describe, expect, it } from 'vitest';
import { answerOf, type GlanceAt } from '../../src/engine/glance.ts';
import { Meter } from '../../src/engine/meter.ts';
import { Notices } from '../../src/engine/notices.ts';
import { Partition } from '../../src/engine/partition.ts';
import type { Glance, PartitionState } from '../../src/engine/ports.ts';
import { SourceReader } from '../../src/engine/source-reader.ts';
import { actorKey } from '../../src/protocol/ids.ts';
import type { StreamSource } from '../../src/protocol/source.ts';
import { EMPTY_STATE } from '../ports/requests.ts';
import { ManualClock } from './manual-clock.ts';

const NOW = 1_700_000_000_000;
const ACTOR = actorKey('job', 'a');
const STATE: PartitionState = { ...EMPTY_STATE, epoch: 7, commit: '7-3', inbox: '100-0' };
const source = (stream: string): StreamSource => ({ stream, keyOf: () => ACTOR, decode: () => ({ ok: true, event: { type: 'beat' } }) });
const beats = source('beats');
const reports = source('reports');

function stand(): GlanceAt {
  const readers = [beats, reports].map((each) => {
    const reader = new SourceReader(each, 1_000, new Meter(), new Notices(new ManualClock(), () => undefined));
    reader.position = '200-0';
    return reader;
  });
  return { partition: new Partition(5, 'engine', STATE, [beats, reports], 1_000), settledAt: '7-3', readers, redisNow: NOW };
}

const glance = (more: Partial<Glance> = {}): Glance => ({
  partition: 5,
  time: NOW,
  commit: '7-3',
  inbox: { before: '90-0', added: [[`${NOW}-0`, [ACTOR, '{}']]] },
  sources: new Map([
    ['beats', { before: '200-0', added: [] }],
    ['reports', { before: '150-0', added: [] }],
  ]),
  unknown: undefined,
  ...more,
});
const withSource = (stream: string, before: string, ...added: readonly string[]): Partial<Glance> => ({
  sources: new Map([...glance().sources, [stream, { before, added: added.map((id) => [id, ['f', 'v']] as const) }]]),
});

describe('a ring that brings what was appended', () => {
  it('answers the read of who has read all that was there before', () => {
    expect(answerOf(glance(), stand())).toEqual({
      time: NOW,
      inboxes: [[[`${NOW}-0`, [ACTOR, '{}']]]],
      actors: [[]],
      sources: [
        { entries: [], firstId: null },
        { entries: [], firstId: null },
      ],
    });
    const report = answerOf(glance({ inbox: { before: '100-0', added: [] }, ...withSource('reports', '200-0', '201-0') }), stand());
    expect(report).toMatchObject({ inboxes: [[]], sources: [{ entries: [] }, { entries: [['201-0', ['f', 'v']]] }] });
  });

  it('tells that an actor is unknown only while nothing was committed since', () => {
    expect(answerOf(glance({ unknown: ACTOR }), stand())?.actors).toEqual([[{ key: ACTOR, record: null }]]);
    expect(answerOf(glance({ unknown: ACTOR, commit: '7-2' }), stand())?.actors).toEqual([[]]);
    expect(answerOf(glance({ unknown: ACTOR }), { ...stand(), settledAt: undefined })?.actors).toEqual([[]]);
  });

  const useless: { readonly [why: string]: Partial<Glance> } = {
    'of another partition': { partition: 6 },
    'of an inbox that held more than was read': { inbox: { before: '101-0', added: [[`${NOW}-0`, [ACTOR, '{}']]] } },
    'of an entry that was read already': { inbox: { before: '90-0', added: [['99-0', [ACTOR, '{}']]] } },
    'of a source that held more than was read': withSource('beats', '200-1'),
    'of a report that was read already': withSource('reports', '150-0', '200-0'),
    'that does not know of every source': { sources: new Map([['beats', { before: '200-0', added: [] }]]) },
    'from the future': { time: NOW + 3 },
    'that brings an entry from the future': { inbox: { before: '90-0', added: [[`${NOW + 1}-0`, [ACTOR, '{}']]] } },
    'of a source that was emptied': withSource('beats', '0-0'),
  };
  for (const [why, more] of Object.entries(useless)) {
    it(`is a plain ring: one ${why}`, () => {
      expect(answerOf(glance(more), stand())).toBeUndefined();
    });
  }

  it('is a plain ring for who has not begun to read a source', () => {
    const at = stand();
    (at.readers[1] as SourceReader).position = null;
    expect(answerOf(glance(), at)).toBeUndefined();
  });
});
