/**
 * A device from its first request to its end, over HTTP alone: the real service, a real engine, a real Redis, and this adapter before them.
 * The device code and the token are looked for everywhere at the end.
 */
import pino from 'pino';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import type { DeviceView } from '../../src/protocol/device.ts';
import { createFabricRedis } from '../../src/redis/fabric-redis.ts';
import { parseRedisUrl } from '../../src/redis/target.ts';
import { startDeviceWorld, until } from '../devices/device-world.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import { startFixture } from './server-fixture.ts';

const GRANT = 'urn:ietf:params:oauth:grant-type:device_code';
const AT = '2030-01-01T00:00:00.000Z';
const OLLAMA = { name: 'ollama', title: 'Ollama', description: '', kind: 'llm', ports: [], diskGb: 20, startDeadlineMs: 1_000 };

let server: TestRedis;
/** Uncompressed, so that a secret in a value is found in the value's dump. */
beforeAll(async () => void (server = await startTestRedis(['--rdbcompression', 'no'])));
afterAll(async () => await server.stop());

type Body = { readonly [field: string]: unknown };
const textOf = (body: Body, field: string): string => body[field] as string;

async function start(intervalMs = 1) {
  const world = await startDeviceWorld(server, { settings: { intervalMs } });
  const redis = await createFabricRedis(parseRedisUrl(server.url));
  onTestFinished(() => redis.close());
  const log: string[] = [];
  const logger = pino({ level: 'trace' }, { write: (line: string) => void log.push(line) });
  const fixture = await startFixture({ devices: { devices: world.devices, catalogue: [OLLAMA], defaultOrg: 'default', redis }, logger });
  const base = await fixture.listen();
  const answers: string[] = [];
  const ask = async (method: string, path: string, { body, token, form }: { body?: object; token?: string; form?: Record<string, string> } = {}) => {
    const response = await fetch(`${base}${path}`, {
      method,
      headers: {
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? (form === undefined ? {} : { body: new URLSearchParams(form) }) : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    answers.push(text);
    return { status: response.status, body: JSON.parse(text) as Body };
  };
  const operator = await fixture.token('operator', 'acme');
  return { world, ask, operator, foreigner: await fixture.token('operator', 'umbrella'), log, answers };
}

test('asks, waits, is approved, configured, reports, and is revoked', async () => {
  const { world, ask, operator, log, answers } = await start();

  const asked = await ask('POST', '/api/fabric/device-auth/start', { form: { client_id: 'curl', hostname: 'gpu-1' } });
  const { device_code: code, user_code: userCode } = asked.body as { device_code: string; user_code: string };
  expect(userCode).toMatch(/^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$/);
  const poll = async () => await ask('POST', '/api/fabric/device-auth/token', { form: { device_code: code, grant_type: GRANT } });
  expect((await poll()).body['error']).toBe('authorization_pending');

  const shown = await ask('GET', `/api/v1/enrolments/${userCode.toLowerCase().replace('-', '')}`, { token: operator });
  expect(shown.body).toMatchObject({ hostname: 'gpu-1', address: '127.0.0.1', clientId: 'curl' });
  const approved = await ask('POST', `/api/v1/enrolments/${userCode}/approve`, { token: operator, body: { name: 'The big one' } });
  expect(approved.body).toMatchObject({ state: 'registered', nodeId: 'gpu-1', orgId: 'acme', name: 'The big one' });
  expect((await ask('GET', `/api/v1/enrolments/${userCode}`, { token: operator })).status).toBe(404);

  const granted = await poll();
  expect(granted).toMatchObject({ status: 200, body: { org_id: 'acme', org_name: 'The acme', nodeId: 'gpu-1', config_public_key: world.publicKey } });
  const { device_api_token: token, device_id: deviceId, authkey } = granted.body as { device_api_token: string; device_id: string; authkey: string };
  expect(authkey).not.toBe('');
  expect((await poll()).body['error']).toBe('expired_token');

  const saved = await ask('PUT', `/api/v1/devices/${deviceId}/config`, { token: operator, body: { services: ['ollama'], customTags: ['vision'] } });
  expect(saved.body).toMatchObject({ desired: { revision: 1 } });
  const wrong = await ask('PUT', `/api/v1/devices/${deviceId}/config`, { token: operator, body: { services: ['ollama:latest; rm'] } });
  expect([wrong.status, wrong.body['code'], wrong.body['field']]).toEqual([422, 'invalid_config', expect.stringContaining('services')]);

  const status = {
    version: '1.0',
    timestamp: AT,
    nodeId: 'gpu-1',
    status: { version: '1.0', timestamp: AT, node: { name: 'gpu-1', uptime_seconds: 1 }, system: {} },
  };
  const added = await ask('POST', '/api/fabric/redis/streams/add', {
    token,
    body: { stream: 'node:status:stream', values: { nodeId: 'gpu-1', timestamp: AT, payload: JSON.stringify(status), deviceCode: code } },
  });
  expect(added.body).toMatchObject({ success: true, redeemed: true });

  const config = { queue: 'jobs:v1:config', group: 'citadel-config-consumers' };
  const taken = await until(
    async () => {
      const { body } = await ask('POST', '/api/fabric/redis/jobs/consume', {
        token,
        body: { ...config, consumer: 'castellan:config', count: 1, blockMs: 2_000, held: [] },
      });
      return (body['messages'] as Body[])[0];
    },
    () => 'the configuration',
  );
  const data = taken['data'] as Body;
  expect(data).toMatchObject({ type: 'APPLY_DEVICE_CONFIG', target_node: 'gpu-1' });
  expect(JSON.parse(data['payload'] as string)).toMatchObject({ nodeId: 'gpu-1', deviceId, revision: 1, signature: expect.any(String) });
  const report = { phase: 'applied', desiredRevision: 1, appliedRevision: 1, services: [{ name: 'ollama', phase: 'healthy' }], timestamp: AT };
  const told = await ask('POST', '/api/fabric/redis/streams/add', { token, body: { stream: 'device:reports', values: { report: JSON.stringify(report) } } });
  expect(told.status).toBe(200);
  expect((await ask('POST', '/api/fabric/redis/jobs/acknowledge', { token, body: { ...config, messageId: taken['id'] } })).body['acknowledged']).toBe(true);
  await world.untilState(deviceId, 'services-running');
  expect((await ask('GET', `/api/v1/devices/${deviceId}`, { token: operator })).body).toMatchObject({
    appliedRevision: 1,
    reason: null,
  } satisfies Partial<DeviceView>);
  expect(await world.raw.xpending('jobs:v1:config', 'citadel-config-consumers')).toEqual([0, null, null, null]);

  const waits = ask('POST', '/api/fabric/redis/jobs/consume', {
    token,
    body: { queue: 'jobs:v1:gpu-general', group: 'citadel-workers', consumer: 'x', blockMs: 20_000 },
  });
  await until(
    async () => ((await world.raw.client('LIST')) as string).includes('cmd=xread ') || undefined,
    () => 'a request that waits',
  );
  const began = performance.now();
  expect((await ask('POST', `/api/v1/devices/${deviceId}/revoke`, { token: operator })).body).toMatchObject({ state: 'revoked' });
  expect((await waits).status).toBe(401);
  expect(performance.now() - began).toBeLessThan(5_000); // The promise itself, not a measure of speed.
  expect((await ask('GET', '/api/fabric/redis/ping', { token })).status).toBe(401);
  expect((await poll()).body['error']).toBe('expired_token');

  // The code stands in the node's own status and nowhere else, the token nowhere.
  const keys = await world.raw.keys('*');
  const holding = async (secret: string) =>
    (await Promise.all(keys.map(async (key) => ({ key, text: (await world.raw.dumpBuffer(key))?.toString('latin1') ?? '' }))))
      .filter(({ key, text }) => key.includes(secret) || text.includes(secret))
      .map(({ key }) => key);
  expect(await holding(code)).toEqual(['node:status:stream']);
  expect(await holding(token)).toEqual([]);
  expect(log.join('\n')).not.toContain(code);
  expect(log.join('\n')).not.toContain(token);
  expect(answers.filter((text) => text.includes(code))).toHaveLength(1);
  expect(answers.filter((text) => text.includes(token))).toHaveLength(1);
}, 60_000);

test('is slowed down when it polls too soon, 5 s more each time, and told when it is denied', async () => {
  const { ask, operator } = await start(60_000);
  const { body } = await ask('POST', '/api/fabric/device-auth/start', { body: { client_id: 'curl', hostname: 'gpu-2' } });
  const poll = async () => (await ask('POST', '/api/fabric/device-auth/token', { body: { device_code: body['device_code'], grant_type: GRANT } })).body;
  expect(body['interval']).toBe(60);
  expect([await poll(), await poll(), await poll()]).toMatchObject([
    { error: 'authorization_pending' },
    { error: 'slow_down', interval: 65 },
    { error: 'slow_down', interval: 70 },
  ]);
  expect((await ask('POST', `/api/v1/enrolments/${textOf(body, 'user_code')}/deny`, { token: operator, body: {} })).body).toEqual({ denied: true });
  expect((await ask('GET', `/api/v1/enrolments/${textOf(body, 'user_code')}`, { token: operator })).status).toBe(404);
  const { ask: other } = await start();
  const denied = (await other('POST', '/api/fabric/device-auth/start', { body: { client_id: 'curl', hostname: 'gpu-2' } })).body;
  await other('POST', `/api/v1/enrolments/${textOf(denied, 'user_code')}/deny`, { token: operator, body: {} });
  const told = await other('POST', '/api/fabric/device-auth/token', { body: { device_code: denied['device_code'], grant_type: GRANT } });
  expect([told.status, told.body['error']]).toEqual([400, 'access_denied']);
});

test('is nothing that another organisation sees', async () => {
  const { ask, operator, foreigner } = await start();
  const { body } = await ask('POST', '/api/fabric/device-auth/start', { body: { client_id: 'curl', hostname: 'gpu-3' } });
  const approved = await ask('POST', `/api/v1/enrolments/${textOf(body, 'user_code')}/approve`, { token: operator, body: {} });
  const deviceId = textOf(approved.body, 'deviceId');
  expect((await ask('GET', `/api/v1/devices/${deviceId}`, { token: operator })).status).toBe(200);
  expect((await ask('GET', `/api/v1/devices/${deviceId}`, { token: foreigner })).status).toBe(404);
  expect((await ask('GET', '/api/v1/devices', { token: foreigner })).body['items']).toEqual([]);
});
