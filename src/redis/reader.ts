/**
 * The read side: what HTTP, the library and the realtime hub see of the stored actors, the feed and the partitions.
 *
 * 1. It changes nothing and holds no lease: what it reads may be older than what the owner has in memory, never half of a commit per actor.
 * 2. Every list is bounded by the caller's limit; a cursor says where the next page begins, not what it holds.
 */
import type { Command } from 'ioredis';
import { type Redis } from 'ioredis';
import type { StreamEntry } from '../engine/ports.ts';
import type { ActorReader, CursorReader, PackAddress, PartitionReport, StoredView } from '../engine/read-ports.ts';
import { PARTITION_COUNT, partitionOf, type ActorKey } from '../protocol/ids.ts';
import { decodeRecord } from '../protocol/stored-record.ts';
import { command } from './commands.ts';
import { BLOCK_MS_MAX } from './clients.ts';
import { createDeadLetterReader } from './dead-letter-reader.ts';
import { createFunctionLibrary, requireAll, runPipeline, type FunctionCall } from './function-library.ts';
import { ENGINE_LIBRARY_FILES } from './post-call.ts';
import { createIndexReader } from './index-reader.ts';
import { timerMember, type Keys } from './keys.ts';
import { packFromText } from './pack-text.ts';

export interface RedisReader extends ActorReader, CursorReader {
  /** How many actors of the type there are, or are in that state. */
  countActors(type: string, statePath?: string): Promise<number>;
}

/** Applied inbox entries stay until a whole block of the stream is behind the position; a block holds at most 100 entries. */
const APPLIED_SCAN_MAX = 1_000;

export interface ReaderConnections {
  readonly client: Redis;
  /** For a {@link CursorReader.readCursor} that waits, one at a time. */
  readonly blocking: Redis;
  readonly keys: Keys;
}

export function createRedisReader({ client, blocking, keys }: ReaderConnections): RedisReader {
  const library = createFunctionLibrary(ENGINE_LIBRARY_FILES);
  const run = async (commands: readonly Command[]): Promise<unknown[]> => requireAll(await runPipeline(client, commands));

  const getActors = async (actors: readonly ActorKey[]): Promise<(StoredView | undefined)[]> => {
    const stored = await run(
      actors.flatMap((key) => {
        const own = keys.partition(partitionOf(key));
        return [command('hget', own.records, key), command('hget', own.documents, key)];
      }),
    );
    const timers = actors.map((_, index) => timerKeysOf(stored[index * 2] as string | null));
    const dues = await readDues(actors, timers);
    return actors.map((key, index) => {
      const record = stored[index * 2] as string | null;
      return record === null ? undefined : { key, record, document: stored[index * 2 + 1] as string | null, dues: dues[index] ?? {} };
    });
  };

  const readDues = async (actors: readonly ActorKey[], timers: readonly (readonly string[])[]): Promise<{ [timer: string]: number }[]> => {
    const commands = actors.flatMap((key, index) => {
      const members = (timers[index] ?? []).map((timer) => timerMember(key, timer));
      const own = keys.partition(partitionOf(key));
      return members.length === 0 ? [] : [command('zmscore', own.timers, ...members), command('zmscore', own.liveness, ...members)];
    });
    const scores = (await run(commands)) as (string | null)[][];
    let next = 0;
    return timers.map((names) => {
      if (names.length === 0) return {};
      const [clock, liveness] = [scores[next++], scores[next++]];
      const found = names.map((name, at): [string, string | null | undefined] => [name, clock?.[at] ?? liveness?.[at]]);
      return Object.fromEntries(found.flatMap(([name, due]) => (due == null ? [] : [[name, Number(due)]])));
    });
  };

  /** More was ever added than is there. */
  const wasTrimmed = async (): Promise<boolean> => {
    const fields = (await client.xinfo('STREAM', keys.cursor)) as (string | number)[];
    const valueOf = (name: string): number => Number(fields[fields.indexOf(name) + 1]);
    return valueOf('entries-added') > valueOf('length');
  };

  const waitForEntries = async (after: string, count: number, blockMs: number): Promise<StreamEntry[]> => {
    const reply = await blocking.xread('COUNT', count, 'BLOCK', Math.min(blockMs, BLOCK_MS_MAX), 'STREAMS', keys.cursor, after);
    return reply?.[0]?.[1] ?? [];
  };

  const readPacks: RedisReader['readPacks'] = async (addresses) => {
    const replies = await run(addresses.map(({ partition, type, id }) => command('xrange', keys.partition(partition).feed(type), id, id)));
    return replies.map((entries) => {
      const text = fieldOf((entries as StreamEntry[])[0], 'p');
      return text === undefined ? null : packFromText(text);
    });
  };

  return {
    ...createDeadLetterReader(client, keys),
    ...createIndexReader(client, keys),
    getActors,
    getActor: async (key) => (await getActors([key]))[0],

    async cursorRange() {
      const [oldest, newest] = requireAll(
        await runPipeline(client, [command('xrange', keys.cursor, '-', '+', 'COUNT', '1'), command('xrevrange', keys.cursor, '+', '-', 'COUNT', '1')]),
      ) as [StreamEntry[], StreamEntry[]];
      if (!oldest[0] || !newest[0]) return null;
      return { first: oldest[0][0], last: newest[0][0], trimmed: await wasTrimmed() };
    },

    async cursorEnd() {
      const [newest] = requireAll(await runPipeline(client, [command('xrevrange', keys.cursor, '+', '-', 'COUNT', '1')])) as [StreamEntry[]];
      return newest[0]?.[0] ?? null;
    },

    async readCursor(after, count, blockMs) {
      const entries = blockMs === 0 ? await client.xrange(keys.cursor, `(${after}`, '+', 'COUNT', count) : await waitForEntries(after, count, blockMs);
      return entries.map(([id, fields]) => ({ id, address: addressIn(fields) }));
    },

    readPacks,
    readPack: async (partition, type, id) => (await readPacks([{ partition, type, id, count: 0 }]))[0] ?? null,

    async partitions() {
      const calls = Array.from({ length: PARTITION_COUNT }, (_, partition): FunctionCall => {
        const { meta, inbox, timers, liveness, outbox, retries } = keys.partition(partition);
        return { name: 'describe', keys: [meta, inbox, timers, liveness, outbox, retries], args: [APPLIED_SCAN_MAX] };
      });
      return requireAll(await library.call(client, calls)).map((reply, partition): PartitionReport => {
        const [owner, until, epoch, commit, position, lag, timers, outbox, retries, now] = reply as [string, string, string, string, string, ...number[]];
        return {
          partition,
          owner: owner !== '' && Number(until) > Number(now) ? owner : null,
          epoch: Number(epoch),
          commit,
          position,
          lag: Number(lag),
          timers: Number(timers),
          outbox: Number(outbox),
          retries: Number(retries),
        };
      });
    },
  };
}

function timerKeysOf(record: string | null): string[] {
  return record === null ? [] : Object.keys(decodeRecord(record).timers);
}

function fieldOf(entry: StreamEntry | undefined, field: string): string | undefined {
  if (!entry) return undefined;
  const at = entry[1].findIndex((name, index) => index % 2 === 0 && name === field);
  return at < 0 ? undefined : entry[1][at + 1];
}

/** As a commit writes it (functions.lua); null for anything else. */
function addressIn([, partition = '', , type = '', , id = '', , count = '']: readonly string[]): PackAddress | null {
  const known = /^\d{1,4}$/.test(partition) && Number(partition) < PARTITION_COUNT && /^\d{1,16}-\d{1,16}$/.test(id) && type !== '';
  return known ? { partition: Number(partition), type, id, count: Number(count) } : null;
}
