/**
 * Jobs by state, type, queue, node and age.
 *
 * 1. A state is read from its index, one path after another; without a state all jobs are, by creation. What the index does not
 *    know is filtered on reading, so a page may hold fewer than asked for, or none, and still have a next one.
 * 2. A call looks at a bounded number of jobs.
 */
import type { ActorReader, StoredView } from '../engine/read-ports.ts';
import type { Page } from '../protocol/control-plane.ts';
import { CursorGoneError } from '../protocol/errors.ts';
import type { JobQuery, JobView } from '../protocol/job.ts';
import { pathsOf } from './states.ts';
import { enteredAt, jobView } from './views.ts';

export interface ListingPorts {
  readonly reader: Pick<ActorReader, 'listActors' | 'getActors'>;
  /** Redis's clock. */
  readonly time: () => Promise<number>;
}

/** Jobs looked at for one page, and reads of the index. (2) */
const SCAN_MAX = 5_000;
const READS_MAX = 50;
/** Of all jobs, by creation. */
const ALL = '';

export async function listJobs({ reader, time }: ListingPorts, query: JobQuery): Promise<Page<JobView>> {
  const { state, olderThanMs, limit } = query;
  const indexes = state === undefined ? [ALL] : pathsOf(state);
  const before = olderThanMs === undefined ? undefined : (await time()) - olderThanMs;
  const items: JobView[] = [];
  let { at, rest } = parseCursor(query.cursor, indexes.length);
  let scanned = 0;
  for (let reads = 0; at < indexes.length && items.length < limit && reads < READS_MAX && scanned < SCAN_MAX; reads++) {
    const path = indexes[at] as string;
    const listed = await reader.listActors({
      type: 'job',
      limit: limit - items.length,
      ...(path === ALL ? {} : { statePath: path }),
      // Nobody was in any state before it was there, so this holds for the index of all jobs, too.
      ...(before === undefined ? {} : { enteredBefore: before }),
      ...(rest === '' ? {} : { cursor: rest }),
    });
    scanned += listed.items.length;
    for (const view of await reader.getActors(listed.items.map(({ key }) => key))) {
      const job = view === undefined || !isOldEnough(view, before) ? undefined : jobView(view);
      // The index may be a commit ahead of or behind the record that was read after it.
      if (job !== undefined && matches(job, query)) items.push(job);
    }
    rest = listed.next ?? '';
    if (listed.next === null) at++;
  }
  return { items, next: at < indexes.length ? `${at}|${rest}` : null };
}

function matches(job: JobView, { state, type, queue, nodeId, orgId }: JobQuery): boolean {
  return (
    (state === undefined || job.state === state) &&
    (type === undefined || job.type === type) &&
    (queue === undefined || job.queue === queue) &&
    (nodeId === undefined || job.nodeId === nodeId) &&
    (orgId === undefined || job.orgId === orgId)
  );
}

function isOldEnough(view: StoredView, before: number | undefined): boolean {
  return before === undefined || enteredAt(view) < before;
}

function parseCursor(cursor: string | undefined, indexes: number): { at: number; rest: string } {
  if (cursor === undefined) return { at: 0, rest: '' };
  const match = /^(\d{1,3})\|(.*)$/s.exec(cursor);
  if (match === null || Number(match[1]) >= indexes) throw new CursorGoneError(cursor);
  return { at: Number(match[1]), rest: match[2] as string };
}
