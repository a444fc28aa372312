/**
 * A client of the ingestion streams `shield:ingestion_queue` and `shield:events` (contracts 6): for those who enqueue chunks, take them in, and tell about it.
 *
 * 1. Both streams and their groups exist when `connect` resolves; an empty stream stays empty.
 * 2. What is read is not acknowledged: whoever has dealt with an entry says so.
 * 3. An entry that cannot be read is told to `log` and acknowledged, or it would stay in this reader's hands without end.
 */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { shieldCodecFrom, type ShieldCodec } from '../contracts/shield-codec.ts';
import {
  EVENTS_STREAM,
  INGESTION_GROUP,
  INGESTION_STREAM,
  readEvent,
  readTask,
  SHIELD_LENGTH,
  SHIELD_STREAMS,
  shieldJobId,
  writeEvent,
  writeTask,
  type ReadFields,
  type ShieldEvent,
  type ShieldTask,
} from '../contracts/shield-entry.ts';
import { StoppedError } from '../protocol/errors.ts';
import { BLOCK_MS_MAX, closeClient, connectFirst, createWriteClient } from '../redis/clients.ts';
import { GroupReader } from '../redis/group-reader.ts';
import { ensureGroupStreams, groupStreamInfo, type StreamInfo } from '../redis/group-streams.ts';
import { createKeys } from '../redis/keys.ts';
import { describeTarget } from '../redis/target.ts';
import { redisTargetOf, type RedisOption } from './redis-option.ts';
import type { Log } from './castellan.ts';

export interface RedisStreamsOptions {
  /** Default: the Redis that `REDIS_URL`, else `REDIS_HOST` … name, else the one on this machine. */
  readonly redis?: RedisOption;
  /** How the JSON fields are written; both codecs are read. Default: `SHIELD_CODEC`, else `json`. */
  readonly codec?: ShieldCodec;
  /** Name of this reader in the groups. Default `orchestrator-{hostname}-{pid}`. */
  readonly consumer?: string;
  /** Beginning of the control plane's keys. Default `castellan`. */
  readonly prefix?: string;
  readonly log?: Log;
}

export interface ReadStreamOptions {
  readonly group?: string;
  /** At most so many; default 10. */
  readonly count?: number;
  /** How long to wait for the first, ms; default and most 5,000. 0: not at all. */
  readonly blockMs?: number;
}

export interface ReadTask {
  readonly id: string;
  readonly task: ShieldTask;
  /** Id of the task's job. */
  readonly jobId: string;
}
export interface ReadEvent {
  readonly id: string;
  readonly event: ShieldEvent;
}

/** Of one read; as many as one program takes on at once. */
const COUNT = 10;
const EVENTS_GROUP = 'dashboard-frontend';

interface Links {
  readonly write: ReturnType<typeof createWriteClient>;
  readonly tasks: GroupReader;
  readonly events: GroupReader;
}

export class RedisStreamsClient {
  readonly consumer: string;
  readonly #options: RedisStreamsOptions;
  readonly #codec: ShieldCodec;
  /** Undefined: not connected. */
  #links: Promise<Links> | undefined;

  /** Connects nothing. Throws InvalidSettingError. */
  constructor(options: RedisStreamsOptions = {}) {
    this.#options = options;
    this.#codec = options.codec ?? shieldCodecFrom(process.env);
    this.consumer = options.consumer ?? `orchestrator-${hostname()}-${process.pid}`;
  }

  /** Makes what is missing of the streams and their groups. Throws RedisUnusableError with the way out; may be called again then. */
  async connect(): Promise<this> {
    this.#links ??= this.#open();
    try {
      await this.#links;
    } catch (error) {
      this.#links = undefined;
      throw error;
    }
    return this;
  }

  /** Ends all connections, and reads that wait. Safe to call twice. */
  async close(): Promise<void> {
    const links = this.#links;
    this.#links = undefined;
    const opened = await links?.catch(() => undefined);
    if (opened !== undefined) await closeAll(opened);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Enqueues a chunk; a control plane on the same Redis makes its job of it. Resolves with the entry's id. Throws InvalidJobError naming the field. */
  async addTask(task: ShieldTask): Promise<string> {
    const fields = writeTask({ ...task, timestamp: task.timestamp ?? now() }, this.#codec);
    return await this.#append(INGESTION_STREAM, fields);
  }

  /** Tells about a job. Resolves with the entry's id. Throws InvalidJobError naming the field. */
  async emitEvent(event: Omit<ShieldEvent, 'event_id'> & { readonly event_id?: string }): Promise<string> {
    const fields = writeEvent({ ...event, event_id: event.event_id ?? randomUUID(), timestamp: event.timestamp ?? now() }, this.#codec);
    return await this.#append(EVENTS_STREAM, fields);
  }

  /** New chunks for this consumer of the group `lightrag-workers`, or of the one named. Empty when none came in time. */
  async readTasks({ group = INGESTION_GROUP, ...options }: ReadStreamOptions = {}): Promise<readonly ReadTask[]> {
    const { tasks } = await this.#connected();
    const found = await this.#read(tasks, INGESTION_STREAM, group, options, readTask);
    return found.map(({ id, read: { task, jobId } }) => ({ id, task, jobId }));
  }

  /** New events for this consumer of the group `dashboard-frontend`, or of the one named. */
  async readEvents({ group = EVENTS_GROUP, ...options }: ReadStreamOptions = {}): Promise<readonly ReadEvent[]> {
    const { events } = await this.#connected();
    const found = await this.#read(events, EVENTS_STREAM, group, options, readEvent);
    return found.map(({ id, read: { event } }) => ({ id, event }));
  }

  /** The chunk is taken in: its job is done. False when it was not pending. */
  async ackTask(id: string, group: string = INGESTION_GROUP): Promise<boolean> {
    const { write, tasks } = await this.#connected();
    const known = await write.xack(INGESTION_STREAM, group, id);
    tasks.forget(group, id);
    return known === 1;
  }

  async ackEvent(id: string, group: string = EVENTS_GROUP): Promise<boolean> {
    const { write, events } = await this.#connected();
    const known = await write.xack(EVENTS_STREAM, group, id);
    events.forget(group, id);
    return known === 1;
  }

  /** Of a stream that is empty or missing too. */
  async getStreamInfo(stream: string): Promise<StreamInfo> {
    return await groupStreamInfo((await this.#connected()).write, stream);
  }

  async #append(stream: string, fields: (string | Uint8Array)[]): Promise<string> {
    const { write } = await this.#connected();
    const values = fields.map((field) => Buffer.from(field as string));
    const id = await write.xadd(stream, 'MAXLEN', '~', SHIELD_LENGTH, '*', ...values);
    // A control plane that reads the stream looks at once. It looks by itself too, so a bell that is not heard costs only a moment.
    await write.spublish(createKeys(this.#options.prefix).sourcesBell, stream).catch(() => undefined);
    return id as string;
  }

  async #read<Value>(
    reader: GroupReader,
    stream: string,
    group: string,
    { count = COUNT, blockMs = BLOCK_MS_MAX }: ReadStreamOptions,
    readFields: (fields: readonly string[]) => ReadFields<Value>,
  ): Promise<{ readonly id: string; readonly read: Value }[]> {
    const found: { id: string; read: Value }[] = [];
    for (const [id, fields] of await reader.read({ group, count, blockMs })) {
      const read = fields === null ? undefined : readFields(fields);
      if (read?.ok) found.push({ id, read });
      else await this.#passOver(reader, stream, group, id, read?.reason ?? 'It was trimmed.'); // (3)
    }
    return found;
  }

  async #passOver(reader: GroupReader, stream: string, group: string, id: string, reason: string): Promise<void> {
    this.#options.log?.warn(`The entry ${id} of ${stream} cannot be read and is passed over by ${group}: ${reason}`);
    await (await this.#connected()).write.xack(stream, group, id);
    reader.forget(group, id);
  }

  async #connected(): Promise<Links> {
    if (this.#links === undefined) throw new StoppedError('The Redis Streams client is not connected: call connect() and wait for it first.');
    return await this.#links;
  }

  async #open(): Promise<Links> {
    const { redis, log } = this.#options;
    const target = redisTargetOf(redis);
    const context = {
      onError: (error: Error, client: string): void => log?.warn(`The Redis link "${client}" to ${describeTarget(target)} failed: ${error.message}`),
    };
    const links: Links = {
      write: createWriteClient(target, context),
      tasks: new GroupReader(target, INGESTION_STREAM, this.consumer, context),
      events: new GroupReader(target, EVENTS_STREAM, this.consumer, context),
    };
    try {
      await connectFirst(links.write, target);
      await Promise.all([links.tasks.connect(), links.events.connect()]);
      await ensureGroupStreams(links.write, SHIELD_STREAMS); // (1)
    } catch (error) {
      await closeAll(links);
      throw error;
    }
    log?.info?.('Redis Streams client connected');
    return links;
  }
}

async function closeAll({ write, tasks, events }: Links): Promise<void> {
  await Promise.all([closeClient(write), tasks.close(), events.close()]);
}

/** A connected client. Throws RedisUnusableError with the way out. */
export async function initRedis(options: RedisStreamsOptions = {}): Promise<RedisStreamsClient> {
  return await new RedisStreamsClient(options).connect();
}

export async function closeRedis(client: RedisStreamsClient): Promise<void> {
  await client.close();
}

export { shieldJobId };

function now(): string {
  return new Date().toISOString();
}
