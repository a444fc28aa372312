/** How an apply is told to those who watch its job (contracts 3): the progress message that a report amounts to. */
import { CONFIG_JOB_TYPE, CONFIG_STREAM, type ConfigReport } from '../protocol/device-config.ts';
import type { JsonObject } from '../protocol/json.ts';
import type { ProgressMessage } from '../protocol/job-progress.ts';
import type { ConfigDelivery } from './config-source.ts';

/** An entry that carries no attempt was enqueued by someone else: what its job is comes with each report, and creates it. */
const ORIGIN = { type: CONFIG_JOB_TYPE, via: 'none', source: CONFIG_STREAM };

export interface ProgressSender {
  readonly nodeId: string;
  readonly worker: string;
}

/** Undefined for an entry that has no job. */
export function progressOf(report: ConfigReport, { jobId, attempt, entryId }: ConfigDelivery, { nodeId, worker }: ProgressSender): ProgressMessage | undefined {
  if (jobId === null) return undefined;
  const sender = { worker, nodeId, entry: entryId, ...(attempt === undefined ? { origin: ORIGIN } : { attempt }) };
  const { type, details } = toldBy(report);
  return { version: '1.0', type, jobId, timestamp: report.timestamp, data: { ...sender, ...details } };
}

function toldBy(report: ConfigReport): { readonly type: ProgressMessage['type']; readonly details: JsonObject } {
  const { phase, error, services, detail } = report;
  if (phase === 'applying') {
    const step = (detail as JsonObject | undefined)?.['step'];
    const progress = { step: step ?? null, services: services as unknown as JsonObject[] };
    return step === 'validating' ? { type: 'claimed', details: {} } : { type: 'alive', details: { progress } };
  }
  if (endsWell(report)) return { type: 'end', details: { result: report as unknown as JsonObject } };
  const { code = phase, message = `The configuration ended as ${phase}.` } = error ?? {};
  return { type: 'error', details: { code, message, retryable: false, ...(error?.field === undefined ? {} : { field: error.field }) } };
}

/** Whether the node is as the configuration wants it. */
export function endsWell({ phase }: ConfigReport): boolean {
  return phase === 'applied' || phase === 'recorded' || phase === 'drifted';
}
