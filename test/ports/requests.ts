/** Requests with which the port suite asks a store. */
import type { CommitRequest, PartitionState } from '../../src/engine/ports.ts';
import type { Envelope } from '../../src/protocol/envelope.ts';
import type { ActorKey } from '../../src/protocol/ids.ts';

/** What a partition that nobody ever wrote to holds; the epoch is new at every taking. */
export const EMPTY_STATE = {
  commit: '0-0',
  time: 0,
  inbox: '0-0',
  sources: {},
  applied: {},
  sent: {},
  timers: [],
  liveness: [],
  outbox: [],
  retries: [],
  invoking: [],
};

export function envelope(actor: ActorKey, fields: Partial<Envelope> = {}): Envelope {
  return { actor, event: { type: 'go' }, source: 'library', ...fields };
}

/** The commit with that number in the state's epoch, following the state's newest, that changes nothing. */
export function emptyCommit(partition: number, state: PartitionState, number: number): CommitRequest {
  return {
    partition,
    owner: 'engine-a',
    epoch: state.epoch,
    previous: state.commit,
    id: `${state.epoch}-${number}`,
    time: 0,
    inbox: '0-0',
    sources: {},
    applied: {},
    sent: {},
    records: [],
    documents: [],
    removed: [],
    publications: [],
    arrivals: [],
    announcements: [],
    channels: [],
    timers: { set: [], remove: [] },
    liveness: { set: [], remove: [] },
    index: { add: [], remove: [] },
    invoking: { add: [], remove: [] },
    feed: [],
    posts: [],
    deadLetters: [],
  };
}

export function fullCommit(partition: number, state: PartitionState, number: number): CommitRequest {
  return {
    ...emptyCommit(partition, state, number),
    time: 777,
    inbox: '5-1',
    sources: { 'status:stream': { id: '9-0', watermark: 8, observed: 7 } },
    applied: { 3: 4 },
    sent: { 5: 6 },
    records: [
      ['node/a', '{"revision":1}'],
      ['node/b', '{"revision":2}'],
    ],
    documents: [['node/a', '"doc"']],
    removed: [],
    publications: [],
    channels: [],
    timers: {
      set: [
        ['node/a |later', 20],
        ['node/a |soon', 10],
      ],
      remove: [],
    },
    liveness: { set: [['node/a |offline', 30.5]], remove: [] },
    index: {
      add: [
        ['node', 'online', 'node/a', 100],
        ['node', 'online', 'node/b', 200],
        ['node', '', 'node/a', 50],
      ],
      remove: [['node', 'online', 'node/c']],
    },
    invoking: { add: ['node/a'], remove: [] },
    feed: [
      { type: 'node', count: 1, pack: '["n1"]' },
      { type: 'fleet', count: 1, pack: '["f1"]' },
    ],
    outbox: '["command"]',
    deadLetters: ['{"code":"bad"}'],
  };
}
