/**
 * The contract of device configuration: configurations out to the nodes, reports back, and what is told beside them.
 *
 * Out: the outlet `config/<nodeId>` (a signed configuration on `jobs:v1:config`), messages on `config:node:{nodeId}`, alerts on
 * `fleet:alert:{orgId}` and to webhooks. In: `device:reports`, read in place.
 *
 * 1. A configuration always names its node, in the entry and in the payload, and ends after a day.
 * 2. A report belongs to the device that its entry names; the node that wrote it is the entry's field, which whoever proxies it writes.
 * 3. A report of a node that knows of no device is nobody's here: its job tells what became of it.
 * 4. A report is exact about what decides and cut where a text is too long: a container's last lines may be anything.
 */
import type { AlertNotice, NodeNotice, PushConfig } from '../../machines/device/events.ts';
import { REPORTED_TEXT_MAX, SERVICES_MAX } from '../../machines/device/events.ts';
import { NODE_ID } from '../../machines/node/events.ts';
import type { Delivery } from '../protocol/command.ts';
import {
  APPLY_PHASES,
  CONFIG_JOB_TYPE,
  CONFIG_STREAM,
  configChannel,
  DEVICE_REPORTS,
  SERVICE_PHASES,
  type ApplyPhase,
  type ConfigEnvelope,
  type DeviceConfig,
  type ServicePhase,
} from '../protocol/device-config.ts';
import { timestamp } from '../protocol/control-plane.ts';
import type { Json, JsonObject } from '../protocol/json.ts';
import type { Outlet } from '../protocol/outlet.ts';
import type { DecodedEntry, EntryFields, RejectedEntry, StreamSource } from '../protocol/source.ts';
import { excerptOf } from './citadel-excerpt.ts';
import type { ChannelMessage } from './citadel.ts';

/** A node that is away for longer gets the configuration anew when it is back: the device pushes again. */
const LIFETIME_MS = 86_400_000;
/** As contracts 1 bounds its stream. */
const CONFIGS_LENGTH = 10_000;
/** A report of 64 services with their last lines stays below. Characters. */
const REPORT_LENGTH_MAX = 524_288;
const REVISION_MAX = 1_000_000_000;
const NAME_MAX = 64;
const SMALL_MAX = 256;
const LISTED_MAX = 64;
const DEVICE_ID = /^[a-z2-7]{20}$/;
const REPORT_FIELDS: ReadonlySet<string> = new Set(['nodeId', 'deviceId', 'report']);

/** Signs everything else of the envelope. Pure: it is asked again for what was decided once. */
export type SignConfig = (unsigned: Omit<ConfigEnvelope, 'signature'>) => ConfigEnvelope;

/** `config/<nodeId>`: a {@link PushConfig} becomes an entry of `jobs:v1:config`. */
export function configOutlet(sign: SignConfig): Outlet {
  return {
    type: 'config',
    encode(nodeId, event, _from, at) {
      if (event.type !== 'push' || !NODE_ID.test(nodeId)) return undefined;
      const { deviceId, revision, config } = event as unknown as PushConfig;
      const payload = { ...signed(sign, nodeId, deviceId, revision, config, at), target_node: nodeId };
      const fields = [
        ...['jobId', `cfg-${deviceId}-${revision}`, 'type', CONFIG_JOB_TYPE, 'payload', JSON.stringify(payload)],
        ...['enqueuedAt', timestamp(at), 'target_node', nodeId], // (1)
      ];
      return { stream: CONFIG_STREAM, fields, maxLength: CONFIGS_LENGTH };
    },
  };
}

/** What an agent hears on its channel: `config_updated` with the whole signed envelope, or `device_redeemed`. */
export function nodeNoticeMessage(delivery: Delivery, sign: SignConfig): ChannelMessage {
  const notice = delivery.command.params as NodeNotice;
  const { nodeId } = notice;
  if (notice.kind === 'device_redeemed') return [configChannel(nodeId), JSON.stringify({ type: notice.kind, nodeId, id: delivery.key })];
  const envelope = signed(sign, nodeId, notice.deviceId, notice.revision, notice.config, delivery.at);
  return [configChannel(nodeId), JSON.stringify({ type: notice.kind, ...envelope, updatedAt: timestamp(delivery.at), id: delivery.key })];
}

/** `{version, incident, phase, nodeId, orgId, kind, reason, at, id}`: the body of a webhook, and the message on `fleet:alert:{orgId}`. */
export function alertBody(delivery: Delivery): string {
  const { incident, phase, nodeId, orgId, kind, reason } = delivery.command.params as AlertNotice;
  return JSON.stringify({ version: '1.0', incident, phase, nodeId, orgId, kind, reason, at: timestamp(delivery.at), id: delivery.key });
}

export function alertMessage(delivery: Delivery): ChannelMessage {
  return [`fleet:alert:${(delivery.command.params as AlertNotice).orgId}`, alertBody(delivery)];
}

function signed(sign: SignConfig, nodeId: string, deviceId: string, revision: number, config: DeviceConfig, at: number): ConfigEnvelope {
  return sign({ config, nodeId, deviceId, revision, issuedAt: timestamp(at), expiresAt: timestamp(at + LIFETIME_MS) });
}

/** Nodes' reports: entries `nodeId … [deviceId …] report <JSON>`. */
export const deviceReportsSource: StreamSource = {
  stream: DEVICE_REPORTS,
  trimBehind: true,
  keyOf(fields) {
    const deviceId = fieldOf(fields, 'deviceId');
    if (deviceId === undefined) return null; // (3)
    return DEVICE_ID.test(deviceId) ? `device/${deviceId}` : undefined;
  },
  decode: decodeReport,
};

function decodeReport(_id: string, fields: EntryFields): DecodedEntry | RejectedEntry {
  const reject = (code: string, field: string, why: string): RejectedEntry => ({
    ok: false,
    code,
    field,
    reason: `The field ${field} ${why}.`,
    excerpt: excerptOf(fields, REPORT_FIELDS),
  });
  const deviceId = fieldOf(fields, 'deviceId');
  const nodeId = fieldOf(fields, 'nodeId');
  const text = fieldOf(fields, 'report');
  if (deviceId === undefined || !DEVICE_ID.test(deviceId)) return reject('invalid_device_id', 'deviceId', `must match ${DEVICE_ID.source}`);
  if (nodeId === undefined || !NODE_ID.test(nodeId)) return reject('invalid_node_id', 'nodeId', `must match ${NODE_ID.source}`);
  if (text === undefined) return reject('missing_field', 'report', 'is missing');
  if (text.length > REPORT_LENGTH_MAX) return reject('too_large', 'report', `has ${text.length} characters; at most ${REPORT_LENGTH_MAX} are taken`);
  const report = parsedObject(text);
  if (report === undefined) return reject('invalid_json', 'report', 'is not a JSON object');
  const read = readReport(report);
  return read.ok ? { ok: true, event: { type: 'report', nodeId, ...read.fields } } : reject('invalid_field', read.field, read.why);
}

/** The fields of the event beside its type and node. (4) */
type ReadReport = { readonly ok: true; readonly fields: JsonObject } | { readonly ok: false; readonly field: string; readonly why: string };

function readReport(report: JsonObject): ReadReport {
  const fault = (field: string, why: string): ReadReport => ({ ok: false, field, why });
  const { phase, desiredRevision = null, appliedRevision = null, services = [], error } = report;
  if (!isOneOf<ApplyPhase>(APPLY_PHASES, phase)) return fault('report.phase', `must be one of ${APPLY_PHASES.join(', ')}`);
  if (!isRevision(desiredRevision)) return fault('report.desiredRevision', 'must be null or a whole number');
  if (!isRevision(appliedRevision)) return fault('report.appliedRevision', 'must be null or a whole number');
  if (!Array.isArray(services) || services.length > SERVICES_MAX) return fault('report.services', `must be a list of at most ${SERVICES_MAX}`);
  const outcomes: JsonObject[] = [];
  for (const [index, service] of (services as readonly Json[]).entries()) {
    const outcome = readService(service);
    if (outcome === undefined) return fault(`report.services[${index}]`, `must have a name and a phase of ${SERVICE_PHASES.join(', ')}`);
    outcomes.push(outcome);
  }
  const fields = {
    phase,
    desiredRevision,
    appliedRevision,
    services: outcomes,
    ...(isObject(error) ? { error: readError(error) } : {}),
    ...textsOf(report, ['jobId', 'timestamp']),
    ...listsOf(report, ['unsupported', 'refused']),
  };
  return { ok: true, fields };
}

function readService(service: Json | undefined): JsonObject | undefined {
  if (!isObject(service)) return undefined;
  const { name, phase, percent, message } = service;
  if (typeof name !== 'string' || name === '' || name.length > NAME_MAX || !isOneOf<ServicePhase>(SERVICE_PHASES, phase)) return undefined;
  return {
    name,
    phase,
    ...(typeof percent === 'number' && percent >= 0 && percent <= 100 ? { percent } : {}),
    // The end of a container's log is what tells why it stopped.
    ...(typeof message === 'string' ? { message: message.slice(-REPORTED_TEXT_MAX) } : {}),
  };
}

function readError({ code, message, field }: JsonObject): JsonObject {
  return {
    code: typeof code === 'string' ? code.slice(0, SMALL_MAX) : 'failed',
    message: typeof message === 'string' ? message.slice(0, REPORTED_TEXT_MAX) : 'no reason was given',
    ...(typeof field === 'string' ? { field: field.slice(0, SMALL_MAX) } : {}),
  };
}

function textsOf(report: JsonObject, names: readonly string[]): JsonObject {
  return Object.fromEntries(
    names.flatMap((name) => {
      const text = report[name];
      return typeof text === 'string' ? [[name, text.slice(0, SMALL_MAX)]] : [];
    }),
  );
}

function listsOf(report: JsonObject, names: readonly string[]): JsonObject {
  return Object.fromEntries(
    names.flatMap((name) => {
      const list = report[name];
      if (!Array.isArray(list)) return [];
      return [[name, list.flatMap((each: Json) => (typeof each === 'string' ? [each.slice(0, SMALL_MAX)] : [])).slice(0, LISTED_MAX)]];
    }),
  );
}

function isRevision(value: Json): value is number | null {
  return value === null || (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= REVISION_MAX);
}

function isOneOf<Word extends string>(words: readonly Word[], value: Json | undefined): value is Word {
  return typeof value === 'string' && (words as readonly string[]).includes(value);
}

function fieldOf(fields: EntryFields, name: string): string | undefined {
  for (let index = 0; index + 1 < fields.length; index += 2) if (fields[index] === name) return fields[index + 1];
  return undefined;
}

function parsedObject(text: string): JsonObject | undefined {
  try {
    const value = JSON.parse(text) as Json;
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
