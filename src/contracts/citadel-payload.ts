/**
 * From the payload of a status entry to the facts that a node's machine decides by, or to the reason why not.
 *
 * 1. The hot way is one JSON.parse and one schema; the text is kept as it came. Only when something must come out of it
 *    (a device code, a sentinel reading) is it written anew.
 * 2. A device code is a bearer secret: it is in neither the facts nor the text that is kept.
 * 3. What is kept is harmless to its readers: bounded in bytes and depth, no `__proto__`.
 */
import type { z } from 'zod';
import type { ServicesHealth } from '../../machines/node/events.ts';
import { deviceIdOf } from '../provisioning/device-code.ts';
import { flatStatus, withoutSentinels, wrappedStatus, type StatusReading } from './citadel-schema.ts';

/** A status is below 2 KB; a node with hundreds of models stays below this. Bytes. */
const PAYLOAD_BYTES_MAX = 262_144;
/** The documented shape is 5 deep; readers of a document recurse. */
const DEPTH_MAX = 32;

/** Ours has 43 characters; other programs' are of their own. */
const DEVICE_CODE_MAX = 512;

export interface StatusFacts {
  readonly name: string;
  readonly services: ServicesHealth;
  readonly gpuTemperature: number | null;
  readonly diskPercent: number | null;
  readonly tags?: readonly string[];
}

export interface PayloadFault {
  readonly ok: false;
  readonly code: 'payload_too_large' | 'not_json' | 'forbidden_key' | 'too_deep' | 'invalid_shape' | 'node_id_mismatch';
  readonly reason: string;
  readonly field: string;
}

/** `device`: the one that the payload's own device code stands for. */
export type ReadPayload = { readonly ok: true; readonly facts: StatusFacts; readonly text: string; readonly device?: string } | PayloadFault;

type JsonObject = { readonly [field: string]: unknown };

/** `nodeId` is the entry's own field, checked before. */
export function readPayload(payload: string, nodeId: string): ReadPayload {
  if (isTooLarge(payload)) return fault('payload_too_large', `is larger than ${PAYLOAD_BYTES_MAX} bytes`);
  let value: unknown;
  try {
    value = JSON.parse(payload);
  } catch {
    return fault('not_json', 'is not JSON'); // The parser's own message quotes the text, which may hold a secret.
  }
  if (!isObject(value)) return fault('invalid_shape', 'must be a JSON object');
  if (exceedsDepth(payload)) return fault('too_deep', `is nested deeper than ${DEPTH_MAX}`);
  if (mayHold(payload, '__proto__')) {
    const path = pathOfKey(value, '__proto__', 'payload');
    if (path !== undefined) return fault('forbidden_key', 'is a key that no status may have', path);
  }
  if (mayHold(payload, 'eviceCode') || mayHold(payload, 'device_code')) {
    const cleaned = withoutKeys(value, DEVICE_CODE_KEYS) as JsonObject;
    const read = readObject(cleaned, JSON.stringify(cleaned), nodeId); // (2)
    const code = value['deviceCode'] ?? value['device_code'];
    const device = typeof code === 'string' ? deviceOf(code) : undefined;
    return read.ok && device !== undefined ? { ...read, device } : read;
  }
  return readObject(value, payload, nodeId);
}

/** Undefined for what no code can be. */
export function deviceOf(code: string): string | undefined {
  return code === '' || code.length > DEVICE_CODE_MAX ? undefined : deviceIdOf(code);
}

function readObject(value: JsonObject, payload: string, nodeId: string): ReadPayload {
  const wrapped = 'status' in value;
  if (!wrapped && !('node' in value || 'system' in value || 'gpu' in value || 'services' in value)) {
    return fault('invalid_shape', 'has neither a status nor the node, system, gpu or services of the flat form', 'payload.status');
  }
  let text = payload;
  let read = parsed(value, wrapped);
  if (!read.ok) {
    const cleaned = cleanedOf(value, wrapped);
    if (cleaned === undefined) return shapeFault(read.error);
    read = parsed(cleaned, wrapped);
    if (!read.ok) return shapeFault(read.error);
    text = JSON.stringify(cleaned);
  }
  const { claimed, status } = read;
  if (claimed !== undefined && claimed !== nodeId) {
    return fault('node_id_mismatch', `says ${JSON.stringify(claimed.slice(0, 80))}, but the entry says "${nodeId}"`, 'payload.nodeId');
  }
  return { ok: true, facts: factsOf(status, nodeId), text };
}

type Parsed = { readonly ok: true; readonly claimed: string | undefined; readonly status: StatusReading } | { readonly ok: false; readonly error: z.ZodError };

function parsed(value: JsonObject, wrapped: boolean): Parsed {
  if (wrapped) {
    const { success, data, error } = wrappedStatus.safeParse(value);
    return success ? { ok: true, claimed: data.nodeId ?? data.node_id ?? undefined, status: data.status } : { ok: false, error };
  }
  const { success, data, error } = flatStatus.safeParse(value);
  return success ? { ok: true, claimed: data.nodeId ?? data.node_id ?? undefined, status: data } : { ok: false, error };
}

function cleanedOf(value: JsonObject, wrapped: boolean): JsonObject | undefined {
  if (!wrapped) return withoutSentinels(value);
  const { status } = value;
  const cleaned = isObject(status) ? withoutSentinels(status) : undefined;
  return cleaned === undefined ? undefined : { ...value, status: cleaned };
}

function factsOf({ node, system, gpu, services }: StatusReading, nodeId: string): StatusFacts {
  const facts = {
    name: node?.name || nodeId,
    services: servicesHealthOf(services ?? []),
    gpuTemperature: hottest(gpu ?? []),
    diskPercent: diskPercentOf(system),
  };
  return node?.tags ? { ...facts, tags: node.tags } : facts;
}

/** A stopped service is no fault: somebody stopped it. Unknown words are no fault either. */
function servicesHealthOf(services: NonNullable<StatusReading['services']>): ServicesHealth {
  let health: ServicesHealth = 'ok';
  for (const service of services) {
    if (service.status === 'error' || service.health === 'unhealthy') return 'failed';
    if (service.health === 'degraded') health = 'degraded';
  }
  return health;
}

function hottest(gpus: NonNullable<StatusReading['gpu']>): number | null {
  let highest: number | null = null;
  for (const gpu of gpus) {
    const celsius = gpu.temperature_celsius ?? gpu.temperatureCelsius;
    if (celsius !== undefined && (highest === null || celsius > highest)) highest = celsius;
  }
  return highest;
}

function diskPercentOf(system: StatusReading['system']): number | null {
  if (!system) return null;
  const percent = system.disk_percent ?? system.diskPercent;
  if (percent !== undefined) return percent;
  const used = system.disk_used_gb ?? system.diskUsedGb;
  const total = system.disk_total_gb ?? system.diskTotalGb;
  return used === undefined || total === undefined || total === 0 ? null : Math.round((1000 * used) / total) / 10;
}

function fault(code: PayloadFault['code'], problem: string, field = 'payload'): PayloadFault {
  return { ok: false, code, reason: `The field ${field} ${problem}.`, field };
}

function shapeFault(error: z.ZodError): PayloadFault {
  const issue = error.issues[0];
  const path = (issue?.path ?? []).map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`)).join('');
  return fault('invalid_shape', `is not as agreed: ${issue?.message ?? 'unknown fault'}`, `payload${path}`);
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isTooLarge(payload: string): boolean {
  if (payload.length * 3 <= PAYLOAD_BYTES_MAX) return false; // No character takes more than three bytes a UTF-16 unit.
  return payload.length > PAYLOAD_BYTES_MAX || Buffer.byteLength(payload) > PAYLOAD_BYTES_MAX;
}

/** Whether the parsed text may contain these characters: an escape can spell any of them. */
function mayHold(payload: string, characters: string): boolean {
  return payload.includes(characters) || payload.includes('\\u');
}

/** Few openers cannot nest deep; only a text with many is scanned. The text is known to be JSON. */
function exceedsDepth(payload: string): boolean {
  let openers = 0;
  for (const opener of ['{', '[']) {
    for (let at = payload.indexOf(opener); at >= 0 && openers <= DEPTH_MAX; at = payload.indexOf(opener, at + 1)) openers++;
  }
  return openers > DEPTH_MAX && scannedDepth(payload) > DEPTH_MAX;
}

function scannedDepth(payload: string): number {
  let depth = 0;
  let deepest = 0;
  let quoted = false;
  for (let at = 0; at < payload.length; at++) {
    const character = payload.charCodeAt(at);
    if (quoted) {
      if (character === 0x5c) at++;
      else if (character === 0x22) quoted = false;
    } else if (character === 0x22) quoted = true;
    else if (character === 0x7b || character === 0x5b) deepest = Math.max(deepest, ++depth);
    else if (character === 0x7d || character === 0x5d) depth--;
  }
  return deepest;
}

/** The path of the first key of this name, at most {@link DEPTH_MAX} deep. */
function pathOfKey(value: unknown, key: string, path: string): string | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  for (const [name, inner] of Object.entries(value)) {
    const innerPath = Array.isArray(value) ? `${path}[${name}]` : `${path}.${name}`;
    if (name === key) return innerPath;
    const found = pathOfKey(inner, key, innerPath);
    if (found !== undefined) return found;
  }
  return undefined;
}

const DEVICE_CODE_KEYS: ReadonlySet<string> = new Set(['devicecode', 'device_code']);

function withoutKeys(value: unknown, keys: ReadonlySet<string>): unknown {
  if (Array.isArray(value)) return value.map((each) => withoutKeys(each, keys));
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([name]) => !keys.has(name.toLowerCase()))
      .map(([name, inner]) => [name, withoutKeys(inner, keys)]),
  );
}
