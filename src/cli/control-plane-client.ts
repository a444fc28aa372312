/**
 * The control plane as the commands see it: over HTTP, with the token of the environment or of the data folder.
 *
 * 1. The data folder's token is sent to this machine's loopback alone: CASTELLAN_URL must not carry an
 *    administrator's token away by mistake.
 * 2. A list is fetched page by page as it is printed; nothing is held but one page.
 */
import { readAdminToken } from '../http/auth/first-start.ts';
import { isLoopback } from '../http/live/allowed-network.ts';
import { DEFAULT_PORT, readListenAddress } from '../http/settings.ts';
import type { FeedItem, Page, TransitionView } from '../protocol/control-plane.ts';
import { ControlPlaneRefusedError, ControlPlaneUnreachableError, InvalidSettingError } from '../protocol/errors.ts';
import { readServerSentEvents } from './server-sent-events.ts';
import { readDataDir, type Environment } from './settings.ts';

/** An answer that takes longer is a server that hangs. */
const ANSWER_TIMEOUT_MS = 30_000;
const PAGE_LIMIT = 500;

export interface ControlPlaneClient {
  readonly url: string;
  get<Answer>(path: string, query?: Query): Promise<Answer>;
  post<Answer>(path: string, body?: unknown, headers?: { readonly [name: string]: string }): Promise<Answer>;
  put<Answer>(path: string, body: unknown): Promise<Answer>;
  delete(path: string): Promise<void>;
  /** All items of a list, page after page. */
  list<Item>(path: string, query?: Query): AsyncGenerator<Item>;
  /** The realtime stream until the signal aborts or the server ends it. */
  follow(query: Query, signal: AbortSignal): AsyncGenerator<Pick<FeedItem, 'cursor' | 'transition'>>;
}

interface CallOptions {
  readonly query?: Query;
  readonly method?: string;
  readonly headers?: { readonly [name: string]: string };
  readonly body?: unknown;
  readonly signal?: AbortSignal;
}

type Query = { readonly [name: string]: string | number | undefined };

/** Reads `CASTELLAN_URL`, `CASTELLAN_TOKEN` and the data folder. */
export async function controlPlaneClient(environment: Environment): Promise<ControlPlaneClient> {
  const base = readBaseUrl(environment);
  const given = environment['CASTELLAN_TOKEN'] || undefined;
  const token = given ?? (isThisMachine(base) ? await readAdminToken(readDataDir(environment)) : undefined);
  const hint401 =
    token === undefined
      ? ' Set CASTELLAN_TOKEN, or run this where CASTELLAN_DATA_DIR is.'
      : given === undefined
        ? ` It is the one of ${readDataDir(environment)}; name the server's own folder in CASTELLAN_DATA_DIR, or set CASTELLAN_TOKEN.`
        : ' It is the one of CASTELLAN_TOKEN; "castellan token" makes another.';
  const call = async (path: string, options: CallOptions) => {
    const headers = new Headers({ ...options.headers, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) });
    if (options.body !== undefined) headers.set('content-type', 'application/json');
    const response = await fetch(withQuery(base, path, options.query), {
      method: options.method ?? 'GET',
      headers,
      redirect: 'error',
      signal: options.signal ?? AbortSignal.timeout(ANSWER_TIMEOUT_MS),
      ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
    }).catch((cause: unknown) => {
      throw new ControlPlaneUnreachableError(base.origin, { cause });
    });
    if (!response.ok) throw await refusal(response, hint401);
    return response;
  };
  const get = async <Answer>(path: string, query?: Query) => (await (await call(path, query === undefined ? {} : { query })).json()) as Answer;
  return {
    url: base.origin,
    get,
    post: async <Answer>(path: string, body?: unknown, headers: CallOptions['headers'] = {}) =>
      (await (await call(path, { method: 'POST', body, headers })).json()) as Answer,
    put: async <Answer>(path: string, body: unknown) => (await (await call(path, { method: 'PUT', body })).json()) as Answer,
    delete: async (path) => void (await call(path, { method: 'DELETE' })),
    async *list<Item>(path: string, query: Query = {}) {
      let cursor: string | undefined;
      do {
        const page: Page<Item> = await get(path, { ...query, limit: PAGE_LIMIT, cursor });
        yield* page.items;
        cursor = page.next ?? undefined;
      } while (cursor !== undefined);
    },
    async *follow(query, signal) {
      const response = await call('/events/stream', { query, signal });
      if (response.body === null) return;
      for await (const event of readServerSentEvents(response.body)) {
        if (event.event === 'problem') throw new ControlPlaneRefusedError(JSON.parse(event.data) as ConstructorParameters<typeof ControlPlaneRefusedError>[0]);
        if (event.event === 'transition') yield { cursor: event.id, transition: JSON.parse(event.data) as TransitionView };
      }
    },
  };
}

function readBaseUrl(environment: Environment): URL {
  const text = environment['CASTELLAN_URL'] || `http://127.0.0.1:${readListenAddress(environment).port || DEFAULT_PORT}`;
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol)) throw new InvalidSettingError('CASTELLAN_URL', 'must be a URL such as http://127.0.0.1:3001.');
  return url;
}

/** Upholds (1). */
function isThisMachine(url: URL): boolean {
  return url.hostname === 'localhost' || isLoopback(url.hostname.replace(/^\[|\]$/g, ''));
}

function withQuery(base: URL, path: string, query: Query = {}): URL {
  const url = new URL(path, base);
  for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, String(value));
  return url;
}

async function refusal(response: Response, hint401: string): Promise<ControlPlaneRefusedError> {
  const problem = (await response.json().catch(() => ({}))) as { readonly code?: string; readonly detail?: string; readonly field?: string };
  const detail = problem.detail ?? `The server answered with HTTP status ${response.status}; is it Castellan?`;
  const hint = response.status === 401 ? hint401 : '';
  return new ControlPlaneRefusedError({
    status: response.status,
    code: problem.code ?? 'unexpected_answer',
    detail: detail + hint,
    ...(problem.field === undefined ? {} : { field: problem.field }),
  });
}
