/** The events of a device: from its enrolment, the onboarding form, its agent's reports and its node's state. */
import { z } from 'zod';
import type { ApplyPhase, DeviceConfig, ServiceOutcome } from '../../src/protocol/device-config.ts';
import { NODE_ID } from '../node/events.ts';

const small = z.string().max(256);
const nodeId = z.string().regex(NODE_ID);
/** Validated in full before it gets here (src/provisioning); here it is only bounded and JSON. */
const config = z.looseObject({}) as unknown as z.ZodType<DeviceConfig>;

export const deviceEvents = {
  request: z.strictObject({
    type: z.literal('request'),
    clientId: small,
    clientVersion: small.optional(),
    hostname: small.optional(),
    /** Hashed. */
    machine: small.optional(),
    address: small,
    lifetimeMs: z.number().int().min(1).max(86_400_000),
  }),
  approve: z.strictObject({ type: z.literal('approve'), by: small, orgId: nodeId, nodeId, name: small.optional() }),
  deny: z.strictObject({ type: z.literal('deny'), by: small }),
  /** Its token was given out. */
  redeemed: z.strictObject({ type: z.literal('redeemed') }),
  /** Its node reported with its code: the node's own words for which device it is. */
  seen: z.strictObject({ type: z.literal('seen'), nodeId, orgId: nodeId }),
  nodeState: z.strictObject({ type: z.literal('nodeState'), state: z.enum(['online', 'degraded', 'offline', 'unknown']) }),
  /** A reading of the node's health changed. */
  nodeHealth: z.looseObject({
    type: z.literal('nodeHealth'),
    services: z.enum(['ok', 'degraded', 'failed']).optional(),
    gpuTemperature: z.number().nullable().optional(),
  }),
  configure: z.strictObject({ type: z.literal('configure'), by: small, config }),
  report: z.looseObject({
    type: z.literal('report'),
    nodeId,
    phase: z.string(),
    desiredRevision: z.number().nullable(),
    appliedRevision: z.number().nullable(),
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
      readonly address: string;
      readonly lifetimeMs: number;
    }
  | { readonly type: 'approve'; readonly by: string; readonly orgId: string; readonly nodeId: string; readonly name?: string }
  | { readonly type: 'deny'; readonly by: string }
  | { readonly type: 'redeemed' }
  | { readonly type: 'seen'; readonly nodeId: string; readonly orgId: string }
  | { readonly type: 'nodeState'; readonly state: 'online' | 'degraded' | 'offline' | 'unknown' }
  | { readonly type: 'nodeHealth'; readonly services?: 'ok' | 'degraded' | 'failed'; readonly gpuTemperature?: number | null }
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
