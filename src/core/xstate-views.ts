/** What the kernel reads of XState's inner values. */
import type { AnyMachineSnapshot, AnyStateMachine } from 'xstate';
import type { MachineEvent } from '../protocol/envelope.ts';

/** An action that XState resolved and did not run. */
export interface CollectedAction {
  readonly type: string;
  readonly params: unknown;
  readonly exec: unknown;
}

/** The part of XState's state nodes that the kernel reads. */
export interface StateNodeView {
  readonly id: string;
  readonly path: readonly string[];
  /** In the order of the document. Two states that were given one id make it ambiguous. */
  readonly order: number;
  readonly type: 'atomic' | 'compound' | 'parallel' | 'final' | 'history';
  readonly parent: StateNodeView | undefined;
  readonly states: { readonly [key: string]: StateNodeView };
  readonly entry: readonly unknown[];
  readonly exit: readonly unknown[];
  readonly initial: { readonly target: readonly StateNodeView[]; readonly actions: readonly unknown[] } | undefined;
  readonly always: readonly TransitionView[] | undefined;
  readonly after: readonly (TransitionView & { readonly eventType: string; readonly delay: string | number })[];
  readonly transitions: ReadonlyMap<string, readonly TransitionView[]>;
  readonly invoke: readonly { readonly id: string; readonly src: string; readonly systemId?: string; readonly onSnapshot?: unknown }[];
  readonly config: { readonly invoke?: unknown; readonly route?: unknown; readonly context?: unknown; readonly initial?: unknown };
  next(snapshot: AnyMachineSnapshot, event: MachineEvent): unknown;
}

export interface TransitionView {
  readonly target: readonly StateNodeView[] | undefined;
  readonly actions: readonly unknown[];
  readonly guard: unknown;
  readonly reenter: boolean;
}

export function rootOf(machine: AnyStateMachine): StateNodeView {
  return machine.root as unknown as StateNodeView;
}

/** All state nodes of a machine, parents first. */
export function* stateNodes(node: StateNodeView): Generator<StateNodeView> {
  yield node;
  for (const child of Object.values(node.states)) yield* stateNodes(child);
}

export function activeNodes(snapshot: AnyMachineSnapshot): readonly StateNodeView[] {
  return (snapshot as unknown as { readonly _nodes: readonly StateNodeView[] })._nodes;
}
