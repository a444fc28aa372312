/**
 * Between the stored record and the actor in memory.
 *
 * 1. `restore(serialize(actor))` behaves as `actor` does.
 * 2. A record of another machine version comes back only if it fits the present machine exactly; otherwise the actor is
 *    parked with the reason, never guessed.
 */
import type { AnyMachineSnapshot } from 'xstate';
import type { ActorRecord } from '../protocol/record.ts';
import { idOf, type ActorKey } from '../protocol/ids.ts';
import { decodeRecord, encodeRecord } from '../protocol/stored-record.ts';
import type { LiveActor } from './decision.ts';
import { childrenOf, Self, type PersistedSnapshot } from './interpreter.ts';
import { misfit } from './fit.ts';
import type { PreparedMachine, RegisteredType } from './registration.ts';
import { childPath, NO_CHILDREN, parentPath, type Live, type LiveChild, type LiveNode } from './run.ts';

/** An actor that takes no events until the machine fits it again. */
export interface ParkedActor {
  readonly parked: string;
  /** Its record, when that can be read. */
  readonly stored?: ActorRecord;
}

/** Brings an actor back from its stored record. Never throws: a record that cannot come back is parked. */
export function restore(type: RegisteredType, key: ActorKey, recordJson: string): LiveActor | ParkedActor {
  let stored: ActorRecord | undefined;
  try {
    stored = decodeRecord(recordJson);
    const actor = restoreRecord(type, key, stored);
    return 'parked' in actor ? { ...actor, stored } : actor;
  } catch (thrown) {
    const parked = `The stored record cannot be restored: ${thrown instanceof Error ? thrown.message : String(thrown)}`;
    return stored === undefined ? { parked } : { parked, stored };
  }
}

/** As {@link restore}, from a parsed record, which it keeps. Throws when a state or a child's source no longer exists. */
export function restoreRecord(type: RegisteredType, key: ActorKey, record: ActorRecord): LiveActor | ParkedActor {
  if (record.parked !== undefined) return { parked: record.parked };
  const children = childIndex(record);
  const self = new Self('', idOf(key), undefined, type.interpreter.system);
  const root = restoreNode(type, type.machine, record.snapshot as unknown as PersistedSnapshot, '', self, children);
  const live: Live = { root, children: children.size === 0 ? NO_CHILDREN : restoreChildren(type, record, root.snapshot, self, children) };
  if (record.version !== type.version) {
    const reason = misfit(record, live);
    if (reason !== undefined) return { parked: `The record was stored by version "${record.version}" and does not fit version "${type.version}": ${reason}` };
  }
  return { key, record, live };
}

/** Every child in the record, by path: machines and settled promises, then running promises. */
function childIndex(record: ActorRecord): ReadonlyMap<string, string> {
  const index = new Map<string, string>();
  for (const [path, { source }] of Object.entries(record.children)) index.set(path, source);
  for (const [key, { source }] of Object.entries(record.invocations)) {
    const bar = key.indexOf('|');
    index.set(childPath(key.slice(0, bar), key.slice(bar + 1)), source);
  }
  return index;
}

function restoreNode(
  type: RegisteredType,
  machine: PreparedMachine,
  persisted: PersistedSnapshot,
  path: string,
  self: Self,
  children: ReadonlyMap<string, string>,
): LiveNode {
  const own: [string, string][] = [];
  for (const [child, source] of children) if (child !== '' && parentPath(child) === path) own.push([child.slice(child.lastIndexOf('/') + 1), source]);
  // XState writes the revived references into the context it is given, and ours belongs to the record.
  const hasReferences = own.length > 0 && JSON.stringify(persisted.context).includes('"xstate$$type"');
  const consumed = hasReferences ? { ...persisted, context: structuredClone(persisted.context) } : persisted;
  return { snapshot: type.interpreter.restore(machine.machine, consumed, own, self), hasReferences };
}

function restoreChildren(
  type: RegisteredType,
  record: ActorRecord,
  root: AnyMachineSnapshot,
  rootSelf: Self,
  index: ReadonlyMap<string, string>,
): ReadonlyMap<string, LiveChild> {
  const children = new Map<string, LiveChild>();
  const machines = new Map<string, { machine: PreparedMachine; snapshot: AnyMachineSnapshot; self: Self }>([
    ['', { machine: type.machine, snapshot: root, self: rootSelf }],
  ]);
  // A parent's path is shorter than its child's, so parents come first.
  const paths = [...index.keys()].sort((left, right) => left.split('/').length - right.split('/').length);
  for (const path of paths) {
    const parent = machines.get(parentPath(path));
    const source = index.get(path) ?? '';
    const actor = parent?.machine.actors.get(source);
    if (parent === undefined || actor === undefined) throw new Error(`there is no actor "${source}" for the child "${path}"`);
    const id = path.slice(path.lastIndexOf('/') + 1);
    const reference = childrenOf(parent.snapshot)[id];
    if (actor.kind === 'promise') {
      children.set(path, { source, reference, machine: undefined, node: undefined });
      continue;
    }
    const self = new Self(path, id, parent.self, type.interpreter.system);
    const persisted = record.children[path]?.snapshot as unknown as PersistedSnapshot;
    const node = restoreNode(type, actor.machine, persisted, path, self, index);
    children.set(path, { source, reference, machine: actor.machine, node });
    machines.set(path, { machine: actor.machine, snapshot: node.snapshot, self });
  }
  return children;
}

/** The record as it is stored. */
export function serialize(actor: LiveActor): string {
  return encodeRecord(actor.record);
}
