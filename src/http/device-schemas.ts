/** The shapes of requests and answers of devices and of nodes with a device token. */
import { z } from 'zod';
import { SERVICE_PHASES, type ConfigReport, type DeviceConfig } from '../protocol/device-config.ts';
import { DEVICE_STATES, type DeviceView, type PendingEnrolment } from '../protocol/device.ts';
import type { Json, JsonObject } from '../protocol/json.ts';
import type { CatalogueItem } from '../protocol/catalogue-item.ts';
import { pageQuery } from './schemas.ts';

const time = z.iso.datetime();
const json = z.any() as z.ZodType<Json>;
const small = z.string().max(256);
const flag = z.union([z.boolean(), z.enum(['true', 'false']).transform((text) => text === 'true')]);

// Enrolment (RFC 8628, 3.1 and 3.4). Unknown parameters are ignored, as RFC 6749, 3.1 asks.
export const deviceAuthStart = z.object({
  client_id: small.min(1),
  client_version: small.optional(),
  hostname: small.optional(),
  machine_id: small.optional(),
  force_new: flag.optional(),
  scope: z.string().max(1_024).optional(),
});
export const deviceAuthToken = z.object({ device_code: z.string().min(1).max(512), grant_type: small.min(1), client_id: small.optional() });
export const codes = z.object({
  device_code: z.string(),
  user_code: z.string(),
  verification_uri: z.string(),
  verification_uri_complete: z.string(),
  expires_in: z.int(),
  interval: z.int(),
});
export const granted = z.object({
  authkey: z.string().describe('Not a key to any mesh: the public id of the token.'),
  device_api_token: z.string(),
  token_type: z.literal('Bearer'),
  org_id: z.string(),
  org_name: z.string().optional(),
  api_base_url: z.string(),
  nodeId: z.string(),
  device_id: z.string(),
  config_public_key: z.string().describe('base64url Ed25519: configurations are signed with its private half.'),
});
export const oauthError = z.object({ error: z.string(), error_description: z.string().optional(), interval: z.int().optional() });
export const rotated = z.object({ device_api_token: z.string(), authkey: z.string() });

export const userCodeParams = z.object({ userCode: z.string().min(1).max(32) });
export const approveBody = z
  .strictObject({
    nodeId: z
      .string()
      .regex(/^[a-zA-Z0-9._-]{1,64}$/)
      .optional(),
    name: z.string().min(1).max(128).optional(),
  })
  .nullish();
export const pendingEnrolment: z.ZodType<PendingEnrolment> = z.object({
  deviceId: z.string(),
  hostname: z.string().nullable(),
  address: z.string(),
  clientId: z.string(),
  requestedAt: time,
  expiresAt: time,
});
export const denied = z.object({ denied: z.literal(true) });

export const deviceParams = z.object({ id: z.string().regex(/^[A-Za-z0-9._:@-]{1,128}$/) });
export const deviceQuery = pageQuery.extend({ state: z.enum(DEVICE_STATES).optional() });
const outcome = z.object({ name: z.string(), phase: z.enum(SERVICE_PHASES), percent: z.number().optional(), message: z.string().optional() });
export const deviceView: z.ZodType<DeviceView> = z.object({
  deviceId: z.string(),
  nodeId: z.string().nullable(),
  name: z.string(),
  orgId: z.string().nullable(),
  state: z.enum(DEVICE_STATES),
  reason: z.string().nullable(),
  since: time,
  desired: z.object({ revision: z.int(), config: z.looseObject({}) as unknown as z.ZodType<DeviceConfig> }).nullable(),
  appliedRevision: z.int().nullable(),
  services: z.array(outcome),
  report: (z.looseObject({ phase: z.string() }) as unknown as z.ZodType<ConfigReport>).nullable(),
  hostname: z.string().nullable(),
  approvedBy: z.string().nullable(),
}) as unknown as z.ZodType<DeviceView>;
export const configBody = z.looseObject({}) as unknown as z.ZodType<JsonObject>;
export const catalogueItem = z.looseObject({ name: z.string(), title: z.string(), description: z.string() }) as unknown as z.ZodType<CatalogueItem>;

// Nodes with a device token (contracts 7).
const redisName = z.string().min(1).max(256);
export const pong = z.object({ status: z.literal('ok'), pong: z.literal(true), timestamp: time });
export const publishBody = z.object({ channel: redisName, message: z.union([z.string(), z.looseObject({})]) });
export const published = z.object({ published: z.literal(true), success: z.literal(true) });
const fieldValue = z.union([z.string(), z.number(), z.boolean()]).transform(String);
export const addBody = z.object({
  stream: redisName,
  values: z.record(z.string().max(64), fieldValue).refine((values) => Object.keys(values).length <= 32, 'may have at most 32 fields'),
  maxLen: z.number().optional(),
  approx: z.boolean().optional(),
});
export const added = z.object({ success: z.literal(true), messageId: z.string(), redeemed: z.literal(true).optional() });
export const consumeBody = z.object({
  queue: redisName,
  queues: z.array(redisName).max(16).optional(),
  group: redisName,
  consumer: z.string().max(256).default(''),
  count: z.number().default(1),
  blockMs: z.number().default(0),
  held: z
    .array(z.string().regex(/^\d{1,20}-\d{1,20}$/))
    .max(1_000)
    .optional(),
});
export const consumed = z.object({ messages: z.array(z.object({ id: z.string(), queue: z.string(), data: z.record(z.string(), z.string()) })) });
export const acknowledgeBody = z.object({ queue: redisName, group: redisName, messageId: z.string().regex(/^\d{1,20}-\d{1,20}$/) });
export const acknowledged = z.object({ acknowledged: z.boolean(), success: z.literal(true) });
export const keyQuery = z.object({ key: z.string().min(1) });
export const keyBody = z.object({ key: z.string().min(1), value: json, ttl: z.number().optional().describe('Seconds.') });
export const deleteBody = z.object({ key: z.string().min(1) }).nullish();
export const keyValue = z.object({ key: z.string(), value: z.string().nullable(), ttl: z.int(), exists: z.boolean() });
export const keySet = z.object({ success: z.literal(true) });
export const keyDeleted = z.object({ deleted: z.boolean() });
export const workerConfig = z.object({
  queue: z.string(),
  queue_names: z.array(z.string()),
  consumer_group: z.string(),
  org_id: z.string(),
  node_id: z.string(),
  config_queue: z.string(),
  config_group: z.string(),
});
export const heartbeatParams = z.object({ nodeId: z.string().min(1).max(64) });
export const heartbeatBody = z.looseObject({}) as unknown as z.ZodType<JsonObject>;
