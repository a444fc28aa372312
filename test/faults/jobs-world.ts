/** What a test of jobs asks Redis: jobs as they are shown, how many are in a state, and how to submit some whatever happens meanwhile. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import type { JobSpec } from '../../machines/job/events.ts';
import { jobView } from '../../src/jobs/views.ts';
import type { EngineStore } from '../../src/engine/ports.ts';
import { actorKey, PARTITION_COUNT } from '../../src/protocol/ids.ts';
import type { JobView } from '../../src/protocol/job.ts';
import type { Json } from '../../src/protocol/json.ts';
import { createKeys } from '../../src/redis/keys.ts';
import { createRedisReader, type RedisReader } from '../../src/redis/reader.ts';

const SUBMIT_TRIES_MAX = 200;
const SUBMIT_PAUSE_MS = 50;

export class JobsWorld {
  readonly client: Redis;
  readonly reader: RedisReader;
  readonly #store: EngineStore;

  constructor(client: Redis, store: EngineStore) {
    this.client = client;
    this.reader = createRedisReader({ client, blocking: client, keys: createKeys() });
    this.#store = store;
  }

  /** Appended once each, however often it has to be tried. */
  async submit(jobs: { readonly [jobId: string]: Omit<JobSpec, 'via'> }): Promise<void> {
    let envelopes = Object.entries(jobs).map(([jobId, spec]) => ({
      actor: actorKey('job', jobId),
      event: { type: 'submit', spec: { via: 'queue', ...spec } as unknown as Json },
      source: 'library' as const,
      dedupeId: `submit-${jobId}`,
    }));
    for (let tries = 0; envelopes.length > 0; tries++) {
      if (tries === SUBMIT_TRIES_MAX) throw new Error('Redis took no jobs.');
      const results = await this.#store.append(envelopes).catch((error: unknown) => envelopes.map(() => error as Error));
      envelopes = envelopes.filter((_, index) => results[index] instanceof Error);
      if (envelopes.length > 0) await sleep(SUBMIT_PAUSE_MS);
    }
  }

  async job(jobId: string): Promise<JobView> {
    const view = await this.reader.getActor(actorKey('job', jobId));
    const job = view === undefined ? undefined : jobView(view);
    if (job === undefined) throw new Error(`There is no job ${jobId}.`);
    return job;
  }

  async isIn(jobId: string, state: JobView['state']): Promise<JobView | undefined> {
    const view = await this.reader.getActor(actorKey('job', jobId));
    const job = view === undefined ? undefined : jobView(view);
    return job?.state === state ? job : undefined;
  }

  /** How many actors of the type are in the atomic state. */
  async count(type: string, path: string): Promise<number> {
    const keys = createKeys();
    const pipeline = this.client.pipeline();
    for (let partition = 0; partition < PARTITION_COUNT; partition++) pipeline.zcard(keys.partition(partition).index(type, path));
    const replies = (await pipeline.exec()) ?? [];
    return replies.reduce((sum, [error, count]) => sum + (error === null ? (count as number) : 0), 0);
  }
}
