/** A double of the port at this adapter's own boundary: a small fleet in memory, with a feed that a test can push into. */
import { CursorGoneError, InvalidEventError, UnknownActorTypeError } from '../../src/protocol/errors.ts';
import type { ActorView, ControlPlane, DeadLetterView, FeedItem, LiveTarget, NodeView, SendOptions, TransitionView } from '../../src/protocol/control-plane.ts';
import type { MachineEvent } from '../../src/protocol/envelope.ts';

export interface FakeControlPlane extends ControlPlane {
  readonly nodes: Map<string, NodeView>;
  readonly actors: Map<string, ActorView>;
  readonly histories: Map<string, TransitionView[]>;
  readonly liveTargets: Map<string, LiveTarget>;
  readonly sent: { readonly key: string; readonly event: MachineEvent; readonly options: SendOptions }[];
  readonly dryRuns: MachineEvent[];
  readonly letters: DeadLetterView[];
  readonly replayed: string[];
  healthy: boolean;
  push(transition: TransitionView, orgId?: string | null): void;
  /** How many items were taken out of the feed so far, by all followers. */
  pulled: number;
  followers: number;
}

const BASE = Date.parse('2030-01-01T00:00:00.000Z');

export function fakeNode(nodeId: string, overrides: Partial<NodeView> = {}): NodeView {
  return {
    nodeId,
    name: nodeId,
    orgId: 'acme',
    state: 'online',
    since: new Date(BASE).toISOString(),
    lastSeenAt: new Date(BASE + 60_000).toISOString(),
    tags: ['gpu'],
    status: {
      version: '1.0',
      node: { name: nodeId, uptime_seconds: 10 },
      system: { cpu_percent: 12.5, memory_used_gb: 8, memory_total_gb: 32, disk_used_gb: 1, disk_total_gb: 10 },
      gpu: [{ index: 0, name: 'H200', utilization_percent: 83 }],
    },
    ...overrides,
  };
}

export function fakeActor(type: string, id: string, overrides: Partial<ActorView> = {}): ActorView {
  return {
    type,
    id,
    orgId: 'acme',
    revision: 2,
    status: 'active',
    value: { connection: 'online', health: { disk: 'ok' } },
    tags: ['healthy'],
    enteredAt: new Date(BASE).toISOString(),
    context: { missed: 0 },
    entered: { 'connection.online': new Date(BASE).toISOString() },
    timers: [{ id: '|xstate.after.degraded.node.online', event: { type: 'xstate.after.degraded.node.online' }, dueAt: new Date(BASE + 65_000).toISOString() }],
    nextEvents: ['STATUS', 'FORGET'],
    machineVersion: '1',
    ...overrides,
  };
}

export function fakeTransition(type: string, id: string, revision: number, overrides: Partial<TransitionView> = {}): TransitionView {
  return {
    type,
    id,
    revision,
    at: new Date(BASE + revision * 1000).toISOString(),
    event: { type: 'STATUS' },
    from: revision === 1 ? null : { connection: 'degraded' },
    to: { connection: 'online' },
    commands: [],
    emitted: [],
    cause: { source: 'stream:node:status:stream', ref: `${BASE + revision}-0` },
    machineVersion: '1',
    ...overrides,
  };
}

export function createFakeControlPlane(): FakeControlPlane {
  const feed: FeedItem[] = [];
  const wakers = new Set<() => void>();
  const dedupe = new Map<string, string>();
  const indexOf = (cursor: string): number => {
    const number = /^c(\d+)$/.exec(cursor)?.[1];
    if (number === undefined || Number(number) > feed.length) throw new CursorGoneError(cursor);
    return Number(number);
  };
  const page = <Item>(items: readonly Item[], query: { cursor?: string; limit: number }) => {
    const start = Number(query.cursor ?? 0);
    if (!Number.isInteger(start)) throw new CursorGoneError(query.cursor ?? '');
    const end = start + query.limit;
    return { items: items.slice(start, end), next: end < items.length ? String(end) : null };
  };

  const fake: FakeControlPlane = {
    nodes: new Map(),
    actors: new Map(),
    histories: new Map(),
    liveTargets: new Map(),
    sent: [],
    dryRuns: [],
    letters: [],
    replayed: [],
    healthy: true,
    pulled: 0,
    followers: 0,
    push(transition, orgId = 'acme') {
      feed.push({ cursor: `c${feed.length + 1}`, orgId, transition });
      for (const wake of wakers) wake();
    },
    health: async () => ({
      status: fake.healthy ? 'healthy' : 'unhealthy',
      uptime_seconds: 57.1,
      checks: { redis: fake.healthy ? { status: 'up' } : { status: 'down', detail: 'no answer' } },
    }),
    metrics: async () => '# TYPE castellan_commits_total counter\ncastellan_commits_total 3\n',
    listNodes: async (query) =>
      page(
        [...fake.nodes.values()].filter((node) => (query.orgId ?? node.orgId) === node.orgId && (query.state ?? node.state) === node.state),
        query,
      ),
    getNode: async (id) => fake.nodes.get(id),
    liveTarget: async (id) => fake.liveTargets.get(id),
    listMachines: async () => [
      { type: 'node', version: '1', events: ['STATUS'], effects: [], definition: { id: 'node', states: {} } },
      { type: 'fleet', version: '1', events: ['late', 'back'], effects: [], definition: { id: 'fleet', states: {} } },
    ],
    listActors: async (query) =>
      page(
        [...fake.actors.values()]
          .filter((actor) => (query.type ?? actor.type) === actor.type && (query.orgId ?? actor.orgId) === actor.orgId)
          .map(({ type, id, orgId, revision, status, value, tags, enteredAt }) => ({ type, id, orgId, revision, status, value, tags, enteredAt })),
        query,
      ),
    getActor: async (type, id) => fake.actors.get(`${type}/${id}`),
    history: async (type, id, query) => {
      const history = fake.histories.get(`${type}/${id}`);
      return history === undefined ? undefined : { ...page([...history].reverse(), query), truncated: false };
    },
    at: async (type, id, revision) => {
      const actor = fake.actors.get(`${type}/${id}`);
      if (actor === undefined || revision > actor.revision) return { kind: 'missing' };
      if (revision === 1) return { kind: 'gone' };
      const { status, value, context } = actor;
      return { kind: 'found', actor: { type, id, revision, at: actor.enteredAt, status, value, context, record: { revision } as never } };
    },
    send: async (type, id, event, options) => {
      if (type === 'nosuch') throw new UnknownActorTypeError(type, ['node']);
      if (event.type === 'BROKEN') throw new InvalidEventError('The event BROKEN needs a number.', { field: 'amount' });
      const known = options.dedupeId === undefined ? undefined : dedupe.get(options.dedupeId);
      const entry = known ?? `${BASE + fake.sent.length}-0`;
      if (known === undefined) {
        fake.sent.push({ key: `${type}/${id}`, event, options });
        if (options.dedupeId !== undefined) dedupe.set(options.dedupeId, entry);
      }
      const result = { entry, partition: 7, repeated: known !== undefined };
      if (options.waitMs === undefined) return result;
      if (event.type === 'POISON') return { ...result, outcome: { kind: 'dead-letter', code: 'step_failed', reason: 'The machine threw.', field: 'x' } };
      return { ...result, outcome: { kind: 'transition', revision: 3, value: 'online', status: 'active' } };
    },
    dryRun: async (_type, _id, event) => {
      fake.dryRuns.push(event);
      return { kind: 'transition', revision: 3, status: 'active', from: 'a', value: 'b', context: {}, commands: [], emitted: [], nextEvents: ['X'] };
    },
    listDeadLetters: async (query) => page(fake.letters, query),
    replayDeadLetter: async (id) => {
      const letter = fake.letters.find((candidate) => candidate.id === id);
      if (letter === undefined) return { kind: 'missing' };
      if (letter.event === undefined) return { kind: 'not-replayable' };
      fake.replayed.push(id);
      return { kind: 'replayed', entry: '1-0' };
    },
    listPartitions: async () =>
      Array.from({ length: 64 }, (_, partition) => ({
        partition,
        owner: 'engine-1',
        epoch: 5,
        position: '0-0',
        lag: 0,
        timers: 0,
        outbox: 0,
        commit: '5-1',
        retries: 0,
        sourceLagMs: { 'node:status:stream': 3 },
      })),
    follow: async (cursor, { types, signal }) => {
      let next = cursor === 'new' ? feed.length : indexOf(cursor);
      fake.followers++;
      return (async function* () {
        try {
          while (!signal.aborted) {
            const item = feed[next];
            if (item === undefined) {
              await nextPush(wakers, signal);
              continue;
            }
            next++;
            fake.pulled++;
            if (types === undefined || types.includes(item.transition.type)) yield item;
          }
        } finally {
          fake.followers--;
        }
      })();
    },
  };
  return fake;
}

async function nextPush(wakers: Set<() => void>, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const done = () => resolve();
  wakers.add(done);
  signal.addEventListener('abort', done, { once: true });
  await promise;
  wakers.delete(done);
  signal.removeEventListener('abort', done);
}
