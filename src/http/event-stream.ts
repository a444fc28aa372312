/**
 * Server-sent events over the feed (WHATWG HTML, 9.2).
 *
 * 1. Nothing is read ahead: the next transition is asked for when the socket took the one before.
 * 2. A client that takes nothing for {@link STALL_MS}, or for whom more than {@link BUFFER_BYTES_MAX} wait, is dropped.
 *    It loses nothing: it comes back with its last cursor.
 * 3. A stream ends when its caller's token expires, when the client goes, and when the server closes (before connections
 *    are waited for, or the shutdown would hang).
 * 4. A caller of one organisation gets only that organisation's transitions.
 */
import type { ServerResponse } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { ControlPlane, FeedItem } from '../protocol/control-plane.ts';
import { CastellanError } from '../protocol/errors.ts';
import { sees, type Principal } from './auth/principal.ts';
import type { WallClock } from './auth/tokens.ts';
import { problemOf } from './problem.ts';

/** Below the idle limits of usual proxies (60 s), with room for one lost beat. */
const HEARTBEAT_MS = 15_000;
const STALL_MS = 30_000;
/** A transition with its context is some kB; 1 MiB is far more than one item. */
const BUFFER_BYTES_MAX = 1_048_576;
const STREAMS_MAX = 1_000;
/** What the browser waits before it comes back, in ms. */
const RETRY_MS = 2_000;
/** setTimeout's own bound. */
const TIMEOUT_MS_MAX = 2_147_483_647;

export interface StreamQuery {
  readonly cursor: string | 'new';
  readonly types?: readonly string[];
}

export interface EventStreams {
  /** False when too many are open. Rejects with CursorGoneError before anything was answered. */
  open(request: FastifyRequest, reply: FastifyReply, caller: Principal, query: StreamQuery): Promise<boolean>;
  /** Ends all streams; call it in preClose. */
  close(): void;
  readonly count: number;
}

export interface EventStreamOptions {
  readonly controlPlane: Pick<ControlPlane, 'follow'>;
  readonly now: WallClock;
  readonly heartbeatMs?: number;
  readonly stallMs?: number;
}

export function eventStreams({ controlPlane, now, heartbeatMs = HEARTBEAT_MS, stallMs = STALL_MS }: EventStreamOptions): EventStreams {
  const open = new Set<AbortController>();
  let closed = false;
  return {
    async open(request, reply, caller, { cursor, types }) {
      if (closed || open.size >= STREAMS_MAX) return false;
      const ending = new AbortController();
      open.add(ending);
      try {
        const items = await controlPlane.follow(cursor, { signal: ending.signal, ...(types === undefined ? {} : { types }) });
        const response = begin(reply);
        const expiry = setTimeout(() => ending.abort(), Math.min(Math.max(caller.expiresAt - now(), 0), TIMEOUT_MS_MAX));
        const heartbeat = setInterval(() => response.writableNeedDrain || response.write(': still here\n\n'), heartbeatMs);
        response.once('close', () => ending.abort());
        try {
          await pump(items, response, caller, ending.signal, stallMs);
        } catch (error) {
          sayWhy(error, request, response);
        } finally {
          clearTimeout(expiry);
          clearInterval(heartbeat);
          finish(response);
        }
      } finally {
        ending.abort();
        open.delete(ending);
      }
      return true;
    },
    close() {
      closed = true;
      for (const ending of open) ending.abort();
    },
    get count() {
      return open.size;
    },
  };
}

/** Takes the response out of Fastify's hands, with the headers that its hooks have set (CORS, security). */
function begin(reply: FastifyReply): ServerResponse {
  const headers = reply.getHeaders();
  reply.hijack();
  const response = reply.raw;
  for (const [name, value] of Object.entries(headers)) if (value !== undefined) response.setHeader(name, value);
  response.writeHead(200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store, no-transform',
    'x-accel-buffering': 'no',
    // The connection has no second request: it ends with the stream, so that a closing server need not wait for it.
    connection: 'close',
  });
  response.write(`retry: ${RETRY_MS}\n\n`);
  return response;
}

async function pump(items: AsyncIterable<FeedItem>, response: ServerResponse, caller: Principal, signal: AbortSignal, stallMs: number): Promise<void> {
  for await (const item of items) {
    if (signal.aborted) return;
    if (!sees(caller, item.orgId)) continue;
    const flowing = response.write(`id: ${oneLine(item.cursor)}\nevent: transition\ndata: ${JSON.stringify(item.transition)}\n\n`);
    if (flowing) continue;
    if (response.writableLength > BUFFER_BYTES_MAX || !(await drained(response, signal, stallMs))) {
      response.destroy();
      return;
    }
  }
}

/** False when the client took nothing in time; true also when the stream is ending, which the caller sees by its signal. */
async function drained(response: ServerResponse, signal: AbortSignal, stallMs: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const onDrain = () => resolve(true);
  const stall = setTimeout(() => resolve(false), stallMs);
  response.once('drain', onDrain);
  signal.addEventListener('abort', onDrain, { once: true });
  try {
    return await promise;
  } finally {
    clearTimeout(stall);
    response.off('drain', onDrain);
    signal.removeEventListener('abort', onDrain);
  }
}

/** A stream that has begun cannot answer with a status: its last event is the problem. */
function sayWhy(error: unknown, request: FastifyRequest, response: ServerResponse): void {
  if (!(error instanceof CastellanError)) request.log.error({ err: error }, 'event stream failed');
  if (response.destroyed) return;
  response.write(`event: problem\ndata: ${JSON.stringify(problemOf(error instanceof Error ? error : new Error('not an error')))}\n\n`);
}

/** What a client does not take cannot be flushed to it: the connection would stay, with its buffer, for as long as the client likes (3). */
function finish(response: ServerResponse): void {
  if (response.writableNeedDrain) response.destroy();
  else response.end();
}

/** A line break in an id would begin a field of its own. */
function oneLine(text: string): string {
  return text.replace(/[\r\n\0]/g, '');
}
