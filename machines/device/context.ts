/**
 * What a device keeps, and what its events change in that. Pure; the states stand in machine.ts.
 *
 * 1. A desired configuration stands for itself: what an earlier revision set and a later one leaves out is in the later one, too,
 *    so a node that missed a revision misses nothing. Services that the node has refused or taken back are not asked for again.
 * 2. Revisions only grow, and begin after whatever the node has ever told of, also when we forgot it.
 */
import type { DeviceConfig, ServiceChoice } from '../../src/protocol/device-config.ts';
import type { AlertCondition, DeviceEvent } from './events.ts';

export type AlertKind = AlertCondition['kind'];
export type Report = Extract<DeviceEvent, { type: 'report' }>;

export type DeviceContext = {
  readonly id: string;
  readonly clientId: string | null;
  readonly hostname: string | null;
  /** Hashed. */
  readonly machine: string | null;
  /** It does not take the name of an earlier device of the same machine. */
  readonly forceNew: boolean;
  readonly address: string | null;
  readonly lifetimeMs: number;
  readonly name: string | null;
  readonly orgId: string | null;
  /** Chosen when it was approved. */
  readonly nodeId: string | null;
  readonly approvedBy: string | null;
  /** Who denied or revoked it. */
  readonly endedBy: string | null;
  /** Its token was asked for after its approval. */
  readonly redeemed: boolean;
  /** The node that reported with its code. */
  readonly seenAs: string | null;
  readonly node: 'online' | 'degraded' | 'offline' | 'unknown' | null;
  readonly health: { readonly services: 'ok' | 'degraded' | 'failed'; readonly gpu: 'normal' | 'high'; readonly celsius: number | null };
  readonly desired: { readonly revision: number; readonly config: DeviceConfig; readonly by: string } | null;
  readonly applied: number | null;
  /** The services of the newest desired revision that the node took on. */
  readonly standing: readonly ServiceChoice[] | null;
  /** The node has refused the desired revision, or has taken it back. */
  readonly takenBack: boolean;
  /** The newest revision that anybody ever spoke of. (2) */
  readonly newest: number;
  /** Pushes of the present revision. */
  readonly pushes: number;
  /** The newest push was not answered in time. */
  readonly silent: boolean;
  /** What the newest report says is missing. */
  readonly fault: string | null;
  /** Conditions that its alerts were told are on. */
  readonly alerting: readonly AlertKind[];
  readonly lateReports: number;
  /** Why it is not running; null when it runs. */
  readonly reason: string | null;
};

export type DeviceChange = Partial<DeviceContext>;

export function contextOf(id: string): DeviceContext {
  return {
    id,
    clientId: null,
    hostname: null,
    machine: null,
    forceNew: false,
    address: null,
    lifetimeMs: 0,
    name: null,
    orgId: null,
    nodeId: null,
    approvedBy: null,
    endedBy: null,
    redeemed: false,
    seenAs: null,
    node: null,
    health: { services: 'ok', gpu: 'normal', celsius: null },
    desired: null,
    applied: null,
    standing: null,
    takenBack: false,
    newest: 0,
    pushes: 0,
    silent: false,
    fault: null,
    alerting: [],
    lateReports: 0,
    reason: null,
  };
}

export function requested(event: Extract<DeviceEvent, { type: 'request' }>): DeviceChange {
  const { clientId, hostname = null, machine = null, forceNew = false, address, lifetimeMs } = event;
  return { clientId, hostname, machine, forceNew, address, lifetimeMs };
}

export function saved(context: DeviceContext, { by, config }: Extract<DeviceEvent, { type: 'configure' }>): DeviceChange {
  const { desired } = context;
  const revision = Math.max(desired?.revision ?? 0, context.newest) + 1; // (2)
  const known = together(context, config);
  const name = known.deviceName ?? context.name;
  return { desired: { revision, config: known, by }, newest: revision, pushes: 0, silent: false, fault: null, takenBack: false, name };
}

/** What the device shall be when `next` is saved. (1) */
export function together({ desired, applied, standing, takenBack }: DeviceContext, next: DeviceConfig): DeviceConfig {
  if (desired === null) return next;
  if (!takenBack) return merged(desired.config, next, applied !== null && applied >= desired.revision);
  const before: DeviceConfig & { services?: readonly ServiceChoice[] } = { ...desired.config, services: standing ?? [] };
  if (!standing?.length) delete before.services;
  return merged(before, next, true);
}

/** `isApplied`: the node has stopped what the earlier configuration asked to be stopped; it is not asked again. (1) */
function merged(before: DeviceConfig, next: DeviceConfig, isApplied: boolean): DeviceConfig {
  const { replaceServices: replacedBefore, ...kept } = before;
  const replace = next.replaceServices === true || (replacedBefore === true && !isApplied);
  const services = next.replaceServices === true ? next.services : withAdded(before.services, next.services);
  return { ...kept, ...next, ...(services === undefined ? {} : { services }), ...(replace ? { replaceServices: true } : {}) };
}

function withAdded(before: readonly ServiceChoice[] | undefined, next: readonly ServiceChoice[] | undefined): readonly ServiceChoice[] | undefined {
  if (before === undefined || next === undefined) return next ?? before;
  const named = new Set(next.map(({ name }) => name));
  return [...before.filter(({ name }) => !named.has(name)), ...next];
}

/**
 * It speaks of the present revision; a manual configuration has none and counts while no other is awaited. One that the node refused has
 * changed nothing there, and nothing here: anybody who can write to its queue could send it.
 */
export function isPresent({ desired, silent, applied }: DeviceContext, { phase, desiredRevision }: Report): boolean {
  if (desiredRevision !== null) return desiredRevision === desired?.revision;
  if (phase === 'rejected') return false;
  return desired === null || (applied === desired.revision && !silent);
}

/** The hot GPU's threshold that the configuration asks for; null: the node's own. °C. */
export function gpuHighOf(context: DeviceContext): number | null {
  const asked = context.desired?.config.alertOnHighTemp;
  return typeof asked === 'number' ? asked : null;
}
