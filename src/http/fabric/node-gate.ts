/** What every route for nodes shares: who asks, how often it may, and which jobs it has. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Devices } from '../../protocol/device.ts';
import type { FabricRedis, HeldEntryOfNode } from '../../protocol/fabric-redis.ts';
import { deviceOf } from '../access.ts';
import type { WallClock } from '../auth/tokens.ts';
import { rateLimit } from '../rate-limits.ts';
import { limited, refuse } from './answers.ts';
import { notHeld, type Allowed, type Refusal } from './allowed.ts';

/** A node that works on short jobs as fast as it can over one connection stays below: some 100 requests a second. */
const REQUESTS_PER_MINUTE = 6_000;
/** How long a device's tags are taken to be as they were. */
const TAGS_MS = 5_000;
const TAGS_REMEMBERED_MAX = 10_000;

export interface NodeGate {
  /** A preHandler. */
  readonly limit: (request: FastifyRequest, reply: FastifyReply) => Promise<FastifyReply | undefined>;
  /** The tags that a person gave the device: what a node says of itself opens no queue. */
  tagsOf(deviceId: string): Promise<readonly string[]>;
  held(nodeId: string, jobId: string): Promise<Allowed<HeldEntryOfNode>>;
}

export interface NodeGateOptions {
  readonly devices: Devices;
  readonly redis: FabricRedis;
  readonly now: WallClock;
  readonly requestsPerMinute?: number;
}

export function nodeGate({ devices, redis, now, requestsPerMinute = REQUESTS_PER_MINUTE }: NodeGateOptions): NodeGate {
  const requests = rateLimit({ limit: requestsPerMinute, windowMs: 60_000 }, now);
  const remembered = new Map<string, { readonly at: number; readonly tags: readonly string[] }>();
  return {
    async limit(request, reply) {
      const over = requests.take(deviceOf(request).deviceId);
      return over === undefined ? undefined : limited(reply, over);
    },
    async tagsOf(deviceId) {
      const known = remembered.get(deviceId);
      const at = now();
      if (known !== undefined && at - known.at < TAGS_MS && at >= known.at) return known.tags;
      const tags = (await devices.get(deviceId))?.desired?.config.customTags ?? [];
      if (remembered.size >= TAGS_REMEMBERED_MAX) remembered.clear();
      remembered.set(deviceId, { at, tags });
      return tags;
    },
    async held(nodeId, jobId) {
      const value = await redis.held(nodeId, jobId);
      return value === undefined ? notHeld(jobId) : { ok: true, value };
    },
  };
}

export function refused(reply: FastifyReply, { code, detail, field }: Refusal): FastifyReply {
  return refuse(reply, code, detail, field);
}
