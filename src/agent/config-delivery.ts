/** An entry of the stream of configurations (contracts 2), as the agent works on it. */
import { parseConfigEntry } from '../provisioning/config-entry.ts';
import type { ConfigDelivery } from './config-source.ts';
import type { Json } from '../protocol/json.ts';

/** Never throws: what cannot be read is told as such. `fields`: names and values in turn. */
export function readDelivery(entryId: string, fields: readonly string[]): ConfigDelivery {
  const entry = parseConfigEntry(fields);
  const attempt = Number(valueOf(fields, 'attempt') ?? Number.NaN);
  const common = { entryId, ...(Number.isSafeInteger(attempt) ? { attempt } : {}) };
  if (entry.kind === 'other') {
    return { ...common, jobId: null, content: { kind: 'unreadable', field: 'type', reason: 'is none that this stream is for.' } };
  }
  const jobId = entry.jobId ?? null;
  if (entry.kind === 'bad') return { ...common, jobId, content: { kind: 'unreadable', field: entry.field, reason: entry.reason } };
  return { ...common, jobId, content: { kind: 'payload', payload: JSON.parse(valueOf(fields, 'payload') ?? '{}') as Json } };
}

function valueOf(fields: readonly string[], name: string): string | undefined {
  const index = fields.findIndex((field, at) => at % 2 === 0 && field === name);
  return index === -1 ? undefined : fields[index + 1];
}
