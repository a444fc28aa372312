/**
 * The contract with workers: jobs out to the queues `jobs:v1:…`, reports back, and what failed for good to `dlq:v1:…`.
 *
 * Out: the outlets `queue/<stream key>` (an attempt of a job) and `dlq/<queue without jobs:v1:>` (a job that spent all its tries).
 * In: `job:reports`, read in place. Entries and workers of others: worker-entry.ts and worker-progress.ts.
 *
 * 1. An attempt's entry carries `attempt`, the fence: whoever reports without it speaks for the present attempt.
 * 2. A report belongs to the job that its entry names; the JSON may not say otherwise.
 * 3. Whatever stands in the contract for a field of a dead letter is written, empty when it is not known.
 */
import type { BuryJob, PostJob } from '../../machines/job/events.ts';
import { timestamp } from '../protocol/control-plane.ts';
import type { MachineEvent } from '../protocol/envelope.ts';
import { millisecondsOf } from '../protocol/ids.ts';
import { decodeJobEntry, encodeJobEntry, JOB_REPORTS, QUEUE_NAME, WORKER_GROUP } from '../protocol/job-progress.ts';
import type { Json } from '../protocol/json.ts';
import type { Outlet } from '../protocol/outlet.ts';
import type { QueueContract } from '../protocol/queues.ts';
import type { DecodedEntry, EntryFields, RejectedEntry, StreamSource } from '../protocol/source.ts';
import { excerptOf } from './citadel-excerpt.ts';
import { isJobId, JOB_ENTRY_FIELDS, JOB_ID, readJobEntry } from './worker-entry.ts';
import { foreignOutcome, foreignProgress, removedOutcome, isObject, readProgress } from './worker-progress.ts';

/** As contracts 1 bounds its stream: what nobody looked at for so many failures is not looked at any more. */
const DEAD_LETTERS_LENGTH = 10_000;
const DEAD_LETTER_QUEUE = /^[A-Za-z0-9._:-]{1,100}$/;

/** Reports of workers that know of attempts: entries `jobId <id> progress <JSON>`. */
export const jobReportsSource: StreamSource = {
  stream: JOB_REPORTS,
  trimBehind: true,
  keyOf(fields) {
    const jobId = jobIdOf(fields);
    return jobId !== undefined && isJobId(jobId) ? `job/${jobId}` : undefined;
  },
  decode: decodeReport,
};

function decodeReport(_id: string, fields: EntryFields): DecodedEntry | RejectedEntry {
  const reject = (code: string, field: string, reason: string): RejectedEntry => ({
    ok: false,
    code,
    field,
    reason,
    excerpt: excerptOf(fields, JOB_ENTRY_FIELDS),
  });
  const jobId = jobIdOf(fields);
  if (jobId === undefined) return reject('missing_field', 'jobId', 'The field jobId is missing.');
  if (!isJobId(jobId)) return reject('invalid_job_id', 'jobId', `The field jobId must match ${JOB_ID.source}.`);
  const progress = fields[2] === 'progress' ? fields[3] : fieldOf(fields, 'progress');
  if (progress === undefined) return reject('missing_field', 'progress', 'The field progress is missing.');
  const read = readProgress(jobId, progress, 'progress'); // (2)
  return read.ok ? { ok: true, event: read.event as unknown as MachineEvent } : reject(read.code, read.field, read.reason);
}

function jobIdOf(fields: EntryFields): string | undefined {
  return fields[0] === 'jobId' ? fields[1] : (fieldOf(fields, 'jobId') ?? fieldOf(fields, 'job_id'));
}

function fieldOf(fields: EntryFields, name: string): string | undefined {
  for (let index = 0; index + 1 < fields.length; index += 2) if (fields[index] === name) return fields[index + 1];
  return undefined;
}

/** `queue/<stream key>`: a {@link PostJob} becomes an entry of that queue. */
export const queueOutlet: Outlet = {
  type: 'queue',
  encode(id, event, _from, at) {
    if (event.type !== 'post' || !QUEUE_NAME.test(id)) return undefined;
    const { jobId, jobType, payload, attempt, priority = 0, requeue, timeoutMs, rayId, targetNode } = event as unknown as PostJob;
    const fields = encodeJobEntry({
      jobId,
      type: jobType,
      payload: payloadText(payload, targetNode),
      enqueuedAt: timestamp(at),
      attempt, // (1)
      timeoutMs,
      ...(rayId === undefined ? {} : { rayId }),
      ...(requeue === undefined ? {} : { requeue }),
      ...(targetNode === undefined ? {} : { targetNode }),
    });
    return { stream: id, fields, priority, member: jobId };
  },
};

/** Workers that know only the contract look for the node in the payload. */
function payloadText(payload: Json | undefined, targetNode: string | undefined): string {
  if (targetNode === undefined) return payload === undefined ? '{}' : JSON.stringify(payload);
  if (payload !== undefined && !isObject(payload)) return JSON.stringify(payload);
  return JSON.stringify({ ...payload, target_node: targetNode });
}

/** `dlq/<queue without jobs:v1:>`: a {@link BuryJob} becomes an entry of `dlq:v1:<queue>` with every field of the contract. (3) */
export const dlqOutlet: Outlet = {
  type: 'dlq',
  encode(id, event, _from, at) {
    if (event.type !== 'bury' || !DEAD_LETTER_QUEUE.test(id)) return undefined;
    const { jobId, jobType, payload, queue, reason, attempts, worker, entry } = event as unknown as BuryJob;
    const fields = [
      ...['original_message_id', entry ?? '', 'original_queue', queue, 'reason', reason, 'moved_at', timestamp(at), 'worker_id', worker ?? ''],
      ...['jobId', jobId, 'type', jobType, 'enqueuedAt', enqueuedAt(entry), 'payload', payload === undefined ? '{}' : JSON.stringify(payload)],
      ...['attempts', String(attempts)],
    ];
    return { stream: `dlq:v1:${id}`, fields, maxLength: DEAD_LETTERS_LENGTH };
  },
};

/** How workers and producers that know only the keys are observed. */
export const workerQueueContract: QueueContract = {
  group: WORKER_GROUP,
  fields: ['jobId', 'job_id', 'attempt', 'target_node', 'targetNode'],
  ownField: 'attempt',
  adopt: readJobEntry,
  jobOf(fields) {
    const { jobId, attempt, targetNode } = decodeJobEntry('', '', fields);
    if (!isJobId(jobId)) return undefined;
    return { jobId, ...(attempt === undefined ? {} : { attempt }), ...(targetNode === undefined ? {} : { targetNode }) };
  },
  outcome: (jobId, left, report) => foreignOutcome(jobId, left, report) as unknown as MachineEvent,
  removed: (jobId, left, report) => removedOutcome(jobId, left, report) as unknown as MachineEvent,
  heard: (jobId, message) => foreignProgress(jobId, message) as unknown as MachineEvent | undefined,
};

/** An entry's id tells when it was appended. */
function enqueuedAt(entry: string | undefined): string {
  const ms = entry === undefined ? Number.NaN : millisecondsOf(entry);
  return Number.isSafeInteger(ms) && ms >= 0 && ms < 8.64e15 ? timestamp(ms) : '';
}
