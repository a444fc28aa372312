/** Status entries as good agents write them, in every accepted form, and what comes out. */
import { describe, expect, it } from 'vitest';
import { simulatedStatus, statusEntryFields } from '../../bench/simulated-status.ts';
import { fleetIncidentMessage, nodeStateMessage, nodeStatusPublication, nodeStatusSource } from '../../src/contracts/citadel.ts';
import { readNodeDocument } from '../../src/contracts/node-document.ts';
import { nodeEvents } from '../../machines/node/events.ts';
import { nodeStatus, statusMessage } from '../../src/agent/status.ts';
import type { DecodedEntry } from '../../src/protocol/source.ts';

const ID = '1700000000123-4';

const STATUS = {
  version: '1.0',
  timestamp: '2024-01-12T10:30:00Z',
  node: { name: 'gpu-node-01', tailscale_ip: '100.64.0.1', uptime_seconds: 86400 },
  system: { cpu_percent: 45.2, memory_used_gb: 24.5, memory_total_gb: 64, disk_used_gb: 450, disk_total_gb: 1000 },
  gpu: [
    { index: 0, name: 'NVIDIA RTX 3090', temperature_celsius: 72 },
    { index: 1, name: 'NVIDIA RTX 3090', temperature_celsius: 81 },
  ],
  services: [{ name: 'vllm', type: 'llm', status: 'running', port: 8000, health: 'healthy', models: ['meta-llama/Llama-3-8b'] }],
};

function entry(payload: unknown, nodeId = 'gpu-1', ...more: readonly string[]): readonly string[] {
  return ['nodeId', nodeId, 'timestamp', '2024-01-12T10:30:00Z', 'payload', typeof payload === 'string' ? payload : JSON.stringify(payload), ...more];
}

function wrapped(status: unknown, more: object = {}): object {
  return { version: '1.0', timestamp: '2024-01-12T10:30:00Z', nodeId: 'gpu-1', ...more, status };
}

function decoded(fields: readonly string[]): DecodedEntry & { readonly document: string } {
  const result = nodeStatusSource.decode(ID, fields);
  if (!result.ok || result.document === undefined) throw new Error(`refused: ${JSON.stringify(result)}`);
  return { ...result, document: result.document };
}

describe('whose entry it is', () => {
  it('is the node that the field names, wherever the field stands', () => {
    expect(nodeStatusSource.keyOf(['nodeId', 'gpu-1', 'payload', '{}'])).toBe('node/gpu-1');
    expect(nodeStatusSource.keyOf(['payload', 'nodeId', 'nodeId', 'gpu-2'])).toBe('node/gpu-2');
    expect(nodeStatusSource.keyOf(['node_id', 'gpu-3'])).toBe('node/gpu-3');
  });

  it.each(['', 'a/b', 'a b', '{x}', 'ä', 'x'.repeat(65), 'x\n', '__proto__'])('is nobody for the id %j', (nodeId) => {
    expect(nodeStatusSource.keyOf(['nodeId', nodeId])).toBeUndefined();
  });

  it('is nobody without the field', () => {
    expect(nodeStatusSource.keyOf(['payload', '{}'])).toBeUndefined();
    expect(nodeStatusSource.keyOf([])).toBeUndefined();
  });
});

describe('a status entry', () => {
  it('becomes a small event of facts and the payload as it came', () => {
    const payload = JSON.stringify(wrapped(STATUS));
    const { event, document } = decoded(entry(payload));
    expect(event).toEqual({ type: 'status', orgId: 'default', name: 'gpu-node-01', services: 'ok', gpuTemperature: 81, diskPercent: 45 });
    expect(document).toBe(`{"at":1700000000123,"status":${payload}}`);
    expect(readNodeDocument(document)).toEqual({ lastSeenAt: 1_700_000_000_123, status: STATUS });
  });

  it('makes an event that the node declares', () => {
    const { event } = decoded(entry(wrapped(STATUS)));
    expect(nodeEvents.status.safeParse(event).success).toBe(true);
  });

  it('is accepted in the flat form, also with a node id of its own', () => {
    expect(decoded(entry(STATUS)).event).toEqual(decoded(entry(wrapped(STATUS))).event);
    expect(decoded(entry({ nodeId: 'gpu-1', ...STATUS })).event.type).toBe('status');
    expect(readNodeDocument(decoded(entry(STATUS)).document).status).toEqual(STATUS);
  });

  it('keeps unknown fields in the document', () => {
    const payload = JSON.stringify(wrapped({ ...STATUS, later: { more: [1, { deep: true }] }, node: { ...STATUS.node, rack: 'r7' } }, { also: 1 }));
    expect(decoded(entry(payload)).document).toContain(payload);
  });

  it('needs no gpu, services, system or name; lists may be null', () => {
    const { event } = decoded(entry(wrapped({ gpu: null, services: null })));
    expect(event).toEqual({ type: 'status', orgId: 'default', name: 'gpu-1', services: 'ok', gpuTemperature: null, diskPercent: null });
  });

  it.each(['2024-01-12T10:30:00.123456789Z', '2024-01-12T10:30:00+02:00', '2024-01-12T10:30:00.5-0700', '2024-01-12T10:30:00.123456'])(
    'may carry the timestamp %s',
    (timestamp) => {
      expect(decoded(entry(wrapped({ ...STATUS, timestamp }, { timestamp }))).event.type).toBe('status');
    },
  );

  it('is read in camelCase too, and shown in the documented spelling', () => {
    const { event, document } = decoded(
      entry({
        version: '1.0',
        node_id: 'gpu-1',
        status: { node: { tailscaleIp: '100.64.0.9' }, system: { diskPercent: 12 }, gpu: [{ index: 0, temperatureCelsius: 66 }] },
      }),
    );
    expect(event).toMatchObject({ gpuTemperature: 66, diskPercent: 12 });
    expect(readNodeDocument(document).status).toEqual({
      node: { tailscale_ip: '100.64.0.9' },
      system: { disk_percent: 12 },
      gpu: [{ index: 0, temperature_celsius: 66 }],
    });
  });

  it('loses readings that mean "not read", from the facts and from the document', () => {
    const { event, document } = decoded(
      entry(
        wrapped({
          ...STATUS,
          system: { cpu_percent: -1, memory_used_gb: 'N/A', memory_total_gb: 64, disk_percent: null, disk_used_gb: -1 },
          gpu: [{ index: 0, name: 'a', temperature_celsius: '[Not Supported]', utilization_percent: -1 }],
        }),
      ),
    );
    expect(event).toMatchObject({ gpuTemperature: null, diskPercent: null });
    const { status } = readNodeDocument(document);
    expect(status['system']).toEqual({ memory_total_gb: 64 });
    expect(status['gpu']).toEqual([{ index: 0, name: 'a' }]);
    expect(status['services']).toEqual(STATUS.services);
  });

  it('takes the organisation from the entry, never from the payload', () => {
    expect(decoded(entry(wrapped(STATUS, { orgId: 'evil', org_id: 'evil' }), 'gpu-1', 'orgId', 'acme')).event['orgId']).toBe('acme');
    expect(decoded(entry(wrapped(STATUS, { orgId: 'evil' }))).event['orgId']).toBe('default');
  });

  it.each([
    [[{ name: 'a', status: 'running' }], 'ok'],
    [[{ name: 'a', status: 'stopped' }], 'ok'],
    [[{ name: 'a', status: 'running', health: 'degraded' }], 'degraded'],
    [
      [
        { name: 'a', status: 'running', health: 'degraded' },
        { name: 'b', status: 'error' },
      ],
      'failed',
    ],
    [[{ name: 'a', status: 'running', health: 'unhealthy' }], 'failed'],
    [[{ name: 'a', status: 'a later word', health: 'another' }], 'ok'],
  ])('with services %j is %s', (services, health) => {
    expect(decoded(entry(wrapped({ ...STATUS, services }))).event['services']).toBe(health);
  });

  it('of our own agent and of the simulated ones is accepted without a change of a character', () => {
    const observation = { node: { name: 'gpu-1', uptime_seconds: 5 }, system: { cpu_percent: 3 }, gpu: [], services: [] };
    const own = JSON.stringify(statusMessage('gpu-1', nodeStatus(observation, new Date(1_700_000_000_000))));
    expect(decoded(entry(own)).document).toContain(own);
    const simulated = simulatedStatus(42, 7, 1_700_000_000_000);
    expect(decoded(statusEntryFields(simulated)).document).toContain(simulated.payload);
    expect(simulated.payload.length).toBeGreaterThan(650);
    expect(simulated.payload.length).toBeLessThan(850);
  });
});

describe('a device code', () => {
  const SECRET = 'abc123-very-secret';

  it.each([
    ['in the entry and in the message', entry(wrapped(STATUS, { deviceCode: SECRET }), 'gpu-1', 'deviceCode', SECRET)],
    ['in snake_case', entry(wrapped(STATUS, { device_code: SECRET }), 'gpu-1', 'device_code', SECRET)],
    ['deep in the status', entry(wrapped({ ...STATUS, node: { name: 'x', deviceCode: SECRET } }))],
    ['in the flat form', entry({ ...STATUS, deviceCode: SECRET })],
    ['spelled with escapes', entry(JSON.stringify(wrapped(STATUS, { deviceCode: SECRET })).replace('deviceCode', String.raw`dev\u0069ceC\u006fde`))],
  ])('%s is in neither event nor document nor message', (_where, fields) => {
    const { event, document } = decoded(fields);
    expect(JSON.stringify(event) + document + published(document)[1]).not.toContain(SECRET);
    expect(readNodeDocument(document).status).toMatchObject({ system: STATUS.system });
  });

  it.each([
    ['beside a fault', entry(wrapped({ ...STATUS, gpu: 7 }, { deviceCode: SECRET }), 'gpu-1', 'deviceCode', SECRET)],
    ['in what is not JSON', entry(`{"deviceCode":"${SECRET}", oops`)],
    ['cut off', entry(`{"deviceCode" : "${SECRET}`)],
    ['with quotes inside', entry(String.raw`{"deviceCode":"\"` + SECRET + '", oops')],
    ['under a name with spaces', entry(`{"device code": "${SECRET}", oops`)],
    ['in a list', entry(`{"codes": ["x", "${SECRET}"], oops`)],
    ['in an object', entry(`{"outer": {"deviceCode": "${SECRET}"}, oops`)],
    ['spelled with escapes', entry(String.raw`{"dev\u0069ceCode":"` + SECRET + '", oops')],
    ['of a node without a name', ['nodeId', 'not a node', 'deviceCode', SECRET, 'payload', `{"deviceCode":"${SECRET}"}`]],
    ['under an unknown field', entry('7', 'gpu-1', 'bearer', SECRET)],
  ])('%s is not in the dead letter', (_where, fields) => {
    const result = nodeStatusSource.decode(ID, fields);
    expect(result.ok).toBe(false);
    expect(JSON.stringify(result)).not.toContain(SECRET);
  });
});

/** Channel and message of a document. */
function published(document: string): readonly [channel: string, message: string] {
  const { channel, skip, drop } = nodeStatusPublication('node/gpu-1', document, 'acme');
  return [channel, Buffer.from(document).subarray(skip, -drop).toString()];
}

describe('what is published', () => {
  const delivery = {
    key: 'node/gpu-1#1-2-0',
    actor: 'node/gpu-1' as const,
    epoch: 1,
    revision: 2,
    at: 1_700_000_000_123,
    command: { kind: 'effect' as const, name: 'publishNodeState', params: { orgId: 'acme', state: 'degraded', reason: 'no status for 65 s' } },
  };

  it('is each status as it came, for the organisation', () => {
    const payload = JSON.stringify(wrapped(STATUS));
    expect(published(decoded(entry(payload)).document)).toEqual(['node:status:org:acme:gpu-1', payload]);
  });

  it('is each change of state, with its time, its reason and the key that drops a repeat', () => {
    const [channel, message] = nodeStateMessage(delivery);
    expect(channel).toBe('node:state:gpu-1');
    expect(JSON.parse(message)).toEqual({
      version: '1.0',
      nodeId: 'gpu-1',
      orgId: 'acme',
      state: 'degraded',
      since: '2023-11-14T22:13:20.123Z',
      reason: 'no status for 65 s',
      id: 'node/gpu-1#1-2-0',
    });
  });

  it('is each incident of a fleet', () => {
    const params = { orgId: 'acme', incident: 'opened', total: 10, late: 6, reason: 'why' };
    const [channel, message] = fleetIncidentMessage({ ...delivery, command: { kind: 'effect', name: 'publishFleetIncident', params } });
    expect(channel).toBe('fleet:incident:acme');
    expect(JSON.parse(message)).toMatchObject({ orgId: 'acme', incident: 'opened', total: 10, late: 6, at: '2023-11-14T22:13:20.123Z' });
  });
});
