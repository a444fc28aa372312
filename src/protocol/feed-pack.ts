/**
 * The form in which the transitions of one commit and one actor type lie in the feed: one JSON text.
 *
 * Positions instead of names, and 0 for what is empty, because the feed holds millions: a three-event job's
 * transition takes about half the bytes of the named form. Only this file knows the positions.
 */
import type { Cause, EventSource, Stimulus } from './envelope.ts';
import type { Command } from './command.ts';
import type { Json } from './json.ts';
import type { ActorRecord, MachineEventJson, Transition } from './record.ts';
import { actorKey, idOf } from './ids.ts';

type PackedCause = readonly [source: EventSource, ref: string, causation?: string | 0, traceparent?: string];
type PackedTransition = readonly [
  id: string,
  revision: number,
  at: number,
  version: string,
  stimulus: Stimulus,
  cause: PackedCause,
  from: Json,
  to: Json,
  previous: string | 0,
  commands: readonly Command[] | 0,
  emitted: readonly MachineEventJson[] | 0,
  logs: readonly Json[] | 0,
  checkpoint: ActorRecord | 0,
];

const orZero = <Item>(items: readonly Item[]): readonly Item[] | 0 => (items.length === 0 ? 0 : items);

function packCause(cause: Cause): PackedCause {
  if (cause.traceparent !== undefined) return [cause.source, cause.ref, cause.causation ?? 0, cause.traceparent];
  if (cause.causation !== undefined) return [cause.source, cause.ref, cause.causation];
  return [cause.source, cause.ref];
}

function unpackCause([source, ref, causation, traceparent]: PackedCause): Cause {
  return { source, ref, ...(causation ? { causation } : {}), ...(traceparent === undefined ? {} : { traceparent }) };
}

/** The document beside an event is stored with the actor, not in the journal: a step does not read it. */
function withoutDocument(stimulus: Stimulus): Stimulus {
  return stimulus.kind === 'event' && stimulus.document !== undefined ? { kind: 'event', event: stimulus.event } : stimulus;
}

/** JSON of the transitions of one commit and one type, in their order. */
export function encodePack(transitions: readonly Transition[]): string {
  const packed = transitions.map((one): PackedTransition => [
    idOf(one.key),
    one.revision,
    one.at,
    one.version,
    withoutDocument(one.stimulus),
    packCause(one.cause),
    one.from,
    one.to,
    one.previous ?? 0,
    orZero(one.commands),
    orZero(one.emitted),
    orZero(one.logs),
    one.checkpoint ?? 0,
  ]);
  return JSON.stringify(packed);
}

/** The transitions of a pack. `type` is the feed's actor type. */
export function decodePack(type: string, pack: string): readonly Transition[] {
  return (JSON.parse(pack) as readonly PackedTransition[]).map(
    ([id, revision, at, version, stimulus, cause, from, to, previous, commands, emitted, logs, checkpoint]): Transition => ({
      key: actorKey(type, id),
      revision,
      at,
      version,
      stimulus,
      cause: unpackCause(cause),
      from,
      to,
      previous: previous || null,
      commands: commands || [],
      emitted: emitted || [],
      logs: logs || [],
      ...(checkpoint ? { checkpoint } : {}),
    }),
  );
}

/** Where one transition lies. */
export interface TransitionAddress {
  readonly partition: number;
  readonly pack: string;
  readonly index: number;
}

/** `<partition>:<feed id>:<index>`, the form that records and transitions keep. */
export function formatAddress(partition: number, pack: string, index: number): string {
  return `${partition}:${pack}:${index}`;
}

export function parseAddress(address: string): TransitionAddress {
  const [partition, pack, index] = address.split(':');
  return { partition: Number(partition), pack: pack ?? '', index: Number(index) };
}
