/**
 * Who may call which route.
 *
 * 1. Every route declares its access; the server does not start with one that does not (deny by default).
 * 2. A bearer token wins over a cookie. A token in a query string is not looked for.
 * 3. Device tokens open the routes for devices and no others, and those routes take nothing else, no cookie either.
 * 4. A request with a cookie that is not GET or HEAD must carry an `Origin` that is ours or allowed (against cross-site requests).
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { DevicePrincipal } from '../protocol/device.ts';
import { DEVICE_TOKEN_PREFIX, type DeviceTokens } from './auth/device-tokens.ts';
import { may, type Access, type Principal } from './auth/principal.ts';
import { SESSION_COOKIE } from './auth/sessions.ts';
import type { Verification, VerifyToken } from './auth/tokens.ts';
import { sendProblem } from './problem.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: Access;
  }
  interface FastifyRequest {
    /** The caller; null on public routes without credentials. */
    principal: Principal | null;
    /** The device and its token, on routes with access `device`. */
    device: AdmittedDevice | null;
  }
}

export interface AdmittedDevice extends DevicePrincipal {
  readonly token: string;
}

export interface AccessOptions {
  readonly verifyBearer: VerifyToken;
  readonly verifySession: VerifyToken;
  readonly allowedOrigins: readonly string[] | '*';
  /** Absent: there are no devices. */
  readonly devices?: DeviceTokens;
}

export function guardRoutes(app: FastifyInstance, options: AccessOptions): void {
  app.decorateRequest('principal', null);
  app.decorateRequest('device', null);
  app.addHook('onRoute', (route) => {
    // @fastify/cors answers preflights through a catch-all route of its own.
    if (route.config?.access === undefined && route.method !== 'OPTIONS') throw new Error(`The route ${String(route.method)} ${route.url} declares no access.`);
  });
  app.addHook('onRequest', async (request, reply) => {
    const access = request.routeOptions.config.access ?? 'public';
    if (access === 'public') return;
    const credentials = credentialsOf(request);
    if (access === 'device') return await admitDevice(request, reply, credentials?.via === 'bearer' ? credentials.token : undefined, options.devices);
    if (credentials === undefined) return challenge(reply, 'Send an Authorization: Bearer token, or open the link that the server printed.');
    if (credentials.via === 'session' && !isSafe(request.method) && !originAllowed(request, options.allowedOrigins))
      return sendProblem(reply, 'foreign_origin', 'Requests with a session cookie must come from a page of this server or of an origin in CORS_ORIGIN.');
    const verification = await (credentials.via === 'bearer' ? options.verifyBearer : options.verifySession)(credentials.token);
    return admit(request, reply, verification, access);
  });
}

/** For routes that are open only to some without credentials: the caller, or null. */
export async function identify(request: FastifyRequest, options: AccessOptions): Promise<Principal | null> {
  const credentials = credentialsOf(request);
  if (credentials === undefined) return null;
  const verification = await (credentials.via === 'bearer' ? options.verifyBearer : options.verifySession)(credentials.token);
  return verification.kind === 'valid' ? verification.principal : null;
}

/** The caller of a route that is not public. */
export function callerOf(request: FastifyRequest): Principal {
  if (request.principal === null) throw new Error('A public route asked for its caller.');
  return request.principal;
}

/** The device of a route for devices. */
export function deviceOf(request: FastifyRequest): AdmittedDevice {
  if (request.device === null) throw new Error('A route that is not for devices asked for one.');
  return request.device;
}

/** (3) */
async function admitDevice(
  request: FastifyRequest,
  reply: FastifyReply,
  token: string | undefined,
  devices: DeviceTokens | undefined,
): Promise<FastifyReply | undefined> {
  if (token === undefined || devices === undefined) return challenge(reply, 'Send the device token: Authorization: Bearer cdt_…');
  if (!token.startsWith(DEVICE_TOKEN_PREFIX)) return challenge(reply, 'This is for devices; the token is not a device token.', 'invalid_token');
  const principal = await devices.verify(token);
  if (principal === undefined) return challenge(reply, 'The device token is unknown or revoked. Run "castellan init" on the node.', 'invalid_token');
  request.device = { ...principal, token };
  return undefined;
}

function admit(
  request: FastifyRequest,
  reply: FastifyReply,
  verification: Verification,
  access: Exclude<Access, 'public' | 'device'>,
): FastifyReply | undefined {
  switch (verification.kind) {
    case 'unavailable':
      return sendProblem(reply.header('retry-after', '5'), 'keys_unavailable', 'The key set of JWT_JWKS_URL cannot be fetched; try again.');
    case 'invalid':
      return challenge(reply, `The token was refused: ${verification.reason}.`, 'invalid_token');
    case 'valid':
      if (access !== 'user' && !may(verification.principal, access))
        return sendProblem(reply, 'forbidden', `This needs the role "${access}"; the token has "${verification.principal.role}".`);
      request.principal = verification.principal;
      return undefined;
  }
}

function credentialsOf(request: FastifyRequest): { readonly via: Principal['via']; readonly token: string } | undefined {
  const header = request.headers.authorization;
  if (header !== undefined) {
    const match = /^Bearer +([A-Za-z0-9._~+/=-]+)$/i.exec(header);
    return { via: 'bearer', token: match?.[1] ?? '' };
  }
  const cookie = request.cookies[SESSION_COOKIE];
  return cookie === undefined ? undefined : { via: 'session', token: cookie };
}

function challenge(reply: FastifyReply, detail: string, error?: string): FastifyReply {
  return sendProblem(reply.header('www-authenticate', `Bearer realm="castellan"${error === undefined ? '' : `, error="${error}"`}`), 'unauthorized', detail);
}

function isSafe(method: string): boolean {
  return method === 'GET' || method === 'HEAD';
}

/** What of a request tells whether its page is ours. */
export type OriginOf = { readonly headers: { readonly origin?: string | undefined }; readonly protocol: string; readonly host: string };

export function originAllowed(request: OriginOf, allowed: readonly string[] | '*'): boolean {
  const origin = request.headers.origin;
  if (origin === undefined) return false;
  return origin === `${request.protocol}://${request.host}` || (allowed !== '*' && allowed.includes(origin));
}
