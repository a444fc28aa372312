/**
 * The device service: the port `Devices` over the engine's client, the readers and what is kept of enrolments.
 *
 * 1. It decides nothing about a device. Every change is an event of the device's machine; what the machine ignores is answered as refused.
 * 2. A device code is exchanged for a token once. An answer that was lost on its way is lost: to repeat it, the token would have to be kept,
 *    or another one be given to whoever shows the code again. The client asks for a new code, and the approval of that supersedes this device.
 * 3. Tokens end before the actor is told that it is revoked: who is interrupted in between has revoked too much, not too little.
 * 4. Any number of processes may do this beside one engine.
 */
import { together } from '../../machines/device/context.ts';
import type { Client } from '../engine/client.ts';
import type { Clock } from '../engine/ports.ts';
import type { DeviceConfig } from '../protocol/device-config.ts';
import type { DeviceCommandResult, DevicePrincipal, Devices, DeviceView, EnrolmentStart, TokenAnswer } from '../protocol/device.ts';
import type { Enrolment } from '../protocol/enrolment.ts';
import type { MachineEvent } from '../protocol/envelope.ts';
import { EventRejectedError, InvalidConfigError } from '../protocol/errors.ts';
import type { Json } from '../protocol/json.ts';
import { deviceIdOf, hashOf, readUserCode, shownUserCode, USER_CODE_ALPHABET, USER_CODE_LENGTH } from '../provisioning/device-code.ts';
import { approve } from './approval.ts';
import { listDevices, readOne, viewsOf, type DeviceReader } from './reading.ts';
import { isApproved } from './states.ts';
import { DeviceTokens, makeToken } from './tokens.ts';
import { pendingView, type ReadDevice } from './views.ts';

export interface DevicePorts {
  readonly client: Pick<Client, 'send' | 'sendAndWait'>;
  readonly reader: DeviceReader;
  readonly enrolment: Enrolment;
  readonly clock: Pick<Clock, 'now'>;
  /** Of the system's secure source. */
  readonly randomBytes: (count: number) => Buffer;
  /** Checks a configuration against the catalogue. Throws InvalidConfigError naming the field. */
  readonly parseConfig: (value: unknown) => { readonly config: DeviceConfig; readonly unsupported: readonly string[] };
  /** base64url Ed25519 public key of configurations. */
  readonly configKey: string;
  readonly orgName?: (orgId: string) => string | undefined;
  readonly settings?: Partial<EnrolmentSettings>;
}

export interface EnrolmentSettings {
  /** A code's, from start to token. ms. */
  readonly lifetimeMs: number;
  /** Between two polls, ms. */
  readonly intervalMs: number;
  /** How long a token works after it was rotated away, ms. */
  readonly graceMs: number;
}

export const DEFAULT_ENROLMENT: EnrolmentSettings = { lifetimeMs: 600_000, intervalMs: 5_000, graceMs: 60_000 };

/** `listen` before its first use: it hears of revocations elsewhere. */
export type DeviceService = Devices & { listen(): Promise<void>; close(): Promise<void> };

const DEVICE_CODE_BYTES = 32;
/** What a client may send as a device code, characters: ours has 43. */
const DEVICE_CODE_MAX = 256;
/** Of 25 billion user codes hardly one in use is met twice. */
const USER_CODE_TRIES = 5;
/** As the device's events bound what a machine tells of itself. Characters. */
const TOLD_MAX = 256;
/** As many services as a node takes in one configuration. */
const SERVICES_MAX = 32;

export function createDevices(ports: DevicePorts): DeviceService {
  const { client, reader, enrolment, randomBytes } = ports;
  const { lifetimeMs, intervalMs, graceMs } = { ...DEFAULT_ENROLMENT, ...ports.settings };
  const tokens = new DeviceTokens(enrolment, ports.clock);

  const viewOf = async (device: ReadDevice): Promise<DeviceView> => (await viewsOf(reader, [device]))[0] as DeviceView;

  /** Of the device that waits under a user code. */
  const pendingOf = async (typed: string): Promise<{ readonly device: ReadDevice; readonly userHash: string } | undefined> => {
    const letters = readUserCode(typed);
    if (letters === undefined) return undefined;
    const userHash = hashOf(letters);
    const deviceId = await enrolment.deviceOf(userHash);
    const device = deviceId === undefined ? undefined : await readOne(reader, deviceId);
    return device?.state === 'pending' ? { device, userHash } : undefined;
  };

  const revoke = async ({ deviceId, context }: ReadDevice, by: string): Promise<void> => {
    await enrolment.revoke(deviceId); // (3)
    await client.sendAndWait('device', deviceId, { type: 'revoke', by: by.slice(0, TOLD_MAX) });
    if (context.nodeId !== null) await enrolment.releaseNode(deviceId, context.nodeId);
  };

  const command = async (device: ReadDevice, event: MachineEvent): Promise<DeviceCommandResult> => {
    try {
      const settled = await client.sendAndWait('device', device.deviceId, event);
      const now = await readOne(reader, device.deviceId);
      if (now === undefined) return { kind: 'missing' };
      if (settled.kind === 'ignored') return { kind: 'refused', reason: `The device is ${device.state} and does not take "${event.type}" now.` };
      return { kind: 'done', device: await viewOf(now) };
    } catch (error) {
      if (error instanceof EventRejectedError) return { kind: 'refused', reason: error.message };
      throw error;
    }
  };

  const grant = async (principal: DevicePrincipal): Promise<TokenAnswer> => {
    const token = makeToken(randomBytes);
    // Before the exchange, so that nothing that can fail stands between it and the answer.
    await client.send('device', principal.deviceId, { type: 'redeemed' }, { dedupeId: `redeemed:${principal.deviceId}` });
    if (!(await enrolment.redeem(principal, hashOf(token)))) return { kind: 'expired' }; // (2)
    const orgName = ports.orgName?.(principal.orgId);
    return { kind: 'granted', token, ...principal, configKey: ports.configKey, ...(orgName === undefined ? {} : { orgName }) };
  };

  const openUnderUserCode = async (deviceId: string): Promise<string> => {
    for (let tries = 0; tries < USER_CODE_TRIES; tries++) {
      const letters = userCode(randomBytes);
      if (await enrolment.open({ userHash: hashOf(letters), deviceId, lifetimeMs, intervalMs })) return letters;
    }
    throw new Error(`${USER_CODE_TRIES} random user codes were all taken; the source of randomness is broken.`);
  };

  return {
    listen: async () => await tokens.start(),
    close: async () => await tokens.stop(),
    idOf: deviceIdOf,

    async start(request) {
      const deviceCode = randomBytes(DEVICE_CODE_BYTES).toString('base64url');
      const deviceId = deviceIdOf(deviceCode);
      const letters = await openUnderUserCode(deviceId);
      await client.sendAndWait('device', deviceId, requestEvent(request, lifetimeMs));
      return { deviceCode, userCode: shownUserCode(letters), expiresInS: Math.floor(lifetimeMs / 1_000), intervalS: Math.ceil(intervalMs / 1_000) };
    },

    async token(deviceCode) {
      if (deviceCode === '' || deviceCode.length > DEVICE_CODE_MAX) return { kind: 'expired' };
      const deviceId = deviceIdOf(deviceCode);
      const poll = await enrolment.poll(deviceId);
      if (poll.kind === 'early') return { kind: 'slow-down', intervalS: Math.ceil(poll.intervalMs / 1_000) };
      const device = await readOne(reader, deviceId);
      if (device?.state === 'denied') return { kind: 'denied' };
      if (device === undefined || poll.kind === 'over') return { kind: 'expired' };
      if (device.state === 'pending') return { kind: 'pending' };
      const { nodeId, orgId } = device.context;
      if (!isApproved(device.state) || nodeId === null || orgId === null) return { kind: 'expired' };
      return await grant({ deviceId, nodeId, orgId });
    },

    async findByUserCode(typed) {
      const pending = await pendingOf(typed);
      return pending === undefined ? undefined : pendingView(pending.device);
    },

    async approve(typed, by, choice) {
      const pending = await pendingOf(typed);
      if (pending === undefined) return { kind: 'unknown-code' };
      return await approve({ client, reader, enrolment, revoke }, pending.device, pending.userHash, by, choice);
    },

    async deny(typed, by) {
      const pending = await pendingOf(typed);
      if (pending === undefined) return { kind: 'unknown-code' };
      const settled = await client.sendAndWait('device', pending.device.deviceId, { type: 'deny', by: by.subject.slice(0, TOLD_MAX) });
      if (settled.kind === 'ignored') return { kind: 'refused', reason: 'Somebody else has decided in the meantime.' };
      await enrolment.closeUserCode(pending.userHash);
      return { kind: 'denied' };
    },

    verifyToken: async (token) => await tokens.verify(token),
    onRevoked: (told) => tokens.onRevoked(told),

    async rotateToken(deviceId) {
      const device = await readOne(reader, deviceId);
      const { nodeId = null, orgId = null } = device?.context ?? {};
      if (device === undefined || !isApproved(device.state) || nodeId === null || orgId === null) return undefined;
      const token = makeToken(randomBytes);
      return (await enrolment.rotate({ deviceId, nodeId, orgId }, hashOf(token), graceMs)) ? token : undefined;
    },

    async get(deviceId) {
      const device = await readOne(reader, deviceId);
      return device === undefined ? undefined : await viewOf(device);
    },
    list: async (query) => await listDevices(reader, query),

    async configure(deviceId, value, by) {
      const { config, unsupported } = ports.parseConfig(value);
      const device = await readOne(reader, deviceId);
      if (device === undefined) return { kind: 'missing' };
      if (!isApproved(device.state)) return { kind: 'refused', reason: `The device is ${device.state}; only an approved one can be configured.` };
      checkTogether(device, config);
      const result = await command(device, { type: 'configure', by: by.slice(0, TOLD_MAX), config: config as Json });
      return result.kind === 'done' && unsupported.length > 0 ? { ...result, unsupported } : result;
    },

    async revoke(deviceId, by) {
      const device = await readOne(reader, deviceId);
      if (device === undefined) return { kind: 'missing' };
      if (device.state === 'denied' || device.state === 'expired')
        return { kind: 'refused', reason: `The device is ${device.state}; it has no token to revoke.` };
      // A revocation that was interrupted is finished by repeating it.
      await revoke(device, by);
      const now = await readOne(reader, deviceId);
      return now === undefined ? { kind: 'missing' } : { kind: 'done', device: await viewOf(now) };
    },
  };
}

function requestEvent({ clientId, clientVersion, hostname, machineId, forceNew, address }: EnrolmentStart, lifetimeMs: number): MachineEvent {
  return {
    type: 'request',
    clientId: clientId.slice(0, TOLD_MAX),
    ...(clientVersion === undefined ? {} : { clientVersion: clientVersion.slice(0, TOLD_MAX) }),
    ...(hostname === undefined ? {} : { hostname: hostname.slice(0, TOLD_MAX) }),
    ...(machineId === undefined || machineId === '' ? {} : { machine: hashOf(machineId) }),
    ...(forceNew === true ? { forceNew } : {}),
    address: address.slice(0, TOLD_MAX),
    lifetimeMs,
  };
}

/** Each letter is as likely as any other: bytes beyond the last full alphabet are thrown away. */
function userCode(randomBytes: (count: number) => Buffer): string {
  const fair = 256 - (256 % USER_CODE_ALPHABET.length);
  let letters = '';
  while (letters.length < USER_CODE_LENGTH) {
    for (const byte of randomBytes(USER_CODE_LENGTH)) {
      if (byte < fair && letters.length < USER_CODE_LENGTH) letters += USER_CODE_ALPHABET[byte % USER_CODE_ALPHABET.length];
    }
  }
  return letters;
}

/** What was asked for before is asked for still: together they may be more than a node takes. */
function checkTogether({ context }: ReadDevice, config: DeviceConfig): void {
  const count = together(context, config).services?.length ?? 0;
  if (count > SERVICES_MAX) throw new InvalidConfigError('services', `would make ${count} services with those of before; a node takes ${SERVICES_MAX}.`);
}
