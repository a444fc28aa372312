/** Which atomic states an actor is in, which it left and entered, and since when. */
import type { AnyMachineSnapshot } from 'xstate';
import { activeNodes } from './interpreter.ts';
import type { PreparedMachine } from './registration.ts';

export interface StateChange {
  /** When each active atomic state was entered, by state path. */
  readonly times: { readonly [statePath: string]: number };
  readonly left: readonly string[];
  readonly entered: readonly string[];
}

const NONE: readonly string[] = Object.freeze([]);

/** State paths of the active atomic and final states. */
export function atomicPaths(machine: PreparedMachine, snapshot: AnyMachineSnapshot): readonly string[] {
  const paths: string[] = [];
  for (const node of activeNodes(snapshot)) {
    const path = machine.atomicPaths.get(node);
    if (path !== undefined) paths.push(path);
  }
  return paths;
}

/** A re-entered state is neither left nor entered and keeps its time. */
export function statesEntered(
  machine: PreparedMachine,
  before: AnyMachineSnapshot | undefined,
  after: AnyMachineSnapshot,
  times: StateChange['times'] | undefined,
  at: number,
): StateChange {
  if (before !== undefined && times !== undefined && activeNodes(before) === activeNodes(after)) return { times, left: NONE, entered: NONE };
  const next: Record<string, number> = {};
  const entered: string[] = [];
  const left: string[] = [];
  for (const path of atomicPaths(machine, after)) {
    const since = times?.[path];
    if (since === undefined) entered.push(path);
    next[path] = since ?? at;
  }
  for (const path in times) if (next[path] === undefined) left.push(path);
  return { times: next, left, entered };
}
