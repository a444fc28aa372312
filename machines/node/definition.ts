/** The node as an actor type: its machine, its events, and which delays run on observed time. */
import type { ActorTypeDefinition } from '../../src/core/actor-type.ts';
import { nodeEvents } from './events.ts';
import { createNodeMachine, type NodeContext } from './machine.ts';
import { DEFAULT_HEALTH, DEFAULT_HEARTBEAT, deadlinesOf, type HealthThresholds, type HeartbeatSettings } from './settings.ts';

/** The organisation of a node whose status names none. */
export const DEFAULT_ORG = 'default';

/**
 * The actor type `node`; its id is the node's id. Effect: `publishNodeState` ({@link NodeStateChange}).
 *
 * Every delay runs on observed time. `deadlineMs` is what a node has again after a time in which nobody listened:
 * for a chained delay the whole deadline since its newest status, and the whole offline deadline for those that can
 * end in offline: an outage of ours must never be the reason.
 */
export function nodeType(heartbeat: HeartbeatSettings = DEFAULT_HEARTBEAT, health: HealthThresholds = DEFAULT_HEALTH): ActorTypeDefinition {
  const { lateMs, degradedMs, offlineMs } = deadlinesOf(heartbeat);
  return {
    type: 'node',
    version: '3',
    machine: createNodeMachine(heartbeat, health),
    events: nodeEvents,
    input: (id, event): NodeContext => ({
      id,
      org: typeof event['orgId'] === 'string' ? event['orgId'] : DEFAULT_ORG,
      name: typeof event['name'] === 'string' ? event['name'] : id,
      tags: Array.isArray(event['tags']) ? (event['tags'] as readonly string[]) : [],
    }),
    effects: ['publishNodeState'],
    // What nearly every node is in, and the clockwork behind `connection`: nobody looks for nodes by it.
    unindexed: ['watch', 'health.services.ok', 'health.gpu.normal', 'health.disk.ok'],
    liveness: {
      late: { deadlineMs: lateMs },
      degraded: { deadlineMs: degradedMs },
      offline: { deadlineMs: offlineMs },
      recovery: { deadlineMs: offlineMs },
      verdict: { deadlineMs: offlineMs },
      recheck: { deadlineMs: offlineMs },
    },
  };
}
