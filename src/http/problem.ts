/**
 * Every error answer, as a problem document (RFC 9457).
 *
 * 1. `code` is stable; `title` belongs to the code; `detail` is for this occurrence and says what to do next.
 * 2. What went wrong inside is logged and never told: a 500 has a fixed detail.
 */
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { hasZodFastifySchemaValidationErrors } from 'fastify-type-provider-zod';
import { CastellanError, EventRejectedError } from '../protocol/errors.ts';

/** Problems that arise in this adapter: status and title by code. */
const PROBLEMS = {
  invalid_request: [400, 'The request is not valid'],
  invalid_json: [400, 'The body is not valid JSON'],
  body_too_deep: [400, 'The body is nested too deeply or has too many values'],
  unauthorized: [401, 'A valid token or session is needed'],
  forbidden: [403, 'Not allowed'],
  not_for_this_node: [403, 'A node may not do this'],
  job_not_held: [403, 'The node does not have this job now'],
  foreign_origin: [403, 'The request comes from a page of another origin'],
  not_found: [404, 'Not found'],
  node_not_found: [404, 'There is no such node'],
  actor_not_found: [404, 'There is no such actor'],
  revision_not_found: [404, 'The actor has no such revision'],
  dead_letter_not_found: [404, 'There is no such dead letter'],
  job_not_found: [404, 'There is no such job'],
  schedule_not_found: [404, 'There is no such schedule'],
  enrolment_not_found: [404, 'There is no such request of a device'],
  device_not_found: [404, 'There is no such device'],
  method_not_allowed: [405, 'This method is not allowed here'],
  device_refused: [409, 'The device does not take this now'],
  job_refused: [409, 'The job does not take this now'],
  not_replayable: [409, 'This dead letter cannot be replayed'],
  cursor_gone: [410, 'The cursor is not held any more'],
  revision_gone: [410, 'This revision was trimmed'],
  body_too_large: [413, 'The body is too large'],
  unsupported_media_type: [415, 'This media type is not understood'],
  invalid_config: [422, 'The configuration cannot be applied'],
  rate_limited: [429, 'Too many requests'],
  internal: [500, 'Something went wrong here'],
  live_refused: [502, 'The node’s address is outside the enrolled network'],
  live_invalid: [502, 'The node answered with something that is not its status'],
  overloaded: [503, 'Too busy to answer now'],
  keys_unavailable: [503, 'Tokens cannot be checked now'],
  too_many_streams: [503, 'Too many open streams'],
  live_timeout: [504, 'The node did not answer in time'],
} as const satisfies { readonly [code: string]: readonly [status: number, title: string] };

export type ProblemCode = keyof typeof PROBLEMS;

/** Status of each error of the control plane; others are 503 when retryable and 500 when not. */
const CASTELLAN_STATUS: { readonly [code: string]: number } = {
  invalid_id: 400,
  invalid_event: 400,
  invalid_job: 400,
  invalid_config: 422,
  unknown_actor_type: 404,
  actor_not_found: 404,
  cursor_gone: 410,
  history_unreadable: 409,
  wait_timeout: 504,
};

export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly field?: string;
  readonly instance?: string;
  /** Further members, as RFC 9457, 3.2 allows. */
  readonly [extension: string]: string | number | undefined;
}

export interface ProblemDetail {
  readonly detail: string;
  readonly field?: string;
}

export function problem(code: ProblemCode, { detail, field }: ProblemDetail): Problem {
  const [status, title] = PROBLEMS[code];
  return { type: typeUri(code), title, status, code, detail, ...(field === undefined ? {} : { field }) };
}

export function sendProblem(reply: FastifyReply, code: ProblemCode, detail: string, field?: string): FastifyReply {
  return send(reply, problem(code, field === undefined ? { detail } : { detail, field }));
}

export function send(reply: FastifyReply, document: Problem): FastifyReply {
  return reply
    .code(document.status)
    .header('cache-control', 'no-store')
    .type('application/problem+json; charset=utf-8')
    .serializer(JSON.stringify)
    .send({ ...document, instance: reply.request.url.split('?')[0] });
}

/** The server's error handler. */
export function answerError(error: FastifyError | CastellanError | Error, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const document = problemOf(error);
  if (document.status >= 500) request.log.error({ err: error }, 'request failed');
  return send(reply, document);
}

export function problemOf(error: FastifyError | CastellanError | Error): Problem {
  if (error instanceof CastellanError) return castellanProblem(error);
  if (hasZodFastifySchemaValidationErrors(error)) {
    const first = error.validation[0];
    const field = fieldOf(error.validationContext, first?.instancePath, first?.params);
    return problem('invalid_request', { detail: `${field}: ${first?.message ?? 'not valid'}`, field });
  }
  return fastifyProblem(error as FastifyError);
}

function castellanProblem(error: CastellanError): Problem {
  const status = error instanceof EventRejectedError ? 422 : (CASTELLAN_STATUS[error.code] ?? (error.retryable ? 503 : 500));
  if (status === 500) return internal();
  const title = status === 503 ? 'Not available now' : status === 422 ? 'The event was rejected' : 'The request cannot be answered';
  return {
    type: typeUri(error.code),
    title: error.code in PROBLEMS ? PROBLEMS[error.code as ProblemCode][1] : title,
    status,
    code: error.code,
    detail: error.message,
    ...(error.field === undefined ? {} : { field: error.field }),
  };
}

function fastifyProblem(error: FastifyError): Problem {
  switch (error.code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return problem('body_too_large', { detail: 'A body may have at most 1 MiB.', field: 'body' });
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return problem('unsupported_media_type', { detail: 'Send JSON with content-type: application/json.', field: 'content-type' });
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
      return problem('invalid_json', { detail: 'The body is not JSON, or holds a "__proto__" or "constructor" field.', field: 'body' });
    default:
  }
  if (error.statusCode === 429) return problem('rate_limited', { detail: error.message });
  if (error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500) return problem('invalid_request', { detail: error.message });
  return internal();
}

function internal(): Problem {
  return problem('internal', { detail: 'The log of the control plane says more, under this request’s id.' });
}

/** `querystring.limit`, `body.type`: where the fault lies and the path in it. */
function fieldOf(context: string | undefined, path: string | undefined, params: unknown): string {
  const keys = (params as { keys?: readonly string[] } | undefined)?.keys;
  const inner = (path ?? '').split('/').filter((part) => part !== '');
  if (keys?.[0] !== undefined) inner.push(keys[0]);
  const place = context === 'querystring' || context === 'params' ? [] : [context ?? 'body'];
  return [...place, ...inner].join('.') || (context ?? 'request');
}

function typeUri(code: string): string {
  return `urn:castellan:problem:${code}`;
}
