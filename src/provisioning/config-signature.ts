/**
 * The signature of a configuration: Ed25519 (RFC 8032) over the canonical JSON of the envelope without its signature.
 *
 * 1. Signed is all that decides: the configuration as it travels, for which node and device, its revision, and how long it counts.
 *    What lies beside these fields is not signed and not used.
 * 2. The signature is looked at before anything is believed.
 * 3. There is one spelling of a signature: another base64url text of the same bytes is refused.
 */
import { createPrivateKey, createPublicKey, sign, verify, type KeyObject } from 'node:crypto';
import type { ConfigEnvelope } from '../protocol/device-config.ts';
import { canonicalJson } from './canonical-json.ts';
import { isPlainObject } from './config-bounds.ts';

const SIGNATURE = /^[A-Za-z0-9_-]{86}$/;
const PUBLIC_KEY = /^[A-Za-z0-9_-]{43}$/;
const INSTANT = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})$/;
const SIGNED_FIELDS = ['config', 'nodeId', 'deviceId', 'revision', 'issuedAt', 'expiresAt'] as const;

export type UnsignedConfig = Omit<ConfigEnvelope, 'signature'>;

/** Throws a TypeError for what is no JSON or too large to be a configuration. */
export function signConfig(unsigned: UnsignedConfig, privateKey: KeyObject): ConfigEnvelope {
  const { config, nodeId, deviceId, revision, issuedAt, expiresAt } = unsigned;
  const envelope: UnsignedConfig = { config, nodeId, deviceId, revision, issuedAt, expiresAt };
  const text = canonicalJson(envelope);
  if (text === undefined) throw new TypeError('The configuration is no JSON, too deep or too long to be signed.');
  return { ...envelope, signature: sign(null, Buffer.from(text), privateKey).toString('base64url') };
}

export interface ConfigExpectation {
  readonly nodeId: string;
  /** When the node knows its device. */
  readonly deviceId?: string;
  /** Wall clock, ms since the epoch. */
  readonly now: number;
  /** The newest revision that was ever taken up, whatever became of it; 0 before the first. */
  readonly lastRevision: number;
}

export type RefusedConfigCode = 'unsigned' | 'bad_signature' | 'wrong_node' | 'expired' | 'stale_revision';

export type VerifiedConfig =
  | { readonly kind: 'ok'; readonly revision: number; readonly deviceId: string; readonly config: unknown }
  /** Signed, for this node, and the one that was taken up last: nothing to do but to say again what became of it. */
  | { readonly kind: 'repeated'; readonly revision: number; readonly deviceId: string }
  /** `revision`: a newer one than was taken up, signed and for this node: whoever waits for it may be told that it is refused. */
  | { readonly kind: 'refused'; readonly code: RefusedConfigCode; readonly field: string; readonly reason: string; readonly revision?: number };

/** `envelope` as it came in; `publicKey` as the node was given it at its enrolment. The configuration inside is still to be parsed. */
export function verifyConfig(envelope: unknown, publicKey: string, expected: ConfigExpectation): VerifiedConfig {
  if (!isPlainObject(envelope) || typeof envelope['signature'] !== 'string')
    return refused('unsigned', 'signature', 'is missing: an enrolled node takes signed configurations.');
  if (!isSignedBy(envelope, envelope['signature'], publicKey))
    return refused('bad_signature', 'signature', 'is not of the key that this node was given when it was enrolled.');

  const { config, nodeId, deviceId, revision, expiresAt } = envelope;
  if (typeof nodeId !== 'string' || nodeId !== expected.nodeId) return refused('wrong_node', 'nodeId', `names another node than ${expected.nodeId}.`);
  if (typeof deviceId !== 'string' || (expected.deviceId !== undefined && deviceId !== expected.deviceId))
    return refused('wrong_node', 'deviceId', 'names another device than this node was enrolled as.');
  if (typeof expiresAt !== 'string' || !INSTANT.test(expiresAt) || !(expected.now < Date.parse(expiresAt))) {
    const past = refused('expired', 'expiresAt', 'is past by the clock of this node: the configuration is too old, or the clock is wrong.');
    return typeof revision === 'number' && Number.isSafeInteger(revision) && revision > expected.lastRevision ? { ...past, revision } : past;
  }
  if (typeof revision !== 'number' || !Number.isSafeInteger(revision) || revision < 1 || revision < expected.lastRevision)
    return refused('stale_revision', 'revision', `is older than ${expected.lastRevision}, which this node has taken up already.`);
  return revision === expected.lastRevision ? { kind: 'repeated', revision, deviceId } : { kind: 'ok', revision, deviceId, config };
}

function refused(code: RefusedConfigCode, field: string, reason: string): Extract<VerifiedConfig, { kind: 'refused' }> {
  return { kind: 'refused', code, field, reason };
}

function isSignedBy(envelope: { readonly [field: string]: unknown }, signature: string, publicKey: string): boolean {
  const key = publicKeyOf(publicKey);
  if (key === undefined || !SIGNATURE.test(signature)) return false;
  const bytes = Buffer.from(signature, 'base64url');
  if (bytes.toString('base64url') !== signature) return false;
  const text = canonicalJson(Object.fromEntries(SIGNED_FIELDS.map((field) => [field, envelope[field]])));
  return text !== undefined && verify(null, Buffer.from(text), key, bytes);
}

/** RFC 8037: an Ed25519 public key as JWK is its 32 bytes. */
function publicKeyOf(x: string): KeyObject | undefined {
  if (!PUBLIC_KEY.test(x)) return undefined;
  try {
    return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
  } catch {
    return undefined;
  }
}

/** The public half, base64url of its 32 bytes, as enrolment tells it to nodes. Undefined when the key is not Ed25519. */
export function publicKeyText(privateKey: KeyObject): string | undefined {
  return privateKey.asymmetricKeyType === 'ed25519' ? createPublicKey(privateKey).export({ format: 'jwk' }).x : undefined;
}

/** Undefined when `pem` is no Ed25519 private key. */
export function privateKeyOf(pem: string): KeyObject | undefined {
  try {
    const key = createPrivateKey(pem);
    return key.asymmetricKeyType === 'ed25519' ? key : undefined;
  } catch {
    return undefined;
  }
}
