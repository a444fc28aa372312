/**
 * `HTTP_REQUEST`: a request to a running service of this node, payload `{service, method?, path, headers?, body?}`. This is how a model is asked.
 *
 * 1. The service is named, its address is looked up here; nothing in the payload is ever part of an address. `path` begins with one `/`.
 * 2. What belongs to a connection or proves who somebody is does not pass, either way.
 * 3. Whatever the service answers is the result, also an error or a redirect, which is not followed. Only no answer fails the job.
 * 4. Bounded: request and answer by {@link BODY_BYTES_MAX}, a streamed answer by {@link STREAM_BYTES_MAX}; time by the job's own.
 * 5. A streamed answer (`text/event-stream`) is told event by event as chunks; the result has it whole when it is short enough.
 */
import { JobError } from '../../protocol/errors.ts';
import type { AnyJobDefinition, Job } from '../../protocol/job-handler.ts';
import type { Json, JsonObject } from '../../protocol/json.ts';
import { exchange, type ServiceRequest } from './http-exchange.ts';
import { fieldsOf, invalid, serviceIn } from './payload.ts';
import type { ServiceDirectory } from './service-directory.ts';

export const BODY_BYTES_MAX = 1_048_576;
/** A model's long answer has some 300 bytes a token in its envelope; it is never held whole. */
export const STREAM_BYTES_MAX = 32 * 1_048_576;
const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']);
const PATH_LENGTH_MAX = 4_096;
const HEADERS_MAX = 64;
const HEADER_LENGTH_MAX = 4_096;
/** RFC 9110, 7.6.1; and what would prove an identity that is not the service's to know. (2) */
const DROPPED = new Set([
  ...['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'expect', 'host', 'content-length'],
  ...['authorization', 'proxy-authorization', 'proxy-authenticate', 'cookie', 'set-cookie', 'accept-encoding', 'forwarded'],
]);
const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

export function httpRequestJob(directory: ServiceDirectory): AnyJobDefinition {
  return {
    type: 'HTTP_REQUEST',
    async handler(job: Job): Promise<Json> {
      const fields = fieldsOf(job.payload);
      const service = serviceIn(fields);
      const request = readRequest(fields);
      const port = await directory.portOf(service); // (1)
      return await exchange(port, request, job, { bodyBytesMax: BODY_BYTES_MAX, streamBytesMax: STREAM_BYTES_MAX });
    },
  };
}

function readRequest(fields: JsonObject): ServiceRequest {
  const { method = 'GET', body } = fields;
  if (typeof method !== 'string' || !METHODS.has(method.toUpperCase())) throw invalid('method', `must be one of ${[...METHODS].join(', ')}`);
  const headers = readHeaders(fields['headers']);
  const content = body === undefined || body === null ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
  if (content !== undefined && Buffer.byteLength(content) > BODY_BYTES_MAX) {
    throw new JobError('body_too_large', `The body has more than ${BODY_BYTES_MAX} bytes.`, { retryable: false, field: 'body' });
  }
  if (content !== undefined && typeof body !== 'string') headers['content-type'] ??= 'application/json';
  return { method: method.toUpperCase(), path: readPath(fields['path']), headers, ...(content === undefined ? {} : { body: content }) };
}

/** Dots and encodings are resolved, so that what is asked is what is seen. */
function readPath(path: Json | undefined): string {
  if (typeof path !== 'string' || path.length > PATH_LENGTH_MAX || !/^\/(?![/\\])/.test(path) || /[\p{Cc}\\#]/u.test(path)) {
    throw invalid('path', 'must begin with one "/" and be the path of a request, without a host');
  }
  const base = 'http://service';
  const url = URL.canParse(base + path) ? new URL(base + path) : undefined;
  if (url === undefined || url.origin !== base || url.username !== '' || url.pathname.startsWith('//')) throw invalid('path', 'is no path');
  return url.pathname + url.search;
}

function readHeaders(given: Json | undefined): { [name: string]: string } {
  if (given === undefined || given === null) return {};
  if (typeof given !== 'object' || Array.isArray(given)) throw invalid('headers', 'must be an object of texts');
  const entries = Object.entries(given as JsonObject).map(([name, value]) => [name.toLowerCase(), value] as const);
  if (entries.length > HEADERS_MAX) throw invalid('headers', `may have at most ${HEADERS_MAX} entries`);
  // What `Connection` names belongs to the connection as well.
  const named = entries.flatMap(([name, value]) => (name === 'connection' && typeof value === 'string' ? value.toLowerCase().split(/\s*,\s*/) : []));
  const headers: { [name: string]: string } = {};
  for (const [name, value] of entries) {
    if (DROPPED.has(name) || named.includes(name) || name.startsWith('proxy-')) continue; // (2)
    if (!HEADER_NAME.test(name) || typeof value !== 'string' || value.length > HEADER_LENGTH_MAX || !HEADER_VALUE.test(value)) {
      throw invalid(`headers.${name.slice(0, 64)}`, 'is no header');
    }
    headers[name] = value;
  }
  return headers;
}
