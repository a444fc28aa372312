/** The settings of the control plane's HTTP: read from the environment, checked, with their defaults. */
import { InvalidSettingError } from '../protocol/errors.ts';
import type { TokenKeys } from './auth/tokens.ts';
import { allowedNetwork } from './live/allowed-network.ts';

/**
 * Where nodes may be asked live: the mesh's own addresses (RFC 6598, as Tailscale uses them) and private ranges
 * (RFC 1918, RFC 4193). Never link-local (a cloud's metadata service lives there), never public.
 */
export const DEFAULT_LIVE_NETWORKS = ['100.64.0.0/10', '10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7'] as const;
export const DEFAULT_PORT = 3001;
/** Requests a minute of one address: a loop that went wild is stopped, a busy program (1,000 a second) is not. */
export const DEFAULT_REQUESTS_PER_MINUTE = 60_000;
/** The output of HS256's hash. */
const SECRET_BYTES_MIN = 32;

export interface HttpSettings {
  /** Origins of browsers' pages, besides our own, that may call. `*`: any, without cookies. */
  readonly corsOrigins: readonly string[] | '*';
  readonly liveNetworks: readonly string[];
  /** The node whose agent runs on this machine, started together with the control plane: asked on loopback. */
  readonly localNodeId?: string;
  readonly requestsPerMinute: number;
  /** Where people reach this server, without a slash at the end; absent: where their requests say that they were sent. */
  readonly publicUrl?: string;
}

type Environment = { readonly [name: string]: string | undefined };

/** Reads `HOST` and `PORT`. */
export function readListenAddress(env: Environment): { readonly host: string; readonly port: number } {
  const port = env['PORT'] === undefined || env['PORT'] === '' ? DEFAULT_PORT : Number(env['PORT']);
  if (!Number.isInteger(port) || port < 0 || port > 65_535) throw new InvalidSettingError('PORT', 'must be a whole number from 0 to 65535.');
  return { host: env['HOST'] || '127.0.0.1', port };
}

/** Reads `CORS_ORIGIN`, `LIVE_NETWORKS`, `HTTP_REQUESTS_PER_MINUTE`, `PUBLIC_URL`. */
export function readHttpSettings(env: Environment, localNodeId?: string): HttpSettings {
  const perMinute = env['HTTP_REQUESTS_PER_MINUTE'];
  const requestsPerMinute = perMinute === undefined || perMinute === '' ? DEFAULT_REQUESTS_PER_MINUTE : Number(perMinute);
  if (!Number.isInteger(requestsPerMinute) || requestsPerMinute < 1)
    throw new InvalidSettingError('HTTP_REQUESTS_PER_MINUTE', 'must be a whole number of at least 1.');
  const liveNetworks = commaList(env['LIVE_NETWORKS']) ?? DEFAULT_LIVE_NETWORKS;
  allowedNetwork(liveNetworks); // refuses one that is not a network before anything is started
  return {
    corsOrigins: readOrigins(env['CORS_ORIGIN']),
    liveNetworks,
    requestsPerMinute,
    ...(env['PUBLIC_URL'] ? { publicUrl: readPublicUrl(env['PUBLIC_URL']) } : {}),
    ...(localNodeId === undefined ? {} : { localNodeId }),
  };
}

/**
 * Which tokens are accepted: those of `JWT_JWKS_URL` (which needs `JWT_ISSUER` and `JWT_AUDIENCE`), else those signed with
 * `JWT_SECRET`, else those of the data folder's own secret.
 */
export function readTokenKeys(env: Environment, ownSecret: Uint8Array): TokenKeys {
  const issuer = env['JWT_ISSUER'] || undefined;
  const audience = env['JWT_AUDIENCE'] || undefined;
  const names = { ...(issuer === undefined ? {} : { issuer }), ...(audience === undefined ? {} : { audience }) };
  if (env['JWT_JWKS_URL']) {
    if (issuer === undefined) throw new InvalidSettingError('JWT_ISSUER', 'is needed with JWT_JWKS_URL: name the identity provider.');
    if (audience === undefined)
      throw new InvalidSettingError('JWT_AUDIENCE', 'is needed with JWT_JWKS_URL: tokens that the provider made for other programs must not be accepted.');
    return { kind: 'key-set', url: readUrl('JWT_JWKS_URL', env['JWT_JWKS_URL']), issuer, audience };
  }
  if (env['JWT_SECRET']) return { kind: 'secret', secret: jwtSecret(env['JWT_SECRET']), strict: false, ...names };
  return { kind: 'secret', secret: ownSecret, strict: true };
}

/** The key of `JWT_SECRET`. A shorter one than the hash can be guessed from one token, without asking us (RFC 7518, 3.2). */
export function jwtSecret(text: string): Uint8Array {
  const secret = new TextEncoder().encode(text);
  if (secret.length < SECRET_BYTES_MIN)
    throw new InvalidSettingError('JWT_SECRET', `must have at least ${SECRET_BYTES_MIN} characters. "openssl rand -base64 48" makes one.`);
  return secret;
}

function readOrigins(text: string | undefined): readonly string[] | '*' {
  const items = commaList(text) ?? [];
  if (items.includes('*')) return '*';
  return items.map((item) => {
    const { origin, protocol } = readUrl('CORS_ORIGIN', item);
    if (protocol !== 'http:' && protocol !== 'https:') throw new InvalidSettingError('CORS_ORIGIN', `must list http or https origins, not ${protocol}.`);
    return origin;
  });
}

function readUrl(setting: string, text: string): URL {
  const url = URL.parse(text);
  if (url === null) throw new InvalidSettingError(setting, `must hold URLs such as https://example.org.`);
  return url;
}

function readPublicUrl(text: string): string {
  const { protocol, origin, pathname, search, hash } = readUrl('PUBLIC_URL', text);
  if ((protocol !== 'http:' && protocol !== 'https:') || search !== '' || hash !== '')
    throw new InvalidSettingError('PUBLIC_URL', 'must be an http or https URL without query and fragment.');
  return `${origin}${pathname}`.replace(/\/+$/, '');
}

function commaList(text: string | undefined): readonly string[] | undefined {
  const items = (text ?? '')
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
  return items.length === 0 ? undefined : items;
}
