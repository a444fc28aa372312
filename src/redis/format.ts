/**
 * Which form the stored data has. A program that reads another form must not guess: it would take a journal that it cannot
 * read for one that was trimmed.
 *
 * Raise {@link STORED_FORMAT} with every change of src/protocol/stored-record.ts, feed-pack.ts, inbox-entry.ts, or of pack-text.ts or keys.ts
 * after which older data reads differently.
 */
import type { Redis } from 'ioredis';
import { RedisUnusableError } from '../protocol/errors.ts';
import type { Keys } from './keys.ts';

export const STORED_FORMAT = '2';

/** Marks an unmarked data set; throws RedisUnusableError when the mark is another program's. */
export async function checkFormat(client: Redis, keys: Keys): Promise<void> {
  const stored = (await client.get(keys.format)) ?? (await mark(client, keys));
  if (stored === STORED_FORMAT) return;
  throw new RedisUnusableError(
    `This Redis holds data in the stored form ${stored}; this version of Castellan reads form ${STORED_FORMAT}. Use the version that wrote it, another prefix, or an empty Redis.`,
  );
}

async function mark(client: Redis, keys: Keys): Promise<string> {
  try {
    await client.set(keys.format, STORED_FORMAT, 'NX');
  } catch {
    // A full Redis takes no mark; it may still be read, and a later start marks it.
    return STORED_FORMAT;
  }
  return (await client.get(keys.format)) ?? STORED_FORMAT;
}
