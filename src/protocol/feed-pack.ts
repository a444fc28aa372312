/**
 * The form in which the transitions of one commit and one actor type lie in the feed: one JSON text.
 *
 * Positions instead of names, 0 for what is empty, nothing behind the last thing that is not, and what repeats within a
 * commit (structured state values, names of streams) once, because the feed holds millions: a node's first transition
 * takes about 330 bytes instead of 720. Only this file knows the positions.
 */
import type { Command } from './command.ts';
import type { Cause, EventSource, InvocationOutcome, MachineEvent, Stimulus } from './envelope.ts';
import { actorKey, idOf, type ActorKey } from './ids.ts';
import type { Json } from './json.ts';
import type { MachineEventJson, Transition } from './record.ts';
import { packRecord, unpackRecord, type PackedRecord } from './stored-record.ts';

/** Index into the pack's table. */
type Repeated = number;
/** The table and the first step time, then the transitions. */
type Pack = readonly [table: readonly Json[], base: number, ...transitions: PackedTransition[]];

type PackedCause = readonly [source: EventSource | Repeated, ref: string, causation?: string | 0, traceparent?: string];
/** An event stands for itself, a timer is its key, a settled promise a list. */
type PackedStimulus = MachineEvent | string | readonly [invocation: string, token: string, outcome: InvocationOutcome];
/** An effect has two items, a message three. */
type PackedCommand = readonly [name: string, params: Json] | readonly [to: string, event: MachineEventJson, message: 1];
type PackedTransition = readonly [
  id: string,
  revision: number,
  /** Milliseconds after the pack's first step time. */
  afterMs: number,
  version: string,
  stimulus: PackedStimulus,
  cause: PackedCause,
  from: string | null | Repeated,
  to: string | Repeated,
  previous?: string | 0,
  commands?: readonly PackedCommand[] | 0,
  emitted?: readonly MachineEventJson[] | 0,
  logs?: readonly Json[] | 0,
  checkpoint?: PackedRecord | 0,
];

/** JSON of the transitions of one commit and one type, in their order. */
export function encodePack(transitions: readonly Transition[]): string {
  const table = new Table();
  const base = transitions[0]?.at ?? 0;
  const packed = transitions.map((transition) => packTransition(transition, table, base));
  return JSON.stringify([table.values, base, ...packed]);
}

/** The transitions of a pack. `type` is the feed's actor type. */
export function decodePack(type: string, pack: string): readonly Transition[] {
  const [table, base, ...transitions] = JSON.parse(pack) as Pack;
  return transitions.map((packed) => unpackTransition(type, packed, table, base));
}

/** What repeats in a pack, each once, in the order of its first use. */
class Table {
  readonly values: Json[] = [];
  readonly #indexes = new Map<string, Repeated>();

  /** Short strings and null stand for themselves. */
  put<Value extends Json>(value: Value): (Value & (string | null)) | Repeated {
    if (value === null || typeof value === 'string') return value as Value & (string | null);
    return this.#index(JSON.stringify(value), value);
  }

  source(source: EventSource): EventSource | Repeated {
    return source.startsWith(STREAM) ? this.#index(source, source) : source;
  }

  #index(name: string, value: Json): Repeated {
    const known = this.#indexes.get(name);
    if (known !== undefined) return known;
    this.#indexes.set(name, this.values.length);
    return this.values.push(value) - 1;
  }
}

const STREAM = 'stream:';

function lookUp(packed: Json, table: readonly Json[]): Json {
  return typeof packed === 'number' ? (table[packed] ?? null) : packed;
}

function packTransition(one: Transition, table: Table, base: number): PackedTransition {
  const { commands, emitted, logs, checkpoint } = one;
  const packed: unknown[] = [
    idOf(one.key),
    one.revision,
    one.at - base,
    one.version,
    packStimulus(one.stimulus),
    packCause(one.cause, table),
    table.put(one.from),
    table.put(one.to),
  ];
  if (one.previous === null && commands.length + emitted.length + logs.length === 0 && checkpoint === undefined) return packed as unknown as PackedTransition;
  packed.push(one.previous ?? 0);
  if (commands.length + emitted.length + logs.length === 0 && checkpoint === undefined) return packed as unknown as PackedTransition;
  packed.push(commands.length === 0 ? 0 : commands.map(packCommand));
  if (emitted.length + logs.length === 0 && checkpoint === undefined) return packed as unknown as PackedTransition;
  packed.push(emitted.length === 0 ? 0 : emitted, logs.length === 0 ? 0 : logs);
  if (checkpoint !== undefined) packed.push(packRecord(checkpoint));
  return packed as unknown as PackedTransition;
}

function unpackTransition(type: string, packed: PackedTransition, table: readonly Json[], base: number): Transition {
  const [id, revision, afterMs, version, stimulus, cause, from, to, previous, commands, emitted, logs, checkpoint] = packed;
  return {
    key: actorKey(type, id),
    revision,
    at: base + afterMs,
    version,
    stimulus: unpackStimulus(stimulus),
    cause: unpackCause(cause, table),
    from: lookUp(from, table),
    to: lookUp(to, table),
    previous: previous || null,
    commands: (commands || []).map(unpackCommand),
    emitted: emitted || [],
    logs: logs || [],
    ...(checkpoint ? { checkpoint: unpackRecord(checkpoint) } : {}),
  };
}

/** The document beside an event is stored with the actor, not in the journal: a step does not read it. */
function packStimulus(stimulus: Stimulus): PackedStimulus {
  switch (stimulus.kind) {
    case 'event':
      return stimulus.event;
    case 'timer':
      return stimulus.timer;
    case 'settled':
      return [stimulus.invocation, stimulus.token, stimulus.outcome];
  }
}

function unpackStimulus(packed: PackedStimulus): Stimulus {
  if (typeof packed === 'string') return { kind: 'timer', timer: packed };
  if (!isList(packed)) return { kind: 'event', event: packed };
  const [invocation, token, outcome] = packed;
  return { kind: 'settled', invocation, token, outcome };
}

function isList(packed: PackedStimulus): packed is Extract<PackedStimulus, readonly unknown[]> {
  return Array.isArray(packed);
}

function packCommand(command: Command): PackedCommand {
  return command.kind === 'effect' ? [command.name, command.params] : [command.to, command.event, 1];
}

function unpackCommand(packed: PackedCommand): Command {
  if (packed.length === 2) return { kind: 'effect', name: packed[0], params: packed[1] };
  return { kind: 'message', to: packed[0] as ActorKey, event: packed[1] };
}

function packCause(cause: Cause, table: Table): PackedCause {
  const source = table.source(cause.source);
  if (cause.traceparent !== undefined) return [source, cause.ref, cause.causation ?? 0, cause.traceparent];
  if (cause.causation !== undefined) return [source, cause.ref, cause.causation];
  return [source, cause.ref];
}

function unpackCause([source, ref, causation, traceparent]: PackedCause, table: readonly Json[]): Cause {
  return { source: lookUp(source, table) as EventSource, ref, ...(causation ? { causation } : {}), ...(traceparent === undefined ? {} : { traceparent }) };
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
