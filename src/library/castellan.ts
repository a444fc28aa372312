/**
 * The library: an engine and a client, or a client alone, over one Redis.
 *
 * 1. Creating checks and connects nothing; `start` connects, `stop` closes all that `start` opened. Both may be called again, in any order.
 * 2. `start` resolves when events are applied: by this engine, or by another one on the same Redis, for which this one then stands by.
 * 3. What failed out of the caller's sight is told to `log`; nothing is printed otherwise.
 */
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { HostedTypes, type HostedType } from '../engine/actor-types.ts';
import { Client, type Condition, type EmittedEvents, type SendOptions as ClientSendOptions, type Settled } from '../engine/client.ts';
import { Engine, type EngineReport } from '../engine/engine.ts';
import { Hub, type FollowedTransition } from '../engine/hub.ts';
import type { AppendResult } from '../engine/ports.ts';
import type { EngineSettings } from '../engine/settings.ts';
import { systemClock } from '../engine/system-clock.ts';
import type { DeadLetter } from '../protocol/dead-letter.ts';
import { StoppedError } from '../protocol/errors.ts';
import type { Outlet } from '../protocol/outlet.ts';
import type { ChannelSource, ListSource, StreamSource } from '../protocol/source.ts';
import { connectRedis, type RedisConnections } from '../redis/connect.ts';
import type { StoreSettings } from '../redis/store.ts';
import { describeTarget, parseRedisUrl, type RedisTarget } from '../redis/target.ts';
import { untilWorking } from './stand-by.ts';
import { hostJobs, type HostedJobs, type JobHostOptions } from './job-host.ts';
import { hostActorType, type ActorOf, type ActorType, type EventOf } from './actor-type.ts';

/** Where warnings go: a console, a pino logger, anything with these. */
export interface Log {
  warn(message: string): void;
  info?(message: string): void;
}

export interface ClientOptions<Types extends readonly ActorType[]> {
  /** `redis://user:password@host:6379/0` (`rediss://` for TLS), or the same in parts; `port` 6379, `db` 0, `tls` false unless said. */
  readonly redis: string | (Pick<RedisTarget, 'host'> & Partial<RedisTarget>);
  /** Each made by `actorType`, or written in its shape. A client may pass them without executors. */
  readonly types: Types;
  /** Beginning of all keys in Redis; whoever shares actors shares it. Default `castellan`. */
  readonly prefix?: string;
  /** Bounds of what is stored; every process should have the same. Defaults: DEFAULT_STORE_SETTINGS. */
  readonly store?: Partial<StoreSettings>;
  /** Default: Node's process warnings (`process.on('warning', …)`, standard error). */
  readonly log?: Log;
}

export interface CastellanOptions<Types extends readonly ActorType[]> extends ClientOptions<Types> {
  /** Streams of other systems, read in place. */
  readonly sources?: readonly StreamSource[];
  /** Types that live outside: messages to them become entries of other systems' streams. */
  readonly outlets?: readonly Outlet[];
  /** Lists and channels of other systems, each read by one process in all. */
  readonly lists?: readonly ListSource[];
  readonly channels?: readonly ChannelSource[];
  /**
   * Runs jobs too: those of `createJobClient`, for workers of `createWorker` and any other on the same queues. `place` finds a node for a
   * job that requires something of it; without it such a job waits, and says so.
   */
  readonly jobs?: Partial<Pick<JobHostOptions, 'place' | 'settings' | 'machine'>>;
  /** Bounds of the engine. Defaults: DEFAULT_SETTINGS. */
  readonly settings?: Partial<EngineSettings>;
}

export type SendOptions = Pick<ClientSendOptions, 'dedupeId' | 'causation' | 'traceparent'>;
export type WaitOptions = {
  /** Longest wait, ms. Default 10,000. */
  readonly timeoutMs?: number;
};

export interface FollowOptions<Name extends string = string> {
  /** Only these actor types. */
  readonly types?: readonly Name[];
  /** Ends the iteration without an error, as `stop` does. */
  readonly signal?: AbortSignal;
}

export type { Condition, Settled, EmittedEvents };

type Named<Types extends readonly ActorType[], Name> = Extract<Types[number], { readonly type: Name }>;
type NameOf<Types extends readonly ActorType[]> = Types[number]['type'];
type ConditionOn<Of extends ActorType> =
  Exclude<Condition, { readonly when: unknown }> | { /** Must be pure and quick. */ readonly when: (actor: ActorOf<Of>) => boolean };

interface Parts {
  readonly redis: RedisConnections;
  readonly client: Client;
  readonly engine: Engine | undefined;
  readonly hosted: HostedJobs | undefined;
}

type Lifecycle =
  | { readonly state: 'stopped' }
  | { readonly state: 'starting'; readonly abort: AbortController; readonly started: Promise<Parts> }
  | { readonly state: 'running'; readonly parts: Parts }
  | { readonly state: 'stopping'; readonly stopped: Promise<void> };

/** What a client does; made by `createClient`. All methods but `start` and `stop` throw StoppedError while it does not run. */
export class CastellanClient<const Types extends readonly ActorType[]> {
  readonly #options: CastellanOptions<Types>;
  readonly #withEngine: boolean;
  readonly #hosted: readonly HostedType[];
  #lifecycle: Lifecycle = { state: 'stopped' };

  constructor(options: CastellanOptions<Types>, withEngine = false) {
    const log = logOf(options);
    this.#options = options;
    this.#withEngine = withEngine;
    this.#hosted = options.types.map((type) =>
      hostActorType(type, ({ key, name }, error) =>
        log.warn(`The effect ${name} failed and is tried again under its key ${key}: ${error instanceof Error ? error.message : String(error)}`),
      ),
    );
    // Checked here, so that a missing executor shows when it is written and not when it runs.
    if (withEngine) void new HostedTypes(this.#hosted);
  }

  get state(): Lifecycle['state'] {
    return this.#lifecycle.state;
  }

  /**
   * Connects and, with an engine, begins to work. Resolves when events are applied: an engine that finds another one at work stands by and
   * takes over when that one stops or its leases end. Throws RedisUnusableError and InvalidSettingError with the way out; may be called
   * again then, and after `stop`. A second call while it starts or runs waits for the first.
   */
  async start(): Promise<this> {
    const lifecycle = this.#lifecycle;
    if (lifecycle.state === 'running') return this;
    if (lifecycle.state === 'stopping') {
      await lifecycle.stopped;
      return await this.start();
    }
    if (lifecycle.state === 'starting') {
      await lifecycle.started;
      return this;
    }
    const abort = new AbortController();
    const starting: Lifecycle = { state: 'starting', abort, started: this.#open(abort.signal) };
    this.#lifecycle = starting;
    try {
      const parts = await starting.started;
      if (this.#lifecycle === starting) this.#lifecycle = { state: 'running', parts };
      return this;
    } catch (error) {
      if (this.#lifecycle === starting) this.#lifecycle = { state: 'stopped' };
      throw error;
    }
  }

  /**
   * Lets what is under way end: the engine's round, running effects (up to `settings.effectTimeoutMs`), deliveries. Then gives the
   * partitions to the next engine and closes every connection, so that the process can end. Waits get StoppedError, iterations end.
   * What was accepted and not yet applied, and timers and invocations, go on with the next engine. Safe to call at any time.
   */
  async stop(): Promise<void> {
    const lifecycle = this.#lifecycle;
    if (lifecycle.state === 'stopped') return;
    if (lifecycle.state === 'stopping') return await lifecycle.stopped;
    const stopped = lifecycle.state === 'running' ? close(lifecycle.parts) : abandon(lifecycle.abort, lifecycle.started);
    const stopping: Lifecycle = { state: 'stopping', stopped };
    this.#lifecycle = stopping;
    try {
      await stopped;
    } finally {
      if (this.#lifecycle === stopping) this.#lifecycle = { state: 'stopped' };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /**
   * Accepts an event; resolves with its entry when it is stored: from then on it is applied exactly once. The first event creates the
   * actor. The same `dedupeId` within 24 h (`store.dedupeWindowMs`) is the same event: the first entry is answered, with `repeated: true`.
   * Throws InvalidIdError, UnknownActorTypeError and InvalidEventError (with `field`) before anything is stored. Any other error leaves
   * open whether it was stored: send again with the same `dedupeId`.
   */
  async send<Name extends NameOf<Types>>(type: Name, id: string, event: EventOf<Named<Types, Name>>, options: SendOptions = {}): Promise<AppendResult> {
    return await this.#client.send(type, id, event, options);
  }

  /**
   * As `send`, and waits for what becomes of the event: a `transition` with the new revision and value, a `touch` (only timers or the
   * document), `ignored` (the machine has no use for it now), or `repeated`. Throws EventRejectedError with the dead letter's `code` and
   * `field`, and WaitTimeoutError or StoppedError when the wait ends first; then the event stays accepted.
   */
  async sendAndWait<Name extends NameOf<Types>>(
    type: Name,
    id: string,
    event: EventOf<Named<Types, Name>>,
    options: SendOptions & WaitOptions = {},
  ): Promise<Settled> {
    return await this.#client.sendAndWait(type, id, event, options);
  }

  /** The actor as it is stored now; undefined when there is none. Throws InvalidIdError, UnknownActorTypeError. */
  async get<Name extends NameOf<Types>>(type: Name, id: string): Promise<ActorOf<Named<Types, Name>> | undefined> {
    return (await this.#client.get(type, id)) as ActorOf<Named<Types, Name>> | undefined;
  }

  /**
   * Resolves with the actor as soon as the condition holds: now, or after one of its next transitions. `{ state }` is a state path or its
   * beginning (`approval` holds in `approval.clerk`), `{ tag }` a tag, `{ when }` anything. A state that lasts no longer than a read may be
   * missed; follow `transitions` to see each. Throws ActorEndedError as soon as the actor ended otherwise, WaitTimeoutError,
   * ActorNotFoundError when there is no such actor by then, StoppedError.
   */
  async waitFor<Name extends NameOf<Types>>(
    type: Name,
    id: string,
    condition: ConditionOn<Named<Types, Name>>,
    options: WaitOptions = {},
  ): Promise<ActorOf<Named<Types, Name>>> {
    return (await this.#client.waitFor(type, id, condition as Condition, options)) as ActorOf<Named<Types, Name>>;
  }

  /**
   * Committed transitions in order, after a cursor or from now on. Each comes with the cursor behind it: kept with what was done about it,
   * it is where to go on after a restart, missing and repeating nothing. Pulled: nothing waits for a slow reader. Throws CursorGoneError
   * when the cursor is not held any more, also from the iteration when this reader fell behind what is kept.
   */
  async transitions(cursor: string | 'new', options: FollowOptions<NameOf<Types>> = {}): Promise<AsyncIterable<FollowedTransition>> {
    return await this.#client.transitions(cursor, followed(options));
  }

  /** What machines emitted, in order, the events of one transition together. Cursors and errors as those of `transitions`. */
  async emitted(cursor: string | 'new', options: FollowOptions<NameOf<Types>> = {}): Promise<AsyncIterable<EmittedEvents>> {
    return await this.#client.emitted(cursor, followed(options));
  }

  /** A cursor at the present end, or at most a second before it. Take it, read the actors, then follow from it: nothing falls between. */
  get cursor(): string {
    return this.#client.newestCursor;
  }

  /** Refused events and given-up effects of all types, newest first. `next` is the cursor of the next page, null at the end. */
  async deadLetters(page: { readonly cursor?: string; readonly limit?: number } = {}): Promise<{
    readonly items: readonly DeadLetter[];
    readonly next: string | null;
  }> {
    return await this.#parts.redis.reader.listDeadLetters(page.cursor, page.limit ?? 50);
  }

  /** What the engine tells of itself: how many of the 64 partitions it owns (0 while it stands by), what it still owes. Undefined in a client. */
  report(): EngineReport | undefined {
    return this.#parts.engine?.report();
  }

  get #client(): Client {
    return this.#parts.client;
  }

  get #parts(): Parts {
    if (this.#lifecycle.state === 'running') return this.#lifecycle.parts;
    throw new StoppedError(`Castellan is ${this.#lifecycle.state}: call start() and wait for it first.`);
  }

  async #open(signal: AbortSignal): Promise<Parts> {
    const { redis: given, prefix, store, sources = [], outlets = [], lists = [], channels = [], settings = {}, jobs } = this.#options;
    const log = logOf(this.#options);
    const target = typeof given === 'string' ? parseRedisUrl(given, 'redis') : { port: 6379, db: 0, tls: false, ...given };
    const redis = await connectRedis(target, {
      onError: (error, client) => log.warn(`The Redis link "${client}" to ${describeTarget(target)} failed: ${error.message}`),
      ...(prefix === undefined ? {} : { prefix }),
      ...(store === undefined ? {} : { settings: store }),
    });
    for (const warning of redis.server.warnings) log.warn(warning);
    const hub = new Hub(redis.reader, systemClock);
    const hosted =
      jobs === undefined || !this.#withEngine ? undefined : hostJobs({ redis, clock: systemClock, place: nowhere, ...jobs, warn: (text) => log.warn(text) });
    const all = [...this.#hosted, ...(hosted?.engine.types ?? [])];
    const types = new HostedTypes(this.#withEngine ? all : all.map(withoutEffects));
    const client = new Client({ store: redis.store, reader: redis.reader, replies: redis.replies, hub, types, clock: systemClock });
    const engine = this.#withEngine
      ? new Engine({
          store: redis.engineStore,
          doorbell: redis.doorbell,
          clock: systemClock,
          types: all,
          sources: [...sources, ...(hosted?.engine.sources ?? [])],
          outlets: [...outlets, ...(hosted?.engine.outlets ?? [])],
          lists,
          channels,
          intake: redis.intake,
          owner: ownerName(),
          settings,
          warn: (message) => log.warn(message),
        })
      : undefined;
    const parts: Parts = { redis, client, engine, hosted };
    try {
      await client.start();
      if (engine !== undefined) await untilWorking(engine, redis, signal);
      hosted?.start(client);
      if (signal.aborted) throw new StoppedError('The start ended because stop() was called.');
      return parts;
    } catch (error) {
      await close(parts);
      throw error;
    }
  }
}

/** What an engine and its client do; made by `createCastellan`. */
export class Castellan<const Types extends readonly ActorType[]> extends CastellanClient<Types> {
  constructor(options: CastellanOptions<Types>) {
    super(options, true);
  }
}

async function close({ client, engine, hosted, redis }: Parts): Promise<void> {
  try {
    await hosted?.stop();
    await Promise.all([client.stop(), engine?.stop()]);
  } finally {
    await redis.close();
  }
}

/** A start that is under way, stopped: what it had opened is closed, by itself or here. */
async function abandon(abort: AbortController, started: Promise<Parts>): Promise<void> {
  abort.abort();
  const parts = await started.catch(() => undefined);
  if (parts !== undefined) await close(parts);
}

async function nowhere(): Promise<{ readonly reason: string }> {
  return await Promise.resolve({ reason: 'there is no fleet here: createCastellan was given no jobs.place' });
}

/** A client runs no effects, so it needs no executors. */
function withoutEffects(hosted: HostedType): HostedType {
  const { effects = [] } = hosted.registered.definition;
  const never = async (): Promise<void> => await Promise.reject(new StoppedError('A client runs no effects.'));
  return { ...hosted, executors: Object.fromEntries(effects.map((effect) => [effect, never])) };
}

function followed({ types, signal }: FollowOptions): { readonly types?: readonly string[]; readonly signal: AbortSignal } {
  return { signal: signal ?? new AbortController().signal, ...(types === undefined ? {} : { types }) };
}

function logOf({ log }: { readonly log?: Log }): Log {
  return log ?? { warn: (message) => process.emitWarning(message, 'CastellanWarning') };
}

/** Unique to this start. */
function ownerName(): string {
  return `${hostname()}-${process.pid}-${randomBytes(4).toString('hex')}`;
}
