/**
 * A configuration as it travels: an entry of a stream, a job's payload, a message of a channel → whom it is for, and what is in it, unchecked.
 *
 * 1. Whom it is for is known before its content is judged: what is for another node is left to that node, however wrong it is.
 * 2. The payload is the configuration itself, or `{"config": …}` with the fields of the envelope beside it. Nothing else of such a payload is used.
 * 3. Nothing throws: whatever lies in a stream has an answer.
 */
import { CONFIG_JOB_TYPE } from '../protocol/device-config.ts';
import { ids, type ConfigNames } from './config-names.ts';
import { isPlainObject } from './config-bounds.ts';

/** An inbox's largest event. A configuration at all its limits is some 30 KB; a larger one is still read, to say which field is too large. */
export const PAYLOAD_LENGTH_MAX = 1_048_576;

export interface ConfigRequest {
  readonly kind: 'config';
  readonly jobId?: string;
  /** The node that is named; without one, whoever takes the entry. */
  readonly target?: string;
  /** For `parseDeviceConfig`. */
  readonly config: unknown;
  /** For `verifyConfig`; undefined when there is no trace of a signature. */
  readonly envelope?: { readonly [field: string]: unknown };
}

export interface BadConfig {
  readonly kind: 'bad';
  readonly jobId?: string;
  readonly target?: string;
  readonly field: string;
  readonly reason: string;
}

/** `other`: an entry of another type, for somebody who knows it. */
export type ConfigEntry = ConfigRequest | BadConfig | { readonly kind: 'other'; readonly type: string | undefined };

/** `fields` as a stream entry has them: name, value, name, value, … */
export function parseConfigEntry(fields: readonly string[]): ConfigEntry {
  const given = new Map<string, string>();
  for (let index = 0; index + 1 < fields.length; index += 2) {
    const name = FIELD_NAMES.get(fields[index] as string);
    if (name === undefined) continue;
    const value = fields[index + 1] as string;
    const before = given.get(name);
    if (before !== undefined && before !== value) return { kind: 'bad', field: name, reason: 'is given twice, with different values.' };
    given.set(name, value);
  }
  const type = given.get('type');
  if (type !== CONFIG_JOB_TYPE) return { kind: 'other', type };

  const jobId = given.get('jobId');
  if (jobId !== undefined && !ids.job.test(jobId)) return { kind: 'bad', field: 'jobId', reason: `must match ${ids.job.source}.` };
  const target = given.get('target_node');
  if (target !== undefined && !ids.isNode(target)) return { kind: 'bad', field: 'target_node', reason: `must match ${ids.node.source}.` };
  const names: ConfigNames = { ...(jobId === undefined ? {} : { jobId }), ...(target === undefined ? {} : { target }) };

  const text = given.get('payload');
  if (text === undefined) return { kind: 'bad', ...names, field: 'payload', reason: 'is missing.' };
  if (text.length > PAYLOAD_LENGTH_MAX) return { kind: 'bad', ...names, field: 'payload', reason: `is longer than ${PAYLOAD_LENGTH_MAX} characters.` };
  let payload: unknown;
  try {
    payload = JSON.parse(text);
  } catch {
    return { kind: 'bad', ...names, field: 'payload', reason: 'is not JSON.' };
  }
  return parseConfigPayload(payload, names);
}

const FIELD_NAMES: ReadonlyMap<string, 'jobId' | 'type' | 'payload' | 'target_node'> = new Map([
  ['jobId', 'jobId'],
  ['job_id', 'jobId'],
  ['type', 'type'],
  ['payload', 'payload'],
  ['target_node', 'target_node'],
  ['targetNode', 'target_node'],
]);

/** For a payload that is JSON already: of a worker's job, of the channel. `names`: what is known from around it. */
export function parseConfigPayload(payload: unknown, names: ConfigNames = {}): ConfigRequest | BadConfig {
  const bad = (field: string, reason: string): BadConfig => ({ kind: 'bad', ...names, field, reason });
  if (!isPlainObject(payload)) return bad('payload', 'must be an object.');

  const targets = [own(payload, 'target_node'), own(payload, 'targetNode')].filter((each) => each !== undefined && each !== null);
  let target = names.target;
  for (const each of targets) {
    if (!ids.isNode(each)) return bad('target_node', `must match ${ids.node.source}.`);
    if (target !== undefined && target !== each) return bad('target_node', 'is given twice, with different values.');
    target = each;
  }

  if (!Object.hasOwn(payload, 'config')) {
    const config = Object.fromEntries(Object.entries(payload).filter(([key]) => !TARGET_KEYS.has(key)));
    return { kind: 'config', ...names, ...(target === undefined ? {} : { target }), config };
  }

  const envelope: { [field: string]: unknown } = {};
  for (const field of ENVELOPE_FIELDS) if (own(payload, field) !== undefined) envelope[field] = own(payload, field);
  const isSigned = SIGNED_FIELDS.some((field) => Object.hasOwn(envelope, field));
  if (isSigned && target === undefined && ids.isNode(envelope['nodeId'])) target = envelope['nodeId'];
  return {
    kind: 'config',
    ...names,
    ...(target === undefined ? {} : { target }),
    config: own(payload, 'config'),
    ...(isSigned ? { envelope } : {}),
  };
}

const TARGET_KEYS: ReadonlySet<string> = new Set(['target_node', 'targetNode']);
const SIGNED_FIELDS = ['revision', 'issuedAt', 'expiresAt', 'signature'];
const ENVELOPE_FIELDS = ['config', 'nodeId', 'deviceId', ...SIGNED_FIELDS];

function own(value: { readonly [key: string]: unknown }, key: string): unknown {
  return Object.hasOwn(value, key) ? value[key] : undefined;
}
