/** A node agent in a process of its own, as `castellan work` puts it together: status, configurations, the loop that keeps them. */
import { parseArgs } from 'node:util';
import { pino } from 'pino';
import { systemClock } from '../../../src/agent/clock.ts';
import { redisConfigSource } from '../../../src/agent/config-source-redis.ts';
import { createAgent } from '../../../src/agent/create-agent.ts';
import { Provisioning } from '../../../src/agent/provisioning.ts';
import { redisPublisher } from '../../../src/agent/redis-publisher.ts';
import { loadCatalogue } from '../../../src/provisioning/node-catalogue.ts';
import { parseRedisUrl } from '../../../src/redis/target.ts';

const { values } = parseArgs({
  options: {
    node: { type: 'string', default: 'node-1' },
    redis: { type: 'string', default: '' },
    docker: { type: 'string', default: '' },
    folder: { type: 'string', default: '' },
    catalogue: { type: 'string', default: '' },
    key: { type: 'string' },
    device: { type: 'string', default: '' },
  },
});
const { node: nodeId, folder, docker: dockerHost, key: configKey, device: deviceId } = values;
const log = pino({ level: process.env['LOG_LEVEL'] ?? 'info' });
const clock = systemClock();
const redis = parseRedisUrl(values.redis);
const random = (): number => Math.random();

const provisioning = new Provisioning({
  nodeId,
  folder,
  source: redisConfigSource({ redis, nodeId, deviceId: () => deviceId || undefined, bell: 'castellan:bell:sources', random, log }),
  catalogue: loadCatalogue(values.catalogue),
  enrolled: () => (configKey === undefined ? undefined : { configKey, deviceId }),
  allowManual: process.env['CASTELLAN_ALLOW_MANUAL_CONFIG'] === 'true',
  onRedeemed: () => agent.setDeviceCode(undefined),
  dockerHost,
  reconcileEveryMs: 1_000,
  clock,
  log,
});
const intervalMs = 1_000;
const publisher = redisPublisher({ redis, intervalMs, random, log });
const agent = createAgent({ nodeId, intervalMs, statusPort: 0, publisher, profile: provisioning.profile, dockerHost, log });

await provisioning.start();
await agent.start();
process.once('SIGTERM', () => {
  void (async () => {
    await provisioning.stop();
    await agent.stop();
  })();
});
