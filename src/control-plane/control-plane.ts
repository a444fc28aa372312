/**
 * The control plane as the outside sees it: the engine's actors in the shapes of `src/protocol/control-plane.ts`.
 *
 * Reads go to the store and wait for nobody; writes are appends. Any number of processes may do this beside one engine.
 */
import { checkEvent, inspect, isIndexed, nextEvents, restore, step, type RegisteredType } from '../core/kernel.ts';
import type { Client, ActorState } from '../engine/client.ts';
import type { Engine, EngineReport } from '../engine/engine.ts';
import type { HostedTypes } from '../engine/actor-types.ts';
import type { ActorReader } from '../engine/read-ports.ts';
import {
  timestamp,
  transitionView,
  type ActorQuery,
  type ActorSummary,
  type ActorView,
  type ControlPlane,
  type DryRun,
  type FeedItem,
  type FollowOptions,
  type HealthReport,
  type MachineView,
  type Page,
  type ReplayResult,
  type SendOptions,
  type SendResult,
} from '../protocol/control-plane.ts';
import type { MachineEvent } from '../protocol/envelope.ts';
import { actorKey, idOf, parseActorKey, partitionOf, typeOf, type ActorKey } from '../protocol/ids.ts';
import type { Json } from '../protocol/json.ts';
import type { ActorRecord } from '../protocol/record.ts';
import { decodeRecord } from '../protocol/stored-record.ts';
import { History } from './history.ts';
import { Metrics, type MetricsSources } from './metrics.ts';
import { Nodes } from './nodes.ts';
import { Organisations } from './organisations.ts';

export interface ControlPlaneParts {
  readonly engine: Pick<Engine, 'meter' | 'report' | 'closedMsOf' | 'sourceLagMsOf'>;
  readonly client: Client;
  readonly reader: ActorReader;
  readonly types: HostedTypes;
  /** Redis's clock, ms since the epoch. */
  readonly time: () => Promise<number>;
  /** Milliseconds since this process began to serve. */
  readonly uptimeMs: () => number;
  /** For metrics; absent when no jobs are run here. */
  readonly jobs?: NonNullable<MetricsSources['jobs']>;
}

/** Commands that wait so long without any being delivered: their receivers are away. */
const DELIVERY_STALLED_MS = 60_000;
/** Pages read to fill one: a state that few are in, or an organisation that has few, is found over several calls. */
const PAGES_MAX = 20;
/** Under this address a dry run's transition would lie; it is never committed. */
const NOWHERE = '0:0-0:0';

export function createControlPlane({ engine, client, reader, types, time, uptimeMs, jobs }: ControlPlaneParts): ControlPlane {
  const history = new History(reader);
  const nodes = new Nodes(reader);
  const organisations = new Organisations(reader);
  const metrics = new Metrics({ meter: engine.meter, report: () => engine.report(), reader, ...(jobs === undefined ? {} : { jobs }) });

  return {
    health: () => health(engine, time, uptimeMs),
    metrics: () => metrics.text(),

    listNodes: (query) => nodes.list(query),
    getNode: (nodeId) => nodes.get(nodeId),
    liveTarget: (nodeId) => nodes.liveTarget(nodeId),

    listMachines: async () => [...types.all].map(({ registered }) => machineView(registered)),
    listActors: (query) => listActors(reader, types, organisations, query, time),

    async getActor(type, id) {
      const state = await client.get(type, id);
      return state === undefined ? undefined : actorView(state, organisations, (key) => engine.closedMsOf(partitionOf(key)));
    },

    async history(type, id, query) {
      const state = await client.get(type, id);
      return state === undefined ? undefined : await history.page(state.record, state.key, query);
    },

    async at(type, id, revision) {
      const state = await client.get(type, id);
      return state === undefined ? { kind: 'missing' } : await history.at(types.require(type).registered, state.record, state.key, revision);
    },

    send: (type, id, event, options) => send(client, type, id, event, options),
    dryRun: (type, id, event) => dryRun(reader, types, actorKey(type, id), event, time),

    async listDeadLetters({ cursor, limit }) {
      const { items, next } = await reader.listDeadLetters(cursor, limit);
      return { items: items.map((letter) => ({ ...letter, at: timestamp(letter.at) })), next };
    },
    replayDeadLetter: (id) => replay(reader, client, id),
    listPartitions: async () => (await reader.partitions()).map((report) => ({ ...report, sourceLagMs: engine.sourceLagMsOf(report.partition) })),

    async follow(cursor, options: FollowOptions) {
      return feedItems(await client.transitions(cursor, options), organisations);
    },
  };
}

async function* feedItems(transitions: Awaited<ReturnType<Client['transitions']>>, organisations: Organisations): AsyncGenerator<FeedItem> {
  for await (const { cursor, transition } of transitions) {
    yield { cursor, orgId: await organisations.of(transition.key), transition: transitionView(transition) };
  }
}

async function health(engine: ControlPlaneParts['engine'], time: () => Promise<number>, uptimeMs: () => number): Promise<HealthReport> {
  const report = engine.report();
  const redis = await time().then(
    () => undefined,
    (error: Error) => error.message,
  );
  const running = report.state === 'running';
  return {
    status: redis === undefined && running ? 'healthy' : 'unhealthy',
    uptime_seconds: Math.round(uptimeMs() / 100) / 10,
    checks: {
      redis: redis === undefined ? { status: 'up' } : { status: 'down', detail: redis },
      engine: { status: running ? 'up' : 'down', detail: `${report.state}, ${report.owned} partitions` },
      // Down is told and does not make the whole unhealthy: a receiver that is away is no reason to restart this process.
      delivery: {
        status: running && report.deliveryStalledMs < DELIVERY_STALLED_MS ? 'up' : 'down',
        detail: waiting(report),
      },
    },
  };
}

function waiting({ outboxDepth, deliveryStalledMs }: EngineReport): string {
  return outboxDepth === 0 ? 'nothing waits' : `${outboxDepth} commands wait; none was delivered for ${Math.round(deliveryStalledMs / 1_000)} s`;
}

function machineView({ type, version, eventTypes, definition }: RegisteredType): MachineView {
  // Functions (guards, assigns) have no JSON; what is left is the chart.
  const chart = JSON.parse(JSON.stringify(definition.machine.definition)) as Json;
  return { type, version, events: eventTypes, effects: definition.effects ?? [], definition: chart };
}

async function listActors(
  reader: ActorReader,
  types: HostedTypes,
  organisations: Organisations,
  { type, state, inStateLongerThanMs, orgId, cursor, limit }: ActorQuery,
  time: () => Promise<number>,
): Promise<Page<ActorSummary>> {
  // Without a type the types are listed one after another; the cursor says at which we are.
  const names = type === undefined ? types.names : [types.require(type).registered.type];
  const separator = cursor?.indexOf('|') ?? -1;
  let at = separator < 0 ? 0 : Math.max(0, names.indexOf(cursor?.slice(0, separator) ?? ''));
  let rest = separator < 0 ? '' : (cursor?.slice(separator + 1) ?? '');
  const enteredBefore: { enteredBefore?: number } = inStateLongerThanMs === undefined ? {} : { enteredBefore: (await time()) - inStateLongerThanMs };
  const items: ActorSummary[] = [];
  for (let pages = 0; at < names.length && items.length < limit && pages < PAGES_MAX; pages++) {
    const name = names[at] as string;
    const indexed = state === undefined || isIndexed(types.require(name).registered, state);
    const room = { type: name, limit: limit - items.length };
    const query = indexed ? { ...room, ...(state === undefined ? {} : { statePath: state }), ...enteredBefore } : room;
    const listed = await reader.listActors(rest === '' ? query : { ...query, cursor: rest });
    const views = await reader.getActors(listed.items.map(({ key }) => key));
    for (const view of views) {
      if (view === undefined) continue;
      if (!indexed && !isIn(decodeRecord(view.record), state, enteredBefore.enteredBefore)) continue;
      const summary = summaryOf(types, view.key, view.record, organisations, state);
      if (orgId === undefined || summary.orgId === orgId) items.push(summary);
    }
    rest = listed.next ?? '';
    if (listed.next === null) at++;
  }
  return { items, next: at < names.length ? `${names[at]}|${rest}` : null };
}

function isIn({ entered }: ActorRecord, state: string, before = Infinity): boolean {
  const at = entered[state];
  return at !== undefined && at < before;
}

function summaryOf(types: HostedTypes, key: ActorKey, json: string, organisations: Organisations, state: string | undefined): ActorSummary {
  const record = decodeRecord(json);
  const restored = restore(types.require(typeOf(key)).registered, key, json);
  const tags = 'parked' in restored ? ['parked'] : inspect(types.require(typeOf(key)).registered, restored).tags;
  const { revision, status, snapshot } = record;
  const value = (snapshot as { value?: Json }).value ?? null;
  const enteredAt = timestamp(enteredOf(record, state));
  return { type: typeOf(key), id: idOf(key), orgId: organisations.ofRecord(key, record), revision, status, value, tags, enteredAt };
}

function enteredOf(record: ActorRecord, state: string | undefined): number {
  const asked = state === undefined ? undefined : record.entered[state];
  return asked ?? Math.max(record.createdAt, ...Object.values(record.entered));
}

function actorView(state: ActorState, organisations: Organisations, closedMsOf: (key: ActorKey) => number): ActorView {
  const { key, record, revision, status, value, context, tags, document } = state;
  const timers = Object.entries(record.timers).flatMap(([id, timer]) => {
    const due = state.dues[id];
    if (due === undefined) return [];
    return [{ id, event: timer.event, dueAt: timestamp(timer.clock === 'liveness' ? due + closedMsOf(key) : due) }];
  });
  return {
    type: typeOf(key),
    id: idOf(key),
    orgId: organisations.ofRecord(key, record),
    revision,
    status,
    value,
    context,
    tags,
    enteredAt: timestamp(enteredOf(record, undefined)),
    entered: Object.fromEntries(Object.entries(record.entered).map(([path, at]) => [path, timestamp(at)])),
    timers: timers.toSorted((left, right) => left.dueAt.localeCompare(right.dueAt)),
    nextEvents: state.nextEvents,
    machineVersion: record.version,
    ...(document === undefined ? {} : { document }),
    ...(state.parked === undefined ? {} : { parked: state.parked }),
  };
}

async function send(client: Client, type: string, id: string, event: MachineEvent, { waitMs, ...options }: SendOptions): Promise<SendResult> {
  const from = { source: 'http' as const, ...options };
  if (waitMs === undefined) {
    const { id: entry, partition, repeated } = await client.send(type, id, event, from);
    return { entry, partition, repeated };
  }
  const { result, outcome } = await client.sendAndHear(type, id, event, { ...from, timeoutMs: waitMs });
  return { entry: result.id, partition: result.partition, repeated: result.repeated, ...(outcome === undefined ? {} : { outcome }) };
}

async function dryRun(reader: ActorReader, types: HostedTypes, key: ActorKey, event: MachineEvent, time: () => Promise<number>): Promise<DryRun> {
  const { registered } = types.require(typeOf(key));
  const checked = checkEvent(registered, event);
  if (!checked.ok) return { kind: 'rejected', ...checked.rejection };
  const stored = await reader.getActor(key);
  const actor = stored === undefined ? null : restore(registered, key, stored.record);
  if (actor !== null && 'parked' in actor) return { kind: 'rejected', code: 'actor_parked', reason: actor.parked };
  const decision = step(registered, key, actor, { kind: 'event', event: checked.event }, { at: await time(), address: NOWHERE });
  switch (decision.kind) {
    case 'ignored':
    case 'touch':
      return { kind: decision.kind };
    case 'rejected':
      return { kind: 'rejected', ...decision.rejection };
    case 'transition': {
      const { value, context } = inspect(registered, decision.actor);
      const { revision, status } = decision.actor.record;
      const { from, commands, emitted } = decision;
      return { kind: 'transition', revision, status, from, value, context, commands, emitted, nextEvents: nextEvents(registered, decision.actor) };
    }
  }
}

/** Appends the event of a dead letter again. The dedupe id makes two replays of one letter one event. */
async function replay(reader: ActorReader, client: Client, id: string): Promise<ReplayResult> {
  const letter = await reader.getDeadLetter(id);
  if (letter === undefined) return { kind: 'missing' };
  if (letter.actor === undefined || letter.event === undefined) return { kind: 'not-replayable' };
  const { type, id: actorId } = parseActorKey(letter.actor);
  const { id: entry } = await client.send(type, actorId, letter.event, { source: 'replay', dedupeId: `replay:${id}`, causation: `dead-letter:${id}` });
  return { kind: 'replayed', entry };
}
