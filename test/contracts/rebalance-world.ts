/** Whole control planes over one real Redis: engine, job machine, contract, HTTP and Socket.IO, as `serve` wires them. */
import { spawn } from 'node:child_process';
import { pino } from 'pino';
import { onTestFinished } from 'vitest';
import { jobType } from '../../machines/job/definition.ts';
import { REBALANCE_STATUS, rebalanceExecutors, rebalanceStatusSource, type ContractLog } from '../../src/contracts/rebalance.ts';
import { registerActorType } from '../../src/core/kernel.ts';
import { Client } from '../../src/engine/client.ts';
import { Engine } from '../../src/engine/engine.ts';
import { Hub } from '../../src/engine/hub.ts';
import { systemClock } from '../../src/engine/system-clock.ts';
import { createRebalanceJobs } from '../../src/jobs/rebalance.ts';
import { jobView } from '../../src/jobs/views.ts';
import type { DeadLetter } from '../../src/protocol/dead-letter.ts';
import { actorKey } from '../../src/protocol/ids.ts';
import type { JobView } from '../../src/protocol/job.ts';
import { closeClient, connectFirst, createSubscriber, createWriteClient } from '../../src/redis/clients.ts';
import { connectRedis } from '../../src/redis/connect.ts';
import { createIntake } from '../../src/redis/intake.ts';
import { parseRedisUrl } from '../../src/redis/target.ts';
import { startApi, until } from '../http/realtime/socket-fixture.ts';
import type { TestRedis } from '../redis-server.ts';

export interface World {
  readonly url: string;
  /** Message texts of the log, oldest first. */
  readonly lines: string[];
  readonly client: Client;
  job(jobId: string): Promise<JobView | undefined>;
  deadLetters(): Promise<readonly DeadLetter[]>;
  stop(): Promise<void>;
}

let worlds = 0;

/** `beside`: there is one already, whose engine has the partitions; this one's waits to take them over. */
export async function startWorld(server: TestRedis, { beside = false } = {}): Promise<World> {
  const lines: string[] = [];
  const logger = pino({ level: 'info' }, { write: (line: string) => void lines.push((JSON.parse(line) as { msg: string }).msg) });
  const log: ContractLog = { info: (text) => logger.info(text), error: (text) => logger.error(text) };
  const target = parseRedisUrl(server.url);
  const redis = await connectRedis(target);
  const [write, listen] = [createWriteClient(target), createSubscriber(target)];
  await Promise.all([connectFirst(write, target), connectFirst(listen, target)]);
  const engine = new Engine({
    store: redis.engineStore,
    doorbell: redis.doorbell,
    clock: systemClock,
    owner: `world-${process.pid}-${++worlds}`,
    types: [
      {
        registered: registerActorType(jobType({ place: async () => ({ reason: 'there are no nodes here' }) })),
        executors: { ...rebalanceExecutors(redis.userEvents, log), withdrawJob: async () => undefined },
      },
    ],
    outlets: [{ type: 'queue', encode: (id, event) => ({ stream: id, fields: ['event', JSON.stringify(event)] }) }],
    channels: [rebalanceStatusSource(log)],
    intake: await createIntake(write, listen, redis.keys),
  });
  const client = new Client({
    store: redis.store,
    reader: redis.reader,
    replies: redis.replies,
    hub: new Hub(redis.reader, systemClock),
    types: engine.types,
    clock: systemClock,
  });
  const job = async (jobId: string): Promise<JobView | undefined> => {
    const stored = await redis.reader.getActor(actorKey('job', jobId));
    return stored === undefined ? undefined : jobView(stored);
  };
  await client.start();
  const started = engine.start();
  if (!beside) await started;
  // One of all processes hears the channel.
  await until(async () => !(await redisCli(server, 'PUBSUB', 'NUMSUB', REBALANCE_STATUS)).endsWith('0'), 'a reader of the channel');
  const api = await startApi(server, {
    logger,
    jobs: createRebalanceJobs({ client, jobs: { get: job }, writer: redis.userEvents, clock: systemClock, now: Date.now }),
  });
  let stopping: Promise<void> | undefined;
  const end = async (): Promise<void> => {
    await api.close();
    await engine.stop();
    await client.stop();
    await Promise.all([redis.close(), closeClient(write), closeClient(listen)]);
  };
  const stop = (): Promise<void> => (stopping ??= end());
  onTestFinished(stop);
  return { url: api.url, lines, client, job, deadLetters: async () => (await redis.reader.listDeadLetters(undefined, 100)).items, stop };
}

/** What `redis-cli` prints. */
export async function redisCli(server: TestRedis, ...args: readonly string[]): Promise<string> {
  const child = spawn('redis-cli', ['-p', String(server.port), ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.on('data', (data: Buffer) => void (output += data.toString()));
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', () => resolve());
  });
  return output.trimEnd();
}
