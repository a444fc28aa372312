/**
 * Every error that Castellan raises, in one place.
 *
 * 1. `code` is stable: programs match on it, messages may be reworded.
 * 2. `retryable` says whether the same call may succeed later without a change by the caller.
 * 3. A message says what happened and what to do next. It never holds a secret or a whole payload.
 */

export abstract class CastellanError extends Error {
  abstract readonly code: string;
  abstract readonly retryable: boolean;
  /** The field of the input that is at fault, as a path such as `status.node.name`. */
  readonly field?: string;

  constructor(message: string, options?: { readonly cause?: unknown; readonly field?: string }) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    if (options?.field !== undefined) this.field = options.field;
  }
}

/** An actor type or id that does not match its pattern. */
export class InvalidIdError extends CastellanError {
  readonly code = 'invalid_id';
  readonly retryable = false;
  constructor(field: string, value: string, pattern: RegExp) {
    super(`The ${field} ${JSON.stringify(value.slice(0, 80))} must match ${pattern.source}.`, { field });
  }
}

/** A machine that cannot be made durable. Raised when an actor type is registered. */
export class MachineNotDurableError extends CastellanError {
  readonly code = 'machine_not_durable';
  readonly retryable = false;
  /** One line a fault: where in the machine, what, and the way out. */
  readonly faults: readonly string[];
  constructor(type: string, faults: readonly string[]) {
    super(`The machine of actor type "${type}" cannot be durable:\n- ${faults.join('\n- ')}`);
    this.faults = faults;
  }
}

/** Nobody registered this actor type. */
export class UnknownActorTypeError extends CastellanError {
  readonly code = 'unknown_actor_type';
  readonly retryable = false;
  constructor(type: string, known: readonly string[]) {
    super(`No actor type "${type}" is registered. Known: ${known.join(', ') || 'none'}.`, { field: 'type' });
  }
}

/** No actor has this address. */
export class ActorNotFoundError extends CastellanError {
  readonly code = 'actor_not_found';
  readonly retryable = false;
  constructor(key: string) {
    super(`There is no actor "${key}". It is created by its first event.`);
  }
}

/** An actor that was waited for ended in another state than the one waited for. */
export class ActorEndedError extends CastellanError {
  readonly code = 'actor_ended';
  readonly retryable = false;
  constructor(key: string, status: string, value: unknown) {
    super(`${key} ended (${status}) in ${JSON.stringify(value).slice(0, 200)}; what was waited for can no longer come.`);
  }
}

/** An event that the actor type does not declare, or whose fields are wrong. */
export class InvalidEventError extends CastellanError {
  readonly code = 'invalid_event';
  readonly retryable = false;
}

/** A job that cannot be submitted as asked. */
export class InvalidJobError extends CastellanError {
  readonly code = 'invalid_job';
  readonly retryable = false;
  constructor(field: string, why: string) {
    super(`The field ${field} ${why}`, { field });
  }
}

/** A device configuration that cannot be applied as it is. */
export class InvalidConfigError extends CastellanError {
  readonly code = 'invalid_config';
  readonly retryable = false;
  constructor(field: string, why: string) {
    super(`The field ${field} ${why}`, { field });
  }
}

/** The container engine of this machine did not do what it was asked: it is away (`retryable`), or it refused and said why. */
export class ContainerEngineError extends CastellanError {
  readonly code: 'engine_unreachable' | 'engine_refused';
  readonly retryable: boolean;
  /** HTTP status of a refusal. */
  readonly status: number | undefined;
  constructor(code: ContainerEngineError['code'], message: string, status?: number) {
    super(message);
    this.code = code;
    this.retryable = code === 'engine_unreachable';
    this.status = status;
  }
}

/** What a job's handler throws to say how its job failed. Without `retryable: false` the job is tried again while it has tries left. */
export class JobError extends CastellanError {
  readonly code: string;
  readonly retryable: boolean;
  constructor(code: string, message: string, options: { readonly retryable?: boolean; readonly cause?: unknown; readonly field?: string } = {}) {
    super(message, options);
    this.code = code;
    this.retryable = options.retryable ?? true;
  }
}

/** A setting (environment variable, flag or option) with an unusable value. */
export class InvalidSettingError extends CastellanError {
  readonly code = 'invalid_setting';
  readonly retryable = false;
  constructor(setting: string, why: string) {
    super(`The setting ${setting} ${why}`, { field: setting });
  }
}

/** An accepted event was rejected by its actor and stands in the dead letters. */
export class EventRejectedError extends CastellanError {
  readonly retryable = false;
  readonly code: string;
  constructor(code: string, message: string, field?: string) {
    super(message, field === undefined ? undefined : { field });
    this.code = code;
  }
}

/** The caller stopped waiting. What it waited for may still happen. */
export class WaitTimeoutError extends CastellanError {
  readonly code = 'wait_timeout';
  readonly retryable = true;
}

/** A cursor that is older than what is kept, or was never given out. Start again from a listing. */
export class CursorGoneError extends CastellanError {
  readonly code = 'cursor_gone';
  readonly retryable = false;
  constructor(cursor: string) {
    super(
      `The cursor ${JSON.stringify(cursor.slice(0, 80))} is not held here: it was trimmed, or never given out. Read the present state and follow from "new".`,
      {
        field: 'cursor',
      },
    );
  }
}

/** A stored transition is there and does not read as the journal says. The data was written by another version, or is damaged. */
export class UnreadableHistoryError extends CastellanError {
  readonly code = 'history_unreadable';
  readonly retryable = false;
  constructor(address: string) {
    super(`The transition at ${address} is stored but cannot be read as this version writes it. Use the version that wrote it.`);
  }
}

/** Redis cannot be used: unreachable, too old, or set up so that data could vanish. */
export class RedisUnusableError extends CastellanError {
  readonly code = 'redis_unusable';
  readonly retryable = true;
}

/** An effect that a machine declares and nobody executes. Raised when the engine is created. */
export class MissingExecutorError extends CastellanError {
  readonly code = 'missing_executor';
  readonly retryable = false;
  constructor(type: string, effect: string) {
    super(`Actor type "${type}" declares the effect "${effect}", but no executor has that name. Add executors.${effect}.`);
  }
}

/** The engine is stopping or stopped. */
export class StoppedError extends CastellanError {
  readonly code = 'stopped';
  readonly retryable = true;
}

/** The machine test kit found what a test must not pass over: a rejected event, a step that cannot be repeated, a wrong use of the kit. */
export class MachineTestError extends CastellanError {
  readonly code = 'machine_test';
  readonly retryable = false;
}

/** Nothing answers where the control plane should be. */
export class ControlPlaneUnreachableError extends CastellanError {
  readonly code = 'control_plane_unreachable';
  readonly retryable = true;
  constructor(url: string, options?: { readonly cause?: unknown }) {
    super(`No control plane answers at ${url}. Start one with "npm start" or "castellan serve", or say in CASTELLAN_URL where it is.`, options);
  }
}

/** The control plane answered with a problem document. `code` is the document's. */
export class ControlPlaneRefusedError extends CastellanError {
  readonly code: string;
  readonly status: number;
  readonly retryable: boolean;
  constructor(problem: { readonly status: number; readonly code: string; readonly detail: string; readonly field?: string }) {
    super(problem.detail, problem.field === undefined ? undefined : { field: problem.field });
    this.code = problem.code;
    this.status = problem.status;
    this.retryable = problem.status === 429 || problem.status >= 500;
  }
}
