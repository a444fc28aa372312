/** Applying configurations on a real Docker engine, which this test starts and ends; skipped, with the reason, where it cannot. */
import { once } from 'node:events';
import { createServer } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ENGINE_TIMEOUT_MS, whyNoEngine } from '../docker-engine.ts';
import { startNode, startWorld, type TestNode, type World } from './world.ts';

const missing = await whyNoEngine();
if (missing !== undefined) console.warn(`Tests with a real Docker engine are skipped: ${missing}.`);

describe.skipIf(missing !== undefined)('a real engine', () => {
  let world: World;
  let node: TestNode;
  beforeAll(async () => void (world = await startWorld()), ENGINE_TIMEOUT_MS);
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

  test('services that are not named stay as they are; those that already run as they should are not touched', async () => {
    await node.apply({ services: ['alpha'] });
    const before = await world.containers();
    const report = await node.apply({ services: ['alpha', 'beta'] });
    expect(report.services).toEqual([
      { name: 'alpha', phase: 'unchanged' },
      { name: 'beta', phase: 'healthy' },
    ]);
    expect((await world.containers())['citadel-alpha']).toEqual(before['citadel-alpha']);
    const renamed = await node.apply({ deviceName: 'Rack 4' });
    expect(renamed).toMatchObject({ phase: 'applied', services: [{ phase: 'unchanged' }, { phase: 'unchanged' }] });
    expect(node.applier.settings).toEqual({ deviceName: 'Rack 4' });
  });

  test('a new service that never gets healthy is taken away; the others ran on', async () => {
    await node.apply({ services: ['alpha'] });
    const before = await world.containers();
    const report = await node.apply({ deviceName: 'never', services: ['alpha', { name: 'beta', parameters: { mode: 'falls' } }] });
    expect(report).toMatchObject({ phase: 'rolled-back', appliedRevision: null });
    expect(report.services).toMatchObject([
      { name: 'alpha', phase: 'unchanged' },
      { name: 'beta', phase: 'failed' },
    ]);
    expect(await world.containers()).toEqual(before);
    expect(node.applier.settings).toEqual({});
    const { Networks } = await world.engine.docker.listNetworks().then((all) => ({ Networks: all.map(({ Name }) => Name) }));
    expect(Networks).not.toContain('citadel-beta');
  });

  test('the last lines of a container are told without its secrets', async () => {
    const report = await node.apply({ services: [{ name: 'alpha', parameters: { mode: 'falls' } }] });
    expect(report.phase).toBe('rolled-back');
    expect(report.error?.message).toContain('falling with ***');
    const journalAndState = JSON.stringify([node.reports, node.applier.state]);
    expect(journalAndState).not.toMatch(/falling with [A-Za-z0-9_-]{16,}/);
  });

  test('empty services are refused unless the rest is to be replaced', async () => {
    await node.apply({ services: ['alpha', 'beta'] });
    expect(await node.apply({ services: [] })).toMatchObject({ phase: 'rejected', error: { code: 'invalid_config', field: 'services' } });
    const one = await node.apply({ services: ['beta'], replaceServices: true });
    expect(one).toMatchObject({
      phase: 'applied',
      services: [
        { name: 'beta', phase: 'unchanged' },
        { name: 'alpha', phase: 'stopped' },
      ],
    });
    expect(Object.keys(await world.containers())).toEqual(['citadel-beta']);
    expect(await node.apply({ services: [], replaceServices: true })).toMatchObject({ phase: 'applied' });
    expect(await world.containers()).toEqual({});
  });

  test('without autoStartServices the services are recorded, and run when it is switched on', async () => {
    const recorded = await node.apply({ services: ['beta'], autoStartServices: false });
    expect(recorded).toMatchObject({ phase: 'recorded', services: [{ name: 'beta', phase: 'waiting' }] });
    expect(await world.containers()).toEqual({});
    expect(await node.apply({ autoStartServices: true })).toMatchObject({ phase: 'applied', services: [{ name: 'beta', phase: 'healthy' }] });
  });

  test("a container that somebody made under a service's name is left alone, and the configuration refused", async () => {
    const made = await world.engine.docker.createContainer({ name: 'citadel-alpha', Image: 'castellan/probe:1', Cmd: ['/bin/sleep', '1000'] });
    const report = await node.apply({ services: ['beta', 'alpha'] });
    expect(report).toMatchObject({ phase: 'rejected', error: { code: 'name_taken', field: 'services[1]' } });
    expect(Object.keys(await world.containers())).toEqual(['citadel-alpha']);
    expect((await made.inspect()).State.Status).toBe('created');
  });

  test("a port that is taken is told in the engine's words, and nothing is left behind", async () => {
    const server = createServer().listen(world.ports['beta'], '127.0.0.1');
    await once(server, 'listening');
    const report = await node.apply({ services: ['beta'] });
    server.close();
    expect(report).toMatchObject({ phase: 'rolled-back', error: { code: 'engine_refused' }, services: [{ name: 'beta', phase: 'failed' }] });
    expect(report.error?.message).toMatch(/address already in use|port is already allocated/);
    expect(await world.containers()).toEqual({});
  });

  test("an image that cannot be had fails with the engine's words, before anything is touched", async () => {
    await node.apply({ services: ['alpha'] });
    const before = await world.containers();
    const report = await node.apply({ services: ['gamma', { name: 'alpha', parameters: { reply: 'two' } }] });
    expect(report).toMatchObject({ phase: 'rolled-back', error: { code: 'image_unavailable' } });
    expect(report.error?.message).toContain('127.0.0.1:1/nowhere/image:1');
    expect(await world.containers()).toEqual(before);
    expect(node.reports.some(({ services }) => services.some(({ name, phase }) => name === 'gamma' && phase === 'pulling'))).toBe(true);
  });

  test('a GPU service on a node without a GPU is refused by the name of its field', async () => {
    expect(await node.apply({ services: ['vllm'] })).toMatchObject({ phase: 'rejected', error: { code: 'gpu_missing', field: 'services[0]' } });
  });

  test('one delivery is applied once: the second is answered with what was kept, also after a restart', async () => {
    const first = await node.apply({ services: ['beta'] }, 'entry:1-0');
    const again = await startNode(world, { folder: node.folder });
    expect(await again.apply({ services: ['beta'] }, 'entry:1-0')).toEqual(first);
    expect(again.reports).toEqual([]);
    await again.stop();
  });
});
