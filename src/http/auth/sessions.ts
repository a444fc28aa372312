/**
 * Sessions of browsers: a one-time link's secret is exchanged for a cookie.
 *
 * 1. A link's secret works once, for {@link LINK_LIFETIME_MS}, and only its hash is held.
 * 2. It travels in the fragment of a URL, which no browser sends to a server, and then in a body: never in a query string.
 * 3. The cookie is HttpOnly and SameSite=Strict; a request that changes something must also come from an allowed origin (see access.ts).
 */
import { createHash, randomBytes } from 'node:crypto';
import type { Principal, Role } from './principal.ts';
import { issueToken, sessionSecret, tokenVerifier, type VerifyToken, type WallClock } from './tokens.ts';

export const SESSION_COOKIE = 'castellan_session';
/** A working day: what `npm start` prints in the morning still works in the evening. */
export const LINK_LIFETIME_MS = 12 * 3_600_000;
export const SESSION_LIFETIME_MS = 12 * 3_600_000;
/** Links that wait to be used; the oldest gives way. */
const LINKS_MAX = 64;
const LINK_BYTES = 32;

export interface LinkGrant {
  readonly subject: string;
  readonly role: Role;
  readonly org: string | null;
}

export interface Sessions {
  /** A new one-time secret: put it into a URL as `/#link=<secret>`. */
  createLink(grant: LinkGrant): string;
  /** Uses a link up. Undefined when it is unknown, used or too old. */
  exchange(secret: string): Promise<{ readonly cookie: string; readonly principal: Principal } | undefined>;
  readonly verify: VerifyToken;
}

export function createSessions(secret: Uint8Array, now: WallClock): Sessions {
  const key = sessionSecret(secret);
  const links = new Map<string, LinkGrant & { readonly expiresAt: number }>();
  return {
    createLink(grant) {
      const link = randomBytes(LINK_BYTES).toString('base64url');
      if (links.size >= LINKS_MAX) links.delete(links.keys().next().value ?? '');
      links.set(hash(link), { ...grant, expiresAt: now() + LINK_LIFETIME_MS });
      return link;
    },
    async exchange(link) {
      const grant = links.get(hash(link));
      links.delete(hash(link));
      if (grant === undefined || grant.expiresAt < now()) return undefined;
      const { subject, role, org } = grant;
      const cookie = await issueToken(key, { subject, role, org, lifetimeMs: SESSION_LIFETIME_MS }, now);
      return { cookie, principal: { subject, role, org, expiresAt: now() + SESSION_LIFETIME_MS, via: 'session' } };
    },
    verify: tokenVerifier({ kind: 'secret', secret: key, strict: true }, 'session', now),
  };
}

/** Looking a secret up by its hash also keeps the comparison's duration from telling about the secret. */
function hash(secret: string): string {
  return createHash('sha256').update(secret).digest('base64url');
}
