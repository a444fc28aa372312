/**
 * What a device is configured to be, on its way from the form to the node and back as a report (contracts 2).
 *
 * 1. An omitted field leaves the node's setting as it is.
 * 2. A configuration that the control plane sends is bound to one node, has a revision that only grows, ends, and is signed.
 *    One that a person wrote into Redis by hand has none of these: an enrolled node refuses it unless its local policy allows it.
 * 3. A configuration names services of the node's own catalogue and parameters that the catalogue declares; never an image, a flag, a mount.
 */
import type { Json } from './json.ts';

/** A service to run, by its name in the catalogue, with values for parameters that the catalogue declares. */
export interface ServiceChoice {
  readonly name: string;
  readonly parameters?: { readonly [parameter: string]: string | number | boolean };
}

export interface DeviceConfig {
  readonly deviceName?: string;
  /** A bare name in JSON stands for `{ name }`. */
  readonly services?: readonly ServiceChoice[];
  readonly autoStartServices?: boolean;
  readonly sshEnabled?: boolean;
  readonly customTags?: readonly string[];
  readonly healthMonitoringEnabled?: boolean;
  readonly alertOnOffline?: boolean;
  /** True: at the node's default threshold; a number: °C. */
  readonly alertOnHighTemp?: boolean | number;
  /** Also stops services that are not named; without it services are only added. Needed to make `services` empty. */
  readonly replaceServices?: boolean;
}

/** Beside the configuration in the payload `{config, …}`. */
export interface ConfigEnvelope {
  readonly config: DeviceConfig;
  readonly nodeId: string;
  readonly deviceId: string;
  readonly revision: number;
  /** RFC 3339. */
  readonly issuedAt: string;
  readonly expiresAt: string;
  /** base64url Ed25519 over the canonical JSON of all other fields. */
  readonly signature: string;
}

/** What became of one service. */
export const SERVICE_PHASES = ['waiting', 'pulling', 'starting', 'healthy', 'failed', 'stopped', 'unchanged'] as const;
export type ServicePhase = (typeof SERVICE_PHASES)[number];

export interface ServiceOutcome {
  readonly name: string;
  readonly phase: ServicePhase;
  /** Of pulling, 0 to 100. */
  readonly percent?: number;
  /** Why it failed, with the container's last lines. */
  readonly message?: string;
}

/**
 * Where an apply stands.
 * - `applying`: at work. - `applied`: the desired revision runs. - `rolled-back`: it did not get healthy in time; what ran before runs.
 * - `rejected`: refused before anything was changed. - `recorded`: kept without starting (`autoStartServices: false`).
 * - `drifted`: applied, but a service is not as it should be and is being repaired. - `failed`: neither revision could be brought up.
 */
export const APPLY_PHASES = ['applying', 'applied', 'recorded', 'rolled-back', 'rejected', 'drifted', 'failed'] as const;
export type ApplyPhase = (typeof APPLY_PHASES)[number];

/** An entry of {@link DEVICE_REPORTS}: `nodeId … report <JSON>` (and `deviceId` when the node knows it). */
export interface ConfigReport {
  readonly phase: ApplyPhase;
  readonly jobId?: string;
  /** Null before the first, or for a manual configuration. */
  readonly desiredRevision: number | null;
  readonly appliedRevision: number | null;
  readonly services: readonly ServiceOutcome[];
  readonly error?: { readonly code: string; readonly message: string; readonly field?: string };
  /** Fields of the configuration that this node does not know, and settings that its policy refused. */
  readonly unsupported?: readonly string[];
  readonly refused?: readonly string[];
  readonly detail?: Json;
  /** RFC 3339, the node's clock. */
  readonly timestamp: string;
}

/** Stream of the nodes' reports; read in place, trimmed behind. */
export const DEVICE_REPORTS = 'device:reports';
export const CONFIG_STREAM = 'jobs:v1:config';
export const CONFIG_GROUP = 'citadel-config-consumers';
export const CONFIG_JOB_TYPE = 'APPLY_DEVICE_CONFIG';
export function configChannel(nodeId: string): string {
  return `config:node:${nodeId}`;
}
