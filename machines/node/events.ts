/**
 * The events of a node. A status event is small, for it is journalled at every change:
 * it holds only the facts that decide, and the whole status travels beside it as the document.
 */
import { z } from 'zod';

/** Node and organisation ids; also safe as the last part of a channel's name. */
export const NODE_ID = /^[a-zA-Z0-9._-]{1,64}$/;

/** A device's id: see src/provisioning/device-code.ts. */
const DEVICE_ID = /^[a-z2-7]{20}$/;

/** What the services of a node amount to, worst first: one failed → failed. */
const servicesHealth = z.enum(['failed', 'degraded', 'ok']);
export type ServicesHealth = z.infer<typeof servicesHealth>;

/** An agent reported. */
const statusEvent = z.looseObject({
  type: z.literal('status'),
  orgId: z.string().regex(NODE_ID),
  name: z.string().min(1).max(256),
  services: servicesHealth,
  /** The hottest GPU's reading, °C; null when none was read. */
  gpuTemperature: z.number().nullable(),
  /** The fullest reported disk's used share, %; null when none was read. */
  diskPercent: z.number().nullable(),
  /** The node's own tags; left out when the agent reports none. */
  tags: z.array(z.string().max(64)).max(64).optional(),
  /** The device that its code stands for; left out once the code was redeemed. */
  device: z.string().regex(DEVICE_ID).optional(),
});

/** The fleet's answer to a node that asked whether its silence means that it is offline. */
const verdictEvent = z.looseObject({ type: z.literal('verdict'), verdict: z.enum(['offline', 'unknown']) });

/** A job doubts that its worker on this node still lives: the node answers `nodeState` to `job/<job>`, now or when it knows. */
const doubtEvent = z.looseObject({ type: z.literal('doubt'), job: z.string().regex(/^[A-Za-z0-9._:@-]{1,128}$/) });

/** The device that this node is says so: it is told the node's state and health from now on, and how hot a GPU may be (null: the default). */
const deviceEvent = z.looseObject({
  type: z.literal('device'),
  device: z.string().regex(DEVICE_ID),
  orgId: z.string().regex(NODE_ID),
  gpuHigh: z.number().nullable(),
});

export const nodeEvents = { status: statusEvent, verdict: verdictEvent, doubt: doubtEvent, device: deviceEvent };

export interface StatusEvent {
  readonly type: 'status';
  readonly orgId: string;
  readonly name: string;
  readonly services: ServicesHealth;
  readonly gpuTemperature: number | null;
  readonly diskPercent: number | null;
  readonly tags?: readonly string[];
  readonly device?: string;
}

export interface VerdictEvent {
  readonly type: 'verdict';
  readonly verdict: 'offline' | 'unknown';
}

export interface DoubtEvent {
  readonly type: 'doubt';
  readonly job: string;
}

export interface DeviceClaim {
  readonly type: 'device';
  readonly device: string;
  readonly orgId: string;
  readonly gpuHigh: number | null;
}

/** What people are shown of a node's connection. */
export type NodeState = 'online' | 'degraded' | 'offline' | 'unknown';

/** Parameters of the effect `publishNodeState`. Which node and when: the delivery's actor and step time. */
export type NodeStateChange = {
  readonly orgId: string;
  readonly state: NodeState;
  readonly reason: string;
};
