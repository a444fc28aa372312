/** Which atomic states an actor is in, and since when. */
import type { AnyMachineSnapshot } from 'xstate';
import { activeNodes } from './xstate-views.ts';
import type { PreparedMachine } from './registration.ts';

/** When each active atomic state was entered (ms since the epoch, step time), by state path. */
type EntryTimes = { readonly [statePath: string]: number };

/** State paths of the active atomic and final states. */
export function atomicPaths(machine: PreparedMachine, snapshot: AnyMachineSnapshot): readonly string[] {
  const paths: string[] = [];
  for (const node of activeNodes(snapshot)) {
    const path = machine.atomicPaths.get(node);
    if (path !== undefined) paths.push(path);
  }
  return paths;
}

/** The entry times after a step at `at`. A re-entered state keeps its time; the same object means that nothing was left or entered. */
export function entryTimes(
  machine: PreparedMachine,
  before: AnyMachineSnapshot | undefined,
  after: AnyMachineSnapshot,
  times: EntryTimes | undefined,
  at: number,
): EntryTimes {
  if (before !== undefined && times !== undefined && activeNodes(before) === activeNodes(after)) return times;
  const next: Record<string, number> = {};
  for (const path of atomicPaths(machine, after)) next[path] = times?.[path] ?? at;
  return next;
}
