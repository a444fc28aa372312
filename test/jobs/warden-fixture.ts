/**
 * A real Redis, wardens that tell a recording client, and workers and producers that know nothing but the keys.
 *
 * The client records what jobs are told as the engine would take it in: events that the job declares, each dedupe id once.
 */
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';
import { jobEvents } from '../../machines/job/events.ts';
import { workerQueueContract } from '../../src/contracts/worker-jobs.ts';
import { systemClock } from '../../src/engine/system-clock.ts';
import { QueueWarden, type QueueWardenPorts } from '../../src/jobs/queue-warden.ts';
import type { DeadLetter } from '../../src/protocol/dead-letter.ts';
import type { MachineEvent } from '../../src/protocol/envelope.ts';
import { InvalidEventError } from '../../src/protocol/errors.ts';
import { WORKER_GROUP } from '../../src/protocol/job-progress.ts';
import { closeClient, connectFirst, createSubscriber, createWriteClient } from '../../src/redis/clients.ts';
import { postBatches } from '../../src/redis/post-call.ts';
import { createQueueObserver } from '../../src/redis/queue-observer.ts';
import { callQueues, createQueueLibrary, createQueues } from '../../src/redis/queues.ts';
import { parseRedisUrl } from '../../src/redis/target.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';

export const QUEUE = 'jobs:v1:gpu-general';
/** The step time of every dead letter. */
export const NOW = Date.parse('2026-01-01T00:00:00Z');
export const library = createQueueLibrary();
const UNTIL_MS = 15_000;
const SCHEMAS: { readonly [type: string]: { safeParse(event: unknown): { success: boolean; error?: unknown } } | undefined } = jobEvents;

export type Entry = readonly [id: string, fields: readonly string[]];
export interface Told {
  readonly job: string;
  readonly event: MachineEvent;
  readonly source: string | undefined;
}

/** One for a test file: its server lives as long as the file's tests. */
export class WardenFixture {
  server!: TestRedis;
  client!: Redis;
  subscriber!: Redis;
  /** What the jobs were told, in the order of acceptance. */
  told: Told[] = [];
  letters: DeadLetter[] = [];
  errors: Error[] = [];
  /** Events sent, repeats included. */
  sends = 0;
  /** What sending fails with, while it is set. */
  failing: Error | undefined;
  #known = new Set<string>();
  #wardens: QueueWarden[] = [];
  #number = 0;

  constructor() {
    beforeAll(async () => {
      this.server = await startTestRedis();
      const target = parseRedisUrl(this.server.url);
      this.client = createWriteClient(target);
      this.subscriber = createSubscriber(target);
      await Promise.all([connectFirst(this.client, target), connectFirst(this.subscriber, target)]);
    });
    afterAll(async () => {
      await Promise.all([closeClient(this.client), closeClient(this.subscriber)]);
      await this.server.stop();
    });
    beforeEach(async () => {
      await this.client.flushall();
      this.told = [];
      this.letters = [];
      this.errors = [];
      this.failing = undefined;
      this.#known = new Set();
    });
    afterEach(async () => await this.stop());
  }

  start(more: Partial<QueueWardenPorts> = {}): void {
    const warden = new QueueWarden({
      queues: createQueues(this.client, library),
      observer: createQueueObserver(this.client, library),
      contract: workerQueueContract,
      client: { send: async (type, id, event, { dedupeId, source }) => this.#take(`${type}/${id}`, event, dedupeId, source) },
      reject: async (all) => void this.letters.push(...all.map((letter) => JSON.parse(letter) as DeadLetter)),
      time: async () => NOW,
      clock: systemClock,
      leaseMs: 30_000,
      onError: (error) => void this.errors.push(error),
      ...more,
    });
    this.#wardens.push(warden);
    warden.start();
  }

  /** All wardens. */
  async stop(): Promise<void> {
    await Promise.all(this.#wardens.splice(0).map(async (warden) => await warden.stop()));
  }

  /** The engine has dropped its dedupe ids. */
  forget(): void {
    this.#known.clear();
  }

  #take(job: string, event: MachineEvent, dedupeId: string | undefined, source: string | undefined): { readonly repeated: boolean } {
    this.sends++;
    if (this.failing !== undefined) throw this.failing;
    const parsed = SCHEMAS[event.type]?.safeParse(event);
    if (parsed?.success !== true) throw new InvalidEventError(`refused: ${String(parsed?.error)}`, { field: 'event' });
    if (dedupeId !== undefined && this.#known.has(dedupeId)) return { repeated: true };
    if (dedupeId !== undefined) this.#known.add(dedupeId);
    this.told.push({ job, event, source });
    return { repeated: false };
  }

  /** Wardens are rung meanwhile. */
  async until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
    const deadline = performance.now() + UNTIL_MS;
    while (!(await holds())) {
      if (performance.now() > deadline)
        throw new Error(`${what} did not come: ${JSON.stringify(this.told).slice(-2_000)} ${this.errors.map(String).slice(-3).join()}`);
      for (const warden of this.#wardens) warden.ring();
      await systemClock.sleep(10);
    }
  }

  /** A few more looks: whatever would be told twice would be. */
  async settle(): Promise<void> {
    for (let look = 0; look < 3; look++) {
      for (const warden of this.#wardens) warden.ring();
      await systemClock.sleep(40);
    }
  }

  eventsOf(id: string): MachineEvent[] {
    return this.told.filter(({ job }) => job === `job/${id}`).map(({ event }) => event);
  }

  typesOf(id: string): string[] {
    return this.eventsOf(id).map(({ type }) => type);
  }

  async hears(id: string, ...types: string[]): Promise<void> {
    await this.until(`${id}: ${types.join(' ')}`, () => this.typesOf(id).join() === types.join());
  }

  /** As Castellan puts an attempt into a queue. */
  async post(id: string, more: { readonly attempt?: number; readonly fields?: readonly string[] } = {}): Promise<void> {
    this.#number++;
    const fields = ['jobId', id, 'type', 'ECHO', 'payload', '{}', 'attempt', String(more.attempt ?? 1), ...(more.fields ?? [])];
    const batches = postBatches([{ stream: QUEUE, fields, priority: 0, member: id, from: 1, number: `1-${this.#number}` }]);
    for (const { call } of batches) await callQueues(this.client, library, [call]);
  }

  async enqueue(...fields: string[]): Promise<string> {
    return (await this.client.xadd(QUEUE, '*', ...fields)) as string;
  }

  async take(consumer: string, queue = QUEUE, count = 100): Promise<Entry[]> {
    const args = ['GROUP', WORKER_GROUP, consumer, 'COUNT', String(count), 'STREAMS', queue, '>'];
    const reply = (await this.client.call('XREADGROUP', ...args)) as [string, Entry[]][] | null;
    return reply?.[0]?.[1] ?? [];
  }

  async acknowledge(...entries: readonly (Entry | undefined)[]): Promise<void> {
    for (const entry of entries) await this.client.xack(QUEUE, WORKER_GROUP, entry?.[0] as string);
  }

  /** As workers of ours drop an entry of ours. */
  async drop(...entries: readonly (Entry | undefined)[]): Promise<void> {
    const ids = entries.map((entry) => entry?.[0] as string);
    await this.client
      .multi()
      .xack(QUEUE, WORKER_GROUP, ...ids)
      .xdel(QUEUE, ...ids)
      .exec();
  }

  /** Ids of the entries that are followed. */
  async taken(): Promise<string[]> {
    return await this.client.hkeys(`{${QUEUE}}:taken`);
  }
}

/** A progress message as a foreign worker writes it. */
export function progress(jobId: string, type: string, data: object = {}): string {
  return JSON.stringify({ version: '1.0', type, jobId, timestamp: '2026-01-01T00:00:00Z', data });
}
