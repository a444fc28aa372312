/**
 * Which Redis: the settings of contracts.md section 5, read in one place.
 *
 * 1. `REDIS_URL` wins over `REDIS_HOST`, `REDIS_PORT`, `REDIS_DB`, `REDIS_PASSWORD`, `REDIS_SSL`; an empty value is none.
 * 2. A message never quotes a URL, because a URL holds a password.
 */
import { InvalidSettingError } from '../protocol/errors.ts';

export interface RedisTarget {
  readonly host: string;
  readonly port: number;
  readonly db: number;
  readonly tls: boolean;
  readonly username?: string;
  readonly password?: string;
}

const DEFAULT_PORT = 6379;

/** The Redis that the environment names, or undefined when it names none (the embedded one is used then). Throws InvalidSettingError. */
export function redisOptionsFrom(env: { readonly [name: string]: string | undefined }): RedisTarget | undefined {
  if (env['REDIS_URL']) return parseRedisUrl(env['REDIS_URL']);
  if (!env['REDIS_HOST']) return undefined;
  const password = env['REDIS_PASSWORD'];
  return {
    host: env['REDIS_HOST'],
    port: wholeNumber('REDIS_PORT', env['REDIS_PORT'], DEFAULT_PORT, 65_535),
    db: wholeNumber('REDIS_DB', env['REDIS_DB'], 0, 65_535),
    tls: isTrue('REDIS_SSL', env['REDIS_SSL']),
    ...(password ? { password } : {}),
  };
}

/** `redis://[[user]:password@]host[:port][/db]`, or `rediss://` for TLS. Throws InvalidSettingError. */
export function parseRedisUrl(text: string, setting = 'REDIS_URL'): RedisTarget {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || (url.protocol !== 'redis:' && url.protocol !== 'rediss:') || url.hostname === '') {
    throw new InvalidSettingError(setting, 'must look like redis://user:password@host:6379/0 (rediss:// for TLS).');
  }
  const path = url.pathname.replace(/^\//, '');
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? DEFAULT_PORT : Number(url.port),
    db: wholeNumber(`${setting} (database)`, path, 0, 65_535),
    tls: url.protocol === 'rediss:',
    ...(url.username === '' ? {} : { username: decode(setting, url.username) }),
    ...(url.password === '' ? {} : { password: decode(setting, url.password) }),
  };
}

/** `host:port/db`, for a person: without user and password. */
export function describeTarget(target: RedisTarget): string {
  return `${target.host}:${target.port}/${target.db}${target.tls ? ' (TLS)' : ''}`;
}

function decode(setting: string, text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new InvalidSettingError(setting, 'has a user or password that is not percent-encoded correctly.');
  }
}

function wholeNumber(setting: string, text: string | undefined, missing: number, max: number): number {
  if (!text) return missing;
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0 || value > max) throw new InvalidSettingError(setting, `must be a whole number from 0 to ${max}.`);
  return value;
}

function isTrue(setting: string, text: string | undefined): boolean {
  if (!text) return false;
  if (/^(1|true|yes|on)$/i.test(text)) return true;
  if (/^(0|false|no|off)$/i.test(text)) return false;
  throw new InvalidSettingError(setting, 'must be true or false.');
}
