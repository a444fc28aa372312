/**
 * The dead letters of all partitions as one list, newest first.
 *
 * 1. The order is (stream id, partition) descending; a letter's id is `<partition>-<stream id>`, and the cursor is the last one's id.
 */
import { Command, type Redis } from 'ioredis';
import type { StreamEntry } from '../engine/ports.ts';
import type { ActorReader } from '../engine/read-ports.ts';
import type { DeadLetter } from '../protocol/dead-letter.ts';
import { CursorGoneError } from '../protocol/errors.ts';
import { compareEntryIds, PARTITION_COUNT } from '../protocol/ids.ts';
import { requireAll, runPipeline } from './function-library.ts';
import type { Keys } from './keys.ts';

export type DeadLetterReader = Pick<ActorReader, 'listDeadLetters' | 'getDeadLetter' | 'countDeadLetters'>;

interface Place {
  readonly partition: number;
  readonly entry: string;
}

export function createDeadLetterReader(client: Redis, keys: Keys): DeadLetterReader {
  const partitions = Array.from({ length: PARTITION_COUNT }, (_, partition) => partition);
  return {
    async listDeadLetters(cursor, limit) {
      const before = cursor === undefined ? undefined : parseId(cursor);
      if (cursor !== undefined && before === undefined) throw new CursorGoneError(cursor);
      const commands = partitions.map((partition) => {
        // In the cursor's own millisecond and sequence, lower partitions are still to come.
        const newest = before === undefined ? '+' : partition < before.partition ? before.entry : `(${before.entry}`;
        return new Command('xrevrange', [keys.partition(partition).dead, newest, '-', 'COUNT', String(limit + 1)], { replyEncoding: 'utf8' });
      });
      const pages = requireAll(await runPipeline(client, commands)) as StreamEntry[][];
      const found = pages.flatMap((page, partition) => page.map(([entry, fields]) => ({ partition, entry, fields })));
      found.sort((left, right) => compareEntryIds(right.entry, left.entry) || right.partition - left.partition);
      const items = found.slice(0, limit).map(readLetter);
      return { items, next: found.length > limit ? (items.at(-1)?.id ?? null) : null };
    },

    async getDeadLetter(id) {
      const place = parseId(id);
      if (!place) return undefined;
      const [entry] = await client.xrange(keys.partition(place.partition).dead, place.entry, place.entry);
      return entry && readLetter({ ...place, fields: entry[1] });
    },

    async countDeadLetters() {
      const lengths = requireAll(
        await runPipeline(
          client,
          partitions.map((partition) => new Command('xlen', [keys.partition(partition).dead])),
        ),
      ) as number[];
      return lengths.reduce((sum, length) => sum + length, 0);
    },
  };
}

function readLetter({ partition, entry, fields }: Place & { readonly fields: readonly string[] }): DeadLetter {
  return { id: `${partition}-${entry}`, ...(JSON.parse(fields[1] as string) as Omit<DeadLetter, 'id'>) };
}

function parseId(id: string): Place | undefined {
  const match = /^(\d{1,3})-(\d{1,16}-\d{1,16})$/.exec(id);
  const partition = Number(match?.[1]);
  return match && partition < PARTITION_COUNT ? { partition, entry: match[2] as string } : undefined;
}
