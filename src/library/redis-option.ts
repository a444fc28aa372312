/** Which Redis, as a user of the library names it. */
import { parseRedisUrl, redisOptionsFrom, type RedisTarget } from '../redis/target.ts';

/** `redis://user:password@host:6379/0` (`rediss://` for TLS), or the same in parts; `port` 6379, `db` 0, `tls` false unless said. */
export type RedisOption = string | (Pick<RedisTarget, 'host'> & Partial<RedisTarget>);

const ON_THIS_MACHINE: RedisTarget = { host: '127.0.0.1', port: 6379, db: 0, tls: false };

/** None given: what the environment names (`REDIS_URL`, else `REDIS_HOST` …), else the Redis on this machine. Throws InvalidSettingError. */
export function redisTargetOf(option: RedisOption | undefined, env: { readonly [name: string]: string | undefined } = process.env): RedisTarget {
  if (option === undefined) return redisOptionsFrom(env) ?? ON_THIS_MACHINE;
  return typeof option === 'string' ? parseRedisUrl(option, 'redis') : { ...ON_THIS_MACHINE, ...option };
}
