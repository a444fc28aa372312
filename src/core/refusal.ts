/** How the kernel abandons a step from within: caught in `step` alone, and turned into a rejection. */
import { CastellanError } from '../protocol/errors.ts';
import type { Rejection } from './decision.ts';

export class StepRefusal extends Error {
  readonly code: string;
  readonly field?: string;

  constructor(code: string, reason: string, field?: string) {
    super(reason);
    this.name = 'StepRefusal';
    this.code = code;
    if (field !== undefined) this.field = field;
  }
}

/** Reasons quote what a machine's own code said; longer ones are cut. */
const REASON_LENGTH_MAX = 500;

/** The rejection for whatever was thrown during a step. A machine that refuses an event throws an EventRejectedError: its code and field are told. */
export function rejectionOf(thrown: unknown): Rejection {
  if (thrown instanceof StepRefusal) {
    return thrown.field === undefined ? { code: thrown.code, reason: thrown.message } : { code: thrown.code, reason: thrown.message, field: thrown.field };
  }
  if (thrown instanceof CastellanError) {
    const reason = thrown.message.slice(0, REASON_LENGTH_MAX);
    return thrown.field === undefined ? { code: thrown.code, reason } : { code: thrown.code, reason, field: thrown.field };
  }
  const message = (thrown instanceof Error ? thrown.message : String(thrown)).slice(0, REASON_LENGTH_MAX);
  // XState names the three kinds only in its messages.
  if (message.startsWith('Unable to evaluate guard')) return { code: 'guard_threw', reason: message };
  if (message.startsWith('Unable to send event to actor')) return { code: 'unknown_recipient', reason: message };
  if (message.startsWith('Infinite loop detected')) return { code: 'too_many_microsteps', reason: message };
  return { code: 'step_threw', reason: message };
}
