/** A double of the port of devices: what a person can do with it in a browser, in memory. Configurations are checked by the real catalogue. */
import type { ApprovalResult, DeviceCommandResult, Devices, DeviceView, PendingEnrolment } from '../../../src/protocol/device.ts';
import { catalogueOf } from '../../../src/provisioning/node-catalogue.ts';
import { parseDeviceConfig } from '../../../src/provisioning/parse-config.ts';

export interface ScriptedDevices extends Devices {
  /** By user code, letters only. */
  readonly waiting: Map<string, PendingEnrolment>;
  readonly devices: Map<string, DeviceView>;
  /** What was asked, in order. */
  readonly asked: string[];
}

const minutes = (count: number) => new Date(Date.now() + count * 60_000).toISOString();

export function fakePending(overrides: Partial<PendingEnrolment> = {}): PendingEnrolment {
  return {
    deviceId: 'mzxw6ytboi2gk3tdnfxa',
    hostname: 'lab-7.example',
    address: '192.0.2.17',
    clientId: 'castellan-agent',
    requestedAt: minutes(-1),
    expiresAt: minutes(9),
    ...overrides,
  };
}

export function fakeDevice(deviceId: string, overrides: Partial<DeviceView> = {}): DeviceView {
  return {
    deviceId,
    nodeId: 'lab-7',
    name: 'Lab 7',
    orgId: 'acme',
    state: 'registered',
    reason: 'It is registered and waits for its first configuration.',
    since: minutes(-12),
    desired: null,
    appliedRevision: null,
    services: [],
    report: null,
    hostname: 'lab-7.example',
    approvedBy: 'admin',
    ...overrides,
  };
}

export function scriptedDevices(): ScriptedDevices {
  const waiting = new Map<string, PendingEnrolment>();
  const devices = new Map<string, DeviceView>();
  const asked: string[] = [];
  const catalogue = catalogueOf();
  const letters = (code: string) => code.toUpperCase().replaceAll(/[^A-Z]/g, '');
  const present = (code: string) => {
    const pending = waiting.get(letters(code));
    return pending === undefined || Date.parse(pending.expiresAt) <= Date.now() ? undefined : pending;
  };
  const unused = () => {
    throw new Error('No page asks for this.');
  };

  return {
    waiting,
    devices,
    asked,
    idOf: unused,
    start: unused,
    token: unused,
    rotateToken: unused,
    verifyToken: async () => undefined,
    onRevoked: () => () => {},
    async findByUserCode(code) {
      asked.push(`find ${code}`);
      return present(code);
    },
    async approve(code, by, choice): Promise<ApprovalResult> {
      asked.push(`approve ${code} by ${by.subject} ${JSON.stringify(choice)}`);
      const pending = present(code);
      if (pending === undefined) return { kind: 'unknown-code' };
      waiting.delete(letters(code));
      const device = fakeDevice(pending.deviceId, { name: choice.name ?? pending.hostname ?? pending.deviceId });
      devices.set(device.deviceId, device);
      return { kind: 'approved', device };
    },
    async deny(code, by): Promise<ApprovalResult> {
      asked.push(`deny ${code} by ${by.subject}`);
      if (present(code) === undefined) return { kind: 'unknown-code' };
      waiting.delete(letters(code));
      return { kind: 'denied' };
    },
    get: async (deviceId) => devices.get(deviceId),
    list: async ({ limit, cursor }) => {
      const all = [...devices.values()];
      const from = Number(cursor ?? 0);
      return { items: all.slice(from, from + limit), next: from + limit < all.length ? String(from + limit) : null };
    },
    async configure(deviceId, given, by): Promise<DeviceCommandResult> {
      const device = devices.get(deviceId);
      if (device === undefined) return { kind: 'missing' };
      const { config } = parseDeviceConfig(given, catalogue);
      asked.push(`configure ${deviceId} by ${by}`);
      const revision = (device.desired?.revision ?? 0) + 1;
      const configured: DeviceView = {
        ...device,
        state: 'configuring',
        reason: `Revision ${revision} is on its way to the node.`,
        since: minutes(0),
        desired: { revision, config },
        services: (config.services ?? []).map(({ name }) => ({ name, phase: 'waiting' })),
      };
      devices.set(deviceId, configured);
      return { kind: 'done', device: configured };
    },
    revoke: unused,
  };
}
