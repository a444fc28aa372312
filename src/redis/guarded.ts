/** What Redis refuses or does not answer, as an error of ours that says what was being done. */
import { RedisUnusableError } from '../protocol/errors.ts';

export async function guarded<T>(what: string, answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    throw unusable(what, error);
  }
}

export function unusable(what: string, error: unknown): RedisUnusableError {
  return new RedisUnusableError(`Redis could not ${what}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
}
