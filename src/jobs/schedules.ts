/** Schedules as people make and see them; the machine of each decides when its job is submitted. */
import { SCHEDULE_NAME, tickJobId, type ScheduleContext } from '../../machines/schedule/machine.ts';
import type { Client } from '../engine/client.ts';
import type { Clock } from '../engine/ports.ts';
import type { ActorReader, StoredView } from '../engine/read-ports.ts';
import { timestamp, type Page, type PageQuery } from '../protocol/control-plane.ts';
import type { MachineEvent } from '../protocol/envelope.ts';
import { InvalidJobError } from '../protocol/errors.ts';
import { actorKey, idOf } from '../protocol/ids.ts';
import type { JobRequest, ScheduleRequest, ScheduleView } from '../protocol/job.ts';
import type { Json } from '../protocol/json.ts';
import { decodeRecord } from '../protocol/stored-record.ts';
import { checkTimes } from './next-tick.ts';
import { newJob } from './request.ts';

export interface SchedulePorts {
  readonly client: Pick<Client, 'sendAndWait'>;
  readonly reader: Pick<ActorReader, 'getActor' | 'getActors' | 'listActors'>;
  readonly clock: Pick<Clock, 'now' | 'sleep'>;
  readonly makeId: () => string;
}

/** After a change, its next time is asked for at once; an answer without it is true, too. */
const PLAN_MS = 1_000;
const LOOK_MS = 10;

/** Throws InvalidJobError naming the field. */
export async function putSchedule(ports: SchedulePorts, request: ScheduleRequest): Promise<ScheduleView> {
  const { name, cron, timeZone, everyMs, job, ...rest } = request;
  const [further] = Object.keys(rest);
  if (further !== undefined) throw new InvalidJobError(further, 'is not a field of a schedule.');
  if (typeof name !== 'string' || !SCHEDULE_NAME.test(name)) throw new InvalidJobError('name', `must match ${SCHEDULE_NAME.source}.`);
  const times = {
    ...(cron === undefined ? {} : { cron }),
    ...(timeZone === undefined ? {} : { timeZone }),
    ...(everyMs === undefined ? {} : { everyMs }),
  };
  checkTimes(times);
  const { spec } = newJob(withoutName(job), { makeId: ports.makeId, source: `schedule/${name}` }, 'job');
  const event = { type: 'put', ...times, spec: spec as unknown as Json, job: job as unknown as Json } satisfies MachineEvent;
  await ports.client.sendAndWait('schedule', name, event);
  return await planned(ports, name);
}

export async function listSchedules({ reader }: SchedulePorts, { cursor, limit }: PageQuery): Promise<Page<ScheduleView>> {
  const listed = await reader.listActors({ type: 'schedule', limit, ...(cursor === undefined ? {} : { cursor }) });
  const views = await reader.getActors(listed.items.map(({ key }) => key));
  return { items: views.flatMap((view) => (view === undefined || isRemoved(view) ? [] : [scheduleView(view)])), next: listed.next };
}

/** False when there is none. */
export async function removeSchedule({ client, reader }: SchedulePorts, name: string): Promise<boolean> {
  const view = await reader.getActor(actorKey('schedule', name));
  if (view === undefined || isRemoved(view)) return false;
  await client.sendAndWait('schedule', name, { type: 'remove' });
  return true;
}

/** Each tick's job is named after the schedule and the tick. */
function withoutName(job: JobRequest): JobRequest {
  if (job?.jobId !== undefined) throw new InvalidJobError('job.jobId', 'must be left out: each tick makes a job of its own.');
  if (job?.dedupeKey !== undefined) throw new InvalidJobError('job.dedupeKey', 'must be left out: a tick makes one job.');
  return job;
}

async function planned({ reader, clock }: SchedulePorts, name: string): Promise<ScheduleView> {
  const end = clock.now() + PLAN_MS;
  for (;;) {
    const stored = await reader.getActor(actorKey('schedule', name));
    // By somebody else, and swept already.
    if (stored === undefined) throw new InvalidJobError('name', `${JSON.stringify(name)} was removed while it was being put.`);
    if (!isIn(stored, 'planning') || clock.now() >= end) return scheduleView(stored);
    await clock.sleep(LOOK_MS);
  }
}

function scheduleView({ key, record }: StoredView): ScheduleView {
  const { cron, timeZone, everyMs, job, spec, at, after, runs, reason } = contextOf(record);
  return {
    name: idOf(key),
    ...(cron === undefined ? {} : { cron }),
    ...(timeZone === undefined ? {} : { timeZone }),
    ...(everyMs === undefined ? {} : { everyMs }),
    job: (job ?? { type: spec.type }) as unknown as JobRequest,
    nextAt: at === undefined ? null : timestamp(at),
    lastJobId: after === undefined ? null : tickJobId(idOf(key), after),
    runs,
    reason: reason ?? null,
  };
}

function contextOf(record: string): ScheduleContext {
  return (decodeRecord(record).snapshot as unknown as { readonly context: ScheduleContext }).context;
}

function isRemoved(view: StoredView): boolean {
  return isIn(view, 'removed');
}

function isIn({ record }: StoredView, state: string): boolean {
  return state in decodeRecord(record).entered;
}
