/** Device actors as people and programs see them. */
import type { DeviceContext } from '../../machines/device/context.ts';
import type { StoredView } from '../engine/read-ports.ts';
import { timestamp } from '../protocol/control-plane.ts';
import type { ConfigReport } from '../protocol/device-config.ts';
import type { DeviceState, DeviceView, PendingEnrolment } from '../protocol/device.ts';
import { idOf } from '../protocol/ids.ts';
import type { ActorRecord } from '../protocol/record.ts';
import { decodeRecord } from '../protocol/stored-record.ts';
import { shownStateOf } from './states.ts';

/** A stored device, read. */
export interface ReadDevice {
  readonly deviceId: string;
  readonly state: DeviceState;
  /** ms. */
  readonly since: number;
  readonly createdAt: number;
  readonly context: DeviceContext;
  readonly report: ConfigReport | null;
  /** Why the stored actor takes no events. */
  readonly parked?: string;
}

/** Undefined for one that nobody ever requested. */
export function readDevice({ key, record: json, document }: StoredView): ReadDevice | undefined {
  const record = decodeRecord(json);
  const entered = enteredState(record);
  if (entered === undefined) return undefined;
  const { context } = record.snapshot as unknown as { readonly context: DeviceContext };
  return {
    deviceId: idOf(key),
    state: entered.state,
    since: entered.at,
    createdAt: record.createdAt,
    context,
    report: document === null ? null : (JSON.parse(document) as ConfigReport),
    ...(record.parked === undefined ? {} : { parked: record.parked }),
  };
}

/** `awaySince`: of its node, ms, while it is offline. */
export function deviceView({ deviceId, state, since, context, report, parked }: ReadDevice, awaySince?: number): DeviceView {
  const { nodeId, orgId, name, hostname, desired, applied, approvedBy } = context;
  return {
    deviceId,
    nodeId,
    name: name ?? hostname ?? deviceId,
    orgId,
    state,
    reason: parked === undefined ? reasonOf(context, awaySince) : `The stored device does not fit this version's machine: ${parked}`,
    since: timestamp(since),
    desired: desired === null ? null : { revision: desired.revision, config: desired.config },
    appliedRevision: applied,
    services: report?.services ?? [],
    report,
    hostname,
    approvedBy,
  };
}

export function pendingView({ deviceId, createdAt, context }: ReadDevice): PendingEnrolment {
  const { hostname, address, clientId, lifetimeMs } = context;
  return {
    deviceId,
    hostname,
    address: address ?? '',
    clientId: clientId ?? '',
    requestedAt: timestamp(createdAt),
    expiresAt: timestamp(createdAt + lifetimeMs),
  };
}

/** When a node went offline, ms; undefined while it is not. */
export function offlineSince({ record }: StoredView): number | undefined {
  return decodeRecord(record).entered['connection.offline'];
}

export function orgOfNode({ record }: StoredView): string | undefined {
  const { snapshot, entered } = decodeRecord(record);
  // One that never reported belongs to nobody.
  if (entered['connection.new'] !== undefined) return undefined;
  return (snapshot as unknown as { readonly context: { readonly org?: string } }).context.org;
}

function reasonOf({ reason, nodeId, node }: DeviceContext, since: number | undefined): string | null {
  if (reason === null || node !== 'offline' || since === undefined) return reason;
  const away = `its node ${nodeId ?? ''} is offline`;
  return reason.replace(away, `${away} since ${timestamp(since)}`);
}

function enteredState({ entered }: ActorRecord): { readonly state: DeviceState; readonly at: number } | undefined {
  for (const [path, at] of Object.entries(entered)) {
    const state = shownStateOf(path);
    if (state !== undefined) return { state, at };
  }
  return undefined;
}
