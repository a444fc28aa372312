/** Hands a payload to a definition as a worker would, and keeps what the handler says meanwhile. */
import type { AnyJobDefinition, Job } from '../../../src/protocol/job-handler.ts';
import type { Json } from '../../../src/protocol/json.ts';

export async function handed(definition: AnyJobDefinition | undefined, payload: Json, signal = new AbortController().signal) {
  const chunks: Json[] = [];
  const job: Job = {
    id: 'job-1',
    type: definition?.type ?? '',
    payload,
    attempt: 1,
    rayId: undefined,
    signal,
    progress: () => undefined,
    chunk: (value) => void chunks.push(value),
    log: () => undefined,
  };
  return { result: (await definition?.handler(job as never)) as Json, chunks };
}
