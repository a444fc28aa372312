/**
 * The engine's storage over Redis: each method is one pipeline of reads or of Function calls.
 *
 * 1. Whatever must be atomic is one Function (functions.lua); this file only lays out arguments and reads answers.
 * 2. A method that rejects does so with RedisUnusableError and has perhaps taken effect; repeating it is safe (I1).
 */
import type { Command } from 'ioredis';
import { type Redis } from 'ioredis';
import type { AcquireResult, AppendResult, CommitRequest, CommitResult, EngineStore, NumberedEnvelope } from '../engine/ports.ts';
import { InvalidEventError, RedisUnusableError } from '../protocol/errors.ts';
import { encodeInboxEntry, EVENT_BYTES_MAX } from '../protocol/inbox-entry.ts';
import { partitionOf } from '../protocol/ids.ts';
import { command, milliseconds } from './commands.ts';
import { commitCall, DEAD_LETTERS_MAX, readCommitReply } from './commit-call.ts';
import { createFunctionLibrary, isFunctionMissing, runPipeline, type FunctionCall } from './function-library.ts';
import type { Keys } from './keys.ts';
import { ENGINE_LIBRARY_FILES, sendPosts } from './post-call.ts';
import { readCommands, readResult } from './read-call.ts';
import { createRetention } from './retention.ts';
import { readPartitionState } from './partition-state.ts';
import { watchServer } from './server-watch.ts';
import { wavesOf } from './waves.ts';

export interface StoreSettings {
  /** How long a dedupe id is remembered, ms. */
  readonly dedupeWindowMs: number;
  /** How many dedupe ids a partition remembers; the oldest go first. */
  readonly dedupeIdsMax: number;
  /** How many pack addresses the cursor's stream keeps: how far back a subscriber can resume. */
  readonly cursorLengthMax: number;
}

export const DEFAULT_STORE_SETTINGS: StoreSettings = { dedupeWindowMs: 86_400_000, dedupeIdsMax: 100_000, cursorLengthMax: 1_000_000 };

/** One append call holds at most so many envelopes and bytes, so that it never blocks Redis for more than a few ms. */
const APPEND_ENTRIES_MAX = 500;
const APPEND_BYTES_MAX = 1_048_576;
/** Keeps the dead letters of what reached no partition. */
const STRAY_PARTITION = 0;

/** A store whose functions are loaded. The client is the caller's, who also closes it. */
export async function createRedisStore(client: Redis, keys: Keys, settings: Partial<StoreSettings> = {}): Promise<EngineStore> {
  const library = createFunctionLibrary(ENGINE_LIBRARY_FILES);
  await guard('load functions', library.load(client));
  const watch = await guard('tell which server it is', watchServer(client));
  const { dedupeWindowMs, dedupeIdsMax, cursorLengthMax } = { ...DEFAULT_STORE_SETTINGS, ...settings };
  const call = async (what: string, calls: readonly FunctionCall[]): Promise<unknown[]> => {
    const unknown = watch.unknown();
    if (unknown !== undefined) await unknown; // sent at once otherwise: a caller goes on with other work
    return guard(what, library.call(client, calls));
  };
  const run = async (what: string, commands: readonly Command[]): Promise<unknown[]> => {
    const unknown = watch.unknown();
    if (unknown !== undefined) await unknown; // sent at once otherwise: a caller goes on with other work
    return guard(what, runPipeline(client, commands));
  };
  const callAll = async (what: string, calls: readonly FunctionCall[]): Promise<unknown[]> => throwFirst(what, await call(what, calls));

  const appendCall = (partition: number, entries: readonly AppendEntry[]): FunctionCall => {
    const own = keys.partition(partition);
    const args: (string | number)[] = [dedupeWindowMs, dedupeIdsMax, own.bell, keys.prefix, partition];
    for (const { dedupeId, fields } of entries) {
      args.push(dedupeId, fields.length);
      for (const field of fields) args.push(field);
    }
    return { name: 'append', keys: [own.inbox, own.dedupe, own.dedupeOrder], args };
  };

  return {
    onReset: (told) => watch.onReset(told),

    async time() {
      return milliseconds(await guard('tell the time', client.time()));
    },

    async read(request) {
      const answers = await run('read', readCommands(keys, library, request));
      // The next try finds them.
      if (answers.some(isFunctionMissing)) await guard('load functions', library.load(client));
      return readResult(request, throwFirst('read', answers));
    },

    async load(requests) {
      const asked = requests.filter(({ keys: actors }) => actors.length > 0);
      const commands = asked.map(({ partition, keys: actors }) => command('hmget', keys.partition(partition).records, ...actors));
      const replies = throwFirst('load', await run('load', commands)) as (string | null)[][];
      let next = 0;
      return requests.map(({ keys: actors }) => {
        if (actors.length === 0) return [];
        const records = replies[next++];
        return actors.map((key, index) => ({ key, record: records?.[index] ?? null }));
      });
    },

    async commit(requests): Promise<(CommitResult | Error)[]> {
      const replies = await call(
        'commit',
        requests.map((request) => commitCall(keys, request, cursorLengthMax)),
      );
      // A stream that these commits may not even name holds up itself alone: its posts wait in the outbox. Nothing was written.
      const barred = replies.flatMap((reply, index) => (isBarred(reply) && (requests[index] as CommitRequest).posts.length > 0 ? [index] : []));
      if (barred.length > 0) {
        const again = await call(
          'commit',
          barred.map((index) => commitCall(keys, withoutPosts(requests[index] as CommitRequest), cursorLengthMax)),
        );
        barred.forEach((index, place) => (replies[index] = again[place]));
      }
      return replies.map((reply, index) => {
        if (reply instanceof Error) return unusable('commit', reply);
        const result = readCommitReply(reply);
        return result.kind === 'committed' && barred.includes(index) ? { ...result, refused: true } : result;
      });
    },

    async acquire(partition, owner, leaseMs, sources = []): Promise<AcquireResult> {
      const [reply] = await callAll('acquire', [{ name: 'acquire', keys: [keys.partition(partition).meta], args: [owner, leaseMs, sources.join('\n')] }]);
      const [taken, value, remaining] = reply as [number, string, number];
      if (taken !== 1) return { kind: 'held', owner: value, remainingMs: remaining };
      return { kind: 'acquired', state: await guard('load a partition', readPartitionState(client, keys, partition, Number(value))) };
    },

    async renew(owner, leases, leaseMs) {
      const calls = leases.map(({ partition, epoch }): FunctionCall => ({
        name: 'renew',
        keys: [keys.partition(partition).meta],
        args: [owner, epoch, leaseMs],
      }));
      return (await callAll('renew', calls)).map((reply) => reply === 1);
    },

    async release(owner, leases) {
      const calls = leases.map(({ partition, epoch }): FunctionCall => ({ name: 'release', keys: [keys.partition(partition).meta], args: [owner, epoch] }));
      await callAll('release', calls);
    },

    async append(envelopes): Promise<(AppendResult | Error)[]> {
      const results: (AppendResult | Error)[] = [];
      const entries: AppendEntry[] = [];
      envelopes.forEach((envelope, position) => {
        const event = JSON.stringify(envelope.event);
        const bytes = Buffer.byteLength(event);
        if (bytes > EVENT_BYTES_MAX) {
          results[position] = new InvalidEventError(`The event has ${bytes} bytes of JSON; at most ${EVENT_BYTES_MAX} are taken.`, { field: 'event' });
        } else {
          const fields = encodeInboxEntry(envelope, event);
          entries.push({ position, partition: partitionOf(envelope.actor), dedupeId: envelope.dedupeId ?? '', fields, bytes });
        }
      });
      const batches = batchesOf(entries);
      const replies = await call(
        'append',
        batches.map(({ partition, entries: batch }) => appendCall(partition, batch)),
      );
      batches.forEach(({ partition, entries: batch }, index) => {
        const reply = replies[index];
        batch.forEach(({ position }, place) => {
          if (reply instanceof Error) results[position] = unusable('append', reply);
          else results[position] = appendResult(partition, (reply as string[])[place] as string);
        });
      });
      return results;
    },

    async appendMessages(messages: readonly NumberedEnvelope[]) {
      const entries = messages.map(({ envelope, from, number }, position): AppendEntry => {
        const event = JSON.stringify(envelope.event);
        const fields = encodeInboxEntry(envelope, event, { from, number });
        return { position, partition: partitionOf(envelope.actor), dedupeId: '', fields, bytes: Buffer.byteLength(event) };
      });
      // A later batch of a partition must not be taken when an earlier one was refused: the receiver would hold those
      // of the earlier one, when they are repeated, for messages that it has applied.
      for (const wave of wavesOf(batchesOf(entries), ({ partition }) => partition)) {
        await callAll(
          'append messages',
          wave.map(({ partition, entries: batch }) => appendCall(partition, batch)),
        );
      }
    },

    async acknowledge({ partition, owner, epoch, number, through, retriesSet, retriesRemoved, deadLetters }) {
      const own = keys.partition(partition);
      const args: (string | number)[] = [owner, epoch, number, through === null ? '' : following(through), DEAD_LETTERS_MAX];
      args.push(retriesSet.length * 2, ...retriesSet.flatMap(({ key, value }) => [key, value]));
      args.push(retriesRemoved.length, ...retriesRemoved, deadLetters.length, ...deadLetters);
      const [reply] = await callAll('acknowledge', [{ name: 'acknowledge', keys: [own.meta, own.outbox, own.retries, own.dead], args }]);
      return reply === 1;
    },

    async publish(messages) {
      await run(
        'publish',
        messages.map(([channel, message]) => command('publish', channel, message)),
      );
    },

    async reply(outcomes) {
      await run(
        'reply',
        outcomes.map(({ to, entry, outcome }) => command('publish', keys.reply(to), JSON.stringify({ entry, outcome }))),
      );
    },

    async post(posts) {
      const replies = await sendPosts(posts, (calls) => call('post', calls));
      return replies.map((reply) => reply && unusable('post', reply));
    },

    async reject(deadLetters) {
      const { dead } = keys.partition(STRAY_PARTITION);
      const commands = deadLetters.map((letter) => command('xadd', dead, 'MAXLEN', '~', String(DEAD_LETTERS_MAX), '*', 'j', letter));
      throwFirst('store dead letters', await run('store dead letters', commands));
    },

    ...createRetention({ keys, run: async (what, commands) => throwFirst(what, await run(what, commands)), call: callAll }),
  };
}

interface AppendEntry {
  /** Place in the caller's list. */
  readonly position: number;
  readonly partition: number;
  readonly dedupeId: string;
  readonly fields: readonly string[];
  readonly bytes: number;
}

/** Groups by partition, in order, cut where a call would grow too large. */
function batchesOf(entries: readonly AppendEntry[]): { readonly partition: number; readonly entries: AppendEntry[] }[] {
  const batches: { partition: number; entries: AppendEntry[]; bytes: number }[] = [];
  const open = new Map<number, { partition: number; entries: AppendEntry[]; bytes: number }>();
  for (const entry of entries) {
    let batch = open.get(entry.partition);
    if (!batch || batch.entries.length >= APPEND_ENTRIES_MAX || batch.bytes + entry.bytes > APPEND_BYTES_MAX) {
      batch = { partition: entry.partition, entries: [], bytes: 0 };
      open.set(entry.partition, batch);
      batches.push(batch);
    }
    batch.entries.push(entry);
    batch.bytes += entry.bytes;
  }
  return batches;
}

function appendResult(partition: number, reply: string): AppendResult {
  const repeated = reply.startsWith('=');
  return { id: repeated ? reply.slice(1) : reply, partition, repeated };
}

/** Redis looks at the rights to, and the slots of, all keys of a call before it begins. */
function isBarred(reply: unknown): boolean {
  return reply instanceof Error && /^(NOPERM|CROSSSLOT)/.test(reply.message);
}

function withoutPosts(request: CommitRequest): CommitRequest {
  const items = [...(JSON.parse(request.outbox ?? '[]') as unknown[]), ...request.posts.map((post) => ({ post }))];
  return { ...request, posts: [], outbox: JSON.stringify(items) };
}

/** The first id after `<epoch>-<number>`. */
function following(id: string): string {
  const dash = id.indexOf('-');
  return `${id.slice(0, dash)}-${Number(id.slice(dash + 1)) + 1}`;
}

function unusable(what: string, cause: unknown): RedisUnusableError {
  // ioredis keeps the command in an error that Redis answered; it holds whole events, which must not reach a log.
  if (cause instanceof Error) Reflect.deleteProperty(cause, 'command');
  return new RedisUnusableError(`Redis could not ${what}: ${(cause as Error).message} It may have taken effect; the same call may be repeated.`, { cause });
}

async function guard<Value>(what: string, promise: Promise<Value>): Promise<Value> {
  try {
    return await promise;
  } catch (error) {
    throw unusable(what, error);
  }
}

function throwFirst(what: string, replies: unknown[]): unknown[] {
  const failed = replies.find((reply) => reply instanceof Error);
  if (failed) throw unusable(what, failed);
  return replies;
}
