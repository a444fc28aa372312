/** What a job's workers wrote: the stream `stream:v1:{jobId}` as a list. `src/redis` implements it. */
import type { Page, PageQuery } from './control-plane.ts';
import type { JobLogLine } from './job.ts';

export interface JobLogs {
  /**
   * Oldest first. The cursor is the id of the last line that was seen, so that a reader that has all of them asks on from there.
   * Empty when nothing is kept. Throws CursorGoneError for a cursor that is none.
   */
  page(jobId: string, query: PageQuery): Promise<Page<JobLogLine>>;
}
