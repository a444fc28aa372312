/** The device's side of RFC 8628, poll by poll, against answers as section 3.5 has them. */
import { afterEach, expect, test } from 'vitest';
import { createApiCaller } from '../../src/agent/api-call.ts';
import { awaitApproval, machineIdOf, startEnrolment, type Enrolment } from '../../src/agent/enrol.ts';
import { scriptedApi, type Answered, type ScriptedApi } from './scripted-api.ts';

const CODES = { deviceCode: 'device-code', userCode: 'BCDF-GHJK', verificationUri: 'http://127.0.0.1/device', expiresInS: 600, intervalS: 5 };
const GRANT = { authkey: 'k', device_api_token: 'cdt_1', device_id: 'abcdefghij0123456789', org_id: 'default', nodeId: 'gpu-1', config_public_key: 'key' };
const pending = { status: 400, body: { error: 'authorization_pending' } };
const granted = { body: GRANT };

let server: ScriptedApi | undefined;
afterEach(async () => {
  await server?.close();
  server = undefined;
});

interface Course {
  readonly end: Enrolment;
  /** Before each poll, ms. */
  readonly waits: readonly number[];
  readonly outages: readonly (string | undefined)[];
}

/** Polls through the answers; the last one is repeated. */
async function poll(answers: readonly Answered[], signal = new AbortController().signal): Promise<Course> {
  let next = 0;
  server = await scriptedApi(() => answers[Math.min(next++, answers.length - 1)]);
  const api = createApiCaller(new URL(server.url));
  const waits: number[] = [];
  const outages: (string | undefined)[] = [];
  let now = 0;
  const clock = {
    now: () => now,
    sleep: async (ms: number) => {
      waits.push(ms);
      now += ms;
    },
    random: () => 1,
  };
  const end = await awaitApproval({ api, codes: CODES, hostname: 'host', clock, signal, onOutage: (reason) => outages.push(reason) });
  api.close();
  return { end, waits, outages };
}

test('the start says who asks, and its answer is read', async () => {
  server = await scriptedApi(() => ({
    body: {
      device_code: 'd',
      user_code: 'BCDF-GHJK',
      verification_uri: 'http://h/device',
      verification_uri_complete: 'http://h/device?code=BCDF-GHJK',
      expires_in: 600,
    },
  }));
  const api = createApiCaller(new URL(server.url));
  const outcome = await startEnrolment(api, { clientVersion: '1.2.3', hostname: 'host', machineId: 'm', forceNew: true });
  expect(outcome).toEqual({
    kind: 'codes',
    codes: {
      deviceCode: 'd',
      userCode: 'BCDF-GHJK',
      verificationUri: 'http://h/device',
      verificationUriComplete: 'http://h/device?code=BCDF-GHJK',
      expiresInS: 600,
      intervalS: 5,
    },
  });
  expect(server.asked).toMatchObject([
    {
      method: 'POST',
      path: '/api/fabric/device-auth/start',
      body: { client_id: 'castellan-cli', client_version: '1.2.3', hostname: 'host', machine_id: 'm', force_new: true },
    },
  ]);
  api.close();
});

test('a start that cannot be used says why: nobody there, an error, another program', async () => {
  const nobody = createApiCaller(new URL('http://127.0.0.1:1'));
  const request = { clientVersion: '1', hostname: 'h', forceNew: false };
  expect(await startEnrolment(nobody, request)).toMatchObject({ kind: 'failed', reason: expect.stringContaining('ECONNREFUSED') });
  nobody.close();
  const answers: Answered[] = [
    { status: 429, body: { detail: 'Too many requests' } },
    { body: { device_code: 'd', user_code: 'x', verification_uri: 'javascript:alert(1)', expires_in: 5 } },
  ];
  server = await scriptedApi(() => answers.shift());
  const api = createApiCaller(new URL(server.url));
  expect(await startEnrolment(api, request)).toEqual({ kind: 'failed', reason: 'Too many requests' });
  expect(await startEnrolment(api, request)).toMatchObject({ kind: 'failed', reason: expect.stringContaining('verification_uri') });
  api.close();
});

test('pending, then granted: polls at the interval, and the grant becomes credentials', async () => {
  const { end, waits } = await poll([pending, pending, granted]);
  expect(waits).toEqual([5_000, 5_000, 5_000]);
  expect(end).toEqual({
    kind: 'granted',
    credentials: {
      apiUrl: server?.url,
      deviceId: GRANT.device_id,
      nodeId: 'gpu-1',
      orgId: 'default',
      token: 'cdt_1',
      configKey: 'key',
      deviceCode: 'device-code',
    },
  });
  expect(server?.asked[0]?.body).toMatchObject({ device_code: 'device-code', grant_type: 'urn:ietf:params:oauth:grant-type:device_code' });
});

test('slow_down adds 5 s for good, each time', async () => {
  const slowDown = { status: 400, body: { error: 'slow_down' } };
  expect((await poll([pending, slowDown, pending, slowDown, pending, granted])).waits).toEqual([5_000, 5_000, 10_000, 10_000, 15_000, 15_000]);
});

test.for([
  ['access_denied', { kind: 'denied' }],
  ['expired_token', { kind: 'expired' }],
  ['invalid_grant', { kind: 'expired' }],
  ['invalid_client', { kind: 'refused', reason: 'invalid_client' }],
] as const)('%s ends the polling', async ([error, end]) => {
  const course = await poll([pending, { status: 400, body: { error } }]);
  expect(course.end).toEqual(end);
  expect(server?.asked).toHaveLength(2);
});

test('cut connections and 5xx are waited out, longer each time, and the pace is normal again after', async () => {
  const { end, waits, outages } = await poll([pending, undefined, { status: 502 }, { status: 503 }, { status: 500 }, undefined, pending, granted]);
  expect(end.kind).toBe('granted');
  expect(waits).toEqual([5_000, 5_000, 10_000, 20_000, 40_000, 60_000, 60_000, 5_000]);
  expect(outages).toEqual([expect.any(String), undefined]);
});

test('a 429 is waited out as long as it says', async () => {
  expect((await poll([{ status: 429, body: { error: 'rate', retry_after: 90 } }, granted])).waits).toEqual([5_000, 90_000]);
  await server?.close();
  expect((await poll([{ status: 429, headers: { 'retry-after': '75' } }, granted])).waits).toEqual([5_000, 75_000]);
});

test('codes end by this clock too, though nothing answers', async () => {
  const { end, waits } = await poll([undefined]);
  expect(end).toEqual({ kind: 'expired' });
  expect(waits.reduce((sum, each) => sum + each)).toBe(600_000);
});

test('a redirect is not followed: the code goes nowhere else', async () => {
  let elsewhere = 0;
  const other = await scriptedApi(() => (elsewhere++, granted));
  const { end } = await poll([{ status: 307, headers: { location: `${other.url}/token` } }]);
  expect(end.kind).toBe('refused');
  expect(elsewhere).toBe(0);
  await other.close();
});

test('stops at once when asked', async () => {
  const leaving = new AbortController();
  leaving.abort();
  expect((await poll([pending], leaving.signal)).end).toEqual({ kind: 'stopped' });
  expect(server?.asked).toHaveLength(0);
});

test('the machine is named by a hash that is stable and says nothing of its id', () => {
  const id = '0123456789abcdef0123456789abcdef';
  expect(machineIdOf(`${id}\n`)).toBe(machineIdOf(id));
  expect(machineIdOf(id)).toMatch(/^[0-9a-f]{32}$/);
  expect(machineIdOf(id)).not.toBe(id);
});
