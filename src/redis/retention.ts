/**
 * What the store drops because it is old: packs of feeds, applied entries of our own sources; and which actors may go.
 *
 * 1. A source is trimmed by the positions that commits stored, never by those in somebody's memory: what a crash makes an engine
 *    read again is there. They only grow, so positions read before the trim are good enough.
 * 2. The newest applied entry stays: readers tell by a stream's first entry whether something was trimmed unread.
 */
import type { Command } from 'ioredis';
import type { EngineStore } from '../engine/ports.ts';
import { compareEntryIds, PARTITION_COUNT, STREAM_START, type ActorKey } from '../protocol/ids.ts';
import { command } from './commands.ts';
import type { FunctionCall } from './function-library.ts';
import type { Keys } from './keys.ts';

/** Packs that one trim may drop: a bounded pause; the next trim goes on. */
const TRIM_PACKS_MAX = 200;

export interface RetentionCalls {
  readonly keys: Keys;
  /** Both make their calls in one pipeline and throw the first failure. */
  readonly run: (what: string, commands: readonly Command[]) => Promise<unknown[]>;
  readonly call: (what: string, calls: readonly FunctionCall[]) => Promise<unknown[]>;
}

export function createRetention({ keys, run, call }: RetentionCalls): Pick<EngineStore, 'trim' | 'trimSource' | 'overdue'> {
  return {
    async trim(partition, retention) {
      const own = keys.partition(partition);
      const calls = Object.entries(retention).map(([type, { maxBytes, maxAgeMs }]): FunctionCall => ({
        name: 'trim',
        keys: [own.feed(type)],
        args: [maxBytes, maxAgeMs, TRIM_PACKS_MAX],
      }));
      await call('trim', calls);
    },

    async trimSource(stream) {
      const partitions = Array.from({ length: PARTITION_COUNT }, (_, partition) => keys.partition(partition).meta);
      const stored = (await run(
        'read positions',
        partitions.map((meta) => command('hget', meta, `source:${stream}`)),
      )) as (string | null)[];
      const positions = stored.map((text) => text?.split(' ')[0] ?? STREAM_START);
      const applied = positions.reduce((least, id) => (compareEntryIds(id, least) < 0 ? id : least));
      if (applied !== STREAM_START) await run('trim a source', [command('xtrim', stream, 'MINID', '=', applied)]);
    },

    async overdue(requests) {
      const commands = requests.flatMap(({ partition, type, statePath, limit }) => {
        const index = keys.partition(partition).index(type, statePath);
        return [command('zcard', index), command('zrange', index, '0', String(limit - 1), 'WITHSCORES')];
      });
      const replies = await run('look for old actors', commands);
      return requests.map(({ enteredBefore, keep }, at) => {
        const surplus = (replies[at * 2] as number) - keep;
        const flat = replies[at * 2 + 1] as string[];
        const oldest = Array.from({ length: flat.length / 2 }, (_, place) => [flat[place * 2] as ActorKey, Number(flat[place * 2 + 1])] as const);
        return oldest.filter(([, enteredAt], place) => place < surplus || enteredAt < enteredBefore);
      });
    },
  };
}
