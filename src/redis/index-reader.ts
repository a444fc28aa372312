/**
 * Lists actors by type and state over all partitions.
 *
 * 1. The order is (partition, time entered, address), and the cursor is the last item's place in it: an actor that neither enters
 *    nor leaves the state during a listing is listed exactly once.
 */
import { Command, type Redis } from 'ioredis';
import type { ActorListQuery, ActorReader } from '../engine/read-ports.ts';
import { CursorGoneError } from '../protocol/errors.ts';
import { PARTITION_COUNT, type ActorKey } from '../protocol/ids.ts';
import { requireAll, runPipeline } from './function-library.ts';
import type { Keys } from './keys.ts';

export interface IndexReader extends Pick<ActorReader, 'listActors'> {
  /** How many actors of the type there are, or are in that state. */
  countActors(type: string, statePath?: string): Promise<number>;
}

/** Partitions asked at once: most lists are answered by a few. */
const PARTITIONS_PER_ROUND = 16;

interface Place {
  readonly partition: number;
  readonly score: number;
  readonly member: string;
}

export function createIndexReader(client: Redis, keys: Keys): IndexReader {
  const readFrom = async (partitions: readonly number[], query: ActorListQuery, after: Place | undefined, offset: number): Promise<Place[][]> => {
    const max = query.enteredBefore === undefined ? '+inf' : `(${query.enteredBefore}`;
    const commands = partitions.map((partition) => {
      const min = after?.partition === partition ? String(after.score) : '-inf';
      const args = [
        keys.partition(partition).index(query.type, query.statePath ?? ''),
        min,
        max,
        'BYSCORE',
        'LIMIT',
        String(offset),
        String(query.limit + 1),
        'WITHSCORES',
      ];
      return new Command('zrange', args, { replyEncoding: 'utf8' });
    });
    const replies = requireAll(await runPipeline(client, commands)) as string[][];
    return replies.map((flat, index) =>
      Array.from({ length: flat.length / 2 }, (_, at) => ({
        partition: partitions[index] as number,
        member: flat[at * 2] as string,
        score: Number(flat[at * 2 + 1]),
      })),
    );
  };

  /** The cursor's own partition, alone: actors that entered in the cursor's millisecond may fill more than a page. */
  const readRest = async (query: ActorListQuery, after: Place): Promise<Place[]> => {
    const found: Place[] = [];
    for (let offset = 0; found.length <= query.limit; offset += query.limit + 1) {
      const [page = []] = await readFrom([after.partition], query, after, offset);
      found.push(...page.filter((place) => isAfter(place, after)));
      if (page.length <= query.limit) break;
    }
    return found;
  };

  return {
    async listActors(query) {
      const after = query.cursor === undefined ? undefined : parseCursor(query.cursor);
      const found: Place[] = [];
      let partition = after?.partition ?? 0;
      if (after !== undefined) found.push(...(await readRest(query, after)));
      if (after !== undefined) partition++;
      while (found.length <= query.limit && partition < PARTITION_COUNT) {
        const round = Array.from({ length: Math.min(PARTITIONS_PER_ROUND, PARTITION_COUNT - partition) }, (_, index) => partition + index);
        for (const page of await readFrom(round, query, undefined, 0)) found.push(...page);
        partition += round.length;
      }
      const items = found.slice(0, query.limit);
      const last = items.at(-1);
      return {
        items: items.map(({ member, score }) => ({ key: member as ActorKey, enteredAt: score })),
        next: found.length > query.limit && last !== undefined ? formatCursor(last) : null,
      };
    },

    async countActors(type, statePath = '') {
      const names = Array.from({ length: PARTITION_COUNT }, (_, partition) => keys.partition(partition).index(type, statePath));
      const counts = requireAll(
        await runPipeline(
          client,
          names.map((name) => new Command('zcard', [name])),
        ),
      ) as number[];
      return counts.reduce((sum, count) => sum + count, 0);
    },
  };
}

function isAfter(place: Place, after: Place): boolean {
  if (place.score !== after.score) return place.score > after.score;
  return Buffer.compare(Buffer.from(place.member), Buffer.from(after.member)) > 0;
}

/** `~` stands in no address. */
function formatCursor({ partition, score, member }: Place): string {
  return `${partition}~${score}~${member}`;
}

function parseCursor(cursor: string): Place {
  const match = /^(\d{1,3})~(\d+(?:\.\d+)?)~([^~\s]{1,200})$/.exec(cursor);
  const partition = Number(match?.[1]);
  if (!match || partition >= PARTITION_COUNT) throw new CursorGoneError(cursor);
  return { partition, score: Number(match[2]), member: match[3] as string };
}
