import { describe, expect, it } from 'vitest';
import { describeTarget, parseRedisUrl, redisOptionsFrom } from '../../src/redis/target.ts';
import { createKeys } from '../../src/redis/keys.ts';

describe('which Redis the environment names', () => {
  it('none at all without REDIS_URL and REDIS_HOST', () => {
    expect(redisOptionsFrom({})).toBeUndefined();
    expect(redisOptionsFrom({ REDIS_URL: '', REDIS_HOST: '', REDIS_PORT: '7000' })).toBeUndefined();
  });

  it('REDIS_URL wins over all others', () => {
    const env = { REDIS_URL: 'rediss://user:p%40ss@example.org:7000/3', REDIS_HOST: 'other', REDIS_PORT: '1', REDIS_PASSWORD: 'x' };
    expect(redisOptionsFrom(env)).toEqual({ host: 'example.org', port: 7000, db: 3, tls: true, username: 'user', password: 'p@ss' });
  });

  it('REDIS_HOST with its companions; an empty password is none', () => {
    expect(redisOptionsFrom({ REDIS_HOST: 'r', REDIS_PASSWORD: '' })).toEqual({ host: 'r', port: 6379, db: 0, tls: false });
    const env = { REDIS_HOST: 'r', REDIS_PORT: '7000', REDIS_DB: '2', REDIS_PASSWORD: 's', REDIS_SSL: 'true' };
    expect(redisOptionsFrom(env)).toEqual({ host: 'r', port: 7000, db: 2, tls: true, password: 's' });
  });

  it('refuses what it cannot use, without quoting a secret', () => {
    for (const url of ['nonsense', 'http://:secret@host', 'redis://:secret@host/x', 'redis://:secret%@host']) {
      expect(() => parseRedisUrl(url)).toThrow(expect.objectContaining({ code: 'invalid_setting', message: expect.not.stringContaining('secret') }));
    }
    expect(() => redisOptionsFrom({ REDIS_HOST: 'r', REDIS_PORT: '70000' })).toThrow(/REDIS_PORT/);
    expect(() => redisOptionsFrom({ REDIS_HOST: 'r', REDIS_SSL: 'perhaps' })).toThrow(/REDIS_SSL/);
  });

  it('is described without its secrets', () => {
    expect(describeTarget(parseRedisUrl('redis://user:secret@[::1]:7000/1'))).toBe('::1:7000/1');
  });
});

describe('keys', () => {
  it('put all keys of a partition under one hash tag', () => {
    const own = createKeys('fleet').partition(7);
    for (const key of [own.meta, own.inbox, own.dedupeOrder, own.bell, own.feed('node'), own.index('node', 'a.b')]) expect(key).toMatch(/^fleet:\{p7\}:/);
  });

  it('refuse a prefix that could change the tag', () => {
    expect(() => createKeys('a{b}')).toThrow(/prefix/);
  });
});
