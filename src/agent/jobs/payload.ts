/** Reading the payloads of the built-in jobs: a wrong field fails the job for good and is named. */
import { JobError } from '../../protocol/errors.ts';
import type { Json, JsonObject } from '../../protocol/json.ts';

/** Names of containers, less our prefix. */
const SERVICE = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/;

export function fieldsOf(payload: Json): JsonObject {
  if (typeof payload === 'object' && payload !== null && !Array.isArray(payload)) return payload as JsonObject;
  throw invalid('payload', 'must be an object');
}

/** The service that the payload names. */
export function serviceIn(fields: JsonObject): string {
  const { service } = fields;
  if (typeof service === 'string' && SERVICE.test(service)) return service;
  throw invalid('service', `must be the name of a service of this node (${SERVICE.source})`);
}

export function invalid(field: string, why: string): JobError {
  return new JobError('invalid_payload', `The field ${field} ${why}.`, { retryable: false, field });
}
