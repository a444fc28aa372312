/** Types of session.js for the web app. */
export interface Failure extends Error {
  /** Absent when the control plane did not answer. */
  readonly status?: number;
  readonly code?: string;
  /** The field at fault, as a path. */
  readonly field?: string;
  readonly usedLink?: boolean;
}
/** Throws a {@link Failure}. */
export function api<Answer>(path: string, options?: RequestInit): Promise<Answer>;
export function json(method: string, body: unknown): RequestInit;
export function openSession(): Promise<void>;
export function signInText(failure?: Partial<Failure>): string;
