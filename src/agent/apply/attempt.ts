/** Doing one step with patience: an engine that is away is waited for, a refusal may be tried again. */
import { ContainerEngineError } from '../../protocol/errors.ts';
import { backoffDelayMs } from '../schedule.ts';
import { execute, type StepTools } from './execute.ts';
import type { AgentClock } from '../clock.ts';
import type { Failure, Outcome, Step } from '../../../machines/apply/steps.ts';
import type { Logger } from 'pino';

const RETRY_MS_LAST = 10_000;

export interface Patience {
  /** How long an engine that is away is waited for. */
  readonly awayMs: number;
  /** Tries in all of what the engine refuses. */
  readonly triesMax: number;
}

/** A restart of the engine takes seconds. What it refuses once it refuses again. */
export const FORWARD: Patience = { awayMs: 60_000, triesMax: 1 };
/** Between two revisions is no place to stop. */
export const BACK: Patience = { awayMs: Number.POSITIVE_INFINITY, triesMax: 5 };

export async function attempt(
  step: Step,
  tools: StepTools,
  patience: Patience,
  { clock, log }: { readonly clock: AgentClock; readonly log: Logger },
): Promise<Outcome> {
  const began = clock.now();
  for (let tries = 1, refusals = 0; ; tries++) {
    try {
      await execute(step, tools);
      return { kind: 'done' };
    } catch (error) {
      tools.signal.throwIfAborted();
      const failure = failureOf(error, step);
      const away = error instanceof ContainerEngineError && error.retryable;
      if (!away) refusals++;
      if (away ? clock.now() - began > patience.awayMs : refusals >= patience.triesMax) return { kind: 'failed', failure };
      log.warn({ step: step.kind, service: failure.service, reason: failure.message }, 'A step could not be done; it is tried again');
      await clock.sleep(backoffDelayMs(tries, RETRY_MS_LAST, clock.random()), tools.signal);
      tools.signal.throwIfAborted();
    }
  }
}

/** Asks until the engine answers, for at most `awayMs`; then its absence is thrown. */
export async function whileAway<Result>(ask: () => Promise<Result>, awayMs: number, clock: AgentClock, signal: AbortSignal): Promise<Result> {
  const began = clock.now();
  for (let tries = 1; ; tries++) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof ContainerEngineError) || !error.retryable || clock.now() - began > awayMs) throw error;
      await clock.sleep(backoffDelayMs(tries, RETRY_MS_LAST, clock.random()), signal);
      signal.throwIfAborted();
    }
  }
}

function failureOf(error: unknown, step: Step): Failure {
  const service = 'service' in step ? { service: step.service } : {};
  if (!(error instanceof ContainerEngineError)) return { code: 'internal', message: error instanceof Error ? error.message : String(error), ...service };
  return { code: step.kind === 'pull' ? 'image_unavailable' : error.code, message: error.message, ...service };
}
