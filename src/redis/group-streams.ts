/**
 * Streams that several programs read in consumer groups: made when they are missing, and what is to be told of them.
 *
 * 1. Making writes no entry and changes nothing that is there: a group begins at the stream's first entry, and keeps its position afterwards.
 */
import type { Redis } from 'ioredis';
import { RedisUnusableError } from '../protocol/errors.ts';

export interface GroupStream {
  readonly stream: string;
  readonly groups: readonly string[];
}

export interface StreamInfo {
  readonly length: number;
  /** Ids; null when the stream is empty or missing. */
  readonly first_entry: string | null;
  readonly last_entry: string | null;
  readonly consumer_groups: readonly GroupInfo[];
}

export interface GroupInfo {
  readonly name: string;
  readonly consumers: number;
  readonly pending: number;
  readonly last_delivered_id: string;
}

/** Throws RedisUnusableError when a key of that name holds something else. */
export async function ensureGroupStreams(client: Redis, streams: readonly GroupStream[]): Promise<void> {
  await Promise.all(streams.flatMap(({ stream, groups }) => groups.map(async (group) => await ensureGroup(client, stream, group))));
}

async function ensureGroup(client: Redis, stream: string, group: string): Promise<void> {
  try {
    await client.xgroup('CREATE', stream, group, '0', 'MKSTREAM');
  } catch (error) {
    const { message } = error as Error;
    if (message.startsWith('BUSYGROUP')) return; // (1)
    const way = message.startsWith('WRONGTYPE') ? ' Another program uses that key: rename it, or use another Redis database.' : '';
    throw new RedisUnusableError(`The group ${group} of the stream ${stream} cannot be made: ${message}.${way}`, { cause: error });
  }
}

/** Of a stream that is empty or missing too. */
export async function groupStreamInfo(client: Redis, stream: string): Promise<StreamInfo> {
  const [length, first, last, groups] = await Promise.all([
    client.xlen(stream),
    client.xrange(stream, '-', '+', 'COUNT', 1),
    client.xrevrange(stream, '+', '-', 'COUNT', 1),
    groupsOf(client, stream),
  ]);
  return { length, first_entry: first[0]?.[0] ?? null, last_entry: last[0]?.[0] ?? null, consumer_groups: groups };
}

async function groupsOf(client: Redis, stream: string): Promise<GroupInfo[]> {
  let replies: unknown[];
  try {
    replies = (await client.xinfo('GROUPS', stream)) as unknown[];
  } catch (error) {
    if ((error as Error).message.includes('no such key')) return [];
    throw error;
  }
  return replies.map((reply) => {
    const pairs = reply as (string | number)[];
    const valueOf = (name: string): string | number => pairs[pairs.indexOf(name) + 1] ?? 0;
    return {
      name: String(valueOf('name')),
      consumers: Number(valueOf('consumers')),
      pending: Number(valueOf('pending')),
      last_delivered_id: String(valueOf('last-delivered-id')),
    };
  });
}
