/** How many jobs are in which state, and how full the queues are: for metrics. */
import type { Clock } from '../engine/ports.ts';
import { JOB_STATES, type JobState, type QueueView } from '../protocol/job.ts';
import type { Queues } from '../protocol/queues.ts';
import { pathsOf } from './states.ts';

export interface JobFigures {
  readonly jobs: { readonly [state in JobState]: number };
  readonly queues: readonly QueueView[];
}

export interface FigurePorts {
  readonly reader: { countActors(type: string, statePath?: string): Promise<number> };
  readonly queues: Pick<Queues, 'list' | 'view'>;
  readonly clock: Pick<Clock, 'now'>;
}

/** Queues are found by a look over the key space: no more often than this, however often somebody asks. */
const LIST_MS = 60_000;
/** Each is some series of every scrape. */
const QUEUES_MAX = 200;

export function jobFigures({ reader, queues, clock }: FigurePorts): () => Promise<JobFigures> {
  let names: readonly string[] = [];
  let listAt = -Infinity;
  return async () => {
    if (clock.now() >= listAt) {
      names = (await queues.list()).slice(0, QUEUES_MAX);
      listAt = clock.now() + LIST_MS;
    }
    const count = async (state: JobState): Promise<[JobState, number]> => {
      const counts = await Promise.all(pathsOf(state).map((path) => reader.countActors('job', path)));
      return [state, counts.reduce((sum, each) => sum + each, 0)];
    };
    const [jobs, views] = await Promise.all([Promise.all(JOB_STATES.map(count)), queues.view(names)]);
    return { jobs: Object.fromEntries(jobs) as JobFigures['jobs'], queues: views };
  };
}
