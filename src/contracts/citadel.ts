/**
 * The contract with citadel agents: node status in, node status and node state out.
 *
 * In: entries `nodeId … timestamp … payload JSON [deviceCode …] [orgId …]` of `node:status:stream`, read in place.
 * Out: each accepted status on `node:status:org:{orgId}:{nodeId}`, each change of state on `node:state:{nodeId}`,
 * each incident of a fleet on `fleet:incident:{orgId}`.
 *
 * 1. An entry belongs to the node that its field names; the payload may not say otherwise.
 * 2. A device code is a bearer secret: in no event, document, message or excerpt. The event has the device that the code stands for.
 * 3. Nothing is published on `node:status:{nodeId}`: that channel is the agent's, and pattern subscribers would hear twice.
 * 4. The organisation comes from the entry's field, which the control plane's own proxy writes, never from the payload,
 *    which the node writes.
 */
import { NODE_ID, type NodeStateChange, type StatusEvent } from '../../machines/node/events.ts';
import { DEFAULT_ORG } from '../../machines/node/definition.ts';
import type { FleetIncident } from '../../machines/fleet/events.ts';
import type { Delivery } from '../protocol/command.ts';
import { timestamp } from '../protocol/control-plane.ts';
import type { MachineEvent } from '../protocol/envelope.ts';
import { idOf, type ActorKey } from '../protocol/ids.ts';
import type { DecodedEntry, EntryFields, RejectedEntry, StreamSource } from '../protocol/source.ts';
import { excerptOf } from './citadel-excerpt.ts';
import { deviceOf, readPayload } from './citadel-payload.ts';
import { boundsOfStatus, nodeDocument } from './node-document.ts';

/** `__proto__` fits the pattern of ids, but is no name to be used as a key anywhere. */
const FORBIDDEN_ID = '__proto__';

/** A message on a channel. */
export type ChannelMessage = readonly [channel: string, message: string];

interface StatusFields {
  nodeId?: string;
  payload?: string;
  orgId?: string;
  deviceCode?: string;
  /** A field that was given twice with different values. */
  conflict?: string;
}

export const nodeStatusSource: StreamSource = {
  stream: 'node:status:stream',
  keyOf(fields) {
    const nodeId = fields[0] === 'nodeId' ? fields[1] : (fieldOf(fields, 'nodeId') ?? fieldOf(fields, 'node_id'));
    return nodeId !== undefined && isNodeId(nodeId) ? `node/${nodeId}` : undefined;
  },
  decode: decodeStatus,
};

function decodeStatus(id: string, fields: EntryFields): DecodedEntry | RejectedEntry {
  const { nodeId, payload, orgId = DEFAULT_ORG, deviceCode, conflict } = statusFields(fields);
  const reject = (code: string, field: string, reason: string): RejectedEntry => ({ ok: false, code, reason, field, excerpt: excerptOf(fields) });

  if (conflict !== undefined) return reject('conflicting_field', conflict, `The entry gives the field ${conflict} twice, with different values.`);
  if (nodeId === undefined) return reject('missing_field', 'nodeId', 'The entry has no field nodeId.');
  if (!isNodeId(nodeId)) return reject('invalid_node_id', 'nodeId', `The field nodeId must match ${NODE_ID.source}.`);
  if (!isNodeId(orgId)) return reject('invalid_org_id', 'orgId', `The field orgId must match ${NODE_ID.source}.`);
  if (payload === undefined) return reject('missing_field', 'payload', 'The entry has no field payload.');

  const read = readPayload(payload, nodeId);
  if (!read.ok) return reject(read.code, read.field, read.reason);
  const device = deviceCode === undefined ? read.device : deviceOf(deviceCode);
  const event: StatusEvent = device === undefined ? { type: 'status', orgId, ...read.facts } : { type: 'status', orgId, ...read.facts, device };
  return { ok: true, event: event as MachineEvent & StatusEvent, document: nodeDocument(id, read.text) };
}

function isNodeId(value: string): boolean {
  return NODE_ID.test(value) && value !== FORBIDDEN_ID;
}

function fieldOf(fields: EntryFields, name: string): string | undefined {
  for (let index = 0; index + 1 < fields.length; index += 2) if (fields[index] === name) return fields[index + 1];
  return undefined;
}

function statusFields(fields: EntryFields): StatusFields {
  const found: StatusFields = {};
  for (let index = 0; index + 1 < fields.length; index += 2) {
    const name = STATUS_FIELDS.get(fields[index] as string);
    if (name === undefined) continue;
    const value = fields[index + 1] as string;
    const before = found[name];
    if (before !== undefined && before !== value) found.conflict = name;
    found[name] = value;
  }
  return found;
}

/** Both spellings; the entry's own timestamp is not read here. */
const STATUS_FIELDS: ReadonlyMap<string, 'nodeId' | 'payload' | 'orgId' | 'deviceCode'> = new Map([
  ['nodeId', 'nodeId'],
  ['node_id', 'nodeId'],
  ['payload', 'payload'],
  ['orgId', 'orgId'],
  ['org_id', 'orgId'],
  ['deviceCode', 'deviceCode'],
  ['device_code', 'deviceCode'],
]);

/** An accepted status for an organisation's dashboards: the status as the node sent it, without secrets: a part of the document. Best effort, newest wins. */
export function nodeStatusPublication(
  key: ActorKey,
  document: string,
  orgId: string,
): { readonly channel: string; readonly skip: number; readonly drop: number } {
  return { channel: `node:status:org:${orgId}:${idOf(key)}`, ...boundsOfStatus(document) };
}

/**
 * A change of a node's state: `{version, nodeId, orgId, state, since, reason, id}`. `since` is RFC 3339;
 * `id` is the command's key, the same at every try, so that a reader can drop a repeat.
 */
export function nodeStateMessage(delivery: Delivery): ChannelMessage {
  const { orgId, state, reason } = delivery.command.params as NodeStateChange;
  const nodeId = idOf(delivery.actor);
  const message = { version: '1.0', nodeId, orgId, state, since: timestamp(delivery.at), reason, id: delivery.key };
  return [`node:state:${nodeId}`, JSON.stringify(message)];
}

/** A fleet's incident opened or resolved: `{version, orgId, incident, total, late, at, reason, id}`. */
export function fleetIncidentMessage(delivery: Delivery): ChannelMessage {
  const { orgId, incident, total, late, reason } = delivery.command.params as FleetIncident;
  const message = { version: '1.0', orgId, incident, total, late, at: timestamp(delivery.at), reason, id: delivery.key };
  return [`fleet:incident:${orgId}`, JSON.stringify(message)];
}
