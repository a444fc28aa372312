/** The verification steps for configurations as the first document has them, on real Redis and a real Docker engine; two agents on one stream. */
import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { promisify } from 'node:util';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { publicKeyText, signConfig } from '../../../src/provisioning/config-signature.ts';
import { HOSTILE_CONFIGS, hostileEnvelopes } from '../../provisioning/hostile-configs.ts';
import { startTestRedis, type TestRedis } from '../../redis-server.ts';
import { ENGINE_TIMEOUT_MS, whyNoEngine } from '../docker-engine.ts';
import { until } from '../until.ts';
import { Agents } from './agents.ts';
import { startWorld, type World } from './world.ts';
import type { ConfigReport } from '../../../src/protocol/device-config.ts';

type ToldReport = ConfigReport & { readonly nodeId: string };

const missing = await whyNoEngine();
const run = promisify(execFile);

describe.skipIf(missing !== undefined)('a real engine and a real Redis', () => {
  let world: World;
  let server: TestRedis;
  let redis: Redis;
  let agents: Agents;
  beforeAll(async () => {
    [world, server] = await Promise.all([startWorld(), startTestRedis()]);
    redis = new Redis(server.url);
    agents = new Agents(world, server.url);
  }, ENGINE_TIMEOUT_MS);
  afterAll(async () => {
    redis.disconnect();
    await Promise.all([world.stop(), server.stop()]);
  });
  afterEach(async () => {
    await agents.stop();
    await world.clean();
    await redis.flushall();
  });
  const cli = async (...args: string[]): Promise<string> => (await run('redis-cli', ['-p', String(server.port), ...args])).stdout.trim();
  const reports = async (): Promise<readonly ToldReport[]> => {
    const entries = await redis.xrange('device:reports', '-', '+');
    return entries.map(([, fields]) => ({ nodeId: fields[1], ...JSON.parse(fields.at(-1) as string) }));
  };
  const ended = async (nodeId = 'node-1') =>
    await until(`${nodeId} has told an end`, async () => (await reports()).find((each) => each.nodeId === nodeId && each.phase !== 'applying'), 60_000);

  test('redis-cli XADD; docker ps | grep citadel-ollama; nothing is pending; its models are in the status', async () => {
    await agents.start();
    await cli('XADD', 'jobs:v1:config', '*', 'jobId', 'test-123', 'type', 'APPLY_DEVICE_CONFIG', 'payload', '{"services":["ollama"],"autoStartServices":true}');
    expect(await ended()).toMatchObject({ phase: 'applied', jobId: 'test-123', services: [{ name: 'ollama', phase: 'healthy' }] });
    const { stdout } = await run('sh', ['-c', `docker -H ${world.engine.host} ps | grep citadel-ollama`]);
    expect(stdout).toContain('127.0.0.1:11434->11434/tcp');
    await until('nothing is pending', async () => (await cli('XPENDING', 'jobs:v1:config', 'citadel-config-consumers')).startsWith('0'));
    await until('the models are in the status', async () => {
      const [entry] = await redis.xrevrange('node:status:stream', '+', '-', 'COUNT', 1);
      const services = JSON.parse(entry?.[1][5] ?? '{}').status?.services ?? [];
      return services.some(({ name, models }: { name: string; models?: string[] }) => name === 'ollama' && models?.[0] === 'llama3:8b');
    });
    const progress = (await redis.xrange('job:reports', '-', '+')).map(([, fields]) => JSON.parse(fields[3] as string));
    expect(progress.map(({ jobId }) => jobId)).toContain('test-123');
    expect(progress.at(-1)).toMatchObject({ type: 'end', data: { origin: { type: 'APPLY_DEVICE_CONFIG', via: 'none' }, result: { phase: 'applied' } } });
  });

  test('name and tags are in the next status; ssh is refused; what is not known is told', async () => {
    await agents.start();
    const config = { deviceName: 'Rack 4', customTags: ['lab', 'a100'], sshEnabled: true, shellEnabled: true };
    await redis.xadd('jobs:v1:config', '*', 'jobId', 'n-1', 'type', 'APPLY_DEVICE_CONFIG', 'payload', JSON.stringify({ config }));
    expect(await ended()).toMatchObject({ phase: 'applied', unsupported: ['shellEnabled'], refused: ['sshEnabled'] });
    await until('the status has them', async () => {
      const [entry] = await redis.xrevrange('node:status:stream', '+', '-', 'COUNT', 1);
      const node = JSON.parse(entry?.[1][5] ?? '{}').status?.node;
      return node?.name === 'Rack 4' && JSON.stringify(node.tags) === '["lab","a100"]';
    });
  });

  test('an entry that names a node is left to it, and taken over within 5 s', async () => {
    // The other one reads it first: it is alone.
    await agents.start({ node: 'node-2' });
    await redis.xadd('jobs:v1:config', '*', 'jobId', 'for-1', 'type', 'APPLY_DEVICE_CONFIG', 'payload', '{"deviceName":"one","target_node":"node-1"}');
    await until('node-2 holds it', async () =>
      (await cli('XPENDING', 'jobs:v1:config', 'citadel-config-consumers', '-', '+', '10')).includes('castellan:node-2'),
    );
    await agents.start({ node: 'node-1' });
    expect(await ended('node-1')).toMatchObject({ phase: 'applied', jobId: 'for-1' });
    await until('nothing is pending', async () => (await cli('XPENDING', 'jobs:v1:config', 'citadel-config-consumers')).startsWith('0'));
    expect((await reports()).filter(({ nodeId }) => nodeId === 'node-2')).toEqual([]);
  });

  test('a container that was stopped by hand is brought back, and one that was removed; a stranger is left alone', async () => {
    await agents.start();
    await redis.xadd('jobs:v1:config', '*', 'jobId', 'd-1', 'type', 'APPLY_DEVICE_CONFIG', 'payload', '{"services":["beta"]}');
    await ended();
    const stranger = await world.engine.docker.createContainer({ name: 'citadel-handmade', Image: 'castellan/probe:1', Cmd: ['/bin/sleep', '1000'] });
    const runs = async () => (await world.containers())['citadel-beta']?.running === true;
    await world.engine.docker.getContainer('citadel-beta').stop({ t: 0 });
    await until('it runs again', runs, 60_000);
    await until('it was told', async () => {
      const phases = (await reports()).map(({ phase }) => phase);
      return phases.includes('drifted') && phases.at(-1) === 'applied';
    });
    await world.engine.docker.getContainer('citadel-beta').remove({ force: true });
    await until('it is made again', runs, 60_000);
    expect((await stranger.inspect()).State.Status).toBe('created');
  });

  const pushAll = async (payloads: readonly string[]): Promise<void> => {
    for (const [index, payload] of payloads.entries())
      await redis.xadd('jobs:v1:config', '*', 'jobId', `h-${index}`, 'type', 'APPLY_DEVICE_CONFIG', 'payload', payload);
    await until('all are acknowledged', async () => {
      const [group] = (await redis.xinfo('GROUPS', 'jobs:v1:config').catch(() => [])) as unknown[][];
      const valueOf = (name: string) => group?.[group.indexOf(name) + 1];
      return valueOf('pending') === 0 && valueOf('lag') === 0;
    });
  };

  test('forty hostile configurations are answered with the field at fault, and change nothing', async () => {
    await agents.start();
    await pushAll(HOSTILE_CONFIGS.map(({ payload }) => payload));
    const told = new Map((await reports()).filter(({ phase }) => phase !== 'applying').map((each) => [each.jobId, each]));
    for (const [index, { what, field }] of HOSTILE_CONFIGS.entries())
      expect(told.get(`h-${index}`), what).toMatchObject({ phase: 'rejected', error: { field } });
    expect(await world.containers()).toEqual({});
  });

  test('an enrolled node takes what is signed for it, once, and refuses all else by the name of what is wrong', async () => {
    const [key, another] = [generateKeyPairSync('ed25519').privateKey, generateKeyPairSync('ed25519').privateKey];
    await agents.start({ args: ['--key', publicKeyText(key) ?? '', '--device', 'device-1'] });
    const at = (offsetMs: number): string => new Date(Date.now() + offsetMs).toISOString();
    const valid = { config: { deviceName: 'signed' }, nodeId: 'node-1', deviceId: 'device-1', revision: 5, issuedAt: at(0), expiresAt: at(3_600_000) };
    const envelope = signConfig(valid, key);
    await redis.xadd('jobs:v1:config', '*', 'jobId', 'cfg-5', 'type', 'APPLY_DEVICE_CONFIG', 'payload', JSON.stringify({ ...envelope, target_node: 'node-1' }));
    expect(await ended()).toMatchObject({ phase: 'applied', desiredRevision: 5, appliedRevision: 5 });
    // The same again, by the channel and by the stream.
    await redis.publish('config:node:node-1', JSON.stringify({ type: 'config_updated', updatedAt: at(0), ...envelope }));
    const { config, ...rest } = { ...valid, revision: 6 };
    await redis.publish('config:node:node-1', JSON.stringify({ type: 'config_updated', nodeId: 'node-1', config, updatedAt: at(0) }));
    const hostile = hostileEnvelopes({ config, ...rest }, key, another, 4, { issuedAt: at(-7_200_000), expiresAt: at(-3_600_000) });
    const mine = hostile.filter(({ payload }) => !payload.includes('"another-node"'));
    expect(hostile.length - mine.length).toBe(1);
    await pushAll(mine.map(({ payload }) => payload));
    const told = (await reports()).filter(({ phase }) => phase !== 'applying');
    for (const [index, { what, code, field }] of mine.entries()) {
      expect(
        told.find(({ jobId }) => jobId === `h-${index}`),
        what,
      ).toMatchObject({ phase: 'rejected', error: { code, field } });
    }
    expect(told.filter(({ phase }) => phase === 'applied')).toHaveLength(1);
  });
});
