/** The ids around a configuration, as the streams have them. */

const NODE = /^[a-zA-Z0-9._-]{1,64}$/;
/** As the id of an actor. */
const JOB = /^[A-Za-z0-9._:@-]{1,128}$/;
/** It fits the pattern, but is no name to be used as a key anywhere. */
const FORBIDDEN = '__proto__';

export const ids = {
  node: NODE,
  job: JOB,
  isNode: (value: unknown): value is string => typeof value === 'string' && NODE.test(value) && value !== FORBIDDEN,
};

/** What is known of a configuration from around its payload. */
export interface ConfigNames {
  readonly jobId?: string;
  readonly target?: string;
}
