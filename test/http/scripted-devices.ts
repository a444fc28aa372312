/** A double of the devices port at this adapter's own boundary: one machine after another enrols, a person decides. */
import { createHash } from 'node:crypto';
import { InvalidConfigError } from '../../src/protocol/errors.ts';
import type { DevicePrincipal, Devices, DeviceView, EnrolmentStart } from '../../src/protocol/device.ts';

const AT = '2030-01-01T00:00:00.000Z';

export interface ScriptedDevices extends Devices {
  readonly started: EnrolmentStart[];
  readonly views: Map<string, DeviceView>;
  readonly tokens: Map<string, DevicePrincipal>;
  /** By device code: what the next polls answer. */
  readonly answers: Map<string, Awaited<ReturnType<Devices['token']>>[]>;
  admit(nodeId: string, orgId?: string, tags?: readonly string[]): { readonly token: string; readonly deviceId: string; readonly code: string };
}

export function fakeDevice(deviceId: string, overrides: Partial<DeviceView> = {}): DeviceView {
  return {
    deviceId,
    nodeId: null,
    name: deviceId,
    orgId: 'acme',
    state: 'registered',
    reason: 'No configuration was saved.',
    since: AT,
    desired: null,
    appliedRevision: null,
    services: [],
    report: null,
    hostname: 'gpu-1',
    approvedBy: 'operator-user',
    ...overrides,
  };
}

export function createScriptedDevices(): ScriptedDevices {
  const views = new Map<string, DeviceView>();
  const tokens = new Map<string, DevicePrincipal>();
  const answers: ScriptedDevices['answers'] = new Map();
  const started: EnrolmentStart[] = [];
  const listeners = new Set<(deviceId: string) => void>();
  const idOf = (code: string) => createHash('sha256').update(code).digest('hex').slice(0, 20);
  const change = (id: string, changed: Partial<DeviceView>) => {
    const device = views.get(id);
    if (device === undefined) return { kind: 'missing' as const };
    views.set(id, { ...device, ...changed });
    return { kind: 'done' as const, device: { ...device, ...changed } };
  };
  return {
    started,
    views,
    tokens,
    answers,
    idOf,
    admit(nodeId, orgId = 'acme', tags = []) {
      const code = `code-of-${nodeId}`;
      const deviceId = idOf(code);
      const token = `cdt_${nodeId}-secret`;
      tokens.set(token, { deviceId, nodeId, orgId });
      views.set(deviceId, fakeDevice(deviceId, { nodeId, orgId, desired: { revision: 1, config: { customTags: tags } } }));
      return { token, deviceId, code };
    },
    async start(request) {
      started.push(request);
      return { deviceCode: 'the-device-code', userCode: 'BCDF-GHJK', expiresInS: 600, intervalS: 5 };
    },
    token: async (code) => answers.get(code)?.shift() ?? { kind: 'expired' },
    findByUserCode: async (userCode) =>
      userCode.replaceAll(/[-\s]/g, '').toUpperCase() === 'BCDFGHJK'
        ? { deviceId: 'd1', hostname: 'gpu-1', address: '10.0.0.9', clientId: 'castellan-cli', requestedAt: AT, expiresAt: AT }
        : undefined,
    async approve(userCode, { subject, orgId }, { nodeId = 'gpu-1', name = 'gpu-1' }) {
      if (userCode !== 'BCDF-GHJK') return { kind: 'unknown-code' };
      if (nodeId === 'taken') return { kind: 'refused', reason: 'Another device is the node taken.' };
      const device = fakeDevice('d1', { nodeId, name, orgId, approvedBy: subject });
      views.set('d1', device);
      return { kind: 'approved', device };
    },
    deny: async (userCode) => ({ kind: userCode === 'BCDF-GHJK' ? 'denied' : 'unknown-code' }),
    verifyToken: async (token) => tokens.get(token),
    async rotateToken(deviceId) {
      const [old, principal] = [...tokens].find(([, each]) => each.deviceId === deviceId) ?? [];
      if (old === undefined || principal === undefined) return undefined;
      tokens.set(`${old}-2`, principal);
      return `${old}-2`;
    },
    get: async (id) => views.get(id),
    list: async ({ orgId, state }) => ({
      items: [...views.values()].filter((each) => (orgId ?? each.orgId) === each.orgId && (state ?? each.state) === each.state),
      next: null,
    }),
    async configure(id, config) {
      if (typeof (config as { services?: unknown }).services === 'string') throw new InvalidConfigError('services', 'must be a list.');
      if (views.get(id)?.state === 'revoked') return { kind: 'refused', reason: 'The device is revoked.' };
      return change(id, { state: 'configuring', desired: { revision: 2, config: config as never } });
    },
    async revoke(id) {
      for (const [token, { deviceId }] of tokens) if (deviceId === id) tokens.delete(token);
      for (const told of listeners) told(id);
      return change(id, { state: 'revoked' });
    },
    onRevoked(told) {
      listeners.add(told);
      return () => void listeners.delete(told);
    },
  };
}
