/**
 * What of a device's node is worth an alert, by its configuration.
 *
 * 1. A condition is told when it changes and not again: the alert holds it.
 * 2. A node that is offline is not also degraded; what its GPU was is not known to have ended.
 */
import type { AlertKind, DeviceContext } from './context.ts';
import type { AlertCondition } from './events.ts';

const KINDS: readonly AlertKind[] = ['offline', 'high-temperature', 'degraded'];

/** Those that changed. `isOver`: the device is no more; nothing of it is worth an alert. */
export function changedConditions(context: DeviceContext, holdMs: number, isOver: boolean): readonly AlertCondition[] {
  const { nodeId, orgId, alerting } = context;
  if (nodeId === null || orgId === null) return [];
  return KINDS.flatMap((kind) => {
    const on = !isOver && isOn(kind, context);
    if (on === alerting.includes(kind)) return []; // (1)
    const reason = on ? reasonOf(kind, context) : isOver ? 'the device was revoked' : overOf(kind, context);
    return [{ type: 'condition' as const, on, nodeId, orgId, kind, reason, holdMs: kind === 'offline' ? 0 : holdMs }];
  });
}

function isOn(kind: AlertKind, { desired, node, health }: DeviceContext): boolean {
  const { alertOnOffline, alertOnHighTemp, healthMonitoringEnabled } = desired?.config ?? {};
  switch (kind) {
    case 'offline':
      return alertOnOffline === true && node === 'offline';
    case 'high-temperature':
      return alertOnHighTemp !== undefined && alertOnHighTemp !== false && health.gpu === 'high';
    case 'degraded':
      return healthMonitoringEnabled === true && node !== 'offline' && (node === 'degraded' || health.services !== 'ok'); // (2)
  }
}

function reasonOf(kind: AlertKind, { nodeId, node, health }: DeviceContext): string {
  switch (kind) {
    case 'offline':
      return `node ${nodeId ?? ''} is offline`;
    case 'high-temperature':
      return health.celsius === null ? 'a GPU is too hot' : `a GPU is at ${health.celsius} °C`;
    case 'degraded':
      return node === 'degraded' ? `node ${nodeId ?? ''} misses beats` : `a service of node ${nodeId ?? ''} is ${health.services}`;
  }
}

function overOf(kind: AlertKind, { desired, nodeId, node, health }: DeviceContext): string {
  const { alertOnOffline, alertOnHighTemp, healthMonitoringEnabled } = desired?.config ?? {};
  switch (kind) {
    case 'offline':
      return alertOnOffline === true ? `node ${nodeId ?? ''} is ${node ?? 'unknown'}` : 'the alert was turned off';
    case 'high-temperature':
      if (alertOnHighTemp === undefined || alertOnHighTemp === false) return 'the alert was turned off';
      return health.celsius === null ? 'no GPU is too hot' : `the hottest GPU is at ${health.celsius} °C`;
    case 'degraded':
      if (healthMonitoringEnabled !== true) return 'the alert was turned off';
      return node === 'offline' ? `node ${nodeId ?? ''} is offline` : `node ${nodeId ?? ''} and its services are well`;
  }
}

export function alertingAfter(alerting: readonly AlertKind[], changes: readonly AlertCondition[]): readonly AlertKind[] {
  return KINDS.filter((kind) => changes.find((change) => change.kind === kind)?.on ?? alerting.includes(kind));
}
