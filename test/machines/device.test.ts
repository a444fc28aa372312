/** The life of a device sentence by sentence: from its code over its configuration to its services, and every way that stops on the way. */
import { beforeEach, describe, expect, it } from 'vitest';
import { deviceType } from '../../machines/device/definition.ts';
import type { DeviceContext } from '../../machines/device/context.ts';
import type { MachineEvent } from '../../src/protocol/envelope.ts';
import { given, type TestActor } from '../../src/testing/index.ts';

const MINUTE = 60_000;
const request = { type: 'request', clientId: 'castellan', hostname: 'gpu-1', address: '10.0.0.7', lifetimeMs: 10 * MINUTE };
const approve = { type: 'approve', by: 'ada', orgId: 'acme', nodeId: 'gpu-1' };
const seen = { type: 'seen', nodeId: 'gpu-1', orgId: 'acme' };
const nodeState = (state: string): MachineEvent => ({ type: 'nodeState', nodeId: 'gpu-1', state });
const configure = (config: object): MachineEvent => ({ type: 'configure', by: 'ada', config: config as never });
const ollama = configure({ services: [{ name: 'ollama' }], autoStartServices: true });
const report = (phase: string, fields: object = {}): MachineEvent => ({
  type: 'report',
  nodeId: 'gpu-1',
  phase,
  desiredRevision: 1,
  appliedRevision: null,
  services: [],
  timestamp: '2026-01-01T00:00:00Z',
  ...fields,
});
const healthy = report('applied', { appliedRevision: 1, services: [{ name: 'ollama', phase: 'healthy' }] });

let device: TestActor;
beforeEach(() => {
  device = given(deviceType(), { id: 'd1' });
});

const contextOf = (actor: TestActor): DeviceContext => actor.context as unknown as DeviceContext;
const reason = (): string | null => contextOf(device).reason;
const state = (): string => device.states[0]?.replace('active.', '') ?? '';
const to = (address: string) => device.messages.filter((message) => message.to.startsWith(address)).map(({ event }) => event);
const ready = (): TestActor => device.when(request).when(approve).when(seen);
const running = (): TestActor => ready().when(ollama).when(healthy);

describe('a code on a screen', () => {
  it('waits for approval, and expires when nobody came', () => {
    device.when(request);
    expect([state(), reason()]).toEqual(['pending', 'it waits for approval']);
    device.after(10 * MINUTE);
    expect([state(), reason()]).toEqual(['expired', 'its code expired before anybody approved it']);
    expect(device.when(approve).outcome).toBe('ignored');
  });

  it('is denied by a person, and takes no approval any more', () => {
    device.when(request).when({ type: 'deny', by: 'ada' });
    expect([state(), reason()]).toEqual(['denied', 'it was denied by ada']);
    expect(device.when(approve).outcome).toBe('ignored');
  });

  it('is approved: it says what it waits for', () => {
    device.when(request).when(approve);
    expect([state(), reason()]).toEqual(['registered', 'no configuration was saved; its node gpu-1 has not reported yet']);
  });

  it('that nobody requested is no error when a node names it, and takes nothing from people', () => {
    device.when(seen).when(nodeState('online'));
    expect(state()).toBe('unclaimed');
    for (const event of [approve, ollama, report('applied'), { type: 'revoke', by: 'ada' }, { type: 'redeemed' }])
      expect(device.rejects(event)).toMatchObject({ code: 'unknown_device' });
  });
});

describe('a saved configuration', () => {
  it('is pushed once when the node is seen for the first time, and the agent is told to send its code no more', () => {
    device.when(request).when(approve).when(ollama);
    expect(device.messages).toEqual([]);
    expect(reason()).toBe('its node gpu-1 has not reported yet');
    device.when(seen);
    expect(to('config/gpu-1')).toEqual([{ type: 'push', deviceId: 'd1', revision: 1, config: { services: [{ name: 'ollama' }], autoStartServices: true } }]);
    expect(to('node/gpu-1')).toEqual([{ type: 'device', device: 'd1', orgId: 'acme', gpuHigh: null }]);
    expect(device.commands.map(({ params }) => (params as { kind: string }).kind)).toEqual(['device_redeemed', 'config_updated']);
    expect([state(), reason()]).toEqual(['configuring', 'revision 1 was pushed; the agent has not reported on it yet']);
    expect(to('config/')).toHaveLength(1);
    device.when(seen);
    expect(to('config/')).toEqual([]);
  });

  it('is pushed when the node is there although it never sent the code', () => {
    device.when(request).when(approve).when(ollama).when({ type: 'redeemed' });
    expect(to('node/gpu-1')).toHaveLength(1);
    device.when(nodeState('online'));
    expect(to('config/gpu-1')).toHaveLength(1);
  });

  it('waits in a device whose code was seen before its approval, for the node that showed it', () => {
    device.when(request).when(seen).when(approve);
    expect(to('node/gpu-1')).toHaveLength(1);
    device.when(ollama);
    expect([state(), to('config/gpu-1').length]).toEqual(['configuring', 1]);
  });

  it('keeps what the revision before it said and it leaves out', () => {
    ready()
      .when(configure({ services: [{ name: 'ollama' }], alertOnOffline: true }))
      .when(configure({ services: [{ name: 'vllm' }], deviceName: 'Box' }));
    expect(contextOf(device).desired).toEqual({
      revision: 2,
      by: 'ada',
      config: { services: [{ name: 'ollama' }, { name: 'vllm' }], alertOnOffline: true, deviceName: 'Box' },
    });
    expect(contextOf(device).name).toBe('Box');
  });

  it('asks for what it replaces until that was applied, and no longer', () => {
    ready()
      .when(ollama)
      .when(configure({ services: [], replaceServices: true }))
      .when(configure({ sshEnabled: true }));
    expect(contextOf(device).desired?.config).toEqual({ services: [], replaceServices: true, autoStartServices: true, sshEnabled: true });
    device.when(report('applied', { desiredRevision: 3, appliedRevision: 3 })).when(configure({ sshEnabled: false }));
    expect(contextOf(device).desired?.config).toEqual({ services: [], autoStartServices: true, sshEnabled: false });
  });

  it('is refused when it holds what none may hold', () => {
    ready();
    for (const config of [{ privileged: true }, { services: [{ name: 'ollama', image: 'evil' }] }, { services: ['ollama'] }])
      expect(() => device.when(configure(config)), JSON.stringify(config)).toThrow(/config/);
    expect(contextOf(device).desired).toBeNull();
  });

  it('asks no more for services that were taken back; what ran before is still asked for', () => {
    running().when(configure({ services: [{ name: 'beta' }], replaceServices: true, alertOnOffline: true }));
    device.when(report('rolled-back', { desiredRevision: 2, appliedRevision: 1, services: [{ name: 'beta', phase: 'failed', message: 'no' }] }));
    device.when(report('drifted', { desiredRevision: 2, appliedRevision: 1, services: [{ name: 'ollama', phase: 'starting' }] }));
    expect(state()).toBe('drifted');
    device.when(configure({ services: [{ name: 'vllm' }] }));
    expect(contextOf(device).desired?.config).toEqual({
      services: [{ name: 'ollama' }, { name: 'vllm' }],
      autoStartServices: true,
      alertOnOffline: true,
    });
    const refused = given(deviceType(), { id: 'd2' }).when(request).when(approve).when(seen).when(ollama);
    refused.when(report('rejected', { error: { code: 'invalid_config', message: 'no' } })).when(configure({ deviceName: 'Box' }));
    expect(contextOf(refused).desired?.config).toEqual({ autoStartServices: true, deviceName: 'Box' });
  });

  it('gets a revision after all that the node ever spoke of', () => {
    ready()
      .when(report('applied', { desiredRevision: 41, appliedRevision: 41 }))
      .when(ollama);
    expect(contextOf(device).desired?.revision).toBe(42);
  });
});

describe('an agent', () => {
  it('tells how far it is; percentages cost no revision', () => {
    ready().when(ollama);
    device.when(report('applying', { services: [{ name: 'ollama', phase: 'pulling', percent: 3 }] }));
    expect(reason()).toBe('revision 1 is being applied: ollama is pulling');
    device.when(report('applying', { services: [{ name: 'ollama', phase: 'pulling', percent: 60 }] }));
    expect(device.outcome).toBe('touch');
    expect(device.storedDocument).toMatchObject({ services: [{ percent: 60 }] });
    device.when(report('applying', { services: [{ name: 'ollama', phase: 'starting' }] }));
    expect(reason()).toBe('revision 1 is being applied: ollama is starting');
    device.when(healthy);
    expect([state(), reason(), device.timers]).toEqual(['servicesRunning', null, []]);
  });

  const ends: [string, MachineEvent, string, string | null][] = [
    ['has nothing to run', report('applied', { appliedRevision: 1 }), 'configured', 'no service was chosen'],
    ['only records', report('recorded', { appliedRevision: 1 }), 'configured', 'its services are recorded and not started, as autoStartServices is false'],
    [
      'runs some of it',
      report('applied', {
        appliedRevision: 1,
        services: [
          { name: 'a', phase: 'healthy' },
          { name: 'b', phase: 'failed', message: 'exit 137\nout of memory' },
        ],
      }),
      'partiallyRunning',
      'b failed: exit 137\nout of memory',
    ],
    [
      'stops what it was asked to stop',
      report('applied', {
        appliedRevision: 1,
        services: [
          { name: 'ollama', phase: 'healthy' },
          { name: 'old', phase: 'stopped' },
        ],
      }),
      'servicesRunning',
      null,
    ],
    [
      'misses what it was asked to run',
      report('applied', { appliedRevision: 1, services: [{ name: 'ollama', phase: 'stopped' }] }),
      'partiallyRunning',
      'ollama stopped',
    ],
    ['has stopped all', report('applied', { appliedRevision: 1, services: [{ name: 'old', phase: 'stopped' }] }), 'configured', 'no service was chosen'],
    [
      'goes back, and says why once',
      report('rolled-back', {
        services: [
          { name: 'a', phase: 'stopped' },
          { name: 'b', phase: 'failed', message: 'no GPU' },
        ],
        error: { code: 'service_unhealthy', message: 'no GPU' },
      }),
      'rolledBack',
      'revision 1 was taken back, and the node is as it was before: no GPU',
    ],
    [
      'goes back',
      report('rolled-back', { services: [{ name: 'b', phase: 'failed', message: 'no GPU' }] }),
      'rolledBack',
      'revision 1 was taken back, and the node is as it was before: b failed: no GPU',
    ],
    [
      'refuses',
      report('rejected', { error: { code: 'invalid_config', message: 'is no service of the catalogue', field: 'services[0].name' } }),
      'failed',
      'the node refused revision 1, and the node is as it was before: services[0].name: is no service of the catalogue',
    ],
    [
      'fails',
      report('failed', { error: { code: 'engine', message: 'Docker does not answer' } }),
      'failed',
      'revision 1 could not be applied: Docker does not answer',
    ],
    [
      'repairs',
      report('drifted', { appliedRevision: 1, services: [{ name: 'ollama', phase: 'stopped' }] }),
      'drifted',
      'a service is not as it should be and is being repaired: ollama stopped',
    ],
  ];
  it.each(ends)('that %s', (_what, event, expected, why) => {
    ready().when(ollama).when(event);
    expect([state(), reason()]).toEqual([expected, why]);
  });

  it('that tells nothing is asked again with growing pauses while its node is there, and not while it is away', () => {
    ready()
      .when(nodeState('online'))
      .when(ollama)
      .after(10 * MINUTE);
    expect(to('config/gpu-1')).toHaveLength(1);
    expect(reason()).toBe('revision 1 was pushed again: the agent has not reported on it');
    device.after(19 * MINUTE);
    expect(to('config/')).toEqual([]);
    device.when(nodeState('offline')).after(5 * MINUTE);
    expect([to('config/').length, reason()]).toEqual([0, 'revision 1 waits: its node gpu-1 is offline']);
    device.when(nodeState('online'));
    expect(to('config/')).toHaveLength(1);
  });

  it('that speaks of another revision changes nothing and is counted', () => {
    running().when(configure({ services: [{ name: 'vllm' }] }));
    device.when(report('failed', { desiredRevision: 1 }));
    expect([state(), contextOf(device).lateReports]).toEqual(['configuring', 1]);
    device.when(report('applied', { desiredRevision: null }));
    expect([state(), contextOf(device).lateReports]).toEqual(['configuring', 2]);
  });

  it('of another node speaks for nobody', () => {
    running();
    expect(device.rejects({ ...healthy, nodeId: 'evil' })).toMatchObject({ code: 'wrong_node', field: 'nodeId' });
    expect(device.rejects({ ...seen, nodeId: 'evil' })).toMatchObject({ code: 'wrong_node' });
    expect(device.when({ ...nodeState('offline'), nodeId: 'evil' }).outcome).toBe('ignored');
  });

  it('that refuses what is not ours leaves its device as it was', () => {
    const forged = report('rejected', { desiredRevision: null, appliedRevision: 1, error: { code: 'unsigned', message: 'no signature', field: 'signature' } });
    running().when(forged);
    expect([state(), reason(), contextOf(device).lateReports]).toEqual(['servicesRunning', null, 1]);
    device.when(configure({ services: [{ name: 'vllm' }] })).when(forged);
    const why = 'revision 2 was pushed; the agent has refused a configuration that it does not take for ours: no signature';
    expect([state(), reason(), device.timers.length]).toEqual(['configuring', why, 1]);
    device.when(report('applied', { desiredRevision: 2, appliedRevision: 2, services: [{ name: 'vllm', phase: 'healthy' }] }));
    expect([state(), reason()]).toEqual(['servicesRunning', null]);
  });

  it('may tell of a manual configuration while none of ours is awaited', () => {
    running().when(report('applied', { desiredRevision: null, appliedRevision: 1, services: [{ name: 'x', phase: 'failed', message: 'no' }] }));
    expect([state(), reason()]).toEqual(['partiallyRunning', 'x failed: no']);
  });
});

describe('its node', () => {
  it('is named as the reason while it is offline', () => {
    running().when(nodeState('offline'));
    expect([state(), reason()]).toEqual(['servicesRunning', 'its node gpu-1 is offline']);
    device.when(nodeState('online'));
    expect(reason()).toBeNull();
  });
});

describe('alerts', () => {
  const conditions = () => to('alert/');

  it('follow the configuration: nothing is told without it', () => {
    running().when(nodeState('offline'));
    expect(conditions()).toEqual([]);
    device.when(configure({ alertOnOffline: true }));
    expect(to('alert/gpu-1.offline')).toMatchObject([{ on: true, holdMs: 0, reason: 'node gpu-1 is offline', orgId: 'acme' }]);
    device.when(nodeState('online'));
    expect(conditions()).toMatchObject([{ on: false, kind: 'offline', reason: 'node gpu-1 is online' }]);
  });

  it('of heat are held for a minute, with the threshold of the configuration told to the node', () => {
    ready().when(configure({ alertOnHighTemp: 75 }));
    expect(to('node/gpu-1')).toMatchObject([{ gpuHigh: 75 }]);
    device.when({ type: 'nodeHealth', nodeId: 'gpu-1', gpu: 'high', gpuTemperature: 91 });
    expect(conditions()).toMatchObject([{ on: true, kind: 'high-temperature', holdMs: MINUTE, reason: 'a GPU is at 91 °C' }]);
    device.when(configure({ alertOnHighTemp: false }));
    expect(conditions()).toMatchObject([{ on: false, reason: 'the alert was turned off' }]);
    expect(to('node/gpu-1')).toMatchObject([{ gpuHigh: null }]);
  });

  it('of health end when the node is offline: that is another incident', () => {
    ready()
      .when(configure({ healthMonitoringEnabled: true }))
      .when({ type: 'nodeHealth', nodeId: 'gpu-1', services: 'degraded' });
    expect(conditions()).toMatchObject([{ on: true, kind: 'degraded', reason: 'a service of node gpu-1 is degraded' }]);
    device.when(nodeState('offline'));
    expect(conditions()).toMatchObject([{ on: false, kind: 'degraded' }]);
  });

  it('are over when the device is revoked', () => {
    ready()
      .when(configure({ alertOnOffline: true }))
      .when(nodeState('offline'))
      .when({ type: 'revoke', by: 'ada' });
    expect([state(), reason()]).toEqual(['revoked', 'it was revoked by ada']);
    expect(conditions()).toMatchObject([{ on: false, reason: 'the device was revoked' }]);
    expect(device.when(nodeState('online')).outcome).toBe('ignored');
  });
});
