/** Job actors as people and programs see them. */
import { JOB_DEFAULTS } from '../../machines/job/events.ts';
import type { JobContext } from '../../machines/job/context.ts';
import type { ArrivedView, StoredView } from '../engine/read-ports.ts';
import { timestamp } from '../protocol/control-plane.ts';
import { idOf } from '../protocol/ids.ts';
import type { JobState, JobView } from '../protocol/job.ts';
import type { Json } from '../protocol/json.ts';
import type { ActorRecord } from '../protocol/record.ts';
import { decodeRecord } from '../protocol/stored-record.ts';
import { shownStateOf } from './states.ts';

/** Undefined for an actor that has not been shown in any state yet. */
export function jobView({ key, record: json, document }: ArrivedView): JobView | undefined {
  const record = decodeRecord(json);
  const entered = enteredState(record);
  if (entered === undefined) return undefined;
  const context = contextOf(record);
  const { error = null, attempt = 0 } = context;
  return {
    jobId: idOf(key),
    type: context.type,
    queue: context.via === undefined ? (context.queue ?? JOB_DEFAULTS.queue) : null,
    state: entered.state,
    reason: context.parkedBecause ?? context.reason ?? null,
    payload: context.payload ?? {},
    result: context.result ?? null,
    error,
    progress: progressOf(document),
    attempt,
    attemptsMax: context.attempts ?? JOB_DEFAULTS.attempts,
    priority: context.priority ?? 0,
    worker: context.worker ?? null,
    nodeId: context.nodeId ?? context.target ?? null,
    parent: context.parent ?? null,
    children: [...(context.children ?? (context.unborn ?? []).map(({ jobId }) => jobId))],
    lateReports: context.late ?? 0,
    orgId: context.orgId ?? null,
    userId: context.userId ?? null,
    createdAt: timestamp(record.createdAt),
    updatedAt: timestamp(Math.max(record.updatedAt, entered.at)),
  };
}

/** When the job entered the state that it is shown in, ms; 0 when it is in none. */
export function enteredAt({ record }: StoredView): number {
  return enteredState(decodeRecord(record))?.at ?? 0;
}

/** The organisation that a stored job belongs to. */
export function ownerOf({ record }: StoredView): string | null {
  return contextOf(decodeRecord(record)).orgId ?? null;
}

function enteredState({ entered }: ActorRecord): { readonly state: JobState; readonly at: number } | undefined {
  for (const [path, at] of Object.entries(entered)) {
    const state = shownStateOf(path);
    if (state !== undefined) return { state, at };
  }
  return undefined;
}

function contextOf({ snapshot, parked }: ActorRecord): JobContext & { readonly parkedBecause?: string } {
  const { context } = snapshot as unknown as { readonly context: JobContext };
  return parked === undefined ? context : { ...context, parkedBecause: `The stored job does not fit this version's machine: ${parked}` };
}

/** The document beside the record is what the worker told last. */
function progressOf(document: string | null): Json {
  if (document === null) return null;
  const told = JSON.parse(document) as Json;
  return typeof told === 'object' && told !== null && !Array.isArray(told) && 'progress' in told ? (told['progress'] ?? null) : null;
}
