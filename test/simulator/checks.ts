/**
 * What must hold of a run that came to rest: the invariants of the design, each looked for in what was stored.
 */
import { isDeepStrictEqual } from 'node:util';
import { fold, type RegisteredType } from '../../src/core/kernel.ts';
import { decodePack } from '../../src/protocol/feed-pack.ts';
import { compareEntryIds, millisecondsOf, partitionOf, STREAM_START, typeOf, type ActorKey } from '../../src/protocol/ids.ts';
import { decodeRecord } from '../../src/protocol/stored-record.ts';
import type { ActorRecord, Transition } from '../../src/protocol/record.ts';
import { LATE_MS } from './machines.ts';
import type { Journalled, Run } from './world.ts';

/** Everything that is wrong with a run, in sentences; empty when nothing is. */
export function faultsOf(run: Run): readonly string[] {
  const actors = byActor(run);
  return [
    ...run.faults,
    ...appliedOnce(run),
    ...inOrderOfTime(run),
    ...journalsFold(run, actors),
    ...senders(run),
    ...timers(actors),
    ...commands(run, actors),
    ...posts(run),
    ...visits(run, actors),
    ...fetches(run),
    ...liveness(run, actors),
    ...deadLetters(run),
    ...feeds(run),
    ...indexes(run),
  ];
}

function byActor(run: Run): ReadonlyMap<ActorKey, readonly Journalled[]> {
  const actors = new Map<ActorKey, Journalled[]>();
  for (const entry of run.journal.flat()) {
    const known = actors.get(entry.transition.key);
    if (known === undefined) actors.set(entry.transition.key, [entry]);
    else known.push(entry);
  }
  return actors;
}

function recordOf(run: Run, key: ActorKey): ActorRecord | undefined {
  const json = run.redis.partition(partitionOf(key)).records.get(key);
  return json === undefined ? undefined : decodeRecord(json);
}

/** What is read in the millisecond in which it was appended counts as of the one before: no read has seen all of its own. */
const EARLY_MS = 1;

/** All that the machines of the workload count. */
interface Counts {
  readonly newest: { readonly [sender: string]: number };
  readonly disorder: number;
  readonly arms: number;
  readonly cancels: number;
  readonly wanted: number;
  readonly done: number;
  readonly wrong: number;
}

function contextOf(run: Run, key: ActorKey): Counts | undefined {
  return (recordOf(run, key)?.snapshot as { readonly context?: Counts } | undefined)?.context;
}

/** I1, I3: an entry causes at most one transition, and entries take effect in the order of their stream. */
function* appliedOnce({ journal }: Run): Generator<string> {
  for (const [partition, entries] of journal.entries()) {
    const newest = new Map<string, string>();
    const seen = new Set<string>();
    for (const { commit, transition } of entries) {
      const { source, ref } = transition.cause;
      if (source === 'timer') continue;
      const stream = source.startsWith('stream:') ? source : 'inbox';
      if (seen.has(`${stream} ${ref}`)) yield `I1: ${stream} entry ${ref} of partition ${partition} was applied again in ${commit}.`;
      seen.add(`${stream} ${ref}`);
      // Packs are per type: only one type's entries stand in their order within a commit.
      const line = `${stream} ${typeOf(transition.key)}`;
      if (compareEntryIds(newest.get(line) ?? STREAM_START, ref) > 0)
        yield `I3: ${stream} entry ${ref} of partition ${partition} was applied after a later one.`;
      newest.set(line, ref);
    }
  }
}

/** A partition's time never goes back, and a timer does not overtake the entries that were there before it was due. */
function* inOrderOfTime({ journal }: Run): Generator<string> {
  for (const [partition, entries] of journal.entries()) {
    /** Newest step time of the commits before this one, and of the present one by type. */
    let before = 0;
    let present = { commit: '', time: 0, byType: new Map<string, number>() };
    let fired = 0;
    let firedInCommit = 0;
    for (const { commit, transition } of entries) {
      const { at, cause, key } = transition;
      if (present.commit !== commit) {
        before = Math.max(before, present.time);
        fired = Math.max(fired, firedInCommit);
        present = { commit, time: 0, byType: new Map() };
      }
      if (at < Math.max(before, present.byType.get(typeOf(key)) ?? 0)) yield `Time: partition ${partition} went back to ${at} in ${commit} (${key}).`;
      present.byType.set(typeOf(key), at);
      present.time = Math.max(present.time, at);
      if (cause.source === 'timer') firedInCommit = Math.max(firedInCommit, at);
      else if (cause.source !== 'invocation' && millisecondsOf(cause.ref) < fired) {
        yield `Time: a timer of partition ${partition}, due at ${fired}, overtook the entry ${cause.ref} of ${cause.source}.`;
      }
    }
  }
}

/** I2, I3: revisions are contiguous, each transition names the one before it, and folding them gives the stored record. */
function* journalsFold(run: Run, actors: ReadonlyMap<ActorKey, readonly Journalled[]>): Generator<string> {
  for (const [key, entries] of actors) {
    if (typeOf(key) === 'visitor') continue; // it has several lives
    let previous: Journalled | undefined;
    for (const entry of entries) {
      const { revision } = entry.transition;
      if (revision !== (previous?.transition.revision ?? 0) + 1) yield `I3: ${key} has revision ${revision} after ${previous?.transition.revision ?? 0}.`;
      if (entry.transition.previous !== (previous?.address ?? null)) yield `I3: revision ${revision} of ${key} does not follow ${previous?.address}.`;
      previous = entry;
    }
    const type = run.types.get(typeOf(key));
    const record = recordOf(run, key);
    if (type === undefined || record === undefined) {
      yield `I2: ${key} has a journal and no record.`;
      continue;
    }
    const folded = fold(
      type,
      key,
      null,
      entries.map(({ transition }) => transition),
      entries.map(({ address }) => address),
    );
    if (folded.kind !== 'folded') yield `I2: ${key}: ${folded.reason}`;
    else if (!isDeepStrictEqual(JSON.parse(JSON.stringify(folded.actor.record)), record)) {
      yield `I2: the journal of ${key} gives ${JSON.stringify(folded.actor.record)}, stored is ${JSON.stringify(record)}.`;
    }
  }
}

/** I1: everything accepted arrived, once and in order, also from actor to actor. */
function* senders(run: Run): Generator<string> {
  for (const [key, bySender] of run.expected.numbered) {
    const context = contextOf(run, key);
    if (context !== undefined && context.disorder > 0) yield `I1: ${key} saw ${context.disorder} events out of order, missing or doubled.`;
    for (const [sender, sent] of bySender) {
      if (context?.newest[sender] !== sent) yield `I1: ${key} has ${context?.newest[sender] ?? 0} of ${sent} events of ${sender}.`;
    }
  }
  for (const [key, { arms, cancels }] of run.expected.alarms) {
    const context = contextOf(run, key);
    if ((context?.arms ?? 0) !== arms || (context?.cancels ?? 0) !== cancels) {
      yield `I1: ${key} has ${context?.arms} arms of ${arms} and ${context?.cancels} cancels of ${cancels}.`;
    }
  }
}

/** An alarm rings when it is due, and not after it was cancelled or armed again. */
function* timers(actors: ReadonlyMap<ActorKey, readonly Journalled[]>): Generator<string> {
  for (const [key, entries] of actors) {
    if (typeOf(key) !== 'alarm') continue;
    let due: number | undefined;
    for (const { transition } of entries) {
      const { at, stimulus } = transition;
      if (stimulus.kind === 'timer') {
        if (due === undefined) yield `Timer: ${key} rang at ${at} and was not armed.`;
        else if (at !== due) yield `Timer: ${key} rang at ${at} and was due at ${due}.`;
        due = undefined;
      } else if (stimulus.kind === 'event') {
        if (due !== undefined && due <= at) yield `Timer: ${key} was due at ${due} and did not ring before ${stimulus.event.type} at ${at}.`;
        due = stimulus.event.type === 'arm' ? at + (stimulus.event['delayMs'] as number) : undefined;
      }
    }
    if (due !== undefined) yield `Timer: ${key} was due at ${due} and never rang.`;
  }
}

/** I5: every command was delivered, under one key, first deliveries in their order. */
function* commands(run: Run, actors: ReadonlyMap<ActorKey, readonly Journalled[]>): Generator<string> {
  const delivered = new Map<string, string>();
  const lines = new Map<string, string[]>();
  for (const { key, actor, command } of run.deliveries) {
    const before = delivered.get(key);
    const json = JSON.stringify(command);
    if (before !== undefined && before !== json) yield `I5: the key ${key} stood for ${before} and for ${json}.`;
    if (before === undefined) {
      const line = `${actor} ${command.name}`;
      const known = lines.get(line);
      if (known === undefined) lines.set(line, [key]);
      else known.push(key);
    }
    delivered.set(key, json);
  }
  for (const [actor, entries] of actors) {
    const owed = new Map<string, string[]>();
    for (const { commit, transition } of entries) {
      for (const [index, command] of transition.commands.entries()) {
        if (command.kind !== 'effect') continue;
        const key = `${actor}#${commit.split('-')[0]}-${transition.revision}-${index}`;
        const line = `${actor} ${command.name}`;
        if (delivered.get(key) === undefined) yield `I5: ${key} was never delivered.`;
        else if (delivered.get(key) !== JSON.stringify(command)) yield `I5: ${key} was delivered as ${delivered.get(key)}.`;
        owed.set(line, [...(owed.get(line) ?? []), key]);
      }
    }
    for (const [line, keys] of owed) {
      if (!isDeepStrictEqual(lines.get(line) ?? [], keys)) yield `I5: commands of ${line} were delivered in the order ${lines.get(line)?.join(' ')}.`;
    }
  }
}

/** I1, I5: every post stands in its stream once, each poster's in their order. */
function* posts({ redis, expected }: Run): Generator<string> {
  for (const [stream, byPoster] of expected.posts) {
    const found = new Map<string, number[]>();
    for (const [, fields] of redis.posted(stream)) {
      const numbers = found.get(fields[1] as string);
      if (numbers === undefined) found.set(fields[1] as string, [Number(fields[3])]);
      else numbers.push(Number(fields[3]));
    }
    for (const [poster, asked] of byPoster) {
      const wanted = Array.from({ length: asked }, (_, index) => index + 1);
      if (!isDeepStrictEqual(found.get(poster), wanted))
        yield `I5: ${stream} holds ${found.get(poster)?.join(' ') ?? 'nothing'} of ${poster}, which sent ${asked}.`;
    }
  }
}

/** Every visit happened, each life of a visitor is contiguous, and none was dropped while it was not at rest. */
function* visits(run: Run, actors: ReadonlyMap<ActorKey, readonly Journalled[]>): Generator<string> {
  const type = run.types.get('visitor') as RegisteredType;
  for (const [key, asked] of run.expected.visits) {
    const entries = actors.get(key) ?? [];
    const happened = entries.filter(({ transition }) => transition.stimulus.kind === 'event').length;
    if (happened !== asked) yield `I1: ${key} was visited ${happened} times of ${asked}.`;
    const lives: Journalled[][] = [];
    for (const entry of entries) {
      if (entry.transition.revision === 1) lives.push([]);
      lives.at(-1)?.push(entry);
    }
    for (const [index, life] of lives.entries()) {
      const transitions = life.map(({ transition }) => transition);
      const folded = fold(type, key, null, transitions, life.map(({ address }) => address)); // prettier-ignore
      const end = transitions.at(-1)?.to;
      if (folded.kind !== 'folded') yield `I2: ${key}: ${folded.reason}`;
      if (index < lives.length - 1 && end !== 'rested') yield `Keep: ${key} was dropped while it was ${JSON.stringify(end)}.`;
    }
    if (recordOf(run, key) !== undefined) yield `Keep: ${key} was not dropped.`;
  }
}

/** A promise's result counts once, and only for the run that it belongs to. */
function* fetches(run: Run): Generator<string> {
  for (const [key, wanted] of run.expected.fetches) {
    const context = contextOf(run, key);
    if (context?.wanted !== wanted || context.done !== wanted) yield `Invocations: ${key} did ${context?.done} of ${wanted}, it knows of ${context?.wanted}.`;
    if (context !== undefined && context.wrong > 0) yield `Invocations: ${key} took ${context.wrong} results of other runs.`;
  }
}

/** I6: who beats is never late, whatever happened to us; who died is gone. */
function* liveness(run: Run, actors: ReadonlyMap<ActorKey, readonly Journalled[]>): Generator<string> {
  for (const [key, { marks, died, lastBeat }] of run.expected.agents) {
    const context = contextOf(run, key);
    if (context === undefined) {
      if (lastBeat > 0) yield `I1: ${key} has no record.`;
      continue;
    }
    if (context.disorder > 0 || (context.newest['agent'] ?? 0) !== marks) {
      yield `I1: ${key} has ${context.newest['agent'] ?? 0} of ${marks} marks, ${context.disorder} out of order.`;
    }
    const late = actors.get(key)?.find(({ transition }) => transition.stimulus.kind === 'timer')?.transition;
    if (!died && late !== undefined) yield `I6: ${key} beats and was declared late at ${late.at}.`;
    if (died && late !== undefined && late.at < lastBeat + LATE_MS - EARLY_MS)
      yield `I6: ${key} died at ${lastBeat} and was declared late at ${late.at}, too early.`;
    const { value } = (recordOf(run, key)?.snapshot ?? {}) as { readonly value?: string };
    if (died && value !== 'gone') yield `I6: ${key} died at ${lastBeat} and is ${value}.`;
  }
}

/** Nothing is rejected but what was made to be rejected, and that is not lost. */
function* deadLetters(run: Run): Generator<string> {
  const letters = run.redis.partitions.flatMap((partition) => partition.dead.after(STREAM_START).map(([, fields]) => fields[1] as string));
  if (letters.length !== run.expected.poison) {
    yield `I7: ${letters.length} dead letters for ${run.expected.poison} poisoned events: ${letters.map((json) => json.slice(0, 200)).join('; ')}`;
  }
}

/** The feeds hold what was committed, in its order. */
function* feeds(run: Run): Generator<string> {
  for (const [number, partition] of run.redis.partitions.entries()) {
    const journal = new Map<string, Transition[]>();
    for (const { transition } of run.journal[number] ?? []) journal.set(typeOf(transition.key), [...(journal.get(typeOf(transition.key)) ?? []), transition]);
    for (const [type, feed] of partition.feeds) {
      const packed = feed.after(STREAM_START).flatMap(([, fields]) => decodePack(type, fields[5] as string));
      if (!isDeepStrictEqual(packed, journal.get(type) ?? [])) yield `Feed: ${number}:${type} does not hold what was committed.`;
    }
  }
}

/** The indexes list each actor under the states it is in, since when it is in them. */
function* indexes(run: Run): Generator<string> {
  for (const [number, { records, indexes: stored }] of run.redis.partitions.entries()) {
    const expected = new Map<string, Map<ActorKey, number>>();
    const add = (name: string, key: ActorKey, at: number): void => void (expected.get(name) ?? expected.set(name, new Map()).get(name))?.set(key, at);
    for (const [key, json] of records) {
      const record = decodeRecord(json);
      add(`${typeOf(key)}:`, key, record.createdAt);
      for (const [path, at] of Object.entries(record.entered)) add(`${typeOf(key)}:${path}`, key, at);
    }
    for (const name of new Set([...expected.keys(), ...stored.keys()])) {
      const [want, have] = [expected.get(name) ?? new Map(), stored.get(name) ?? new Map()];
      if (!isDeepStrictEqual(want, have)) yield `Index: ${name} of partition ${number} is ${JSON.stringify([...have])}.`;
    }
  }
}
