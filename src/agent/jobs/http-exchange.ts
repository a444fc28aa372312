/** One exchange with a service on this machine's loopback. See http-request.ts for what it keeps. */
import { request, type IncomingMessage } from 'node:http';
import { JobError } from '../../protocol/errors.ts';
import type { Job } from '../../protocol/job-handler.ts';
import type { Json, JsonObject } from '../../protocol/json.ts';
import { LOOPBACK } from '../status-server.ts';
import { EventStreamReader } from './event-stream.ts';

export interface ServiceRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: { readonly [name: string]: string };
  readonly body?: string;
}

export interface ExchangeBounds {
  readonly bodyBytesMax: number;
  readonly streamBytesMax: number;
}

/** Headers of an answer that say something to who asked. */
const TOLD_HEADERS = ['content-type', 'location', 'retry-after', 'x-request-id'] as const;
/** A streamed answer up to this length stands in the result as well: a result has 256 KiB, and JSON escapes what it quotes. */
const KEPT_STREAM_MAX = 65_536;

/** `{status, headers, body}`; of a streamed answer `{status, headers, events, body?}`. */
export async function exchange(port: number, asked: ServiceRequest, job: Job, bounds: ExchangeBounds): Promise<Json> {
  job.signal.throwIfAborted();
  try {
    const answer = await open(port, asked, job.signal);
    const contentType = answer.headers['content-type'] ?? '';
    const head = { status: answer.statusCode ?? 0, headers: toldHeaders(answer) };
    if (/^text\/event-stream\b/i.test(contentType)) return { ...head, ...(await readStream(answer, job, bounds.streamBytesMax)) };
    const body = await readAll(answer, bounds.bodyBytesMax);
    return { ...head, ...bodyOf(body, contentType) };
  } catch (error) {
    job.signal.throwIfAborted();
    if (error instanceof JobError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    throw new JobError('service_unreachable', `The service did not answer: ${code ?? message}`, { cause: error });
  }
}

function open(port: number, { method, path, headers, body }: ServiceRequest, signal: AbortSignal): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const content = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) };
    // Plain, so that the bound is one of what is passed on.
    const all = { ...headers, 'accept-encoding': 'identity', ...content };
    const question = request({ host: LOOPBACK, port, method, path, headers: all, agent: false, signal }, resolve);
    question.on('error', reject);
    question.end(body);
  });
}

function toldHeaders({ headers }: IncomingMessage): JsonObject {
  return Object.fromEntries(TOLD_HEADERS.flatMap((name) => (headers[name] === undefined ? [] : [[name, headers[name]]])));
}

async function readAll(answer: IncomingMessage, bytesMax: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of answer as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > bytesMax) throw tooLarge(bytesMax);
    parts.push(part);
  }
  return Buffer.concat(parts);
}

async function readStream(answer: IncomingMessage, job: Job, bytesMax: number): Promise<JsonObject> {
  let events = 0;
  let bytes = 0;
  let kept: string | undefined = '';
  const reader = new EventStreamReader(({ event, data }) => {
    events++;
    job.chunk(event === undefined ? { data } : { event, data });
  });
  answer.setEncoding('utf8');
  for await (const text of answer as AsyncIterable<string>) {
    bytes += Buffer.byteLength(text);
    if (bytes > bytesMax) throw tooLarge(bytesMax);
    kept = kept === undefined || kept.length + text.length > KEPT_STREAM_MAX ? undefined : kept + text;
    reader.push(text);
  }
  reader.end();
  return { events, ...(kept === undefined ? {} : { body: kept }) };
}

/** JSON as a value, text as text, anything else in base64. */
function bodyOf(body: Buffer, contentType: string): JsonObject {
  const text = body.toString();
  if (/^[^;]*\bjson\b/i.test(contentType)) {
    try {
      return { body: JSON.parse(text) as Json };
    } catch {
      return { body: text };
    }
  }
  if (contentType === '' || /^text\/|\bxml\b|charset=/i.test(contentType)) return { body: text };
  return { body: body.toString('base64'), encoding: 'base64' };
}

function tooLarge(bytesMax: number): JobError {
  return new JobError('answer_too_large', `The service's answer has more than ${bytesMax} bytes.`, { retryable: false });
}
