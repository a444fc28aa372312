/** RFC 8628 over HTTP, and what people do with devices. */
import { beforeEach, describe, expect, it } from 'vitest';
import * as schemas from '../../src/http/device-schemas.ts';
import { pageOf } from '../../src/http/schemas.ts';
import type { CatalogueItem } from '../../src/protocol/catalogue-item.ts';
import { createScriptedDevices, fakeDevice, type ScriptedDevices } from './scripted-devices.ts';
import { startFixture, type Fixture } from './server-fixture.ts';

const GRANT = 'urn:ietf:params:oauth:grant-type:device_code';
const START = '/api/fabric/device-auth/start';
const TOKEN = '/api/fabric/device-auth/token';
const FORM = { 'content-type': 'application/x-www-form-urlencoded' };
const OLLAMA = {
  name: 'ollama',
  title: 'Ollama',
  description: 'Runs models.',
  kind: 'llm',
  image: 'ollama/ollama:latest',
  ports: [{ container: 11434, host: 11434 }],
  gpu: { required: false, memoryMb: 8_192 },
  diskGb: 20,
  startDeadlineMs: 60_000,
  parameters: { model: { description: 'Which.', type: 'string', env: 'SECRET_ENV', args: ['--model', '{}'] } },
} as unknown as CatalogueItem;

let server: Fixture;
let devices: ScriptedDevices;
let operator: { authorization: string };
let clock: number;

beforeEach(async () => {
  devices = createScriptedDevices();
  clock = Date.UTC(2030, 0, 1);
  server = await startFixture({ devices: { devices, catalogue: [OLLAMA], defaultOrg: 'default' }, now: () => clock });
  operator = await server.bearer('operator');
});

const send = async (method: 'GET' | 'POST' | 'PUT', url: string, payload?: object | string, headers: Record<string, string> = operator) =>
  await server.app.inject({ method, url, headers, ...(payload === undefined ? {} : { payload }) });
const start = async (payload: object | string, headers: Record<string, string> = {}) => await send('POST', START, payload, headers);
const poll = async (payload: object | string, headers: Record<string, string> = {}) => await send('POST', TOKEN, payload, headers);

describe('a device asks (RFC 8628, 3.1 and 3.2)', () => {
  it('and is given its codes and where to go, by JSON', async () => {
    const response = await start({ client_id: 'castellan-cli', client_version: '1', hostname: 'gpu-1', machine_id: 'abc', force_new: true });
    expect(response.statusCode).toBe(200);
    expect(response.headers['cache-control']).toBe('no-store');
    expect(response.json()).toEqual({
      device_code: 'the-device-code',
      user_code: 'BCDF-GHJK',
      verification_uri: 'http://localhost:80/device',
      verification_uri_complete: 'http://localhost:80/device?code=BCDF-GHJK',
      expires_in: 600,
      interval: 5,
    });
    expect(devices.started).toEqual([
      { clientId: 'castellan-cli', clientVersion: '1', hostname: 'gpu-1', machineId: 'abc', forceNew: true, address: '127.0.0.1' },
    ]);
  });

  it('or by a form, with parameters that nobody knows left aside', async () => {
    const response = await start('client_id=cli&hostname=gpu+1&force_new=false&scope=&later=1', FORM);
    expect(response.statusCode).toBe(200);
    expect(devices.started).toEqual([{ clientId: 'cli', hostname: 'gpu 1', forceNew: false, address: '127.0.0.1' }]);
  });

  it('PUBLIC_URL says where people go', async () => {
    const behind = await startFixture({
      devices: { devices, catalogue: [], defaultOrg: 'default' },
      settings: { publicUrl: 'https://fleet.example.org/castellan' },
    });
    const response = await behind.app.inject({ method: 'POST', url: START, payload: { client_id: 'cli' } });
    expect(response.json()).toMatchObject({ verification_uri_complete: 'https://fleet.example.org/castellan/device?code=BCDF-GHJK' });
  });

  it.each([
    ['no client', {}, {}],
    ['a client twice', 'client_id=a&client_id=b', FORM],
    ['a wrong type', { client_id: 7 }, {}],
    ['no JSON', '{', { 'content-type': 'application/json' }],
    ['another media type', 'client_id=a', { 'content-type': 'text/xml' }],
    ['a form of a megabyte', `client_id=${'a'.repeat(1_000_000)}`, FORM],
  ])('%s is an invalid_request', async (_what, payload, headers) => {
    const response = await start(payload, headers);
    expect(response.statusCode).toBe(400);
    expect(response.json()).toMatchObject({ error: 'invalid_request' });
    expect(response.headers['content-type']).toContain('application/json');
    expect(response.headers['cache-control']).toBe('no-store');
  });

  it('a flood from one address is stopped, and told when to go on', async () => {
    for (let index = 0; index < 60; index++) expect((await start({ client_id: 'cli' })).statusCode).toBe(200);
    const response = await start({ client_id: 'cli' });
    expect(response.statusCode).toBe(429);
    expect(response.headers['retry-after']).toBe('60');
    expect(response.json()).toMatchObject({ error: 'rate_limited', limit: 60, window: 60, retry_after: 60, reset_at: '2030-01-01T00:01:00.000Z' });
    clock += 60_000;
    expect((await start({ client_id: 'cli' })).statusCode).toBe(200);
  });
});

describe('a device polls (RFC 8628, 3.4 and 3.5)', () => {
  const ask = { device_code: 'c', grant_type: GRANT };

  it('all four errors are 400 with their names, then the token once', async () => {
    devices.answers.set('c', [
      { kind: 'pending' },
      { kind: 'slow-down', intervalS: 10 },
      { kind: 'denied' },
      { kind: 'granted', token: 'cdt_secret', deviceId: 'd1', nodeId: 'gpu-1', orgId: 'acme', configKey: 'a2V5' },
    ]);
    const said = [];
    for (let index = 0; index < 3; index++) {
      const response = await poll(ask);
      expect(response.statusCode).toBe(400);
      expect(response.headers['cache-control']).toBe('no-store');
      said.push(response.json());
    }
    expect(said).toMatchObject([{ error: 'authorization_pending' }, { error: 'slow_down', interval: 10 }, { error: 'access_denied' }]);
    const granted = await poll(ask);
    expect(granted.statusCode).toBe(200);
    expect(granted.headers).toMatchObject({ 'cache-control': 'no-store', pragma: 'no-cache' });
    expect(granted.json()).toEqual({
      authkey: expect.stringMatching(/^cdk_[\w-]{16}$/),
      device_api_token: 'cdt_secret',
      token_type: 'Bearer',
      org_id: 'acme',
      api_base_url: 'http://localhost:80',
      nodeId: 'gpu-1',
      device_id: 'd1',
      config_public_key: 'a2V5',
    });
    expect((await poll(ask)).json()).toMatchObject({ error: 'expired_token' });
  });

  it('by a form as well', async () => {
    devices.answers.set('c', [{ kind: 'pending' }]);
    const response = await poll(new URLSearchParams(ask).toString(), FORM);
    expect([response.statusCode, response.json().error]).toEqual([400, 'authorization_pending']);
  });

  it('another grant is refused by its name, a missing code as an invalid request that does not repeat the input', async () => {
    expect((await poll({ ...ask, grant_type: 'password' })).json()).toMatchObject({ error: 'unsupported_grant_type' });
    const response = await poll({ grant_type: GRANT, device_codes: 'a-secret-code' });
    expect(response.json()).toMatchObject({ error: 'invalid_request' });
    expect(response.body).not.toContain('a-secret-code');
  });
});

describe('a person decides', () => {
  it('sees who asks, and approves into the own organisation, or the default one', async () => {
    const found = await send('GET', '/api/v1/enrolments/bcdf ghjk'.replace(' ', '%20'));
    expect(schemas.pendingEnrolment.safeParse(found.json()).error).toBeUndefined();
    expect((await send('POST', '/api/v1/enrolments/BCDF-GHJK/approve', { name: 'The big one' })).json()).toMatchObject({
      orgId: 'default',
      name: 'The big one',
    });
    const acme = await server.bearer('operator', 'acme');
    const approved = await send('POST', '/api/v1/enrolments/BCDF-GHJK/approve', undefined, acme);
    expect(approved.json()).toMatchObject({ orgId: 'acme', nodeId: 'gpu-1', approvedBy: 'operator-user' });
    expect(schemas.deviceView.safeParse(approved.json()).error).toBeUndefined();
  });

  it('denies; a code that nobody shows is not found; a node that is taken is a conflict', async () => {
    expect((await send('POST', '/api/v1/enrolments/BCDF-GHJK/deny')).json()).toEqual({ denied: true });
    for (const response of [await send('GET', '/api/v1/enrolments/XXXX-XXXX'), await send('POST', '/api/v1/enrolments/XXXX-XXXX/approve')])
      expect([response.statusCode, response.json().code]).toEqual([404, 'enrolment_not_found']);
    expect((await send('POST', '/api/v1/enrolments/BCDF-GHJK/approve', { nodeId: 'taken' })).statusCode).toBe(409);
    expect((await send('POST', '/api/v1/enrolments/BCDF-GHJK/approve', { nodeId: '../x' })).statusCode).toBe(400);
  });

  it('cannot guess codes: ten looks a minute, whatever the route', async () => {
    for (let index = 0; index < 5; index++) {
      await send('GET', '/api/v1/enrolments/AAAA-AAAA');
      await send('POST', '/api/v1/enrolments/AAAA-AAAA/approve');
    }
    expect((await send('GET', '/api/v1/enrolments/BCDF-GHJK')).statusCode).toBe(429);
    expect((await send('GET', '/api/v1/enrolments/BCDF-GHJK', undefined, await server.bearer('operator', 'acme'))).statusCode).toBe(200);
  });

  it('needs the role for it', async () => {
    const viewer = await server.bearer('viewer');
    devices.views.set('d1', fakeDevice('d1'));
    const asked: readonly (readonly ['GET' | 'POST' | 'PUT', string])[] = [
      ['GET', '/api/v1/enrolments/BCDF-GHJK'],
      ['POST', '/api/v1/enrolments/BCDF-GHJK/approve'],
      ['POST', '/api/v1/enrolments/BCDF-GHJK/deny'],
      ['PUT', '/api/v1/devices/d1/config'],
      ['POST', '/api/v1/devices/d1/revoke'],
    ];
    for (const [method, url] of asked) {
      expect((await send(method, url, method === 'GET' ? undefined : {}, viewer)).statusCode).toBe(403);
      expect((await send(method, url, method === 'GET' ? undefined : {}, {})).statusCode).toBe(401);
    }
    expect((await send('POST', '/api/v1/devices/d1/rotate-token')).statusCode).toBe(403);
  });
});

describe('devices', () => {
  it('are listed and shown in the promised shape, to their own organisation alone', async () => {
    devices.views.set('d1', fakeDevice('d1'));
    devices.views.set('d2', fakeDevice('d2', { orgId: 'umbrella', state: 'failed' }));
    const all = await send('GET', '/api/v1/devices');
    expect(pageOf(schemas.deviceView).safeParse(all.json()).error).toBeUndefined();
    expect(all.json().items).toHaveLength(2);
    expect((await send('GET', '/api/v1/devices?state=failed')).json().items).toMatchObject([{ deviceId: 'd2' }]);
    const acme = await server.bearer('admin', 'acme');
    expect((await send('GET', '/api/v1/devices', undefined, acme)).json().items).toMatchObject([{ deviceId: 'd1' }]);
    const asked = [
      await send('GET', '/api/v1/devices/d2', undefined, acme),
      await send('PUT', '/api/v1/devices/d2/config', {}, acme),
      await send('POST', '/api/v1/devices/d2/revoke', undefined, acme),
      await send('POST', '/api/v1/devices/d2/rotate-token', undefined, acme),
    ];
    for (const response of asked) expect([response.statusCode, response.json().code]).toEqual([404, 'device_not_found']);
    expect(devices.views.get('d2')).toMatchObject({ state: 'failed', desired: null });
  });

  it('are configured; a fault names its field', async () => {
    devices.views.set('d1', fakeDevice('d1'));
    expect((await send('PUT', '/api/v1/devices/d1/config', { services: ['ollama'] })).json()).toMatchObject({ desired: { revision: 2 } });
    const wrong = await send('PUT', '/api/v1/devices/d1/config', { services: 'ollama' });
    expect([wrong.statusCode, wrong.json().code, wrong.json().field]).toEqual([422, 'invalid_config', 'services']);
    await send('POST', '/api/v1/devices/d1/revoke');
    expect((await send('PUT', '/api/v1/devices/d1/config', {})).statusCode).toBe(409);
  });

  it('get a new token, by an administrator or by themselves', async () => {
    const { token, deviceId } = devices.admit('gpu-1');
    const admin = await server.bearer('admin');
    const rotated = await send('POST', `/api/v1/devices/${deviceId}/rotate-token`, undefined, admin);
    expect(rotated.json()).toMatchObject({ device_api_token: `${token}-2` });
    expect(rotated.headers['cache-control']).toBe('no-store');
    expect((await send('POST', '/api/fabric/device-auth/rotate', undefined, { authorization: `Bearer ${token}` })).statusCode).toBe(200);
    await send('POST', `/api/v1/devices/${deviceId}/revoke`);
    expect((await send('POST', `/api/v1/devices/${deviceId}/rotate-token`, undefined, admin)).statusCode).toBe(409);
    expect((await send('POST', '/api/fabric/device-auth/rotate', undefined, { authorization: `Bearer ${token}` })).statusCode).toBe(401);
  });

  it('the catalogue says what a service needs, and not how its container is made', async () => {
    const response = await send('GET', '/api/v1/catalogue');
    expect(response.json().items).toMatchObject([{ name: 'ollama', diskGb: 20, gpu: { memoryMb: 8_192 }, parameters: { model: { type: 'string' } } }]);
    expect(response.body).not.toMatch(/image|SECRET_ENV|args/);
  });

  it('a device token opens no route of people, and theirs none of devices', async () => {
    const { token } = devices.admit('gpu-1');
    for (const url of ['/api/v1/devices', '/api/actors', '/api/fabric/nodes', '/api/v1/catalogue', '/events/stream?cursor=new'])
      expect((await send('GET', url, undefined, { authorization: `Bearer ${token}` })).statusCode).toBe(401);
    const admin = await server.bearer('admin');
    expect((await send('POST', '/api/fabric/device-auth/rotate', undefined, admin)).statusCode).toBe(401);
  });
});
