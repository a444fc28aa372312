/** An engine with nodes, their fleet and jobs, wired as the control plane wires it, with its times scaled down. */
import { fleetType } from '../../machines/fleet/definition.ts';
import { DEFAULT_JOB_MACHINE } from '../../machines/job/settings.ts';
import { nodeType } from '../../machines/node/definition.ts';
import { fleetIncidentMessage, nodeStateMessage, nodeStatusSource, type ChannelMessage } from '../../src/contracts/citadel.ts';
import { Nodes } from '../../src/control-plane/nodes.ts';
import { registerActorType } from '../../src/core/kernel.ts';
import { Client } from '../../src/engine/client.ts';
import { Engine } from '../../src/engine/engine.ts';
import { Hub } from '../../src/engine/hub.ts';
import type { EngineSettings } from '../../src/engine/settings.ts';
import { systemClock } from '../../src/engine/system-clock.ts';
import { endedJobs, Placer, type FleetReader } from '../../src/jobs/placer.ts';
import { hostJobs } from '../../src/library/job-host.ts';
import type { Delivery } from '../../src/protocol/command.ts';
import { connectRedis } from '../../src/redis/connect.ts';
import { parseRedisUrl } from '../../src/redis/target.ts';

export interface JobsEngineOptions {
  readonly url: string;
  readonly heartbeatMs: number;
  readonly leaseMs: number;
  readonly paceMs: number;
  /** After so long a job that its node has not taken is placed anew. */
  readonly placedMs?: number;
  readonly engine?: Partial<EngineSettings>;
}

export interface JobsEngine {
  readonly nodes: FleetReader;
  stop(): Promise<void>;
}

export async function startJobsEngine({ url, heartbeatMs, leaseMs, paceMs, placedMs = 1_000, engine: settings }: JobsEngineOptions): Promise<JobsEngine> {
  const redis = await connectRedis(parseRedisUrl(url));
  const list = new Nodes(redis.reader);
  const nodes: FleetReader = { listNodes: (query) => list.list(query), getNode: (nodeId) => list.get(nodeId) };
  const placer = new Placer({ fleet: nodes, clock: systemClock, ended: endedJobs(redis.reader) });
  const heartbeat = { intervalMs: heartbeatMs, missedDegraded: 2, missedOffline: 3, skewMs: 0 };
  const machine = { ...DEFAULT_JOB_MACHINE, leaseMs, askMs: 2 * leaseMs, paceMs, lookMs: 200, lookMsMax: 500, placedMs };
  const publishing = (encode: (delivery: Delivery) => ChannelMessage) => async (delivery: Delivery) => await redis.store.publish([encode(delivery)]);
  const hosted = hostJobs({ redis, clock: systemClock, place: placer.place, machine, warn: (message) => console.warn(message) });
  const engine = new Engine({
    store: redis.engineStore,
    doorbell: redis.doorbell,
    clock: systemClock,
    types: [
      { registered: registerActorType(nodeType(heartbeat)), executors: { publishNodeState: publishing(nodeStateMessage) } },
      { registered: registerActorType(fleetType(heartbeat)), executors: { publishFleetIncident: publishing(fleetIncidentMessage) } },
      ...hosted.engine.types,
    ],
    sources: [nodeStatusSource, ...hosted.engine.sources],
    outlets: hosted.engine.outlets,
    owner: `jobs-${process.pid}`,
    settings: { observationGapMs: Math.ceil(heartbeatMs / 4), ...settings },
  });
  const client = new Client({
    store: redis.store,
    reader: redis.reader,
    replies: redis.replies,
    hub: new Hub(redis.reader, systemClock),
    types: engine.types,
    clock: systemClock,
  });
  await client.start();
  await engine.start();
  hosted.start(client);
  return {
    nodes,
    async stop() {
      await hosted.stop();
      await engine.stop();
      await client.stop();
      await redis.close();
    },
  };
}
