/**
 * What is kept of enrolments beside the devices' actors: codes and tokens by their hashes, the pace of polls, and whose a node's name is.
 *
 * 1. Each call is one atomic change, so that any number of control planes may serve enrolments.
 * 2. No code and no token comes here, only hashes of them.
 */
import type { DevicePrincipal } from './device.ts';

export interface OpenEnrolment {
  readonly userHash: string;
  readonly deviceId: string;
  readonly lifetimeMs: number;
  readonly intervalMs: number;
}

/** `over`: nothing is known of the code, or its time has passed. */
export type Poll = { readonly kind: 'in-time' } | { readonly kind: 'early'; readonly intervalMs: number } | { readonly kind: 'over' };

export interface Enrolment {
  /** False when the user code is taken: try another. */
  open(enrolment: OpenEnrolment): Promise<boolean>;
  /** Whose user code it is, while it lives. */
  deviceOf(userHash: string): Promise<string | undefined>;
  /** Its user code is worthless from now on. */
  closeUserCode(userHash: string): Promise<void>;
  /** Counts a poll. One that is too early makes the interval longer for good, and is measured from as well. */
  poll(deviceId: string): Promise<Poll>;
  /** Stores the device's first token. False when it was given one before, or its code's time has passed. */
  redeem(principal: DevicePrincipal, tokenHash: string): Promise<boolean>;
  /** Stores another token and ends the present one after `graceMs`. False when the device has none. */
  rotate(principal: DevicePrincipal, tokenHash: string, graceMs: number): Promise<boolean>;
  principalOf(tokenHash: string): Promise<DevicePrincipal | undefined>;
  /** Of each: whether any token of it works. */
  haveTokens(deviceIds: readonly string[]): Promise<readonly boolean[]>;
  /** Ends all tokens of a device, and tells all processes. */
  revoke(deviceId: string): Promise<void>;
  /** The first of the names that no other device has, now held for this one for some minutes; one of `from` passes to it. */
  claimNode(deviceId: string, names: readonly string[], from?: string): Promise<string | undefined>;
  /** The name is the device's from now on. */
  keepNode(deviceId: string, nodeId: string): Promise<void>;
  releaseNode(deviceId: string, nodeId: string): Promise<void>;
  /** The newest approved device of a machine. `machine`: hashed, with its organisation. */
  machineDevice(machine: string): Promise<string | undefined>;
  setMachineDevice(machine: string, deviceId: string): Promise<void>;
  /** Told each device that was revoked, wherever that happened; null when some may have been missed. */
  listen(told: (deviceId: string | null) => void): Promise<void>;
  close(): Promise<void>;
}
