/** An engine that runs nodes, devices and alerts, and a device service, all over one real Redis. */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { onTestFinished } from 'vitest';
import { DEFAULT_DEVICE_MACHINE, type DeviceMachineSettings } from '../../machines/device/settings.ts';
import { fleetType } from '../../machines/fleet/definition.ts';
import { nodeType } from '../../machines/node/definition.ts';
import { nodeStatusSource } from '../../src/contracts/citadel.ts';
import { alertMessage, configOutlet, deviceReportsSource, nodeNoticeMessage } from '../../src/contracts/device-config.ts';
import { registerActorType } from '../../src/core/kernel.ts';
import { createDevices, type DeviceService, type EnrolmentSettings } from '../../src/devices/devices.ts';
import { deviceTypes } from '../../src/devices/hosted-types.ts';
import { Client } from '../../src/engine/client.ts';
import { Engine } from '../../src/engine/engine.ts';
import { Hub } from '../../src/engine/hub.ts';
import { systemClock } from '../../src/engine/system-clock.ts';
import type { DeviceState, DeviceView } from '../../src/protocol/device.ts';
import { publicKeyText, signConfig } from '../../src/provisioning/config-signature.ts';
import { catalogueOf } from '../../src/provisioning/node-catalogue.ts';
import { parseDeviceConfig } from '../../src/provisioning/parse-config.ts';
import { connectRedis, type RedisConnections } from '../../src/redis/connect.ts';
import { createEnrolment } from '../../src/redis/enrolment.ts';
import { parseRedisUrl } from '../../src/redis/target.ts';
import type { TestRedis } from '../redis-server.ts';

export interface DeviceWorld {
  readonly redis: RedisConnections;
  /** For looking at what lies in Redis. */
  readonly raw: Redis;
  readonly client: Client;
  readonly devices: DeviceService;
  readonly publicKey: string;
  /** Another process: a device service of its own. */
  another(): Promise<DeviceService>;
  untilState(deviceId: string, state: DeviceState): Promise<DeviceView>;
}

export interface DeviceWorldOptions {
  readonly settings?: Partial<EnrolmentSettings>;
  readonly machine?: Partial<DeviceMachineSettings>;
}

const UNTIL_MS = 15_000;
const LOOK_MS = 10;

export async function until<Value>(look: () => Promise<Value | undefined>, what: () => string): Promise<Value> {
  const end = Date.now() + UNTIL_MS;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (Date.now() > end) throw new Error(`Waited in vain: ${what()}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

/** A whole server is one world's: its streams have no prefix. */
export async function startDeviceWorld(server: TestRedis, { settings = {}, machine = {} }: DeviceWorldOptions = {}): Promise<DeviceWorld> {
  const redis = await connectRedis(parseRedisUrl(server.url));
  const raw = new Redis(server.url);
  const { privateKey } = generateKeyPairSync('ed25519');
  const publicKey = publicKeyText(privateKey) as string;
  const sign = (unsigned: Parameters<typeof signConfig>[0]) => signConfig(unsigned, privateKey);
  const publish = (message: readonly [string, string]) => redis.store.publish([message]);
  const engine = new Engine({
    store: redis.engineStore,
    doorbell: redis.doorbell,
    clock: systemClock,
    types: [
      { registered: registerActorType(nodeType()), executors: { publishNodeState: async () => {} } },
      { registered: registerActorType(fleetType()), executors: { publishFleetIncident: async () => {} } },
      ...deviceTypes({
        tellNode: (delivery) => publish(nodeNoticeMessage(delivery, sign)),
        publishAlert: (delivery) => publish(alertMessage(delivery)),
        notifyAlert: async () => {},
        machine: { ...DEFAULT_DEVICE_MACHINE, ...machine },
      }),
    ],
    sources: [nodeStatusSource, deviceReportsSource],
    outlets: [configOutlet(sign)],
    owner: 'test',
  });
  const hub = new Hub(redis.reader, systemClock);
  const client = new Client({ store: redis.store, reader: redis.reader, replies: redis.replies, hub, types: engine.types, clock: systemClock });

  const serve = async (): Promise<DeviceService> => {
    const own = new Redis(server.url);
    const subscriber = new Redis(server.url);
    const devices = createDevices({
      client,
      reader: redis.reader,
      enrolment: createEnrolment({ client: own, subscriber, keys: redis.keys }),
      clock: systemClock,
      randomBytes,
      parseConfig: (value) => parseDeviceConfig(value, catalogueOf()),
      configKey: publicKey,
      orgName: (orgId) => `The ${orgId}`,
      settings,
    });
    await devices.listen();
    onTestFinished(async () => {
      await devices.close();
      own.disconnect();
      subscriber.disconnect();
    });
    return devices;
  };

  await client.start();
  await engine.start();
  onTestFinished(async () => {
    await client.stop();
    await engine.stop();
    await redis.close();
    raw.disconnect();
  });
  const devices = await serve();
  return {
    redis,
    raw,
    client,
    devices,
    publicKey,
    another: serve,
    async untilState(deviceId, state) {
      let last: DeviceView | undefined;
      return await until(
        async () => ((last = await devices.get(deviceId)) !== undefined && last.state === state ? last : undefined),
        () => `${deviceId} is ${JSON.stringify(last)}, not ${state}`,
      );
    },
  };
}
