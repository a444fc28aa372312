/**
 * Enrolment (RFC 8628) and devices, as HTTP and the command line see them: the port behind them.
 *
 * 1. A device code and a device token are bearer secrets: stored as SHA-256 hashes, never told again, never logged.
 * 2. A device's id is made of its code by a one-way function ({@link Devices.idOf} and the node's status speak of the same device), so the
 *    code itself need not be kept to recognise it.
 * 3. A device code serves twice, once each: it is exchanged for the token, and it says in the node's first status which device that node is.
 */
import type { Page, PageQuery, Timestamp } from './control-plane.ts';
import type { ConfigReport, DeviceConfig, ServiceOutcome } from './device-config.ts';

export const DEVICE_STATES = [
  'pending',
  'denied',
  'expired',
  'registered',
  'configuring',
  'configured',
  'services-running',
  'partially-running',
  'failed',
  'rolled-back',
  'drifted',
  'revoked',
] as const;
export type DeviceState = (typeof DEVICE_STATES)[number];

export interface EnrolmentStart {
  readonly clientId: string;
  readonly clientVersion?: string;
  readonly hostname?: string;
  readonly machineId?: string;
  readonly forceNew?: boolean;
  /** Where the request came from, shown to who approves. */
  readonly address: string;
}

export interface EnrolmentCodes {
  readonly deviceCode: string;
  readonly userCode: string;
  readonly expiresInS: number;
  readonly intervalS: number;
}

export type TokenAnswer =
  | { readonly kind: 'pending' }
  | { readonly kind: 'slow-down'; readonly intervalS: number }
  | { readonly kind: 'expired' }
  | { readonly kind: 'denied' }
  | {
      readonly kind: 'granted';
      readonly token: string;
      readonly deviceId: string;
      readonly nodeId: string;
      readonly orgId: string;
      readonly orgName?: string;
      /** base64url Ed25519 public key of configurations. */
      readonly configKey: string;
    };

/** What the approval page shows for a user code. */
export interface PendingEnrolment {
  readonly deviceId: string;
  readonly hostname: string | null;
  readonly address: string;
  readonly clientId: string;
  readonly requestedAt: Timestamp;
  readonly expiresAt: Timestamp;
}

export type ApprovalResult =
  | { readonly kind: 'approved'; readonly device: DeviceView }
  | { readonly kind: 'denied' }
  | { readonly kind: 'unknown-code' }
  | { readonly kind: 'refused'; readonly reason: string };

export interface DeviceView {
  readonly deviceId: string;
  readonly nodeId: string | null;
  readonly name: string;
  readonly orgId: string | null;
  readonly state: DeviceState;
  /** Why it is not running, or what it waits for; null when it runs. */
  readonly reason: string | null;
  readonly since: Timestamp;
  readonly desired: { readonly revision: number; readonly config: DeviceConfig } | null;
  readonly appliedRevision: number | null;
  readonly services: readonly ServiceOutcome[];
  readonly report: ConfigReport | null;
  readonly hostname: string | null;
  readonly approvedBy: string | null;
}

/** Who a device token speaks for. */
export interface DevicePrincipal {
  readonly deviceId: string;
  readonly nodeId: string;
  readonly orgId: string;
}

/** `unsupported`: fields of a configuration that are not known and were left out. */
export type DeviceCommandResult =
  | { readonly kind: 'done'; readonly device: DeviceView; readonly unsupported?: readonly string[] }
  | { readonly kind: 'missing' }
  | { readonly kind: 'refused'; readonly reason: string };

export interface Devices {
  idOf(deviceCode: string): string;
  start(request: EnrolmentStart): Promise<EnrolmentCodes>;
  /** Counts the poll: one that comes too early lengthens the interval by 5 s for good. */
  token(deviceCode: string): Promise<TokenAnswer>;
  /** Undefined for a code that is unknown, used or over. Counts tries: callers limit their rate. */
  findByUserCode(userCode: string): Promise<PendingEnrolment | undefined>;
  approve(
    userCode: string,
    by: { readonly subject: string; readonly orgId: string },
    choice: { readonly nodeId?: string; readonly name?: string },
  ): Promise<ApprovalResult>;
  deny(userCode: string, by: { readonly subject: string }): Promise<ApprovalResult>;
  /** Undefined for a token that is unknown, rotated away or revoked. Cached for at most 5 s. */
  verifyToken(token: string): Promise<DevicePrincipal | undefined>;
  /** A new token; the old one works for one more minute. */
  rotateToken(deviceId: string): Promise<string | undefined>;
  get(deviceId: string): Promise<DeviceView | undefined>;
  list(query: PageQuery & { readonly state?: DeviceState; readonly orgId?: string }): Promise<Page<DeviceView>>;
  /** Saves the desired configuration under the next revision and pushes it as soon as the node is known. Throws InvalidConfigError naming the field. */
  configure(deviceId: string, config: unknown, by: string): Promise<DeviceCommandResult>;
  revoke(deviceId: string, by: string): Promise<DeviceCommandResult>;
  /** Told the id of each device that was revoked, wherever that happened: its open sockets end. */
  onRevoked(told: (deviceId: string) => void): () => void;
}
