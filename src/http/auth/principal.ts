/** Who calls, and what they may do. */

/** In rising order: each may do all that the ones before it may. `none` is a known caller without a role here. */
export const ROLES = ['none', 'viewer', 'operator', 'admin'] as const;
export type Role = (typeof ROLES)[number];

export interface Principal {
  readonly subject: string;
  /** Who the caller is as a user of rebalance jobs, when that is not the subject: the claim `publicKey`. */
  readonly userId?: string;
  readonly role: Role;
  /** The only organisation that this caller sees; null: the whole fleet. */
  readonly org: string | null;
  /** ms since the epoch. */
  readonly expiresAt: number;
  readonly via: 'bearer' | 'session';
}

/**
 * What a route asks of its caller. `user`: to be known, with any role or none; the route shows callers nothing but their own.
 * `device`: a device token, which opens nothing else.
 */
export type Access = 'public' | 'user' | 'device' | Exclude<Role, 'none'>;

/** The caller as the owner of rebalance jobs and of events about them (contracts 4). */
export function userIdOf({ userId, subject }: Pick<Principal, 'userId' | 'subject'>): string {
  return userId ?? subject;
}

export function may(principal: Pick<Principal, 'role'>, role: Role): boolean {
  return ROLES.indexOf(principal.role) >= ROLES.indexOf(role);
}

/** The role that a token's claim names; anything unknown is no role. */
export function roleOf(claim: unknown): Role {
  return ROLES.find((role) => role === claim) ?? 'none';
}

/** Invariant of tenancy: a caller bound to an organisation sees that organisation's things and nothing else. */
export function sees(principal: Pick<Principal, 'org'>, orgId: string | null): boolean {
  return principal.org === null || principal.org === orgId;
}
