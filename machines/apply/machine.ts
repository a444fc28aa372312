/**
 * Applying one configuration, all of it or none.
 *
 *   validating ─▶ planning ─▶ applying ─▶ gating ─▶ committing ─▶ cleaning ─▶ applied │ recorded
 *       │            │            └──────────┴─▶ rollingBack ─▶ rolledBack │ failed
 *       └────────────┴─▶ rejected
 *
 * It runs inside the agent. The agent writes each snapshot to its journal before the promise of the new state begins, and starts a machine
 * that it finds there again from its snapshot, which begins that promise once more.
 *
 * 1. Nothing is changed before the way back is known: the plan holds it, and is in the journal when the first step begins.
 * 2. `committing` is the point of no return: before it every end is the old revision, from it on every end is the new one.
 * 3. No delays: time is the promises' own, because a restored snapshot has none.
 */
import { assign, fromPromise, setup } from 'xstate';
import type { Json } from '../../src/protocol/json.ts';
import type { Failure, GateTarget, Outcome, Plan, Step } from './steps.ts';

export interface ApplyRequest {
  /** One word for one delivery of a configuration: a second delivery of it is the same apply. */
  readonly key: string;
  readonly jobId: string | null;
  /** The payload as it came. */
  readonly payload: Json;
  /** Names this apply on the containers that it makes. */
  readonly apply: string;
}

/** A configuration that may be applied here. */
export interface Accepted {
  readonly revision: number | null;
  /** The agent's own words for what it planned to become. */
  readonly desired: Json;
  readonly unsupported: readonly string[];
  readonly refused: readonly string[];
}
export type Validated =
  | { readonly kind: 'accepted'; readonly accepted: Accepted }
  /** `revision`: which one it is, when that is beyond doubt. `isTakenUp`: it was this node's to take, and nothing older is taken after it. */
  | { readonly kind: 'refused'; readonly failure: Failure; readonly revision?: number; readonly isTakenUp?: boolean };
export type Planned = { readonly kind: 'planned'; readonly plan: Plan } | { readonly kind: 'refused'; readonly failure: Failure };

export interface ApplyContext {
  readonly request: ApplyRequest;
  readonly accepted?: Accepted;
  readonly plan?: Plan;
  /** Of the list that the present state works through. */
  readonly index: number;
  /** When the gate began, ms since the epoch: a restart does not give a service its whole time again. */
  readonly gateSince?: number;
  readonly failure?: Failure;
  /** Why the way back failed. */
  readonly undoFailure?: Failure;
}

export interface GateInput {
  readonly targets: readonly GateTarget[];
  readonly apply: string;
  readonly since: number;
}

export interface ApplyServices {
  readonly validate: (input: ApplyRequest, signal: AbortSignal) => Promise<Validated>;
  readonly plan: (input: { readonly accepted: Accepted; readonly apply: string }, signal: AbortSignal) => Promise<Planned>;
  readonly execute: (input: Step, signal: AbortSignal) => Promise<Outcome>;
  /** As `execute`, but it does not give up while the engine is away: between two revisions is no place to stop. */
  readonly undo: (input: Step, signal: AbortSignal) => Promise<Outcome>;
  readonly gate: (input: GateInput, signal: AbortSignal) => Promise<Outcome>;
  /** Makes the plan's `next` the node's own state, durably. */
  readonly commit: (input: { readonly plan: Plan; readonly apply: string }, signal: AbortSignal) => Promise<void>;
  readonly now: () => number;
}

type Done<Output> = { readonly output: Output };

function failureOf(event: unknown): Failure {
  const { output, error } = event as { readonly output?: { readonly failure?: Failure }; readonly error?: unknown };
  if (output?.failure !== undefined) return output.failure;
  const { code } = (error ?? {}) as { readonly code?: unknown };
  return { code: typeof code === 'string' ? code : 'internal', message: error instanceof Error ? error.message : String(error) };
}

export function createApplyMachine(services: ApplyServices) {
  const is = (kind: string) => (event: unknown) => (event as Done<{ readonly kind: string }>).output.kind === kind;
  const isAccepted = is('accepted');
  const isPlanned = is('planned');
  const isDone = is('done');
  const planOf = ({ plan }: ApplyContext): Plan => plan as Plan; // Set in every state that asks.

  return setup({
    types: { context: {} as ApplyContext, input: {} as ApplyRequest },
    actors: {
      validate: fromPromise<Validated, ApplyRequest>(({ input, signal }) => services.validate(input, signal)),
      plan: fromPromise<Planned, { readonly accepted: Accepted; readonly apply: string }>(({ input, signal }) => services.plan(input, signal)),
      execute: fromPromise<Outcome, Step>(({ input, signal }) => services.execute(input, signal)),
      undo: fromPromise<Outcome, Step>(({ input, signal }) => services.undo(input, signal)),
      gate: fromPromise<Outcome, GateInput>(({ input, signal }) => services.gate(input, signal)),
      commit: fromPromise<void, { readonly plan: Plan; readonly apply: string }>(({ input, signal }) => services.commit(input, signal)),
    },
    guards: {
      accepted: ({ event }) => isAccepted(event),
      plannedNothing: ({ event }) => isPlanned(event) && (event as unknown as Done<{ plan: Plan }>).output.plan.steps.length === 0,
      planned: ({ event }) => isPlanned(event),
      stepped: ({ event, context }) => isDone(event) && context.index + 1 < planOf(context).steps.length,
      passed: ({ event }) => isDone(event),
      hasFinish: ({ context }) => planOf(context).finish.length > 0,
      hasMoreFinish: ({ context }) => context.index + 1 < planOf(context).finish.length,
      undone: ({ event, context }) => isDone(event) && context.index + 1 < planOf(context).undo.length,
      hasUndo: ({ context }) => planOf(context).undo.length > 0,
      hasGate: ({ context }) => planOf(context).gate.length > 0,
      starts: ({ context }) => planOf(context).starts,
    },
    actions: {
      noteAccepted: assign(({ event }) => ({ accepted: (event as unknown as Done<{ accepted: Accepted }>).output.accepted })),
      notePlan: assign(({ event }) => ({ plan: (event as unknown as Done<{ plan: Plan }>).output.plan, index: 0 })),
      next: assign(({ context }) => ({ index: context.index + 1 })),
      first: assign({ index: 0 }),
      noteGate: assign(() => ({ gateSince: services.now() })),
      noteFailure: assign(({ event }) => ({ failure: failureOf(event), index: 0 })),
      noteUndoFailure: assign(({ event }) => ({ undoFailure: failureOf(event) })),
    },
  }).createMachine({
    id: 'apply',
    context: ({ input }) => ({ request: input, index: 0 }),
    initial: 'validating',
    states: {
      validating: {
        invoke: {
          src: 'validate',
          input: ({ context }) => context.request,
          onDone: [
            { guard: 'accepted', target: 'planning', actions: 'noteAccepted' },
            { target: 'rejected', actions: 'noteFailure' },
          ],
          onError: { target: 'rejected', actions: 'noteFailure' },
        },
      },
      planning: {
        invoke: {
          src: 'plan',
          input: ({ context }) => ({ accepted: context.accepted as Accepted, apply: context.request.apply }),
          onDone: [
            { guard: 'plannedNothing', target: 'committing', actions: 'notePlan' },
            { guard: 'planned', target: 'applying', actions: 'notePlan' }, // (1)
            { target: 'rejected', actions: 'noteFailure' },
          ],
          onError: { target: 'rejected', actions: 'noteFailure' },
        },
      },
      applying: {
        invoke: {
          src: 'execute',
          input: ({ context }) => planOf(context).steps[context.index] as Step,
          onDone: [
            { guard: 'stepped', target: 'applying', reenter: true, actions: 'next' },
            { guard: 'passed', target: 'applyingDone', actions: 'first' },
            { target: 'turningBack', actions: 'noteFailure' },
          ],
          onError: { target: 'turningBack', actions: 'noteFailure' },
        },
      },
      applyingDone: { always: [{ guard: 'hasGate', target: 'gating', actions: 'noteGate' }, { target: 'committing' }] },
      gating: {
        invoke: {
          src: 'gate',
          input: ({ context }) => ({ targets: planOf(context).gate, apply: context.request.apply, since: context.gateSince as number }),
          onDone: [
            { guard: 'passed', target: 'committing' },
            { target: 'turningBack', actions: 'noteFailure' },
          ],
          onError: { target: 'turningBack', actions: 'noteFailure' },
        },
      },
      // (2)
      committing: {
        invoke: {
          src: 'commit',
          input: ({ context }) => ({ plan: planOf(context), apply: context.request.apply }),
          onDone: [{ guard: 'hasFinish', target: 'cleaning', actions: 'first' }, { guard: 'starts', target: 'applied' }, { target: 'recorded' }],
          onError: { target: 'failed', actions: 'noteFailure' },
        },
      },
      // What cannot be removed now costs disk, not correctness: it never leads back.
      cleaning: {
        invoke: {
          src: 'execute',
          input: ({ context }) => planOf(context).finish[context.index] as Step,
          onDone: [{ guard: 'hasMoreFinish', target: 'cleaning', reenter: true, actions: 'next' }, { target: 'applied' }],
          onError: [{ guard: 'hasMoreFinish', target: 'cleaning', reenter: true, actions: 'next' }, { target: 'applied' }],
        },
      },
      turningBack: { always: [{ guard: 'hasUndo', target: 'rollingBack' }, { target: 'rolledBack' }] },
      rollingBack: {
        invoke: {
          src: 'undo',
          input: ({ context }) => planOf(context).undo[context.index] as Step,
          onDone: [
            { guard: 'undone', target: 'rollingBack', reenter: true, actions: 'next' },
            { guard: 'passed', target: 'rolledBack' },
            { target: 'failed', actions: 'noteUndoFailure' },
          ],
          onError: { target: 'failed', actions: 'noteUndoFailure' },
        },
      },
      applied: { type: 'final' },
      recorded: { type: 'final' },
      rolledBack: { type: 'final' },
      rejected: { type: 'final' },
      failed: { type: 'final' },
    },
  });
}
export type ApplyMachine = ReturnType<typeof createApplyMachine>;
