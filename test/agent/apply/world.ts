/** An applier on a real Docker engine, with a folder of its own. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { Applier, type ApplierOptions } from '../../../src/agent/apply/applier.ts';
import { Containers } from '../../../src/agent/apply/containers.ts';
import { systemClock } from '../../../src/agent/clock.ts';
import { engineAddress } from '../../../src/agent/docker-engine.ts';
import { BUILTIN_SERVICES } from '../../../src/provisioning/services.ts';
import { catalogueOf } from '../../../src/provisioning/node-catalogue.ts';
import { freePort } from '../../redis-server.ts';
import { startDockerEngine, type DockerEngine } from '../docker-engine.ts';
import { importImages, probeService } from './images.ts';
import type { CatalogueService } from '../../../src/provisioning/catalogue.ts';
import type { ConfigReport } from '../../../src/protocol/device-config.ts';
import type { Json } from '../../../src/protocol/json.ts';

export interface World {
  readonly engine: DockerEngine;
  readonly services: readonly CatalogueService[];
  readonly ports: { readonly [service: string]: number };
  /** Ids of the containers by their names, running or not. */
  containers(): Promise<{ readonly [name: string]: { readonly id: string; readonly running: boolean } }>;
  clean(): Promise<void>;
  stop(): Promise<void>;
}

export async function startWorld(): Promise<World> {
  const engine = await startDockerEngine('castellan/first:1');
  try {
    await importImages(engine.docker);
  } catch (error) {
    await engine.stop();
    throw error;
  }
  const ports = { alpha: await freePort(), beta: await freePort() };
  const secret = { secrets: { PROBE_PASSWORD: { description: 'A password.' } } };
  const services = [
    probeService('alpha', ports.alpha, secret),
    probeService('beta', ports.beta),
    probeService('gamma', await freePort(), { image: '127.0.0.1:1/nowhere/image:1' }),
  ];
  const all = async () => await engine.docker.listContainers({ all: true });
  const clean = async (): Promise<void> => {
    for (const { Id } of await all()) await engine.docker.getContainer(Id).remove({ force: true });
  };
  return {
    engine,
    services,
    ports,
    clean,
    async containers() {
      return Object.fromEntries((await all()).map(({ Id, Names, State }) => [Names[0]?.slice(1), { id: Id, running: State === 'running' }]));
    },
    async stop() {
      await clean();
      await engine.stop();
    },
  };
}

export interface TestNode {
  readonly applier: Applier;
  readonly reports: ConfigReport[];
  readonly folder: string;
  apply(payload: Json, key?: string): Promise<ConfigReport>;
  stop(): Promise<void>;
}

export async function startNode(world: World, more: Partial<ApplierOptions> = {}): Promise<TestNode> {
  const folder = more.folder ?? (await mkdtemp(join(tmpdir(), 'castellan-apply-')));
  const reports: ConfigReport[] = [];
  const address = engineAddress(world.engine.host);
  if (address === undefined) throw new Error('The engine has no address.');
  const applier = new Applier({
    nodeId: 'node-1',
    folder,
    containers: new Containers(address),
    catalogue: catalogueOf(BUILTIN_SERVICES, { services: world.services }),
    enrolled: () => undefined,
    allowManual: false,
    hasGpu: async () => false,
    ssh: { enabled: async () => false, set: async () => undefined },
    onReport: (report) => void reports.push(report),
    clock: systemClock(),
    log: pino({ level: process.env['LOG_LEVEL'] ?? 'silent' }),
    ...more,
  });
  await applier.start();
  let deliveries = 0;
  return {
    applier,
    reports,
    folder,
    apply: async (payload, key = `test:${deliveries++}`) => await applier.apply({ key, jobId: null, payload }),
    async stop() {
      await applier.stop();
      if (more.folder === undefined) await rm(folder, { recursive: true, force: true });
    },
  };
}
