/** How an apply stands, in the words that the control plane is told (ConfigReport). */
import type { ApplyContext } from '../../../machines/apply/machine.ts';
import type { Failure } from '../../../machines/apply/steps.ts';
import type { ApplyPhase, ConfigReport, ServiceOutcome } from '../../protocol/device-config.ts';
import type { NodeState } from './node-state.ts';

/** A report travels in a stream entry and in a job's progress. */
const MESSAGE_LENGTH_MAX = 4_096;

const PHASES: { readonly [state: string]: ApplyPhase } = {
  applied: 'applied',
  recorded: 'recorded',
  rolledBack: 'rolled-back',
  rejected: 'rejected',
  failed: 'failed',
};

export interface ReportInput {
  /** The machine's state. */
  readonly value: string;
  readonly context: ApplyContext;
  /** Of what was refused before it was accepted. */
  readonly refused?: number;
  /** As it is on disk. */
  readonly state: NodeState;
  /** What was seen of services since; newest each. */
  readonly seen: ReadonlyMap<string, ServiceOutcome>;
  readonly at: Date;
}

export function reportOf({ value, context, refused, state, seen, at }: ReportInput): ConfigReport {
  const { request, accepted, plan, failure, undoFailure } = context;
  const phase = PHASES[value] ?? 'applying';
  const error = failure === undefined ? undefined : errorOf(failure, undoFailure);
  const runsAgain = new Set(phase === 'rolled-back' ? state.services.map(({ choice }) => choice.name) : []);
  return {
    phase,
    ...(request.jobId === null ? {} : { jobId: request.jobId }),
    desiredRevision: accepted?.revision ?? refused ?? null,
    appliedRevision: state.revision,
    services: (plan?.services ?? standing(state)).map((outcome) => shown(outcome, phase, seen.get(outcome.name), failure, runsAgain)),
    ...(error === undefined ? {} : { error }),
    ...(accepted === undefined || accepted.unsupported.length === 0 ? {} : { unsupported: accepted.unsupported }),
    ...(accepted === undefined || accepted.refused.length === 0 ? {} : { refused: accepted.refused }),
    ...(phase === 'applying' ? { detail: { step: value } } : {}),
    timestamp: at.toISOString(),
  };
}

/** Of a node on which nothing is being applied. */
export function standing(state: NodeState): readonly ServiceOutcome[] {
  const running = state.services.map(({ choice: { name } }): ServiceOutcome => ({ name, phase: 'unchanged' }));
  return [...running, ...state.recorded.map(({ name }): ServiceOutcome => ({ name, phase: 'waiting' }))];
}

function shown(
  before: ServiceOutcome,
  phase: ApplyPhase,
  seen: ServiceOutcome | undefined,
  failure: Failure | undefined,
  runsAgain: ReadonlySet<string>,
): ServiceOutcome {
  const { name } = before;
  if (phase === 'applying') return seen ?? before;
  if (phase === 'recorded') return before;
  if (phase === 'applied') return before.phase === 'waiting' ? { name, phase: 'healthy' } : before;
  if (failure?.service === name) return { name, phase: 'failed', message: failure.message.slice(0, MESSAGE_LENGTH_MAX) };
  // What was to be brought up, or to go, and is again as it was.
  if (before.phase === 'stopped' || runsAgain.has(name)) return { name, phase: 'unchanged' };
  return before.phase === 'waiting' ? { name, phase: 'stopped' } : before;
}

function errorOf({ code, message, field }: Failure, undo: Failure | undefined): NonNullable<ConfigReport['error']> {
  const said = undo === undefined ? message : `${message}\nAnd the way back failed: ${undo.message}`;
  return { code: undo === undefined ? code : 'rollback_failed', message: said.slice(0, MESSAGE_LENGTH_MAX), ...(field === undefined ? {} : { field }) };
}
