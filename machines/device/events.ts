/** The events of a device: from its enrolment, the onboarding form, its agent's reports and its node's state. */
import { z } from 'zod';
import { APPLY_PHASES, SERVICE_PHASES, type ApplyPhase, type DeviceConfig, type ServiceOutcome } from '../../src/protocol/device-config.ts';
import { NODE_ID } from '../node/events.ts';

/** As many services as a node reports on, and characters of a text about one: its container's last lines. */
export const SERVICES_MAX = 64;
export const REPORTED_TEXT_MAX = 4_096;

const small = z.string().max(256);
const nodeId = z.string().regex(NODE_ID);
/** A revision only grows; one that a node claims beyond this is a fault of the node. */
const revision = z.number().int().min(0).max(1_000_000_000);
const serviceOutcome = z.looseObject({
  name: z.string().max(64),
  phase: z.enum(SERVICE_PHASES),
  percent: z.number().optional(),
  message: z.string().max(REPORTED_TEXT_MAX).optional(),
});
/**
 * Validated in full before it gets here (src/provisioning). What has another shape than that leaves is refused here too: it would be asked
 * for in every revision that follows.
 */
const config = z.strictObject({
  deviceName: z.string().optional(),
  services: z
    .array(z.strictObject({ name: z.string(), parameters: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).optional() }))
    .optional(),
  autoStartServices: z.boolean().optional(),
  sshEnabled: z.boolean().optional(),
  customTags: z.array(z.string()).optional(),
  healthMonitoringEnabled: z.boolean().optional(),
  alertOnOffline: z.boolean().optional(),
  alertOnHighTemp: z.union([z.boolean(), z.number()]).optional(),
  replaceServices: z.boolean().optional(),
}) as unknown as z.ZodType<DeviceConfig>;

export const deviceEvents = {
  request: z.strictObject({
    type: z.literal('request'),
    clientId: small,
    clientVersion: small.optional(),
    hostname: small.optional(),
    /** Hashed. */
    machine: small.optional(),
    /** It does not take the place of an earlier device of the same machine. */
    forceNew: z.boolean().optional(),
    address: small,
    lifetimeMs: z.number().int().min(1).max(86_400_000),
  }),
  approve: z.strictObject({ type: z.literal('approve'), by: small, orgId: nodeId, nodeId, name: small.optional() }),
  deny: z.strictObject({ type: z.literal('deny'), by: small }),
  /** Its token was given out. */
  redeemed: z.strictObject({ type: z.literal('redeemed') }),
  /** Its node reported with its code: the node's own words for which device it is. */
  seen: z.strictObject({ type: z.literal('seen'), nodeId, orgId: nodeId }),
  nodeState: z.strictObject({ type: z.literal('nodeState'), nodeId, state: z.enum(['online', 'degraded', 'offline', 'unknown']) }),
  /** The node's health changed, or the device was made known to it. A field that is left out is as it was. */
  nodeHealth: z.looseObject({
    type: z.literal('nodeHealth'),
    nodeId,
    services: z.enum(['ok', 'degraded', 'failed']).optional(),
    gpu: z.enum(['normal', 'high']).optional(),
    /** °C, when it was just read. */
    gpuTemperature: z.number().nullable().optional(),
  }),
  configure: z.strictObject({ type: z.literal('configure'), by: small, config }),
  report: z.looseObject({
    type: z.literal('report'),
    nodeId,
    phase: z.enum(APPLY_PHASES),
    desiredRevision: revision.nullable(),
    appliedRevision: revision.nullable(),
    services: z.array(serviceOutcome).max(SERVICES_MAX),
    error: z.looseObject({ code: small, message: z.string().max(REPORTED_TEXT_MAX), field: small.optional() }).optional(),
  }),
  revoke: z.strictObject({ type: z.literal('revoke'), by: small }),
};

export type DeviceEvent =
  | {
      readonly type: 'request';
      readonly clientId: string;
      readonly clientVersion?: string;
      readonly hostname?: string;
      readonly machine?: string;
      readonly forceNew?: boolean;
      readonly address: string;
      readonly lifetimeMs: number;
    }
  | { readonly type: 'approve'; readonly by: string; readonly orgId: string; readonly nodeId: string; readonly name?: string }
  | { readonly type: 'deny'; readonly by: string }
  | { readonly type: 'redeemed' }
  | { readonly type: 'seen'; readonly nodeId: string; readonly orgId: string }
  | { readonly type: 'nodeState'; readonly nodeId: string; readonly state: 'online' | 'degraded' | 'offline' | 'unknown' }
  | {
      readonly type: 'nodeHealth';
      readonly nodeId: string;
      readonly services?: 'ok' | 'degraded' | 'failed';
      readonly gpu?: 'normal' | 'high';
      readonly gpuTemperature?: number | null;
    }
  | { readonly type: 'configure'; readonly by: string; readonly config: DeviceConfig }
  | {
      readonly type: 'report';
      readonly nodeId: string;
      readonly phase: ApplyPhase;
      readonly desiredRevision: number | null;
      readonly appliedRevision: number | null;
      readonly services: readonly ServiceOutcome[];
      readonly error?: { readonly code: string; readonly message: string; readonly field?: string };
    }
  | { readonly type: 'revoke'; readonly by: string };

/** Message to the outlet `config/<nodeId>`: signed there, and appended to the stream of configurations. */
export type PushConfig = {
  readonly type: 'push';
  readonly deviceId: string;
  readonly revision: number;
  readonly config: DeviceConfig;
};

/** Message to `node/<nodeId>`: which device it is, and from which temperature on its GPU counts as hot; null: the node's default. */
export type NodeOwner = {
  readonly type: 'device';
  readonly device: string;
  readonly orgId: string;
  readonly gpuHigh: number | null;
};

/** Parameters of the effect `tellNode`: what the agent hears on its channel. The configuration is signed where it is written. */
export type NodeNotice =
  | { readonly kind: 'config_updated'; readonly nodeId: string; readonly deviceId: string; readonly revision: number; readonly config: DeviceConfig }
  | { readonly kind: 'device_redeemed'; readonly nodeId: string };

/** Message to `alert/<nodeId>.<kind>`: a condition began or ended. `holdMs`: how long it must last to count. */
export type AlertCondition = {
  readonly type: 'condition';
  readonly on: boolean;
  readonly nodeId: string;
  readonly orgId: string;
  readonly kind: 'offline' | 'high-temperature' | 'degraded';
  readonly reason: string;
  readonly holdMs: number;
};

/** Parameters of the effect `notifyAlert`. One incident has one id, from firing to resolved. */
export type AlertNotice = {
  readonly incident: string;
  readonly phase: 'firing' | 'resolved';
  readonly nodeId: string;
  readonly orgId: string;
  readonly kind: AlertCondition['kind'];
  readonly reason: string;
};
