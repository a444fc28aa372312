/** The job types that every agent knows: `ECHO`, `SERVICE_STATUS`, `SERVICE_START`, `SERVICE_STOP`, `HTTP_REQUEST`. */
import type { AnyJobDefinition, Job } from '../../protocol/job-handler.ts';
import { containerObserver } from '../observe-containers.ts';
import { modelObserver } from '../observe-models.ts';
import { httpRequestJob } from './http-request.ts';
import { serviceDirectory } from './service-directory.ts';
import { serviceJobs } from './service-jobs.ts';

export interface BuiltInJobsOptions {
  /** As in `DOCKER_HOST`; default: the standard socket. */
  readonly dockerHost?: string;
  /** The agent's own. */
  readonly statusPort: () => number | undefined;
}

export function builtInJobs({ dockerHost, statusPort }: BuiltInJobsOptions): readonly AnyJobDefinition[] {
  const containers = containerObserver(dockerHost);
  return [
    { type: 'ECHO', handler: ({ payload }: Job) => payload },
    ...serviceJobs(dockerHost, containers),
    httpRequestJob(serviceDirectory(containers, modelObserver(), statusPort)),
  ];
}
