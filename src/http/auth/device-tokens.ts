/**
 * Device tokens: principals of a kind of their own. A token of this kind opens the routes with access `device` and no other; a user's
 * token opens none of these.
 *
 * 1. A request that waits is bound to its token: it ends when the device is revoked, wherever that happened, and when a look at the token,
 *    repeated every {@link RECHECK_MS}, finds it no longer good (rotated away).
 * 2. When tokens cannot be checked, nobody is let in, and who is in stays: an outage of Redis revokes nobody.
 */
import type { DevicePrincipal, Devices } from '../../protocol/device.ts';

export const DEVICE_TOKEN_PREFIX = 'cdt_';
/** A revoked token is out within 5 s, with as much for the cache of {@link Devices.verifyToken}. */
const RECHECK_MS = 2_000;

/** Ends a request's waiting; `end` must be called when the request is over. */
export interface Lease {
  readonly signal: AbortSignal;
  end(): void;
}

export interface DeviceTokens {
  /** Undefined: unknown, rotated away or revoked. */
  verify(token: string): Promise<DevicePrincipal | undefined>;
  lease(principal: DevicePrincipal, token: string): Lease;
  close(): void;
}

export function deviceTokens(devices: Pick<Devices, 'verifyToken' | 'onRevoked'>): DeviceTokens {
  const open = new Map<string, Set<AbortController>>();
  const timers = new Set<NodeJS.Timeout>();
  const stopListening = devices.onRevoked((deviceId) => {
    for (const controller of open.get(deviceId) ?? []) controller.abort();
  });
  return {
    verify: async (token) => await devices.verifyToken(token),
    lease({ deviceId }, token) {
      const controller = new AbortController();
      const leases = open.get(deviceId) ?? new Set();
      open.set(deviceId, leases.add(controller));
      const recheck = setInterval(() => {
        devices.verifyToken(token).then(
          (principal) => void (principal === undefined && controller.abort()),
          () => undefined, // (2)
        );
      }, RECHECK_MS);
      timers.add(recheck);
      return {
        signal: controller.signal,
        end() {
          clearInterval(recheck);
          timers.delete(recheck);
          leases.delete(controller);
          if (leases.size === 0 && open.get(deviceId) === leases) open.delete(deviceId);
        },
      };
    },
    close() {
      stopListening();
      for (const timer of timers) clearInterval(timer);
      for (const leases of open.values()) for (const controller of leases) controller.abort();
    },
  };
}
