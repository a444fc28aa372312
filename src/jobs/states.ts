/** The job machine's states as people are shown them. They are flat: a path is a name. */
import { JOB_END_STATES, JOB_STATES, type JobState } from '../protocol/job.ts';
import type { Json } from '../protocol/json.ts';

/** Done and not to be kept: gone with the next sweep. */
export const DROPPED = 'dropped';

/** Undefined for a state that is never at rest. */
export function shownStateOf(path: string): JobState | undefined {
  return path === DROPPED ? 'done' : JOB_STATES.find((state) => state === path);
}

/** State paths whose jobs are shown in this state. */
export function pathsOf(state: JobState): readonly string[] {
  return state === 'done' ? ['done', DROPPED] : [state];
}

/** State paths in which a job has ended. */
export const END_PATHS: readonly string[] = JOB_END_STATES.flatMap(pathsOf);

/** Whether a state value is a job's end. */
export function isEnd(value: Json): boolean {
  return typeof value === 'string' && END_PATHS.includes(value);
}
