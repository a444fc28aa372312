/** Applying configurations on a real Docker engine, which this test starts and ends; skipped, with the reason, where it cannot. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { whyNoEngine } from '../docker-engine.ts';
import { startNode, startWorld, type TestNode, type World } from './world.ts';

const missing = await whyNoEngine();
if (missing !== undefined) console.warn(`Tests with a real Docker engine are skipped: ${missing}.`);

describe.skipIf(missing !== undefined)('a real engine', () => {
  let world: World;
  let node: TestNode;
  beforeAll(async () => void (world = await startWorld()));
  afterAll(async () => await world.stop());
  beforeEach(async () => void (node = await startNode(world)));
  afterEach(async () => {
    await node.stop();
    await world.clean();
  });
  const reply = async (service: string): Promise<string> => {
    const answer = await fetch(`http://127.0.0.1:${world.ports[service]}/health`);
    return (await answer.text()).trim();
  };

  test('a service that is named runs, hardened, and is told healthy', async () => {
    const report = await node.apply({ services: ['alpha'] });
    expect(report).toMatchObject({ phase: 'applied', services: [{ name: 'alpha', phase: 'healthy' }], desiredRevision: null });
    expect(await reply('alpha')).toBe('one');
    const { HostConfig, Config, Mounts } = await world.engine.docker.getContainer('citadel-alpha').inspect();
    expect(HostConfig).toMatchObject({ Privileged: false, CapDrop: ['ALL'], SecurityOpt: ['no-new-privileges'], PidsLimit: 32, ReadonlyRootfs: true });
    expect(HostConfig).toMatchObject({
      Memory: 64 * 1024 * 1024,
      NanoCpus: 500_000_000,
      NetworkMode: 'citadel-alpha',
      RestartPolicy: { Name: 'unless-stopped' },
    });
    expect(HostConfig.PortBindings).toEqual({ '8080/tcp': [{ HostIp: '127.0.0.1', HostPort: String(world.ports['alpha']) }] });
    expect(Mounts.map(({ Type, Name, Destination }) => ({ Type, Name, Destination }))).toEqual([
      { Type: 'volume', Name: 'citadel-alpha-data', Destination: '/data' },
    ]);
    expect(Config.Labels).toMatchObject({ 'castellan.service': 'alpha', 'castellan.revision': 'manual' });
  });

  test('changed parameters that never get healthy: back to the container that ran before', async () => {
    await node.apply({ services: ['alpha'] });
    const before = await world.containers();
    const report = await node.apply({ services: [{ name: 'alpha', parameters: { mode: 'sick' } }] });
    expect(report).toMatchObject({ phase: 'rolled-back', error: { code: 'service_unhealthy' }, services: [{ name: 'alpha', phase: 'failed' }] });
    expect(report.services[0]?.message).toContain('mode sick reply one');
    expect(await world.containers()).toEqual(before);
    expect(await reply('alpha')).toBe('one');
  });
});
