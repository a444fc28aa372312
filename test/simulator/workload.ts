/**
 * Who makes the events of a run: senders that repeat until they are heard, and agents that beat into a stream.
 *
 * 1. A sender's events for one actor are accepted in their order: it sends the next when the last was answered.
 * 2. An agent's longest silence, an outage included, stays within the deadline of its actor, unless it is to die.
 */
import type { EngineStore } from '../../src/engine/ports.ts';
import type { MachineEvent } from '../../src/protocol/envelope.ts';
import { actorKey, partitionOf, type ActorKey } from '../../src/protocol/ids.ts';
import type { StreamSource } from '../../src/protocol/source.ts';
import type { Faults } from './faults.ts';
import { BEAT_MS, streamOf, UNKNOWN_STREAM } from './machines.ts';
import type { MemoryRedis } from './memory-store.ts';
import type { SimulatedProcess } from './process.ts';
import type { Chance } from './random.ts';

export const BEATS = 'beats:stream';

/** What was asked of the system, for comparing with what it did. */
export interface Expected {
  /** By ledger or printer, then by sender: how many numbered events were accepted. */
  readonly numbered: Map<ActorKey, Map<string, number>>;
  /** Arms and cancels accepted, by alarm. */
  readonly alarms: Map<ActorKey, { arms: number; cancels: number }>;
  readonly fetches: Map<ActorKey, number>;
  readonly agents: Map<ActorKey, { marks: number; readonly died: boolean; lastBeat: number }>;
  /** By stream, then by poster: how many posts were asked for. */
  readonly posts: Map<string, Map<string, number>>;
  readonly visits: Map<ActorKey, number>;
  /** Dead letters that must stand in the end, by reason of planting. */
  poison: number;
}

export function nothingExpected(): Expected {
  return { numbered: new Map(), alarms: new Map(), fetches: new Map(), agents: new Map(), posts: new Map(), visits: new Map(), poison: 0 };
}

const LEDGERS = 4;
const COURIERS = 3;
const PRINTERS = 3;
const POSTERS = 3;
export const STREAMS = 2;
const VISITORS = 4;
const ALARMS = 4;
const FETCHERS = 2;

interface Sender {
  readonly process: SimulatedProcess;
  readonly store: EngineStore;
  readonly chance: Chance;
  readonly faults: () => Faults;
  readonly expected: Expected;
}

/** Sends `events` events, one after the other; resolves when all were accepted. */
export async function runSender(sender: Sender, events: number, meanPauseMs: number): Promise<void> {
  const { process, chance } = sender;
  const by = process.name;
  const numbers = new Map<ActorKey, number>();
  const next = (key: ActorKey): number => {
    const n = (numbers.get(key) ?? 0) + 1;
    numbers.set(key, n);
    count(sender.expected.numbered, key, by);
    return n;
  };
  for (let index = 0; index < events; index++) {
    const [key, event] = chooseEvent(chance, sender.expected, by, next);
    await sendReliably(sender, key, event, `${by}:${index}`);
    // Bursts and pauses: some batches are full, some hold one event.
    if (chance.is(0.4)) await process.wait(chance.between(0, 2.5 * meanPauseMs));
  }
}

function chooseEvent(chance: Chance, expected: Expected, by: string, next: (key: ActorKey) => number): [ActorKey, MachineEvent] {
  const draw = chance.next();
  if (draw < 0.3) {
    const key = actorKey('ledger', String(chance.between(1, LEDGERS)));
    return [key, { type: 'add', by, n: next(key) }];
  }
  if (draw < 0.36) {
    const key = actorKey('ledger', String(chance.between(1, LEDGERS)));
    const kind = chance.between(1, 3);
    if (kind === 1) return [key, { type: 'nothing' }];
    expected.poison++;
    return [key, kind === 2 ? { type: 'poison' } : { type: 'add', by, n: 'not a number' }];
  }
  if (draw < 0.46) {
    const key = actorKey('poster', String(chance.between(1, POSTERS)));
    const to = chance.is(0.1) ? UNKNOWN_STREAM : String(chance.between(1, STREAMS));
    if (to === UNKNOWN_STREAM) expected.poison++;
    else count(expected.posts, streamOf(to), key);
    return [key, { type: 'tell', to }];
  }
  if (draw < 0.58) {
    const key = actorKey('visitor', String(chance.between(1, VISITORS)));
    expected.visits.set(key, (expected.visits.get(key) ?? 0) + 1);
    return [key, { type: 'visit' }];
  }
  if (draw < 0.66) {
    const key = actorKey('courier', String(chance.between(1, COURIERS)));
    const to = String(chance.between(1, LEDGERS));
    count(expected.numbered, actorKey('ledger', to), key);
    return [key, { type: 'go', to }];
  }
  if (draw < 0.76) {
    const key = actorKey('printer', String(chance.between(1, PRINTERS)));
    return [key, { type: 'print', by, n: next(key) }];
  }
  if (draw < 0.92) {
    const key = actorKey('alarm', String(chance.between(1, ALARMS)));
    const asked = entryOf(expected.alarms, key, () => ({ arms: 0, cancels: 0 }));
    if (chance.is(0.35)) {
      asked.cancels++;
      return [key, { type: 'cancel' }];
    }
    asked.arms++;
    return [key, { type: 'arm', delayMs: chance.pick([0, 1, 20, 100, 500, 2_000, 4_000]) }];
  }
  const key = actorKey('fetcher', String(chance.between(1, FETCHERS)));
  expected.fetches.set(key, (expected.fetches.get(key) ?? 0) + 1);
  return [key, { type: 'fetch' }];
}

async function sendReliably({ process, store, chance, faults }: Sender, actor: ActorKey, event: MachineEvent, dedupeId: string): Promise<void> {
  for (;;) {
    const [result] = await store.append([{ actor, event, source: 'library', dedupeId }]).catch((error: unknown) => [error as Error]);
    if (!(result instanceof Error)) break;
    await process.wait(chance.between(5, 100));
  }
  // The sender restarted and did not know that it had been answered.
  if (chance.is(faults().resend)) await store.append([{ actor, event, source: 'library', dedupeId }]).catch(() => undefined);
}

/**
 * Goes on sending poison until the run is over, each time behind an event that is in order, to a ledger of the same partition as
 * `neighbour`: what one actor is sent must not keep the deadline of another from passing. (I6, I7)
 */
export async function runPoisoner(sender: Sender, neighbour: ActorKey, isOver: () => boolean): Promise<void> {
  const { process, store, chance, expected } = sender;
  const key = neighbourOf(neighbour);
  for (let n = 1; !isOver(); n++) {
    count(expected.numbered, key, process.name);
    expected.poison++;
    const envelope = { actor: key, source: 'library' } as const;
    const good = { ...envelope, event: { type: 'add', by: process.name, n }, dedupeId: `${process.name}:${n}` };
    const bad = { ...envelope, event: { type: 'poison' }, dedupeId: `${process.name}:${n}:poison` };
    for (let open = true; open;) {
      const results = await store.append([good, bad]).catch((error: unknown) => [error as Error]);
      open = results.some((result) => result instanceof Error);
      await process.wait(open ? chance.between(5, 100) : chance.between(500, 1_500));
    }
  }
}

/** A ledger in the partition of another actor. */
function neighbourOf(key: ActorKey): ActorKey {
  for (let id = 0; ; id++) {
    const ledger = actorKey('ledger', `beside-${id}`);
    if (partitionOf(ledger) === partitionOf(key)) return ledger;
  }
}

interface Agent {
  readonly process: SimulatedProcess;
  readonly redis: MemoryRedis;
  readonly isDown: () => boolean;
  readonly chance: Chance;
  readonly expected: Expected;
  /** The run has come to its end. */
  readonly isOver: () => boolean;
  readonly now: () => number;
}

/** Beats until the run ends, or until it dies. */
export async function runAgent({ process, redis, isDown, chance, expected, isOver, now }: Agent, id: string, diesAt: number | undefined): Promise<void> {
  const key = actorKey('watched', id);
  const asked = { marks: 0, died: diesAt !== undefined, lastBeat: 0 };
  expected.agents.set(key, asked);
  await process.wait(chance.between(0, BEAT_MS));
  while (!isOver() && now() < (diesAt ?? Infinity)) {
    if (isDown()) {
      // Its longest reconnect delay is below its interval.
      await process.wait(chance.between(BEAT_MS / 16, BEAT_MS / 2));
      continue;
    }
    const event = chance.is(0.3) ? { type: 'mark', by: 'agent', n: ++asked.marks } : { type: 'beat' };
    const fields = ['id', id, 'p', JSON.stringify(event)];
    if (chance.is(0.3)) redis.report(BEATS, fields, partitionOf(key));
    else {
      redis.addToSource(BEATS, fields);
      if (chance.is(0.5)) redis.ringSources();
    }
    asked.lastBeat = now();
    if (chance.is(0.02)) {
      redis.addToSource(BEATS, ['id', id, 'p', 'not JSON']);
      expected.poison++;
    }
    await process.wait(chance.between(BEAT_MS * 0.9, BEAT_MS * 1.1));
  }
}

export const beats: StreamSource = {
  stream: BEATS,
  keyOf: (fields) => actorKey('watched', fields[1] ?? ''),
  decode: (_id, fields) => {
    try {
      return { ok: true, event: JSON.parse(fields[3] ?? '') as MachineEvent };
    } catch {
      return { ok: false, code: 'not_json', reason: 'The beat is not JSON.', excerpt: fields[3] ?? '' };
    }
  },
};

function count<Key>(counts: Map<Key, Map<string, number>>, key: Key, by: string): void {
  const ofKey = entryOf(counts, key, () => new Map<string, number>());
  ofKey.set(by, (ofKey.get(by) ?? 0) + 1);
}

function entryOf<Key, Value>(map: Map<Key, Value>, key: Key, make: () => Value): Value {
  let value = map.get(key);
  if (value === undefined) map.set(key, (value = make()));
  return value;
}
