/**
 * Redis for the simulator: the engine's storage in memory, on a virtual clock, with faults injected at named points.
 *
 * 1. `MemoryRedis` is the server, shared by all engines of a run; `store(gate)` is one engine's connection to it.
 * 2. The gate stands before and after every operation. It may take time, throw (before: nothing was written; after: the reply
 *    is lost) or never resolve (the engine died there). Between two gates an operation is atomic.
 * 3. Nothing here reads a real clock or draws chance.
 */
import type { AppendResult, CommitRequest, CommitResult, Doorbell, EngineStore, Glance, ReadResult, StoredActor, StreamEntry } from '../../src/engine/ports.ts';
import { InvalidEventError } from '../../src/protocol/errors.ts';
import type { Envelope, Outcome } from '../../src/protocol/envelope.ts';
import { compareEntryIds, PARTITION_COUNT, partitionOf, STREAM_START, type ActorKey } from '../../src/protocol/ids.ts';
import { encodeInboxEntry, EVENT_BYTES_MAX } from '../../src/protocol/inbox-entry.ts';
import type { Post } from '../../src/protocol/outlet.ts';
import { MemoryPartition, type DedupeLimits } from './memory-partition.ts';
import { MemoryStream } from './memory-stream.ts';

export type Gate = (name: keyof EngineStore, phase: 'before' | 'after', detail?: unknown) => Promise<void>;

/** Everything that determines what commits answer, in order: enough to ask real Redis the same. */
export type Recorded =
  | { readonly kind: 'lease'; readonly partition: number; readonly owner: string | null; readonly epoch: number }
  | { readonly kind: 'appended'; readonly partition: number; readonly id: string; readonly fields: readonly string[] }
  /** `refusing`: the streams that took no posts then. */
  | { readonly kind: 'commit'; readonly request: CommitRequest; readonly result: CommitResult; readonly refusing: readonly string[] }
  | { readonly kind: 'acknowledged'; readonly request: Acknowledgement; readonly result: boolean };

type Acknowledgement = Parameters<EngineStore['acknowledge']>[0];

export interface MemoryRedisOptions {
  /** Virtual time, ms since the epoch: Redis's clock. */
  readonly now: () => number;
  readonly dedupe?: Partial<DedupeLimits>;
  /** Told of everything that {@link Recorded} names. */
  readonly record?: (entry: Recorded) => void;
}

interface Ring {
  readonly ring: Parameters<Doorbell['listen']>[0];
  readonly ringSources: () => void;
}

const OPEN: Gate = async () => undefined;
/** A larger entry is not told with its ring. */
const GLANCED_BYTES_MAX = 8_192;
/** A larger actor is told by its address alone. */
const TOLD_BYTES_MAX = 1_024;

export class MemoryRedis {
  readonly partitions: readonly MemoryPartition[] = Array.from({ length: PARTITION_COUNT }, () => new MemoryPartition());
  readonly cursor = new MemoryStream();
  readonly published: (readonly [channel: string, message: string])[] = [];
  readonly replies: { readonly to: string; readonly entry: string; readonly outcome: Outcome }[] = [];
  readonly #sources = new Map<string, MemoryStream>();
  readonly #listeners = new Set<Ring>();
  /** Streams of other systems that take nothing: their keys are of another type. */
  readonly refusing = new Set<string>();
  /** Channels on which somebody listens. */
  readonly listened = new Set<string>();
  readonly #outside = new Map<string, { readonly entries: MemoryStream; readonly newest: Map<number, string> }>();
  readonly #options: MemoryRedisOptions;
  readonly #limits: DedupeLimits;

  constructor(options: MemoryRedisOptions) {
    this.#options = options;
    this.#limits = { windowMs: 86_400_000, idsMax: 100_000, ...options.dedupe };
  }

  now(): number {
    return this.#options.now();
  }

  partition(number: number): MemoryPartition {
    const partition = this.partitions[number];
    if (!partition) throw new RangeError(`There is no partition ${number}.`);
    return partition;
  }

  /** A source stream of another system; created empty at its first mention. */
  source(name: string): MemoryStream {
    let stream = this.#sources.get(name);
    if (!stream) this.#sources.set(name, (stream = new MemoryStream()));
    return stream;
  }

  /** What an outside system does: XADD to a source stream. */
  addToSource(name: string, fields: readonly string[]): string {
    return this.source(name).add(fields, { now: this.now() });
  }

  /** As a writer of ours: an entry for an actor of that partition, and a ring with a glance. */
  report(name: string, fields: readonly string[], partition: number): void {
    const glance = this.#beginGlance(partition);
    const id = this.addToSource(name, fields);
    if (glance === undefined) this.ringSources();
    else this.ring(partition, glance(name, [id, fields]));
  }

  /** Begun before the append that it tells of. Undefined while the owner is behind. */
  #beginGlance(number: number): ((stream: string, added: StreamEntry, unknown?: ActorKey) => Glance) | undefined {
    const { inbox, inboxPosition, commitId, sourcesRead } = this.partition(number);
    if (sourcesRead === undefined || compareEntryIds(inbox.newestId, inboxPosition) > 0) return undefined;
    const time = this.now();
    const before = inbox.newestId;
    const sources = sourcesRead.map((name) => [name, this.source(name).newestId] as const);
    return (stream, added, unknown) => ({
      partition: number,
      time,
      commit: commitId,
      inbox: { before, added: stream === '' ? [added] : [] },
      sources: new Map(sources.map(([name, newest]) => [name, { before: newest, added: name === stream ? [added] : [] }])),
      unknown,
    });
  }

  ring(partition: number, glance?: Glance): void {
    for (const { ring } of this.#listeners) ring(partition, glance);
  }

  /** The bell of the sources, which writers of ours ring. */
  ringSources(): void {
    for (const { ringSources } of this.#listeners) ringSources();
  }

  /** What outlets wrote to a stream of another system. */
  posted(stream: string): readonly StreamEntry[] {
    return this.#outside.get(stream)?.entries.after(STREAM_START) ?? [];
  }

  /** One post of an outbox, taken in if its number is the newest of its partition. */
  post(post: Post): void {
    if (this.refusing.has(post.stream)) throw new Error(`The stream ${post.stream} takes nothing.`);
    const { newest } = this.#outsideOf(post.stream);
    if (compareEntryIds(post.number, newest.get(post.from) ?? STREAM_START) <= 0) return;
    this.#takeIn(post);
    newest.set(post.from, post.number);
  }

  #takeIn({ stream, fields, maxLength }: Post): void {
    const { entries } = this.#outsideOf(stream);
    entries.add(fields, { now: this.now() });
    if (maxLength !== undefined) entries.cap(maxLength);
  }

  #outsideOf(stream: string): { readonly entries: MemoryStream; readonly newest: Map<number, string> } {
    let outside = this.#outside.get(stream);
    if (outside === undefined) this.#outside.set(stream, (outside = { entries: new MemoryStream(), newest: new Map() }));
    return outside;
  }

  trimSource(stream: string): void {
    const applied = this.partitions.map(({ sources }) => sources.get(stream)?.id ?? STREAM_START);
    this.source(stream).trim(
      applied.reduce((least, id) => (compareEntryIds(id, least) < 0 ? id : least)),
      'before',
    );
  }

  /** `alone`: nothing else is appended by the same call. */
  append(envelope: Envelope, numbered?: { readonly from: number; readonly number: number }, alone = true): AppendResult | Error {
    const event = JSON.stringify(envelope.event);
    if (Buffer.byteLength(event) > EVENT_BYTES_MAX) return new InvalidEventError('The event is too large.', { field: 'event' });
    const partition = partitionOf(envelope.actor);
    const fields = encodeInboxEntry(envelope, event, numbered);
    const small = fields.reduce((sum, field) => sum + Buffer.byteLength(field), 0) <= GLANCED_BYTES_MAX;
    const glance = alone && small ? this.#beginGlance(partition) : undefined;
    const { id, repeated } = this.partition(partition).append(fields, numbered ? undefined : envelope.dedupeId, this.now(), this.#limits);
    if (!repeated) this.#options.record?.({ kind: 'appended', partition, id, fields });
    const unknown = this.partition(partition).records.has(envelope.actor) ? undefined : envelope.actor;
    this.ring(partition, repeated ? undefined : glance?.('', [id, fields], unknown));
    return { id, partition, repeated };
  }

  commit(request: CommitRequest): CommitResult {
    const answer = this.partition(request.partition).commit(
      request,
      this.now(),
      request.posts.filter(({ stream }) => this.refusing.has(stream)),
    );
    const heard = request.channels.filter((channel) => this.listened.has(channel));
    const result: CommitResult = answer.kind === 'committed' ? { ...answer, heard } : answer;
    this.#options.record?.({ kind: 'commit', request, result, refusing: [...this.refusing] });
    if (result.kind === 'committed' && !result.repeated) {
      for (const { type, count } of request.feed) {
        this.cursor.add(['p', String(request.partition), 't', type, 'i', request.id, 'n', String(count)], { now: this.now() });
      }
      for (const post of request.posts) if (!this.refusing.has(post.stream)) this.#takeIn(post);
      for (const { type, record } of request.arrivals) {
        const channel = `arrivals:${type}`;
        const [key, json] = request.records[record] ?? ['', ''];
        const document = this.partition(request.partition).documents.get(key as ActorKey) ?? '';
        const whole = Buffer.byteLength(json) + Buffer.byteLength(document) <= TOLD_BYTES_MAX;
        if (this.listened.has(channel)) this.published.push([channel, whole ? `${key}\n${json}\n${document}` : key]);
      }
      this.published.push(...request.announcements);
      for (const { channel, document, skip, drop } of request.publications) {
        const [, json] = request.documents[document] ?? ['', ''];
        this.published.push([
          channel,
          Buffer.from(json)
            .subarray(skip, Buffer.byteLength(json) - drop)
            .toString(),
        ]);
      }
    }
    return result;
  }

  /** What is stored of the actors that entries of an inbox are for, each once. */
  actorsIn(number: number, after: string, count: number): StoredActor[] {
    const { inbox, records } = this.partition(number);
    const found = new Set(inbox.after(after, count).map(([, fields]) => fields[0] as ActorKey));
    return [...found].map((key) => ({ key, record: records.get(key) ?? null }));
  }

  acknowledge(request: Acknowledgement): boolean {
    const result = this.partition(request.partition).acknowledge(request, this.now());
    this.#options.record?.({ kind: 'acknowledged', request, result });
    return result;
  }

  doorbell(): Doorbell {
    let heard: Ring | undefined;
    return {
      listen: async (ring, ringSources) => {
        heard = { ring, ringSources };
        this.#listeners.add(heard);
      },
      close: async () => {
        if (heard) this.#listeners.delete(heard);
      },
    };
  }

  recordLease(number: number): void {
    const { owner, epoch } = this.partition(number);
    this.#options.record?.({ kind: 'lease', partition: number, owner, epoch });
  }

  store(gate: Gate = OPEN): EngineStore {
    return createMemoryStore(this, gate);
  }
}

function createMemoryStore(redis: MemoryRedis, gate: Gate): EngineStore {
  const gated = async <Value>(name: keyof EngineStore, detail: unknown, operation: () => Value): Promise<Value> => {
    await gate(name, 'before', detail);
    const value = operation();
    await gate(name, 'after', detail);
    return value;
  };
  /** One of several calls in a pipeline: its failure stands in its place. */
  const placed = async <Value>(name: keyof EngineStore, detail: unknown, operation: () => Value): Promise<Value | Error> => {
    try {
      return await gated(name, detail, operation);
    } catch (error) {
      return error as Error;
    }
  };

  return {
    time: () => gated('time', undefined, () => redis.now()),

    read: (request) =>
      gated('read', request, (): ReadResult => ({
        time: redis.now(),
        inboxes: request.inboxes.map(({ partition, after }) => redis.partition(partition).inbox.after(after, request.count)),
        actors: request.inboxes.map(({ partition, after }) => (request.withActors ? redis.actorsIn(partition, after, request.count) : [])),
        sources: request.sources.map(({ stream, after, binary }) => ({
          entries: binary ? redis.source(stream).after(after, request.sourceCount).map(bytesOf) : redis.source(stream).after(after, request.sourceCount),
          firstId: redis.source(stream).firstId,
        })),
      })),

    load: (requests) =>
      gated('load', requests, () =>
        requests.map(({ partition, keys }) => {
          const { records } = redis.partition(partition);
          return keys.map((key) => ({ key, record: records.get(key) ?? null }));
        }),
      ),

    async commit(requests) {
      const results: (CommitResult | Error)[] = [];
      for (const request of requests) results.push(await placed('commit', request, () => redis.commit(request)));
      return results;
    },

    acquire: (partition, owner, leaseMs, sources) =>
      gated('acquire', { partition, owner }, () => {
        const result = redis.partition(partition).acquire(owner, leaseMs, redis.now(), sources);
        redis.recordLease(partition);
        return result;
      }),

    renew: (owner, leases, leaseMs) =>
      gated('renew', leases, () => leases.map(({ partition, epoch }) => redis.partition(partition).renew(owner, epoch, leaseMs, redis.now()))),

    release: (owner, leases) =>
      gated('release', leases, () => {
        for (const { partition, epoch } of leases) {
          redis.partition(partition).release(owner, epoch);
          redis.recordLease(partition);
        }
      }),

    async append(envelopes) {
      const results: (AppendResult | Error)[] = [];
      for (const envelope of envelopes) results.push(await placed('append', envelope, () => redis.append(envelope, undefined, envelopes.length === 1)));
      return results;
    },

    async appendMessages(messages) {
      for (const message of messages) await gated('appendMessages', message, () => redis.append(message.envelope, message, messages.length === 1));
    },

    async post(posts) {
      const failed = new Map<string, Error>();
      const results: (Error | undefined)[] = [];
      for (const post of posts) {
        if (!failed.has(post.stream)) {
          const result = await placed('post', post, () => redis.post(post));
          if (result instanceof Error) failed.set(post.stream, result);
        }
        results.push(failed.get(post.stream));
      }
      return results;
    },

    acknowledge: (request) => gated('acknowledge', request, () => redis.acknowledge(request)),

    publish: (messages) => gated('publish', messages, () => void redis.published.push(...messages)),

    reply: (outcomes) => gated('reply', outcomes, () => void redis.replies.push(...outcomes)),

    trim: (partition, retention) =>
      gated('trim', { partition, retention }, () => {
        for (const [type, limits] of Object.entries(retention)) redis.partition(partition).trim(type, limits, redis.now());
      }),

    trimSource: (stream) => gated('trimSource', stream, () => redis.trimSource(stream)),

    overdue: (requests) => gated('overdue', requests, () => requests.map((query) => redis.partition(query.partition).overdue(query))),

    reject: (deadLetters) =>
      gated('reject', deadLetters, () => {
        for (const letter of deadLetters) redis.partition(0).dead.add(['j', letter], { now: redis.now() });
      }),
  };
}

/** As Redis answers when the fields are asked for as bytes: one character each. */
function bytesOf([id, fields]: StreamEntry): StreamEntry {
  return [id, fields.map((field) => Buffer.from(field).toString('latin1'))];
}
