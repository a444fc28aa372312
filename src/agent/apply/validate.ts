/**
 * Whether a configuration may be applied on this node: who says it, for whom, which revision, and whether it reads as one.
 *
 * 1. A node that was enrolled has the key of its control plane and takes nothing else, unless its own policy allows configurations by hand.
 * 2. A node that was never enrolled has no key: it takes what reaches it.
 * 3. What the node's policy forbids is taken out and told as refused; the rest counts.
 */
import { CastellanError } from '../../protocol/errors.ts';
import { parseConfigPayload } from '../../provisioning/config-entry.ts';
import { verifyConfig } from '../../provisioning/config-signature.ts';
import { parseDeviceConfig } from '../../provisioning/parse-config.ts';
import type { Catalogue } from '../../provisioning/node-catalogue.ts';
import type { DeviceConfig } from '../../protocol/device-config.ts';
import type { Json } from '../../protocol/json.ts';
import type { Accepted, Validated } from '../../../machines/apply/machine.ts';

/** What the node was given when it was enrolled. */
export interface EnrolledAs {
  /** base64url Ed25519 public key of configurations. */
  readonly configKey: string;
  readonly deviceId: string;
}

export interface ValidationInput {
  readonly payload: Json;
  readonly nodeId: string;
  /** Undefined when it never was. */
  readonly enrolled: EnrolledAs | undefined;
  readonly allowManual: boolean;
  readonly catalogue: Catalogue;
  readonly highestRevision: number | null;
  /** ms since the epoch. */
  readonly now: number;
}

export type Origin =
  | { readonly kind: 'revision'; readonly revision: number | null; readonly config: unknown }
  | { readonly kind: 'repeated'; readonly revision: number }
  | { readonly kind: 'refused'; readonly code: string; readonly field: string; readonly message: string; readonly revision?: number };

/** Who says it, and which revision it is. */
export function originOf({ payload, nodeId, enrolled, allowManual, catalogue, highestRevision, now }: ValidationInput): Origin {
  const request = parseConfigPayload(payload);
  if (request.kind === 'bad') return refused('invalid_config', request.field, request.reason);
  if (request.target !== undefined && request.target !== nodeId) return refused('wrong_node', 'target_node', `names another node than ${nodeId}.`);
  const { envelope, config } = request;
  const lastRevision = highestRevision ?? 0;
  if (enrolled === undefined) {
    const revision = envelope?.['revision']; // (2)
    if (typeof revision !== 'number' || !Number.isSafeInteger(revision)) return { kind: 'revision', revision: null, config };
    if (revision < lastRevision) return refused('stale_revision', 'revision', `is older than ${lastRevision}, which this node has taken up already.`);
    return { kind: 'revision', revision, config };
  }
  if (envelope === undefined && (allowManual || catalogue.policy.manualConfig)) return { kind: 'revision', revision: null, config };
  const verified = verifyConfig(envelope ?? {}, enrolled.configKey, { nodeId, deviceId: enrolled.deviceId, now, lastRevision }); // (1)
  if (verified.kind === 'refused') {
    const { code, field, reason, revision } = verified;
    return { ...refused(code, field, reason), ...(revision === undefined ? {} : { revision }) };
  }
  if (verified.kind === 'repeated') return { kind: 'repeated', revision: verified.revision };
  return { kind: 'revision', revision: verified.revision, config: verified.config };
}

export function validate(input: ValidationInput): Validated {
  const origin = originOf(input);
  if (origin.kind === 'refused') {
    const { code, field, message, revision } = origin;
    return { kind: 'refused', failure: { code, field, message }, ...(revision === undefined ? {} : { revision }) };
  }
  // Repeated, and how it ended was not kept: applied once more, it finds everything as it should be.
  const said = origin.kind === 'repeated' ? (input.payload as { readonly config?: unknown }).config : origin.config;
  try {
    const { config, unsupported } = parseDeviceConfig(said, input.catalogue);
    const { sshEnabled, ...rest } = config;
    const sshRefused = sshEnabled !== undefined && !input.catalogue.policy.ssh;
    const desired: DeviceConfig = sshRefused || sshEnabled === undefined ? rest : config; // (3)
    const accepted: Accepted = { revision: origin.revision, desired: desired as unknown as Json, unsupported, refused: sshRefused ? ['sshEnabled'] : [] };
    return { kind: 'accepted', accepted };
  } catch (error) {
    if (!(error instanceof CastellanError)) throw error;
    const failure = { code: error.code, message: error.message, ...(error.field === undefined ? {} : { field: error.field }) };
    return origin.revision === null ? { kind: 'refused', failure } : { kind: 'refused', failure, revision: origin.revision, isTakenUp: true };
  }
}

function refused(code: string, field: string, reason: string): Extract<Origin, { kind: 'refused' }> {
  return { kind: 'refused', code, field, message: `The field ${field} ${reason}` };
}
