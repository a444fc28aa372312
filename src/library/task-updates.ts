/**
 * Task and general updates over Redis channels (contracts 5): told by any service, heard by all of them.
 *
 * 1. A channel has no memory: what is told while somebody is away is lost for him. A control plane on the same Redis keeps the state of every task as its job.
 * 2. Listening survives lost links: after a reconnect every channel is heard again, and that is told to `log`, for what was told meanwhile was not heard.
 * 3. A handler that fails, and a message that cannot be read, are told to `log` and stop nobody.
 */
import {
  GENERAL_UPDATES,
  readGeneralUpdate,
  readTaskUpdate,
  TASK_UPDATES,
  writeGeneralUpdate,
  writeTaskUpdate,
  type GeneralUpdateMessage,
  type TaskUpdate,
  type TaskUpdateMessage,
} from '../contracts/task-message.ts';
import { OUR_SOURCE } from '../contracts/tasks.ts';
import { InvalidEventError, InvalidSettingError, RedisUnusableError } from '../protocol/errors.ts';
import type { Json, JsonObject } from '../protocol/json.ts';
import { closeClient, connectFirst, createSubscriber, createWriteClient, keepSubscribed } from '../redis/clients.ts';
import { describeTarget, type RedisTarget } from '../redis/target.ts';
import type { Log } from './castellan.ts';
import { redisTargetOf, type RedisOption } from './redis-option.ts';

export interface TaskUpdatesOptions {
  /** Default: the Redis that `REDIS_URL`, else `REDIS_HOST` … name, else the one on this machine. */
  readonly redis?: RedisOption;
  /** Who tells: stands in each message. Default `library`. `castellan` is the control plane's own and refused. */
  readonly source?: string;
  /** Default: Node's process warnings. */
  readonly log?: Log;
}

/** What a channel's handlers are given: the two channels' own messages, of any other channel its JSON. */
export interface ChannelMessages {
  readonly task_updates: TaskUpdateMessage;
  readonly general_updates: GeneralUpdateMessage;
}
export type MessageOf<Channel extends string> = Channel extends keyof ChannelMessages ? ChannelMessages[Channel] : Json;
export type UpdateHandler<Channel extends string> = (message: MessageOf<Channel>, channel: Channel) => void | Promise<void>;

type AnyHandler = (message: never, channel: never) => void | Promise<void>;
type Client = ReturnType<typeof createWriteClient>;

export class TaskUpdates {
  readonly #target: RedisTarget;
  readonly #source: string;
  readonly #log: Log;
  readonly #handlers = new Map<string, Set<AnyHandler>>();
  /** Undefined: nothing published yet, or stopped. */
  #publisher: Promise<Client> | undefined;
  /** Undefined: not listening. */
  #listener: Promise<Client> | undefined;

  /** Connects nothing. Throws InvalidSettingError. */
  constructor({ redis, source = 'library', log }: TaskUpdatesOptions = {}) {
    if (source === OUR_SOURCE || source === '') throw new InvalidSettingError('source', `must be a name of your own, not ${JSON.stringify(source)}.`);
    this.#target = redisTargetOf(redis);
    this.#source = source;
    this.#log = log ?? { warn: (message) => process.emitWarning(message, 'CastellanWarning') };
  }

  /** Resolves with the number of listeners of this Redis server. Throws InvalidEventError naming the field, RedisUnusableError. */
  async publishTaskUpdate(taskId: string, update: TaskUpdate): Promise<number> {
    const message = writeTaskUpdate(taskId, update, now(), this.#source);
    const read = readTaskUpdate(message);
    if (!read.ok) throw new InvalidEventError(read.reason, { field: read.field });
    return await this.#publish(TASK_UPDATES, message);
  }

  async publishGeneralUpdate(update: JsonObject): Promise<number> {
    const message = writeGeneralUpdate(update, now(), this.#source);
    const read = readGeneralUpdate(message);
    if (!read.ok) throw new InvalidEventError(read.reason, { field: read.field });
    return await this.#publish(GENERAL_UPDATES, message);
  }

  /** Before or after `startListening`. Resolves with a function that takes the handler away, at once before `startListening`, else when the channel is heard. */
  async subscribeToChannel<const Channel extends string>(channel: Channel, handler: UpdateHandler<Channel>): Promise<() => Promise<void>> {
    const handlers = this.#handlers.get(channel) ?? new Set();
    const isNew = handlers.size === 0;
    handlers.add(handler);
    this.#handlers.set(channel, handlers);
    const listener = await this.#listener;
    // A link that is down hears the channel after its reconnect.
    if (isNew && listener?.status === 'ready') await listener.subscribe(channel);
    return async () => {
      handlers.delete(handler);
      if (handlers.size > 0 || this.#handlers.get(channel) !== handlers) return;
      this.#handlers.delete(channel);
      const open = await this.#listener;
      if (open?.status === 'ready') await open.unsubscribe(channel);
    };
  }

  /** Resolves when every subscribed channel is heard. Throws RedisUnusableError with the way out; may be called again then. */
  async startListening(): Promise<void> {
    this.#listener ??= this.#listen();
    try {
      await this.#listener;
    } catch (error) {
      this.#listener = undefined;
      throw error;
    }
  }

  /** Ends all connections; handlers stay for the next `startListening`. Safe to call twice. */
  async stop(): Promise<void> {
    const clients = [this.#publisher, this.#listener];
    this.#publisher = this.#listener = undefined;
    for (const opening of clients) {
      const client = await opening?.catch(() => undefined);
      if (client !== undefined) await closeClient(client);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #publish(channel: string, message: string): Promise<number> {
    const client = await this.#publishing();
    try {
      return await client.publish(channel, message);
    } catch (error) {
      const why = `A message on ${channel} could not be published over Redis at ${describeTarget(this.#target)}: ${(error as Error).message}`;
      throw new RedisUnusableError(`${why} It may have been heard; publish it again, for an update tells the whole state.`, { cause: error });
    }
  }

  async #publishing(): Promise<Client> {
    const opening = (this.#publisher ??= this.#connect(createWriteClient));
    try {
      return await opening;
    } catch (error) {
      // The next message tries again. A link that is lost later comes back by itself.
      if (this.#publisher === opening) this.#publisher = undefined;
      throw error;
    }
  }

  async #listen(): Promise<Client> {
    const client = await this.#connect(createSubscriber);
    client.on('message', (channel: string, text: string) => this.#heard(channel, text));
    const subscribe = async (): Promise<void> => {
      if (this.#handlers.size > 0) await client.subscribe(...this.#handlers.keys());
    };
    const restored = (): void => this.#log.warn(`The channels ${[...this.#handlers.keys()].join(', ')} are heard again; what was told meanwhile was not.`); // (2)
    try {
      await keepSubscribed(client, subscribe, restored);
    } catch (error) {
      await closeClient(client);
      throw error;
    }
    return client;
  }

  async #connect(create: typeof createWriteClient): Promise<Client> {
    const target = this.#target;
    const client = create(target, {
      onError: (error, name) => this.#log.warn(`The Redis link "${name}" to ${describeTarget(target)} failed: ${error.message}`),
    });
    await connectFirst(client, target);
    return client;
  }

  #heard(channel: string, text: string): void {
    const handlers = this.#handlers.get(channel);
    if (handlers === undefined) return;
    const read = readMessage(channel, text);
    if (!read.ok) return this.#log.warn(`A message on ${channel} cannot be read: ${read.reason}`); // (3)
    for (const handler of handlers) void this.#hand(handler, channel, read.message);
  }

  async #hand(handler: AnyHandler, channel: string, message: unknown): Promise<void> {
    try {
      await handler(message as never, channel as never);
    } catch (error) {
      this.#log.warn(`A handler of ${channel} failed: ${error instanceof Error ? error.message : String(error)}`); // (3)
    }
  }
}

/** Tells and hears task and general updates. Connects nothing by itself. Throws InvalidSettingError. */
export function createTaskUpdates(options: TaskUpdatesOptions = {}): TaskUpdates {
  return new TaskUpdates(options);
}

function readMessage(channel: string, text: string): { readonly ok: true; readonly message: unknown } | { readonly ok: false; readonly reason: string } {
  if (channel === TASK_UPDATES) return readTaskUpdate(text);
  if (channel === GENERAL_UPDATES) return readGeneralUpdate(text);
  try {
    return { ok: true, message: JSON.parse(text) };
  } catch {
    return { ok: false, reason: 'It is not JSON.' };
  }
}

function now(): string {
  return new Date().toISOString();
}
