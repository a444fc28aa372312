/**
 * Configurations over Redis (contracts 2): the stream, its group, and this node's channel.
 *
 * 1. One consumer a node, of the same name for each of its processes: what one left pending the next is given first.
 * 2. An entry for another node stays pending with whoever read it; the named node takes it over at its next look, at most some
 *    {@link BLOCK_MS} later. So does one that this node read and did not finish.
 * 3. Reports of the device and of the job go in one pipeline, the device's first: that is the one that counts.
 */
import { Redis } from 'ioredis';
import { RedisUnusableError } from '../protocol/errors.ts';
import { CONFIG_GROUP, CONFIG_STREAM, DEVICE_REPORTS, configChannel, type ConfigReport } from '../protocol/device-config.ts';
import { CONSUMER_PREFIX, JOB_REPORTS, progressKey } from '../protocol/job-progress.ts';
import { parseConfigEntry } from '../provisioning/config-entry.ts';
import { readDelivery } from './config-delivery.ts';
import { progressOf } from './config-progress.ts';
import type { ConfigDelivery, ConfigSource } from './config-source.ts';
import { backoffDelayMs } from './schedule.ts';
import type { RedisAddress } from './redis-publisher.ts';
import type { Json, JsonObject } from '../protocol/json.ts';
import type { Logger } from 'pino';

/** An entry that another agent read first is seen after this long at the latest; contracts ask for 5 s. */
const BLOCK_MS = 2_000;
const ANSWER_MS_MAX = 5_000;
const RECONNECT_MS_LAST = 2_000;
const PAGE = 100;
/** Of one look: more configurations than this are never pending at once. */
const PAGES_MAX = 20;
const SEEN_MAX = 10_000;
const NOTICE_LENGTH_MAX = 65_536;

type StreamEntry = readonly [id: string, fields: readonly string[] | null];

export interface RedisConfigSourceOptions {
  readonly redis: RedisAddress;
  readonly nodeId: string;
  /** Asked with each report. */
  readonly deviceId: () => string | undefined;
  /** Channel that wakes the engine's readers of sources. */
  readonly bell: string;
  readonly random: () => number;
  readonly log: Logger;
}

export function redisConfigSource(options: RedisConfigSourceOptions): ConfigSource {
  return new RedisConfigSource(options);
}

class RedisConfigSource implements ConfigSource {
  readonly #options: RedisConfigSourceOptions;
  readonly #consumer: string;
  readonly #write: Redis;
  readonly #block: Redis;
  #listen: Redis | undefined;
  /** Entries of others that were looked at and are not for this node. */
  readonly #strangers = new Set<string>();

  constructor(options: RedisConfigSourceOptions) {
    this.#options = options;
    this.#consumer = `${CONSUMER_PREFIX}${options.nodeId}`; // (1)
    this.#write = this.#client('config', ANSWER_MS_MAX);
    this.#block = this.#client('config-read', BLOCK_MS + ANSWER_MS_MAX);
  }

  async next(signal: AbortSignal): Promise<readonly ConfigDelivery[]> {
    for (const look of [() => this.#own(), () => this.#held(), () => this.#fresh(signal)]) {
      if (signal.aborted) return [];
      const found = await this.#guarded('read configurations', look);
      const mine = await this.#mine(found);
      if (mine.length > 0) return mine;
    }
    return [];
  }

  async report(report: ConfigReport, about: ConfigDelivery | undefined): Promise<void> {
    const { nodeId, bell } = this.#options;
    const deviceId = this.#options.deviceId();
    const device = deviceId === undefined ? [] : ['deviceId', deviceId];
    const pipeline = this.#write.pipeline().xadd(DEVICE_REPORTS, '*', 'nodeId', nodeId, ...device, 'report', JSON.stringify(report)); // (3)
    const progress = about === undefined ? undefined : progressOf(report, about, { nodeId, worker: this.#consumer });
    if (progress !== undefined) {
      const text = JSON.stringify(progress);
      pipeline.xadd(JOB_REPORTS, '*', 'jobId', progress.jobId, 'progress', text).publish(progressKey(progress.jobId), text);
    }
    await this.#guarded('take a report', async () => {
      const answers = await pipeline.exec();
      const failed = answers?.find(([error]) => error !== null)?.[0];
      if (failed !== null && failed !== undefined) throw failed;
    });
    this.#write.spublish(bell, DEVICE_REPORTS).catch(() => undefined); // The readers look by themselves, a little later.
  }

  async acknowledge({ entryId }: ConfigDelivery): Promise<void> {
    await this.#guarded('acknowledge a configuration', async () => await this.#write.xack(CONFIG_STREAM, CONFIG_GROUP, entryId));
  }

  onNotice(told: (message: JsonObject) => void): () => void {
    const channel = configChannel(this.#options.nodeId);
    const client = (this.#listen ??= this.#client('config-listen', ANSWER_MS_MAX));
    const subscribe = (): void => void client.subscribe(channel).catch(() => undefined);
    const onMessage = (from: string, text: string): void => {
      const message = from === channel ? objectIn(text) : undefined;
      if (message !== undefined) told(message);
    };
    client.on('ready', subscribe).on('message', onMessage);
    if (client.status === 'ready') subscribe();
    return () => void client.off('ready', subscribe).off('message', onMessage);
  }

  async close(): Promise<void> {
    for (const client of [this.#write, this.#block, this.#listen]) client?.disconnect();
  }

  /** What this node read before and has not acknowledged. */
  async #own(): Promise<readonly StreamEntry[]> {
    const found: StreamEntry[] = [];
    for (let page = 0, after = '0'; page < PAGES_MAX; page++) {
      const entries = await this.#read(this.#write, after, []);
      found.push(...entries);
      after = entries.at(-1)?.[0] ?? after;
      if (entries.length < PAGE) break;
    }
    return found;
  }

  /** What others hold for this node. (2) */
  async #held(): Promise<readonly StreamEntry[]> {
    for (let page = 0, from = '-'; page < PAGES_MAX; page++) {
      const pending = (await this.#write.xpending(CONFIG_STREAM, CONFIG_GROUP, from, '+', PAGE)) as readonly (readonly [string, string])[];
      for (const [id, holder] of pending) {
        if (holder === this.#consumer || this.#strangers.has(id)) continue;
        const [entry] = (await this.#write.xrange(CONFIG_STREAM, id, id)) as readonly StreamEntry[];
        if (entry !== undefined && this.#target(entry) === this.#options.nodeId) {
          return (await this.#write.xclaim(CONFIG_STREAM, CONFIG_GROUP, this.#consumer, 0, id)) as readonly StreamEntry[];
        }
        this.#remember(id);
      }
      if (pending.length < PAGE) break;
      from = `(${pending.at(-1)?.[0] ?? ''}`;
    }
    return [];
  }

  async #fresh(signal: AbortSignal): Promise<readonly StreamEntry[]> {
    // A read that is given up may have been given an entry: it is found among our own at the next look.
    const ended = new Promise<readonly StreamEntry[]>((resolve) => signal.addEventListener('abort', () => resolve([]), { once: true }));
    return await Promise.race([this.#read(this.#block, '>', ['BLOCK', String(BLOCK_MS)]), ended]);
  }

  async #read(client: Redis, after: string, wait: readonly string[]): Promise<readonly StreamEntry[]> {
    const count = after === '>' ? 1 : PAGE;
    try {
      const reply = await client.call('XREADGROUP', 'GROUP', CONFIG_GROUP, this.#consumer, 'COUNT', count, ...wait, 'STREAMS', CONFIG_STREAM, after);
      return (reply as readonly (readonly [string, readonly StreamEntry[]])[] | null)?.[0]?.[1] ?? [];
    } catch (error) {
      if (!(error instanceof Error) || !/^(NOGROUP|UNBLOCKED)/.test(error.message)) throw error;
      await this.#write.xgroup('CREATE', CONFIG_STREAM, CONFIG_GROUP, '0', 'MKSTREAM').catch((raced: Error) => {
        if (!raced.message.startsWith('BUSYGROUP')) throw raced;
      });
      return [];
    }
  }

  async #mine(entries: readonly StreamEntry[]): Promise<readonly ConfigDelivery[]> {
    const mine: ConfigDelivery[] = [];
    for (const entry of entries) {
      const [entryId, fields] = entry;
      // Trimmed before it was acknowledged: nothing is left to do with it.
      if (fields === null) await this.#write.xack(CONFIG_STREAM, CONFIG_GROUP, entryId);
      else if ((this.#target(entry) ?? this.#options.nodeId) === this.#options.nodeId) mine.push(readDelivery(entryId, fields));
    }
    return mine;
  }

  #target([, fields]: StreamEntry): string | undefined {
    const entry = fields === null ? undefined : parseConfigEntry(fields);
    return entry === undefined || entry.kind === 'other' ? undefined : entry.target;
  }

  #remember(id: string): void {
    if (this.#strangers.size >= SEEN_MAX) this.#strangers.clear();
    this.#strangers.add(id);
  }

  async #guarded<Result>(what: string, work: () => Promise<Result>): Promise<Result> {
    try {
      return await work();
    } catch (error) {
      throw new RedisUnusableError(`Redis could not ${what}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }

  #client(name: string, commandTimeout: number): Redis {
    const { redis, random, log } = this.#options;
    const { tls, ...address } = redis;
    const client = new Redis({
      ...address,
      ...(tls ? { tls: {} } : {}),
      protocol: 2,
      autoResendUnfulfilledCommands: false,
      autoResubscribe: false,
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      commandTimeout,
      socketTimeout: commandTimeout,
      connectTimeout: ANSWER_MS_MAX,
      retryStrategy: (attempt) => backoffDelayMs(attempt, RECONNECT_MS_LAST, random()),
      connectionName: `castellan-${name}`,
    });
    client.on('error', (error: NodeJS.ErrnoException) => log.debug({ client: name, fault: error.code ?? error.message }, 'A link for configurations failed'));
    return client;
  }
}

function objectIn(text: string): JsonObject | undefined {
  if (text.length > NOTICE_LENGTH_MAX) return undefined;
  try {
    const value = JSON.parse(text) as Json;
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : undefined;
  } catch {
    return undefined;
  }
}
