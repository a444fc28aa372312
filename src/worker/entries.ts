/** What a worker reads of an entry before it runs it. */
import { InvalidSettingError } from '../protocol/errors.ts';
import type { AnyJobDefinition } from '../protocol/job-handler.ts';
import { QUEUE_NAME, type JobEntry } from '../protocol/job-progress.ts';
import type { Json, JsonObject } from '../protocol/json.ts';
import { CONCURRENCY_MAX } from './settings.ts';

/** An entry that a definition fits, ready to run. */
export interface ReadyEntry {
  readonly entry: JobEntry;
  readonly definition: AnyJobDefinition;
  readonly payload: Json;
}

export function keyOf({ queue, entryId }: JobEntry): string {
  return `${queue} ${entryId}`;
}

export type ReadPayload =
  { readonly payload: Json; readonly target: string | undefined; readonly fault?: undefined } | { readonly fault: string; readonly target: undefined };

/** Its JSON, and the node that it names (contracts 3). */
export function readPayload({ payload: text }: JobEntry): ReadPayload {
  try {
    const payload = JSON.parse(text) as Json;
    const target =
      typeof payload === 'object' && payload !== null ? ((payload as JsonObject)['target_node'] ?? (payload as JsonObject)['targetNode']) : undefined;
    return { payload, target: typeof target === 'string' && target !== '' ? target : undefined };
  } catch (error) {
    return { fault: `The field payload is not JSON: ${error instanceof Error ? error.message : String(error)}`, target: undefined };
  }
}

/** What is told of an entry whose payload is no JSON. */
export function badPayload(message: string): JsonObject {
  return { code: 'invalid_payload', message, retryable: false };
}

/** Retryable: another worker may know the type, and the backoff and the number of tries bound the search. */
export function unknownType(type: string): JsonObject {
  return { code: 'unknown_type', message: `This worker knows no job type ${JSON.stringify(type.slice(0, 80))}; another one may.`, retryable: true };
}

/** Throws InvalidSettingError. */
export function checkSettings(queues: readonly string[], concurrency: number): void {
  if (queues.length === 0) throw new InvalidSettingError('queues', 'is empty. Name at least one, such as jobs:v1:gpu-general.');
  for (const queue of queues) {
    if (!QUEUE_NAME.test(queue)) throw new InvalidSettingError('queues', `holds ${JSON.stringify(queue)}; a queue must match ${QUEUE_NAME.source}.`);
  }
  if (!Number.isInteger(concurrency) || concurrency < 1 || concurrency > CONCURRENCY_MAX)
    throw new InvalidSettingError('concurrency', `must be a whole number from 1 to ${CONCURRENCY_MAX}.`);
}

/** Throws InvalidSettingError. */
export function definitionsByType(jobs: readonly AnyJobDefinition[]): ReadonlyMap<string, AnyJobDefinition> {
  const byType = new Map(jobs.map((job) => [job.type, job]));
  if (byType.size < jobs.length) throw new InvalidSettingError('jobs', 'defines a type twice.');
  return byType;
}
