/**
 * Bugs put in on purpose: a simulator that does not find them proves nothing.
 * None of them needs a hook in the engine: each is a wrong store, a wrong connection, or a method replaced for one run.
 */
import { ActorCache } from '../../src/engine/actor-cache.ts';
import { Partition } from '../../src/engine/partition.ts';
import type { AppendResult, CommitRequest, CommitResult, Glance, NumberedEnvelope } from '../../src/engine/ports.ts';
import type { Envelope } from '../../src/protocol/envelope.ts';
import { compareEntryIds, type ActorKey } from '../../src/protocol/ids.ts';
import type { Post } from '../../src/protocol/outlet.ts';
import { MemoryRedis } from './memory-store.ts';
import type { Plant } from './world.ts';

/** The store takes the commit of whoever sends it. */
class WithoutEpochCheck extends MemoryRedis {
  override commit(request: CommitRequest): CommitResult {
    const { owner, epoch } = this.partition(request.partition);
    return super.commit({ ...request, owner: owner as string, epoch });
  }
}

/** The store appends a repeated event again. */
class WithoutDedupe extends MemoryRedis {
  override append({ dedupeId: _forgotten, ...envelope }: Envelope, numbered?: NumberedEnvelope, alone?: boolean): AppendResult | Error {
    return super.append(envelope, numbered, alone);
  }
}

/** The store does not look for unread entries before a fired timer. */
class WithoutTimerRule extends MemoryRedis {
  override commit({ firedThrough: _forgotten, ...request }: CommitRequest): CommitResult {
    return super.commit(request);
  }
}

/** The stream takes in a post again. */
class WithoutPostNumbers extends MemoryRedis {
  #number = 0;
  override post(post: Post): void {
    super.post({ ...post, number: `${Number.MAX_SAFE_INTEGER}-${++this.#number}` });
  }
}

const LONG_AGO = '0-1';

/** A ring tells that the sources held nothing new before what it brings. */
class WithoutGlanceBefore extends MemoryRedis {
  override ring(partition: number, glance?: Glance): void {
    const sources = [...(glance?.sources ?? [])].map(([name, stream]) => [name, { ...stream, before: LONG_AGO }] as const);
    super.ring(partition, glance && { ...glance, sources: new Map(sources) });
  }
}

/** A ring tells of every actor that it is unknown. */
class WithoutGlanceAtRecords extends MemoryRedis {
  override ring(partition: number, glance?: Glance): void {
    const actor = glance?.inbox.added[0]?.[1][0];
    super.ring(partition, glance && actor !== undefined ? { ...glance, unknown: actor as ActorKey } : glance);
  }
}

function replaced(prototype: object, name: string, descriptor: PropertyDescriptor): () => void {
  const original = Object.getOwnPropertyDescriptor(prototype, name);
  if (original === undefined) throw new Error(`There is no ${name} to replace.`);
  Object.defineProperty(prototype, name, { configurable: true, ...descriptor });
  return () => void Object.defineProperty(prototype, name, original);
}

export const PLANTS: { readonly [bug: string]: Plant } = {
  'no epoch check': { redis: (options) => new WithoutEpochCheck(options) },
  'no dedupe': { redis: (options) => new WithoutDedupe(options) },
  'posts without numbers': { redis: (options) => new WithoutPostNumbers(options), faults: { refusal: 0.3, lostReply: 0.05 } },
  'rings that pass over': { redis: (options) => new WithoutGlanceBefore(options) },
  'rings that forget': { redis: (options) => new WithoutGlanceAtRecords(options) },
  'timers by local time': {
    redis: (options) => new WithoutTimerRule(options),
    install: (redis) => replaced(Partition.prototype, 'watermark', { get: () => redis.now() }),
  },
  'acknowledgement before commit': {
    store: (store, redis) => ({
      ...store,
      commit: (requests) => {
        for (const { partition: number, owner, inbox } of requests) {
          const partition = redis.partition(number);
          if (partition.owner !== owner || compareEntryIds(inbox, partition.inboxPosition) <= 0) continue;
          partition.inboxPosition = inbox;
          partition.inbox.trim(inbox, 'before');
        }
        return store.commit(requests);
      },
    }),
  },
  'removal beside the commits': {
    store: (store, redis) => ({
      ...store,
      overdue: async (requests) => {
        const found = await store.overdue(requests);
        for (const [index, { partition, type, statePath }] of requests.entries()) {
          const { records, documents, indexes } = redis.partition(partition);
          for (const [key] of found[index] ?? [])
            for (const held of [records, documents, indexes.get(`${type}:`), indexes.get(`${type}:${statePath}`)]) held?.delete(key);
        }
        return requests.map(() => []);
      },
    }),
  },
  'stale cache': { install: () => replaced(ActorCache.prototype, 'forget', { value: () => undefined }) },
};
