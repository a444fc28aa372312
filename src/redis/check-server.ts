/** Refuses a Redis on which data could vanish or Functions are missing, and warns of one that forgets at a restart. */
import type { Redis } from 'ioredis';
import { RedisUnusableError } from '../protocol/errors.ts';

export interface ServerReport {
  readonly product: 'redis' | 'valkey';
  readonly version: string;
  /** For the log; the server can be used. */
  readonly warnings: readonly string[];
}

/** Functions came with Redis 7.0; every Valkey has them. */
const REDIS_MAJOR_MIN = 7;

/** Throws RedisUnusableError that says what to change. */
export async function checkServer(client: Redis): Promise<ServerReport> {
  const sections = await Promise.all(['server', 'memory', 'persistence', 'replication'].map((section) => client.info(section)));
  const info = readInfo(sections.join('\r\n'));
  const valkey = info.get('valkey_version');
  const version = valkey ?? info.get('redis_version') ?? '0';
  if (valkey === undefined && Number.parseInt(version, 10) < REDIS_MAJOR_MIN) {
    throw new RedisUnusableError(`Redis ${version} is too old: Castellan needs Redis ${REDIS_MAJOR_MIN}.0 or newer, or Valkey.`);
  }
  if (info.get('role') === 'slave') {
    throw new RedisUnusableError('This Redis is a replica and takes no writes. Set REDIS_URL to its master.');
  }
  const policy = info.get('maxmemory_policy');
  if (policy !== undefined && policy !== 'noeviction') {
    throw new RedisUnusableError(
      `This Redis may delete data when its memory is full (maxmemory-policy ${policy}). Run "CONFIG SET maxmemory-policy noeviction" there and keep it in its configuration.`,
    );
  }
  const warnings: string[] = [];
  if (info.get('aof_enabled') === '0') {
    warnings.push('This Redis keeps no append-only file: a restart loses what was accepted since its last snapshot. Run "CONFIG SET appendonly yes".');
  }
  return { product: valkey === undefined ? 'redis' : 'valkey', version, warnings };
}

function readInfo(text: string): Map<string, string> {
  const fields = new Map<string, string>();
  for (const line of text.split('\r\n')) {
    const colon = line.indexOf(':');
    if (colon > 0 && !line.startsWith('#')) fields.set(line.slice(0, colon), line.slice(colon + 1));
  }
  return fields;
}
