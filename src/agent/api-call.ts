/**
 * One bounded exchange of JSON with the control plane.
 *
 * 1. No redirects: a redirect would carry a secret to where nobody meant it to go.
 * 2. Time and length of the answer are limited; what is longer, later or no JSON is an outcome like any other.
 * 3. Nothing is repeated here: only the caller knows whether a repeat is safe.
 */
import { Agent as HttpAgent, request as httpRequest } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { IncomingMessage } from 'node:http';
import type { JsonObject } from '../protocol/json.ts';

/** A control plane that is well answers in milliseconds. */
export const ANSWER_MS_MAX = 10_000;
/** An entry may carry a payload of some hundred KiB, and an answer some entries. */
const ANSWER_BYTES_MAX = 8 * 1_048_576;
/** Below the idle time after which servers and proxies close a connection, commonly 5 s and more: a reused one is then seldom closed under a request. */
const KEEP_ALIVE_MS = 4_000;

export interface ApiQuestion {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** With its query. */
  readonly path: string;
  readonly body?: unknown;
  readonly token?: string;
  /** Default: {@link ANSWER_MS_MAX}. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export type ApiOutcome =
  | { readonly kind: 'answer'; readonly status: number; readonly body: JsonObject; readonly retryAfterMs?: number }
  /** No answer, or none that could be read. It may have taken effect. */
  | { readonly kind: 'unreachable'; readonly reason: string };

export interface ApiCaller {
  readonly url: string;
  ask(question: ApiQuestion): Promise<ApiOutcome>;
  /** Ends what is under way. */
  close(): void;
}

export function createApiCaller(base: URL): ApiCaller {
  const secure = base.protocol === 'https:';
  const pool = secure ? new HttpsAgent({ keepAlive: true, timeout: KEEP_ALIVE_MS }) : new HttpAgent({ keepAlive: true, timeout: KEEP_ALIVE_MS });
  const closed = new AbortController();
  const begin = secure ? httpsRequest : httpRequest;
  const prefix = base.pathname.replace(/\/$/, '');
  return {
    url: base.href.replace(/\/$/, ''),
    ask: ({ method, path, body, token, timeoutMs = ANSWER_MS_MAX, signal }) => {
      const timeout = AbortSignal.timeout(timeoutMs);
      const ended = AbortSignal.any([timeout, closed.signal, ...(signal === undefined ? [] : [signal])]);
      const text = body === undefined ? undefined : JSON.stringify(body);
      const headers = {
        accept: 'application/json',
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(text === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
      };
      return new Promise((resolve) => {
        const fail = ({ code, name, message }: NodeJS.ErrnoException): void => {
          const aborted = name === 'AbortError' || name === 'TimeoutError';
          resolve({ kind: 'unreachable', reason: aborted ? (timeout.aborted ? `no answer in ${timeoutMs} ms` : 'given up') : (code ?? message) });
        };
        // Each question has a listener on `closed` while it is under way, and the caller bounds how many are.
        const question = begin(new URL(prefix + path, base), { method, headers, agent: pool, signal: ended }, (answer) => {
          readAnswer(answer).then(resolve, fail);
        });
        question.on('error', fail);
        question.end(text);
      });
    },
    close: () => {
      closed.abort();
      pool.destroy();
    },
  };
}

async function readAnswer(answer: IncomingMessage): Promise<ApiOutcome> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of answer as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > ANSWER_BYTES_MAX) {
      answer.destroy();
      return { kind: 'unreachable', reason: `an answer of more than ${ANSWER_BYTES_MAX} bytes` };
    }
    parts.push(part);
  }
  const status = answer.statusCode ?? 0;
  const body = asObject(Buffer.concat(parts).toString());
  if (body === undefined && status < 300) return { kind: 'unreachable', reason: 'an answer that is no JSON object; is it Castellan?' };
  const retryAfterMs = retryAfter(answer.headers['retry-after'], body?.['retry_after']);
  return { kind: 'answer', status, body: body ?? {}, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) };
}

function asObject(text: string): JsonObject | undefined {
  try {
    const value = text === '' ? {} : (JSON.parse(text) as unknown);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : undefined;
  } catch {
    return undefined;
  }
}

/** Seconds in the body (contracts 7) or in the header. */
function retryAfter(header: string | undefined, field: unknown): number | undefined {
  const seconds = typeof field === 'number' ? field : header !== undefined && /^\d{1,6}$/.test(header) ? Number(header) : undefined;
  return seconds === undefined || !(seconds >= 0) ? undefined : seconds * 1_000;
}
