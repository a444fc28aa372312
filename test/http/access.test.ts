import { createHmac, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, SignJWT } from 'jose';
import { describe, expect, it, onTestFinished } from 'vitest';
import { SESSION_COOKIE } from '../../src/http/auth/sessions.ts';
import { issueToken, type TokenKeys } from '../../src/http/auth/tokens.ts';
import { readHttpSettings, readTokenKeys } from '../../src/http/settings.ts';
import { fakeActor, fakeNode, fakeTransition } from './fake-control-plane.ts';
import { SECRET, startFixture, type Fixture } from './server-fixture.ts';

const HOUR = 3_600;
const seconds = () => Math.floor(Date.now() / 1000);

async function statusWith(server: Fixture, token: string, url = '/api/fabric/nodes'): Promise<number> {
  return (await server.app.inject({ url, headers: { authorization: `Bearer ${token}` } })).statusCode;
}

function base64url(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

function handMade(header: unknown, payload: unknown, secret: Uint8Array | string = SECRET, digest = 'sha256'): string {
  const body = `${base64url(header)}.${base64url(payload)}`;
  return `${body}.${createHmac(digest, secret).update(body).digest('base64url')}`;
}

const claims = (overrides: Record<string, unknown> = {}) => ({
  sub: 'u',
  role: 'viewer',
  iss: 'castellan',
  aud: 'castellan',
  exp: seconds() + HOUR,
  ...overrides,
});
const HS256 = { alg: 'HS256', typ: 'JWT' };

describe('bearer tokens with a shared secret', () => {
  it('a good one is accepted', async () => {
    const server = await startFixture();
    expect(await statusWith(server, handMade(HS256, claims()))).toBe(200);
  });

  it.each([
    ['no signature', `${base64url({ alg: 'none' })}.${base64url(claims())}.`],
    ['"none" with a signature', handMade({ alg: 'none' }, claims())],
    ['another secret', handMade(HS256, claims(), 'another secret')],
    ['another algorithm of the same family', handMade({ alg: 'HS512' }, claims(), SECRET, 'sha512')],
    ['an expired one', handMade(HS256, claims({ exp: seconds() - 60 }))],
    ['no expiry', handMade(HS256, claims({ exp: undefined }))],
    ['no subject', handMade(HS256, claims({ sub: undefined }))],
    ['another issuer', handMade(HS256, claims({ iss: 'elsewhere' }))],
    ['another audience', handMade(HS256, claims({ aud: 'elsewhere' }))],
    ['no issuer', handMade(HS256, claims({ iss: undefined }))],
    ['an unknown critical header', handMade({ ...HS256, crit: ['urn:x'], 'urn:x': true }, claims())],
    ['an organisation that is not a name', handMade(HS256, claims({ org: 7 }))],
    ['not yet valid', handMade(HS256, claims({ nbf: seconds() + 600 }))],
    ['nonsense', 'abc'],
    ['far too long', 'a'.repeat(9_000)],
  ])('%s is refused', async (_what, token) => {
    const server = await startFixture();
    const response = await server.app.inject({ url: '/api/fabric/nodes', headers: { authorization: `Bearer ${token}` } });
    expect(response.json()).toMatchObject({ status: 401, code: 'unauthorized' });
    expect(response.headers['www-authenticate']).toContain('Bearer');
  });

  it('none at all, and one in the query string, are refused', async () => {
    const server = await startFixture();
    expect((await server.app.inject({ url: '/api/fabric/nodes' })).statusCode).toBe(401);
    expect(
      (await server.app.inject({ url: `/api/fabric/nodes?token=${await server.token('admin')}&access_token=${await server.token('admin')}` })).statusCode,
    ).toBe(401);
  });

  it('with JWT_SECRET a token without names is accepted and one with wrong names refused', async () => {
    const tokenKeys = readTokenKeys({ JWT_SECRET: 'shared with another program, long enough' }, SECRET);
    const server = await startFixture({ tokenKeys });
    const secret = 'shared with another program, long enough';
    expect(await statusWith(server, handMade(HS256, claims({ iss: undefined, aud: undefined }), secret))).toBe(200);
    expect(await statusWith(server, handMade(HS256, claims({ iss: 'elsewhere', aud: undefined }), secret))).toBe(401);
  });

  it('a JWT_SECRET that can be guessed is refused', () => {
    expect(() => readTokenKeys({ JWT_SECRET: 'secret' }, SECRET)).toThrow(/JWT_SECRET must have at least 32 characters/);
  });

  it('with JWT_SECRET and JWT_AUDIENCE the audience is required', async () => {
    const secret = 'shared with another program, long enough';
    const server = await startFixture({ tokenKeys: readTokenKeys({ JWT_SECRET: secret, JWT_AUDIENCE: 'fleet' }, SECRET) });
    expect(await statusWith(server, handMade(HS256, claims({ aud: 'fleet' }), secret))).toBe(200);
    expect(await statusWith(server, handMade(HS256, claims({ aud: undefined }), secret))).toBe(401);
  });
});

describe('bearer tokens of a key set', () => {
  async function withKeySet(): Promise<{ server: Fixture; privateKey: KeyObject; publicPem: string }> {
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const keySet = JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: 'k1', alg: 'RS256', use: 'sig' }] });
    const provider = createServer((_request, response) => response.setHeader('content-type', 'application/json').end(keySet));
    await new Promise<void>((resolve) => provider.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void provider.close());
    const url = `http://127.0.0.1:${(provider.address() as AddressInfo).port}/jwks`;
    const tokenKeys: TokenKeys = readTokenKeys({ JWT_JWKS_URL: url, JWT_ISSUER: 'idp', JWT_AUDIENCE: 'fleet' }, SECRET);
    return { server: await startFixture({ tokenKeys }), privateKey, publicPem: publicKey.export({ type: 'spki', format: 'pem' }).toString() };
  }
  const sign = async (key: KeyObject, overrides: Record<string, unknown> = {}) =>
    await new SignJWT(claims({ iss: 'idp', aud: 'fleet', ...overrides })).setProtectedHeader({ alg: 'RS256', kid: 'k1' }).sign(key);

  it('a good one is accepted; wrong names are refused', async () => {
    const { server, privateKey } = await withKeySet();
    expect(await statusWith(server, await sign(privateKey))).toBe(200);
    expect(await statusWith(server, await sign(privateKey, { aud: 'other' }))).toBe(401);
    expect(await statusWith(server, await sign(privateKey, { iss: 'other' }))).toBe(401);
  });

  it('the public key does not pass as a shared secret, nor does our own secret', async () => {
    const { server, publicPem } = await withKeySet();
    const payload = claims({ iss: 'idp', aud: 'fleet' });
    expect(await statusWith(server, handMade({ alg: 'HS256', kid: 'k1' }, payload, publicPem))).toBe(401);
    expect(await statusWith(server, handMade({ alg: 'HS256', kid: 'k1' }, payload, SECRET))).toBe(401);
  });

  it('an unreachable key set is 503, not 401', async () => {
    const server = await startFixture({ tokenKeys: { kind: 'key-set', url: new URL('http://127.0.0.1:1/jwks'), issuer: 'idp', audience: 'fleet' } });
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    expect(await statusWith(server, await sign(privateKey))).toBe(503);
  });

  it('the data folder’s own token is accepted without the key set', async () => {
    const server = await startFixture({ tokenKeys: { kind: 'key-set', url: new URL('http://127.0.0.1:1/jwks'), issuer: 'idp', audience: 'fleet' } });
    expect(await statusWith(server, await server.token('admin'))).toBe(200);
  });

  it('needs an issuer and an audience', () => {
    expect(() => readTokenKeys({ JWT_JWKS_URL: 'https://idp.example/jwks', JWT_ISSUER: 'idp' }, SECRET)).toThrow(/JWT_AUDIENCE/);
  });
});

describe('roles', () => {
  it.each([
    ['none', 403, 403, 403],
    ['viewer', 200, 403, 403],
    ['operator', 200, 202, 403],
    ['admin', 200, 202, 201],
  ] as const)('%s reads %i, sends %i, makes links %i', async (role, read, send, link) => {
    const server = await startFixture();
    const headers = await server.bearer(role);
    const statuses = [
      await server.app.inject({ url: '/api/fabric/nodes', headers }),
      await server.app.inject({ method: 'POST', url: '/api/actors/node/a/events', headers, payload: { type: 'A' } }),
      await server.app.inject({ method: 'POST', url: '/api/links', headers }),
    ].map((response) => response.statusCode);
    expect(statuses).toEqual([read, send, link]);
  });

  it('a route that declares no access keeps the server from starting', async () => {
    const server = await startFixture();
    expect(() => server.app.get('/forgotten', async () => 'open')).toThrow(/declares no access/);
  });
});

describe('tenancy', () => {
  async function twoOrganisations(): Promise<Fixture> {
    const server = await startFixture();
    for (const org of ['acme', 'beta']) {
      server.fake.nodes.set(`${org}-1`, fakeNode(`${org}-1`, { orgId: org }));
      server.fake.actors.set(`node/${org}-1`, fakeActor('node', `${org}-1`, { orgId: org }));
      server.fake.histories.set(`node/${org}-1`, [fakeTransition('node', `${org}-1`, 1)]);
      server.fake.liveTargets.set(`${org}-1`, { nodeId: `${org}-1`, orgId: org, networkIp: '10.0.0.1' });
    }
    return server;
  }

  it('a caller of one organisation gets 404 for everything of another', async () => {
    const server = await twoOrganisations();
    const headers = await server.bearer('operator', 'beta');
    for (const url of [
      '/api/fabric/nodes/acme-1',
      '/api/fabric/nodes/acme-1/live',
      '/api/actors/node/acme-1',
      '/api/actors/node/acme-1/history',
      '/api/actors/node/acme-1/at/2',
    ])
      expect([url, (await server.app.inject({ url, headers })).statusCode]).toEqual([url, 404]);
    const sent = await server.app.inject({ method: 'POST', url: '/api/actors/node/acme-1/events', headers, payload: { type: 'A' } });
    const dryRun = await server.app.inject({ method: 'POST', url: '/api/actors/node/acme-1/events?dryRun=true', headers, payload: { type: 'A' } });
    expect([sent.statusCode, dryRun.statusCode, server.fake.sent.length, server.fake.dryRuns.length]).toEqual([404, 404, 0, 0]);
  });

  it('lists show only its own, and what is of the whole fleet is closed', async () => {
    const server = await twoOrganisations();
    const headers = await server.bearer('admin', 'beta');
    expect((await server.app.inject({ url: '/api/fabric/nodes', headers })).json().items.map((node: { nodeId: string }) => node.nodeId)).toEqual(['beta-1']);
    expect((await server.app.inject({ url: '/api/actors', headers })).json().items.map((actor: { id: string }) => actor.id)).toEqual(['beta-1']);
    for (const url of ['/api/partitions', '/api/dead-letters']) expect((await server.app.inject({ url, headers })).statusCode).toBe(403);
  });
});

describe('sessions of browsers', () => {
  async function signedIn(settings = {}): Promise<{ server: Fixture; cookies: Record<string, string>; link: string }> {
    const server = await startFixture({ settings });
    const link = server.sessions.createLink({ subject: 'admin', role: 'admin', org: null });
    const response = await server.app.inject({ method: 'POST', url: '/api/session', payload: { secret: link } });
    expect(response.statusCode).toBe(200);
    expect(response.headers['set-cookie']).toMatch(/HttpOnly.*SameSite=Strict/);
    return { server, cookies: { [SESSION_COOKIE]: response.cookies[0]?.value ?? '' }, link };
  }
  const ownOrigin = { origin: 'http://localhost:80', host: 'localhost:80' };

  it('a link works once', async () => {
    const { server, cookies, link } = await signedIn();
    expect((await server.app.inject({ url: '/api/fabric/nodes', cookies })).statusCode).toBe(200);
    expect((await server.app.inject({ method: 'POST', url: '/api/session', payload: { secret: link } })).statusCode).toBe(401);
  });

  it('a link expires', async () => {
    let time = Date.now();
    const server = await startFixture({ now: () => time });
    const secret = server.sessions.createLink({ subject: 'admin', role: 'admin', org: null });
    time += 13 * 3_600_000;
    expect((await server.app.inject({ method: 'POST', url: '/api/session', payload: { secret } })).statusCode).toBe(401);
  });

  it('what changes something needs our own or an allowed origin', async () => {
    const { server, cookies } = await signedIn({ corsOrigins: ['https://ops.example'] });
    const post = async (headers: Record<string, string>) =>
      (await server.app.inject({ method: 'POST', url: '/api/actors/node/a/events', cookies, headers, payload: { type: 'A' } })).statusCode;
    expect(await post(ownOrigin)).toBe(202);
    expect(await post({ origin: 'https://ops.example' })).toBe(202);
    expect(await post({ origin: 'https://evil.example' })).toBe(403);
    expect(await post({ origin: 'null' })).toBe(403);
    expect(await post({})).toBe(403);
  });

  it('a foreign page cannot open a session', async () => {
    const server = await startFixture();
    const secret = server.sessions.createLink({ subject: 'admin', role: 'admin', org: null });
    const response = await server.app.inject({ method: 'POST', url: '/api/session', headers: { origin: 'https://evil.example' }, payload: { secret } });
    expect(response.json()).toMatchObject({ status: 403, code: 'foreign_origin' });
  });

  it('a session is no bearer token and a bearer token is no session', async () => {
    const { server, cookies } = await signedIn();
    expect(await statusWith(server, cookies[SESSION_COOKIE] ?? '')).toBe(401);
    expect((await server.app.inject({ url: '/api/fabric/nodes', cookies: { [SESSION_COOKIE]: await server.token('admin') } })).statusCode).toBe(401);
  });

  it('ends on request', async () => {
    const { server, cookies } = await signedIn();
    const response = await server.app.inject({ method: 'DELETE', url: '/api/session', cookies, headers: ownOrigin });
    expect(response.statusCode).toBe(204);
    expect(response.headers['set-cookie']).toMatch(/castellan_session=;/);
  });

  it('guessing links is limited', async () => {
    const server = await startFixture();
    const guess = async () => (await server.app.inject({ method: 'POST', url: '/api/session', payload: { secret: 'a wrong guess, long enough' } })).statusCode;
    const statuses = [];
    for (let count = 0; count < 31; count++) statuses.push(await guess());
    expect(statuses.slice(0, 30).every((status) => status === 401)).toBe(true);
    expect(statuses[30]).toBe(429);
  });
});

describe('other origins and rates', () => {
  it('PUBLIC_URL is an http URL without a slash at its end', () => {
    expect(readHttpSettings({ PUBLIC_URL: 'https://fleet.example/castellan/' }).publicUrl).toBe('https://fleet.example/castellan');
    expect(readHttpSettings({}).publicUrl).toBeUndefined();
    for (const wrong of ['fleet.example', 'ftp://fleet.example', 'https://fleet.example/?a=1'])
      expect(() => readHttpSettings({ PUBLIC_URL: wrong })).toThrow('PUBLIC_URL');
  });

  it('CORS_ORIGIN allows its origins and no other', async () => {
    const { corsOrigins } = readHttpSettings({ CORS_ORIGIN: 'https://ops.example/, http://localhost:5173' });
    const server = await startFixture({ settings: { corsOrigins } });
    const allow = async (origin: string) => (await server.app.inject({ url: '/health', headers: { origin } })).headers['access-control-allow-origin'];
    expect(await allow('https://ops.example')).toBe('https://ops.example');
    expect(await allow('https://evil.example')).toBeUndefined();
    const preflight = await server.app.inject({
      method: 'OPTIONS',
      url: '/api/actors/node/a/events',
      headers: { origin: 'https://ops.example', 'access-control-request-method': 'POST' },
    });
    expect(preflight.statusCode).toBe(204);
  });

  it('a loop that went wild gets 429 as a problem, health excepted', async () => {
    const server = await startFixture({ settings: { requestsPerMinute: 3 } });
    const headers = await server.bearer('viewer');
    for (let count = 0; count < 3; count++) await server.app.inject({ url: '/api/fabric/nodes', headers });
    const response = await server.app.inject({ url: '/api/fabric/nodes', headers });
    expect(response.json()).toMatchObject({ status: 429, code: 'rate_limited' });
    expect(response.headers['retry-after']).toBeDefined();
    expect((await server.app.inject({ url: '/health' })).statusCode).toBe(200);
  });

  it('metrics are open on loopback, and elsewhere for viewers', async () => {
    const server = await startFixture();
    const metrics = async (remoteAddress: string, headers: Record<string, string> = {}) =>
      (await server.app.inject({ url: '/metrics', remoteAddress, headers: { host: 'localhost', ...headers } })).statusCode;
    expect(await metrics('127.0.0.1')).toBe(200);
    expect(await metrics('::1')).toBe(200);
    expect(await metrics('192.168.1.5')).toBe(401);
    expect(await metrics('127.0.0.1', { 'x-forwarded-for': '8.8.8.8' })).toBe(401);
    expect(await metrics('127.0.0.1', { host: 'rebound.example' })).toBe(401);
    expect(await metrics('192.168.1.5', await server.bearer('viewer'))).toBe(200);
    expect(await metrics('192.168.1.5', await server.bearer('none'))).toBe(403);
  });

  it('a token made for one hour is refused after it', async () => {
    let time = Date.now();
    const server = await startFixture({ now: () => time });
    const token = await issueToken(SECRET, { subject: 'u', role: 'viewer', lifetimeMs: 3_600_000 }, () => time);
    expect(await statusWith(server, token)).toBe(200);
    time += 3_610_000;
    expect(await statusWith(server, token)).toBe(401);
  });
});
