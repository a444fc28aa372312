/**
 * The control plane as `serve` and `start` run it: engine, contracts and HTTP over one Redis.
 *
 * Started from the inside out and stopped from the outside in: HTTP answers only while the engine behind it works.
 */
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import type { Logger } from 'pino';
import { fleetType } from '../../machines/fleet/definition.ts';
import { nodeType } from '../../machines/node/definition.ts';
import { fleetIncidentMessage, nodeStateMessage, nodeStatusPublication, nodeStatusSource, type ChannelMessage } from '../contracts/citadel.ts';
import { keepWaitingRebalances, rebalanceExecutors, rebalanceStatusSource } from '../contracts/rebalance.ts';
import { ingestionQueue, ingestionSource, shieldEventsSource } from '../contracts/shield.ts';
import { SHIELD_STREAMS } from '../contracts/shield-entry.ts';
import { taskUpdatesSource } from '../contracts/tasks.ts';
import { createControlPlane } from '../control-plane/control-plane.ts';
import { Nodes } from '../control-plane/nodes.ts';
import { registerActorType } from '../core/kernel.ts';
import type { HostedType } from '../engine/actor-types.ts';
import { Client } from '../engine/client.ts';
import { Engine } from '../engine/engine.ts';
import { systemClock } from '../engine/system-clock.ts';
import { heartbeatSettingsFrom } from '../fleet/heartbeat-settings.ts';
import { Hub } from '../engine/hub.ts';
import { createFirstStartToken } from '../http/auth/first-start.ts';
import { createHttpServer } from '../http/server.ts';
import { readHttpSettings, readTokenKeys } from '../http/settings.ts';
import { jobFigures } from '../jobs/figures.ts';
import { endedJobs, Placer, type FleetReader } from '../jobs/placer.ts';
import { createRebalanceJobs } from '../jobs/rebalance.ts';
import { jobSettingsFrom } from '../jobs/settings.ts';
import { hostJobs, openJobs } from '../library/job-host.ts';
import { untilWorking } from '../library/stand-by.ts';
import type { Delivery } from '../protocol/command.ts';
import type { ActorRecord } from '../protocol/record.ts';
import { connectRedis, type RedisConnections } from '../redis/connect.ts';
import type { RedisTarget } from '../redis/target.ts';
import { createFabricRedis } from '../redis/fabric-redis.ts';
import { hostDevices } from './host-devices.ts';
import type { Environment } from './settings.ts';
import { version } from './version.ts';

export interface ControlPlaneOptions {
  readonly redis: RedisTarget;
  readonly environment: Environment;
  /** Holds the secret and the administrator's token. */
  readonly dataDir: string;
  readonly host: string;
  readonly port: number;
  /** The node whose agent was started together with the control plane: asked live on loopback. */
  readonly localNodeId?: string;
  readonly log: Logger;
}

export interface RunningControlPlane {
  /** Where it listens, such as `http://127.0.0.1:3001`. */
  readonly url: string;
  /** Opens the inspector as administrator, once: the secret stands in the fragment. */
  readonly inspectorLink: string;
  /** Releases the partitions, closes HTTP and Redis connections. */
  stop(): Promise<void>;
}

/** Given to the commands that need it, so that their tests may start less. */
export type StartControlPlane = (options: ControlPlaneOptions) => Promise<RunningControlPlane>;

/** Two pieces of evidence of the status stream further apart than a quarter of a heartbeat have closed time between them. */
const OBSERVATION_GAPS_PER_INTERVAL = 4;
/** A submission is answered when the job can be read, or after so long. */
const CONFIRM_MS = 1_000;
/** The agent's record of a waiting rebalance job lives a day and is renewed a few times in it. */
const KEEP_REBALANCES_MS = 6 * 3_600_000;

export async function startControlPlane({
  redis: target,
  environment,
  dataDir,
  host,
  port,
  localNodeId,
  log,
}: ControlPlaneOptions): Promise<RunningControlPlane> {
  const began = systemClock.now();
  const heartbeat = heartbeatSettingsFrom(environment);
  const { secret } = await createFirstStartToken(dataDir);
  const tokenKeys = readTokenKeys(environment, secret);
  const settings = readHttpSettings(environment, localNodeId);

  const redis = await connectRedis(target, { onError: (error, client) => log.warn({ client, error: error.message }, 'Redis link') });
  const running: (() => Promise<unknown>)[] = [() => redis.close()];
  const stop = async (): Promise<void> => {
    for (const end of running.toReversed()) await end();
  };
  try {
    for (const warning of redis.server.warnings) log.warn(warning);
    await redis.ensureGroupStreams(SHIELD_STREAMS);
    log.info('Redis Streams client connected');
    const texts = { info: (text: string) => log.info(text), error: (text: string) => log.error(text) };
    const placer = new Placer({ fleet: fleetOf(redis), clock: systemClock, ended: endedJobs(redis.reader) });
    const hosted = hostJobs({
      redis,
      clock: systemClock,
      place: placer.place,
      settings: jobSettingsFrom(environment),
      rebalance: rebalanceExecutors(redis.userEvents, texts),
      observed: [ingestionQueue],
      warn: (message) => log.warn(message),
    });
    const devices = hostDevices(redis, environment, dataDir, log);
    running.push(() => devices.close());
    const fabric = await createFabricRedis(target, { onError: (error, link) => log.warn({ client: link, error: error.message }, 'Redis link') });
    running.push(() => fabric.close());
    const engine = new Engine({
      store: redis.engineStore,
      doorbell: redis.doorbell,
      clock: systemClock,
      types: [...fleetTypes(redis, heartbeat), ...hosted.engine.types, ...devices.engine.types],
      sources: [nodeStatusSource, ingestionSource, shieldEventsSource, ...hosted.engine.sources, ...devices.engine.sources],
      outlets: [...hosted.engine.outlets, ...devices.engine.outlets],
      channels: [rebalanceStatusSource(texts), taskUpdatesSource],
      intake: redis.intake,
      owner: `${hostname()}-${process.pid}-${randomBytes(4).toString('hex')}`,
      warn: (message) => log.warn(message),
      settings: { observationGapMs: Math.ceil(heartbeat.intervalMs / OBSERVATION_GAPS_PER_INTERVAL) },
    });
    running.push(() => engine.stop());
    const hub = new Hub(redis.reader, systemClock);
    const client = new Client({ store: redis.store, reader: redis.reader, replies: redis.replies, hub, types: engine.types, clock: systemClock });
    running.push(() => client.stop());
    const stopped = new AbortController();
    const jobs = openJobs({ redis, client, source: 'http', confirmMs: CONFIRM_MS, stopped: stopped.signal, ring: hosted.ring });
    const figures = jobFigures({ reader: redis.reader, queues: redis.queues, clock: systemClock });
    const controlPlane = createControlPlane({
      engine,
      client,
      reader: redis.reader,
      types: engine.types,
      time: () => redis.store.time(),
      uptimeMs: () => systemClock.now() - began,
      jobs: async () => ({ ...(await figures()), placement: placer.figures() }),
    });
    const served = devices.serve(client, fabric);
    const http = await createHttpServer({
      controlPlane,
      devices: served.http,
      jobs,
      rebalance: {
        jobs: createRebalanceJobs({ client, jobs, writer: redis.userEvents, clock: systemClock, now: Date.now }),
        events: redis.userEvents,
      },
      settings,
      tokenKeys,
      ownSecret: secret,
      version: version(),
      logger: log,
    });
    running.push(
      () => http.app.close(),
      // First of all, so that no request waits for what comes no more.
      async () => await Promise.resolve(stopped.abort()),
    );
    await client.start();
    await served.service.listen();
    running.push(() => served.service.close());
    await untilWorking(engine, redis, new AbortController().signal);
    hosted.start(client);
    running.push(
      () => hosted.stop(),
      repeating(() => keepWaitingRebalances(redis.userEvents), KEEP_REBALANCES_MS, log),
    );
    const url = await http.app.listen({ host, port });
    return { url, inspectorLink: `${url}/#link=${http.sessions.createLink({ subject: 'admin', role: 'admin', org: null })}`, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The nodes as placement looks at them. */
function fleetOf({ reader }: RedisConnections): FleetReader {
  const nodes = new Nodes(reader);
  return { listNodes: async (query) => await nodes.list(query), getNode: async (nodeId) => await nodes.get(nodeId) };
}

/** Does it again and again; returns how to end that. A failure is told, and the next turn comes by itself. */
function repeating(task: () => Promise<unknown>, everyMs: number, log: Logger): () => Promise<void> {
  const timer = setInterval(() => void task().catch((error: unknown) => log.warn({ error: String(error) }, 'Upkeep failed')), everyMs);
  return async () => {
    clearInterval(timer);
    await Promise.resolve();
  };
}

/** The actor types of a fleet, with the executors that tell the outside. */
function fleetTypes(redis: RedisConnections, heartbeat: ReturnType<typeof heartbeatSettingsFrom>): readonly HostedType[] {
  const publishing = (encode: (delivery: Delivery) => ChannelMessage) => async (delivery: Delivery) => await redis.store.publish([encode(delivery)]);
  return [
    {
      registered: registerActorType(nodeType(heartbeat)),
      executors: { publishNodeState: publishing(nodeStateMessage) },
      publishDocument: (key, document, record) => nodeStatusPublication(key, document, orgOf(record)),
    },
    { registered: registerActorType(fleetType(heartbeat)), executors: { publishFleetIncident: publishing(fleetIncidentMessage) } },
  ];
}

function orgOf(record: ActorRecord): string {
  return (record.snapshot as unknown as { readonly context: { readonly org: string } }).context.org;
}
