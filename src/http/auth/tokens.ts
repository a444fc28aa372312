/**
 * Bearer tokens: made and checked.
 *
 * 1. The algorithms are pinned by the kind of key: HS256 for a shared secret, asymmetric ones for a key set. A token never chooses.
 * 2. `exp` is required, and `sub` or `publicKey`; an unknown `crit` is refused (RFC 7515, 4.1.11; jose upholds it).
 * 3. A wrong issuer or audience is always refused. Their absence is tolerated only for `JWT_SECRET` without configured names,
 *    because tokens of the program that owns that secret may carry none.
 * 4. Session cookies are signed with a key derived from the secret for that purpose alone, so that neither kind passes as the other.
 */
import { hkdfSync } from 'node:crypto';
import { createRemoteJWKSet, errors, jwtVerify, SignJWT, type JWTPayload, type JWTVerifyGetKey, type JWTVerifyOptions } from 'jose';
import { USER_ID_LENGTH_MAX } from '../../protocol/user-events.ts';
import { roleOf, type Principal, type Role } from './principal.ts';

/** Issuer and audience of the tokens that we make ourselves. */
export const OWN_NAME = 'castellan';
/** A longer token is refused unread: ours have about 300 characters, an identity provider's some 2,000. */
const TOKEN_LENGTH_MAX = 8_192;
/** Difference of clocks that is forgiven at `exp` and `nbf`, in seconds. */
const CLOCK_TOLERANCE_S = 5;
const ASYMMETRIC = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'];
const KEY_SET_TIMEOUT_MS = 3_000;

export type TokenKeys =
  /** `strict`: issuer and audience must be present (the secret is our own and all its tokens have them). */
  | { readonly kind: 'secret'; readonly secret: Uint8Array; readonly issuer?: string; readonly audience?: string; readonly strict: boolean }
  | { readonly kind: 'key-set'; readonly url: URL; readonly issuer: string; readonly audience: string };

export type Verification =
  | { readonly kind: 'valid'; readonly principal: Principal }
  | { readonly kind: 'invalid'; readonly reason: string }
  /** The key set could not be fetched: neither valid nor invalid. */
  | { readonly kind: 'unavailable' };

export type VerifyToken = (token: string) => Promise<Verification>;

/** Wall clock, ms since the epoch. */
export type WallClock = () => number;

export function tokenVerifier(keys: TokenKeys, via: Principal['via'], now: WallClock): VerifyToken {
  const verify = keys.kind === 'secret' ? secretVerification(keys) : keySetVerification(keys);
  return async (token) => {
    if (token.length > TOKEN_LENGTH_MAX) return { kind: 'invalid', reason: 'the token is too long' };
    try {
      const payload = await verify(token, { requiredClaims: ['exp'], clockTolerance: CLOCK_TOLERANCE_S, currentDate: new Date(now()) });
      const principal = principalOf(payload, via);
      return principal === undefined ? { kind: 'invalid', reason: 'the "sub", "publicKey" or "org" claim is not usable' } : { kind: 'valid', principal };
    } catch (error) {
      if (error instanceof errors.JWKSTimeout || error instanceof errors.JWKSInvalid || !(error instanceof errors.JOSEError)) return { kind: 'unavailable' };
      return { kind: 'invalid', reason: reasonOf(error) };
    }
  };
}

type Verify = (token: string, options: JWTVerifyOptions) => Promise<JWTPayload>;

function secretVerification(keys: Extract<TokenKeys, { kind: 'secret' }>): Verify {
  const issuer = keys.issuer ?? OWN_NAME;
  const audience = keys.audience ?? OWN_NAME;
  const required = [...(keys.strict || keys.issuer !== undefined ? ['iss'] : []), ...(keys.strict || keys.audience !== undefined ? ['aud'] : [])];
  return async (token, options) => {
    const { payload } = await jwtVerify(token, keys.secret, {
      ...options,
      algorithms: ['HS256'],
      requiredClaims: [...(options.requiredClaims ?? []), ...required],
    });
    // jose requires the claim as soon as it is told what to expect, hence by hand (3).
    if (payload.iss !== undefined && payload.iss !== issuer) throw new errors.JWTClaimValidationFailed('unexpected "iss" claim value', payload, 'iss');
    if (payload.aud !== undefined && ![payload.aud].flat().includes(audience))
      throw new errors.JWTClaimValidationFailed('unexpected "aud" claim value', payload, 'aud');
    return payload;
  };
}

function keySetVerification(keys: Extract<TokenKeys, { kind: 'key-set' }>): Verify {
  const keySet: JWTVerifyGetKey = createRemoteJWKSet(keys.url, { timeoutDuration: KEY_SET_TIMEOUT_MS });
  return async (token, options) => {
    const { payload } = await jwtVerify(token, keySet, { ...options, algorithms: ASYMMETRIC, issuer: keys.issuer, audience: keys.audience });
    return payload;
  };
}

function principalOf(payload: JWTPayload, via: Principal['via']): Principal | undefined {
  const { sub, exp, org, role, publicKey } = payload;
  const subject = sub ?? publicKey;
  if (!isName(subject) || exp === undefined) return undefined;
  // A present but unusable claim must not make another user of the caller, nor widen what is seen to the whole fleet.
  if (publicKey !== undefined && !(isName(publicKey) && publicKey.length <= USER_ID_LENGTH_MAX)) return undefined;
  if (org !== undefined && !isName(org)) return undefined;
  return { subject, role: roleOf(role), org: org ?? null, expiresAt: exp * 1000, via, ...(publicKey === undefined ? {} : { userId: publicKey }) };
}

function isName(claim: unknown): claim is string {
  return typeof claim === 'string' && claim !== '';
}

/** Says what was wrong without quoting the token. */
function reasonOf(error: errors.JOSEError): string {
  if (error instanceof errors.JWTExpired) return 'the token has expired';
  if (error instanceof errors.JWTClaimValidationFailed) return `the "${error.claim}" claim is missing or wrong`;
  if (error instanceof errors.JOSEAlgNotAllowed) return 'the token is signed with an algorithm that is not accepted';
  return 'the token is malformed or its signature does not match';
}

export interface TokenClaims {
  readonly subject: string;
  readonly role: Role;
  readonly org?: string | null;
  readonly lifetimeMs: number;
  readonly issuer?: string;
  readonly audience?: string;
}

/** Makes an HS256 token. */
export async function issueToken(secret: Uint8Array, claims: TokenClaims, now: WallClock): Promise<string> {
  const at = now();
  return await new SignJWT({ role: claims.role, ...(claims.org == null ? {} : { org: claims.org }) })
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
    .setSubject(claims.subject)
    .setIssuer(claims.issuer ?? OWN_NAME)
    .setAudience(claims.audience ?? OWN_NAME)
    .setIssuedAt(Math.floor(at / 1000))
    .setExpirationTime(Math.floor((at + claims.lifetimeMs) / 1000))
    .sign(secret);
}

/** The key of session cookies (4). */
export function sessionSecret(secret: Uint8Array): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', secret, new Uint8Array(0), 'castellan session cookie', 32));
}
