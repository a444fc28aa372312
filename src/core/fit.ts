/** Whether a record of another machine version fits the present machine: see restore.ts, invariant 2. */
import type { AnyMachineSnapshot } from 'xstate';
import type { ActorRecord } from '../protocol/record.ts';
import { activeNodes } from './xstate-views.ts';
import { sameJson } from './json-exact.ts';
import { childPath, type Live } from './run.ts';

/** Why the record does not fit, or undefined. Contexts have no schema and are not compared. */
export function misfit(record: ActorRecord, live: Live): string | undefined {
  const parts: [path: string, snapshot: AnyMachineSnapshot, stored: unknown][] = [['', live.root.snapshot, record.snapshot]];
  for (const [path, { node }] of live.children) if (node !== undefined) parts.push([path, node.snapshot, record.children[path]?.snapshot]);
  for (const [path, snapshot, stored] of parts) {
    if (snapshot.status !== 'active') continue;
    const { value, historyValue } = stored as { readonly value: unknown; readonly historyValue: Readonly<Record<string, readonly unknown[]>> };
    // XState fills in the initial state of a region that the stored value does not name, without its entry actions.
    if (!sameJson(snapshot.value, value)) return `the state ${JSON.stringify(value)} is not complete in it.`;
    const history = snapshot.historyValue as Readonly<Record<string, readonly unknown[] | undefined>>;
    for (const [id, nodes] of Object.entries(historyValue)) if (history[id]?.length !== nodes.length) return `the history "${id}" names a state that is gone.`;
    const reason = partMisfit(path, snapshot, record);
    if (reason !== undefined) return reason;
  }
  for (const [key, { event }] of Object.entries(record.timers)) {
    const owner = parts.find(([path]) => path === key.slice(0, key.indexOf('|')));
    if (owner === undefined) return `the timer "${key}" belongs to no one.`;
    if (event.type.startsWith('xstate.after.') && !activeNodes(owner[1]).some(({ after }) => after.some(({ eventType }) => eventType === event.type))) {
      return `the delayed transition of the timer "${key}" is gone.`;
    }
  }
  return undefined;
}

function partMisfit(path: string, snapshot: AnyMachineSnapshot, record: ActorRecord): string | undefined {
  for (const node of activeNodes(snapshot)) {
    for (const { eventType } of node.after) {
      if (!Object.hasOwn(record.timers, `${path}|${eventType}`)) return `the state "${node.path.join('.')}" has a delayed transition that was never armed.`;
    }
    for (const { id, src } of node.invoke) {
      const source = record.invocations[`${path}|${id}`]?.source ?? record.children[childPath(path, id)]?.source;
      if (source !== src) return `the state "${node.path.join('.')}" invokes "${src}", which was never started.`;
    }
  }
  return undefined;
}
