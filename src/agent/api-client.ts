/**
 * This node's way to the control plane over HTTP, with its token.
 *
 *   open ──no answer, 5xx──▶ away ──an answer──▶ open       (whoever waits is told)
 *   any  ──401, and 401 again with the token read anew──▶ refused ──seldom, with the token of the day──▶ open
 *
 * 1. The token is sent in the header `Authorization`, and stands in no log, no message and no URL.
 * 2. A token that is refused is not sent again for a while, whatever is asked: nobody's work goes on with it, and a fleet of revoked
 *    nodes must not keep the control plane busy. Each further try reads the token anew, so that `castellan init` mends a running agent.
 * 3. A 429 closes what it was the answer to for as long as it says.
 * 4. Each outage is told once in the log, and its end.
 */
import { ControlPlaneRefusedError, ControlPlaneUnreachableError } from '../protocol/errors.ts';
import type { JsonObject } from '../protocol/json.ts';
import type { ApiCaller, ApiOutcome, ApiQuestion } from './api-call.ts';
import type { AgentClock } from './clock.ts';
import type { Logger } from 'pino';

/** Between tries with a refused token. */
export const REFUSED_RETRY_MS = 30_000;
/** For a 429 that does not say how long. */
const LIMITED_MS_DEFAULT = 5_000;
/** No answer closes a way for longer: a clock that was set wrong on the other side must not silence this node for days. */
const LIMITED_MS_MAX = 300_000;

export interface ApiClientOptions {
  readonly api: ApiCaller;
  /** The token of the day; must not reject. (2) */
  readonly token: () => Promise<string>;
  readonly clock: Pick<AgentClock, 'now'>;
  readonly log: Logger;
}

type WayState =
  | { readonly kind: 'open' }
  | { readonly kind: 'away' }
  /** Nothing is sent until then. */
  | { readonly kind: 'refused'; readonly until: number; readonly error: ControlPlaneRefusedError };

export class ApiClient {
  readonly #options: ApiClientOptions;
  readonly #listeners: (() => void)[] = [];
  /** By path: until when a 429 has closed it. */
  readonly #limited = new Map<string, { readonly until: number; readonly error: ControlPlaneRefusedError }>();
  #state: WayState = { kind: 'open' };
  #token: Promise<string> | undefined;

  constructor(options: ApiClientOptions) {
    this.#options = options;
  }

  get url(): string {
    return this.#options.api.url;
  }

  /** The answer's body. Throws ControlPlaneUnreachableError; ControlPlaneRefusedError for any status that is not 2xx. */
  async ask<Answer = JsonObject>(question: Omit<ApiQuestion, 'token'>): Promise<Answer> {
    const path = question.path.split('?', 1)[0] as string;
    this.#checkClosed(path);
    let outcome = await this.#askOnce(question);
    // The token may have been changed beside us, and a server that is being stopped may have cut a wait short.
    if (outcome.kind === 'answer' && outcome.status === 401 && this.#state.kind !== 'refused') outcome = await this.#askOnce(question);
    if (outcome.kind === 'unreachable') {
      if (question.signal?.aborted !== true) this.#onAway(outcome.reason);
      throw new ControlPlaneUnreachableError(this.url, { cause: new Error(outcome.reason) });
    }
    if (outcome.status >= 200 && outcome.status < 300) {
      this.#onAnswer();
      return outcome.body as Answer;
    }
    throw this.#onRefusal(path, outcome);
  }

  async post<Answer = JsonObject>(path: string, body: unknown, options: Pick<ApiQuestion, 'timeoutMs' | 'signal'> = {}): Promise<Answer> {
    return await this.ask<Answer>({ method: 'POST', path, body, ...options });
  }

  /** Calls back each time the way is open again after it was not. */
  onOpen(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** Ends what is under way. */
  close(): void {
    this.#options.api.close();
  }

  #checkClosed(path: string): void {
    const now = this.#options.clock.now();
    if (this.#state.kind === 'refused' && now < this.#state.until) throw this.#state.error;
    const limit = this.#limited.get(path);
    if (limit === undefined) return;
    if (now < limit.until) throw limit.error;
    this.#limited.delete(path);
  }

  async #askOnce(question: Omit<ApiQuestion, 'token'>): Promise<ApiOutcome> {
    const reading = (this.#token ??= this.#options.token());
    const outcome = await this.#options.api.ask({ ...question, token: await reading });
    if (outcome.kind === 'answer' && outcome.status === 401 && this.#token === reading) this.#token = undefined;
    return outcome;
  }

  #onAnswer(): void {
    const { kind } = this.#state;
    if (kind === 'open') return;
    this.#state = { kind: 'open' };
    this.#options.log.info({ controlPlane: this.url }, kind === 'refused' ? 'The token of this node is accepted again' : 'The control plane answers again');
    for (const listener of this.#listeners) listener();
  }

  #onAway(reason: string): void {
    if (this.#state.kind !== 'open') return;
    this.#state = { kind: 'away' };
    this.#options.log.warn({ controlPlane: this.url, reason }, 'The control plane cannot be reached; the newest status is kept and sent when it can');
  }

  #onRefusal(path: string, outcome: Extract<ApiOutcome, { kind: 'answer' }>): ControlPlaneRefusedError {
    const { status, body, retryAfterMs } = outcome;
    const error = refusal(status, body);
    const now = this.#options.clock.now();
    if (status === 401) {
      if (this.#state.kind !== 'refused')
        this.#options.log.error(
          { controlPlane: this.url },
          'The token of this node was revoked, or is unknown there. No work is taken. Enrol the node again: castellan init --force',
        );
      this.#state = { kind: 'refused', until: now + REFUSED_RETRY_MS, error }; // (2)
    } else if (status === 429) {
      this.#limited.set(path, { until: now + Math.min(retryAfterMs ?? LIMITED_MS_DEFAULT, LIMITED_MS_MAX), error }); // (3)
    } else if (status >= 500) {
      this.#onAway(`HTTP status ${status}`);
    } else {
      this.#onAnswer(); // It is there, and knows us.
    }
    return error;
  }
}

/** Whether repeating what was refused can help. */
export function isFinal(error: unknown): boolean {
  return error instanceof ControlPlaneRefusedError && !error.retryable && error.status !== 401;
}

function refusal(status: number, body: JsonObject): ControlPlaneRefusedError {
  const text = (name: string): string | undefined => (typeof body[name] === 'string' ? body[name] : undefined);
  const field = text('field');
  const detail = (text('detail') ?? text('error_description') ?? text('error') ?? `HTTP status ${status}; is it Castellan?`).slice(0, 500);
  return new ControlPlaneRefusedError({
    status,
    code: text('code') ?? text('error') ?? 'unexpected_answer',
    detail,
    ...(field === undefined ? {} : { field }),
  });
}
