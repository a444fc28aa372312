/** Enrolment by RFC 8628, tokens, and what a saved configuration sets going, over a real Redis. */
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { EnrolmentCodes, TokenAnswer } from '../../src/protocol/device.ts';
import { verifyConfig } from '../../src/provisioning/config-signature.ts';
import { startTestRedis, type TestRedis } from '../redis-server.ts';
import { startDeviceWorld, until, type DeviceWorld, type DeviceWorldOptions } from './device-world.ts';

const ada = { subject: 'ada', orgId: 'acme' };
/** Polls of a test come as fast as they can. */
const EAGER: DeviceWorldOptions = { settings: { intervalMs: 0 } };

let server: TestRedis;
beforeAll(async () => {
  server = await startTestRedis();
});
afterAll(() => server.stop());

const world = (options: DeviceWorldOptions = EAGER): Promise<DeviceWorld> => startDeviceWorld(server, options);
beforeEach(async () => {
  // Every test has the server for itself.
  const client = new Redis(server.url);
  await client.flushall();
  client.disconnect();
});

const start = ({ devices }: DeviceWorld, told: object = {}): Promise<EnrolmentCodes> =>
  devices.start({ clientId: 'castellan', hostname: 'gpu-1', address: '10.0.0.7', ...told });
const approved = async (here: DeviceWorld, told: object = {}, choice: object = {}) => {
  const codes = await start(here, told);
  const result = await here.devices.approve(codes.userCode, ada, choice);
  if (result.kind !== 'approved') throw new Error(JSON.stringify(result));
  return { ...codes, ...result.device, nodeId: result.device.nodeId as string };
};
const granted = async ({ devices }: DeviceWorld, deviceCode: string): Promise<Extract<TokenAnswer, { kind: 'granted' }>> => {
  const answer = await devices.token(deviceCode);
  if (answer.kind !== 'granted') throw new Error(JSON.stringify(answer));
  return answer;
};
const beat = (nodeId: string, deviceCode?: string) => {
  const status = { node: { name: nodeId }, system: {}, services: [] };
  const payload = JSON.stringify({ version: '1.0', nodeId, ...(deviceCode === undefined ? {} : { deviceCode }), status });
  return ['node:status:stream', '*', 'nodeId', nodeId, 'payload', payload, ...(deviceCode === undefined ? [] : ['deviceCode', deviceCode])] as const;
};

describe('an enrolment', () => {
  it('goes from a code on a screen to a token, once', async () => {
    const here = await world();
    const { devices } = here;
    const codes = await start(here);
    expect(codes).toMatchObject({ expiresInS: 600, userCode: expect.stringMatching(/^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$/) });
    expect(await devices.token(codes.deviceCode)).toEqual({ kind: 'pending' });

    const typed = ` ${codes.userCode.toLowerCase().replace('-', ' ')}`;
    const shown = await devices.findByUserCode(typed);
    expect(shown).toMatchObject({ deviceId: devices.idOf(codes.deviceCode), hostname: 'gpu-1', address: '10.0.0.7', clientId: 'castellan' });
    expect(Date.parse(shown?.expiresAt ?? '') - Date.parse(shown?.requestedAt ?? '')).toBe(600_000);
    expect(await devices.approve(typed, ada, { name: 'The box' })).toMatchObject({
      kind: 'approved',
      device: { nodeId: 'gpu-1', name: 'The box', orgId: 'acme', state: 'registered', approvedBy: 'ada' },
    });

    const answer = await granted(here, codes.deviceCode);
    expect(answer).toMatchObject({ deviceId: devices.idOf(codes.deviceCode), nodeId: 'gpu-1', orgId: 'acme', orgName: 'The acme', configKey: here.publicKey });
    expect(answer.token).toMatch(/^cdt_[A-Za-z0-9_-]{43}$/);
    expect(await devices.verifyToken(answer.token)).toEqual({ deviceId: answer.deviceId, nodeId: 'gpu-1', orgId: 'acme' });
    expect(await devices.token(codes.deviceCode)).toEqual({ kind: 'expired' });
    expect(await devices.findByUserCode(codes.userCode)).toBeUndefined();
  });

  it('gives one token to many who ask at the same time', async () => {
    const here = await world();
    const { deviceCode } = await approved(here);
    const answers = await Promise.all(Array.from({ length: 10 }, () => here.devices.token(deviceCode)));
    expect(answers.filter(({ kind }) => kind === 'granted')).toHaveLength(1);
  });

  it('slows down who asks too often, for good', async () => {
    const here = await world({});
    const { deviceCode } = await start(here);
    expect(await here.devices.token(deviceCode)).toEqual({ kind: 'pending' });
    expect(await here.devices.token(deviceCode)).toEqual({ kind: 'slow-down', intervalS: 10 });
    expect(await here.devices.token(deviceCode)).toEqual({ kind: 'slow-down', intervalS: 15 });
  });

  it('is denied', async () => {
    const here = await world();
    const { deviceCode, userCode } = await start(here);
    expect(await here.devices.deny(userCode, ada)).toEqual({ kind: 'denied' });
    expect(await here.devices.token(deviceCode)).toEqual({ kind: 'denied' });
    expect(await here.devices.approve(userCode, ada, {})).toEqual({ kind: 'unknown-code' });
  });

  it('expires', async () => {
    const here = await world({ settings: { intervalMs: 0, lifetimeMs: 300 } });
    const { deviceCode, userCode } = await start(here);
    await here.untilState(here.devices.idOf(deviceCode), 'expired');
    await until(
      async () => ((await here.devices.token(deviceCode)).kind === 'expired' ? true : undefined),
      () => 'the code to expire',
    );
    expect(await here.devices.approve(userCode, ada, {})).toEqual({ kind: 'unknown-code' });
  });

  it('knows nothing of other codes, and keeps nothing of them', async () => {
    const here = await world();
    for (const code of ['abc123', '', 'x'.repeat(300)]) expect(await here.devices.token(code)).toEqual({ kind: 'expired' });
    for (const code of ['BCDF-GHJK', 'AEIO-UAEI', '', '{enrol}', 'B'.repeat(100)]) expect(await here.devices.findByUserCode(code)).toBeUndefined();
    expect(await here.raw.keys('*enrol*')).toEqual([]);
  });

  it('leaves no code and no token in Redis', async () => {
    const here = await world();
    const { deviceCode, userCode } = await approved(here);
    const { token } = await granted(here, deviceCode);
    const all = await dump(here);
    expect(all.length).toBeGreaterThan(500);
    for (const secret of [deviceCode, token, userCode, userCode.replace('-', '')]) expect(all).not.toContain(secret);
  });
});

describe('a node’s name', () => {
  it('is one device’s: the next one gets a number', async () => {
    const here = await world();
    expect((await approved(here)).nodeId).toBe('gpu-1');
    expect((await approved(here)).nodeId).toBe('gpu-1-2');
    expect((await approved(here, {}, { nodeId: 'gpu-1' })).nodeId).toBe('gpu-1-3');
    expect((await approved(here, { hostname: 'Büro {1}' })).nodeId).toBe('B-ro-1');
    expect((await approved(here, { hostname: '__proto__' })).nodeId).toMatch(/^node-/);
    expect(await here.devices.approve((await start(here)).userCode, ada, { nodeId: 'a b' })).toMatchObject({ kind: 'refused' });
  });

  it('of another organisation’s node is not given away', async () => {
    const here = await world();
    await here.raw.xadd(...beat('gpu-1'), 'orgId', 'others');
    await until(
      async () => await here.client.get('node', 'gpu-1'),
      () => 'the node',
    );
    expect((await approved(here)).nodeId).toBe('gpu-1-2');
  });

  it('is that of the node that showed the code, whatever organisation that was counted in', async () => {
    const here = await world();
    const { deviceCode, userCode } = await start(here, { hostname: 'other-name' });
    await here.raw.xadd(...beat('gpu-1', deviceCode), 'orgId', 'default');
    const seenAs = async () => ((await here.client.get('device', here.devices.idOf(deviceCode)))?.context as { seenAs?: string } | undefined)?.seenAs;
    await until(
      async () => ((await seenAs()) === 'gpu-1' ? true : undefined),
      () => 'the device to be seen',
    );
    expect(await here.devices.approve(userCode, ada, {})).toMatchObject({ kind: 'approved', device: { nodeId: 'gpu-1' } });
    expect(await here.devices.configure(here.devices.idOf(deviceCode), { services: ['ollama'] }, 'ada')).toMatchObject({ device: { state: 'configuring' } });
  });

  it('passes to the same machine’s next device, which takes the place of the earlier one', async () => {
    const here = await world();
    const first = await approved(here, { machineId: 'm1' });
    const { token } = await granted(here, first.deviceCode);
    const second = await approved(here, { machineId: 'm1' });
    expect(second.nodeId).toBe('gpu-1');
    expect(await here.devices.get(first.deviceId)).toMatchObject({ state: 'revoked', reason: `it was revoked by ada: superseded by ${second.deviceId}` });
    expect(await here.devices.verifyToken(token)).toBeUndefined();
    expect((await approved(here, { machineId: 'm1', forceNew: true })).nodeId).toBe('gpu-1-2');
    expect(await here.devices.get(second.deviceId)).toMatchObject({ state: 'revoked' });
    expect((await approved(here, {}, { nodeId: 'gpu-1' })).nodeId).toBe('gpu-1');
  });
});

describe('a device token', () => {
  it('is rotated: the old one works a little longer', async () => {
    const here = await world({ settings: { intervalMs: 0, graceMs: 300 } });
    const { deviceId, deviceCode } = await approved(here);
    expect(await here.devices.rotateToken(deviceId)).toBeUndefined();
    const { token } = await granted(here, deviceCode);
    const next = (await here.devices.rotateToken(deviceId)) as string;
    expect(await here.devices.verifyToken(next)).toMatchObject({ deviceId });
    const fresh = await here.another();
    await until(
      async () => ((await fresh.verifyToken(token)) === undefined ? true : undefined),
      () => 'the old token to end',
    );
    expect(await here.devices.verifyToken(next)).toMatchObject({ deviceId });
    expect(await here.devices.rotateToken('a'.repeat(20))).toBeUndefined();
  });

  it('is worthless at once, everywhere, when its device is revoked', async () => {
    const here = await world();
    const { deviceId, deviceCode } = await approved(here);
    const { token } = await granted(here, deviceCode);
    const next = (await here.devices.rotateToken(deviceId)) as string;
    const other = await here.another();
    expect(await other.verifyToken(next)).toBeDefined();
    const told = new Promise<string>((resolve) => void other.onRevoked(resolve));
    expect(await here.devices.revoke(deviceId, 'ada')).toMatchObject({ kind: 'done', device: { state: 'revoked', reason: 'it was revoked by ada' } });
    expect(await told).toBe(deviceId);
    for (const each of [token, next]) expect(await other.verifyToken(each)).toBeUndefined();
    expect(await here.devices.rotateToken(deviceId)).toBeUndefined();
    expect(await here.devices.configure(deviceId, {}, 'ada')).toMatchObject({ kind: 'refused' });
  });

  it('of nobody is nobody’s', async () => {
    const here = await world();
    for (const token of ['', 'cdt_', `cdt_${'a'.repeat(43)}`, `cdt_${'a'.repeat(44)}`]) expect(await here.devices.verifyToken(token)).toBeUndefined();
  });
});

describe('a configuration', () => {
  const config = { services: ['ollama'], autoStartServices: true, alertOnOffline: true };

  it('is pushed, signed, when the node first reports with its code; the report ends in the device', async () => {
    const here = await world();
    const heard: Record<string, unknown>[] = [];
    const ear = here.raw.duplicate();
    await ear.subscribe('config:node:gpu-1');
    ear.on('message', (_channel, text) => heard.push(JSON.parse(text) as Record<string, unknown>));
    const { deviceId, deviceCode } = await approved(here);
    expect(await here.devices.configure(deviceId, config, 'ada')).toMatchObject({
      kind: 'done',
      device: { state: 'registered', reason: 'its node gpu-1 has not reported yet', desired: { revision: 1 } },
    });
    expect(await here.raw.exists('jobs:v1:config')).toBe(0);

    await here.raw.xadd(...beat('gpu-1', deviceCode));
    await here.untilState(deviceId, 'configuring');
    const entries = await until(
      async () => ((await here.raw.xlen('jobs:v1:config')) > 0 ? await here.raw.xrange('jobs:v1:config', '-', '+') : undefined),
      () => 'the entry',
    );
    expect(entries).toHaveLength(1);
    const fields = Object.fromEntries(pairs(entries[0]?.[1] ?? []));
    expect(fields).toMatchObject({ jobId: `cfg-${deviceId}-1`, type: 'APPLY_DEVICE_CONFIG', target_node: 'gpu-1' });
    const payload = JSON.parse(fields['payload'] ?? '') as Record<string, unknown>;
    expect(payload['target_node']).toBe('gpu-1');
    const expected = { nodeId: 'gpu-1', deviceId, now: Date.now(), lastRevision: 0 };
    expect(verifyConfig(payload, here.publicKey, expected)).toMatchObject({ kind: 'ok', revision: 1, config: { services: [{ name: 'ollama' }] } });

    await until(
      async () => (heard.length >= 2 ? true : undefined),
      () => JSON.stringify(heard),
    );
    expect(heard.map(({ type }) => type)).toEqual(['device_redeemed', 'config_updated']);
    expect(heard[1]).toMatchObject({ nodeId: 'gpu-1', updatedAt: expect.any(String) });
    expect(verifyConfig(heard[1], here.publicKey, expected)).toMatchObject({ kind: 'ok' });
    ear.disconnect();

    // A second status with the code pushes nothing.
    await here.raw.xadd(...beat('gpu-1', deviceCode));
    const report = (fields_: object) => JSON.stringify({ desiredRevision: 1, timestamp: new Date().toISOString(), ...fields_ });
    const services = [{ name: 'ollama', phase: 'healthy' }];
    await here.raw.xadd('device:reports', '*', 'nodeId', 'gpu-1', 'report', report({ phase: 'applied', appliedRevision: null, services: [] }));
    await here.raw.xadd('device:reports', '*', 'nodeId', 'evil', 'deviceId', deviceId, 'report', report({ phase: 'failed', appliedRevision: null, services }));
    await here.raw.xadd('device:reports', '*', 'nodeId', 'gpu-1', 'deviceId', deviceId, 'report', report({ phase: 'applied', appliedRevision: 1, services }));
    expect(await here.untilState(deviceId, 'services-running')).toMatchObject({ reason: null, appliedRevision: 1, services, report: { phase: 'applied' } });
    const dead = await here.redis.reader.listDeadLetters(undefined, 10);
    expect(dead.items.map(({ code }) => code)).toEqual(['wrong_node']);
    expect(await here.raw.xlen('jobs:v1:config')).toBe(1);
    const all = await dump(here);
    // The agent's own statuses hold it until it is redeemed; nothing of ours does.
    expect(all.split(deviceCode).length - 1).toBe(4);
  });

  it('is refused by its field, and changes nothing', async () => {
    const here = await world();
    const { deviceId } = await approved(here);
    await expect(here.devices.configure(deviceId, { services: ['alpine:latest'] }, 'ada')).rejects.toMatchObject({
      code: 'invalid_config',
      field: expect.stringContaining('services[0]'),
    });
    expect(await here.devices.get(deviceId)).toMatchObject({ desired: null });
    expect(await here.devices.configure('a'.repeat(20), config, 'ada')).toEqual({ kind: 'missing' });
    expect(await here.devices.configure(deviceId, { ...config, vncEnabled: true }, 'ada')).toMatchObject({ kind: 'done', unsupported: ['vncEnabled'] });
    expect(await here.devices.configure('../x', config, 'ada')).toEqual({ kind: 'missing' });
    const pending = await start(here);
    expect(await here.devices.configure(here.devices.idOf(pending.deviceCode), config, 'ada')).toMatchObject({ kind: 'refused' });
  });

  it('waits for a node that nobody enrolled, without an error', async () => {
    const here = await world();
    await here.raw.xadd(...beat('lone', 'abc123'));
    await until(
      async () => await here.client.get('device', here.devices.idOf('abc123')),
      () => 'the device',
    );
    expect(await here.devices.get(here.devices.idOf('abc123'))).toBeUndefined();
    expect((await here.redis.reader.listDeadLetters(undefined, 10)).items).toEqual([]);
    expect(await dump(here)).toMatch(/deviceCode/);
  });
});

describe('a listing', () => {
  it('has the devices of a state and an organisation', async () => {
    const here = await world();
    const one = await approved(here);
    const pending = await start(here);
    const items = async (query: object) => (await here.devices.list({ limit: 10, ...query })).items.map(({ deviceId }) => deviceId);
    expect((await items({})).toSorted()).toEqual([one.deviceId, here.devices.idOf(pending.deviceCode)].toSorted());
    expect(await items({ state: 'registered' })).toEqual([one.deviceId]);
    expect(await items({ state: 'pending' })).toEqual([here.devices.idOf(pending.deviceCode)]);
    expect(await items({ orgId: 'acme' })).toEqual([one.deviceId]);
    expect(await items({ orgId: 'others' })).toEqual([]);
  });
});

function pairs(fields: readonly string[]): [string, string][] {
  return fields.flatMap((field, index): [string, string][] => (index % 2 === 0 ? [[field, fields[index + 1] as string]] : []));
}

/** All that Redis holds, as text. */
async function dump({ raw }: DeviceWorld): Promise<string> {
  const read: { readonly [type: string]: (key: string) => Promise<unknown> } = {
    string: (key) => raw.get(key),
    hash: (key) => raw.hgetall(key),
    stream: (key) => raw.xrange(key, '-', '+'),
    zset: (key) => raw.zrange(key, '0', '-1'),
    list: (key) => raw.lrange(key, 0, -1),
    set: (key) => raw.smembers(key),
  };
  const parts: string[] = [];
  for (const key of await raw.keys('*')) parts.push(`${key} ${JSON.stringify(await read[await raw.type(key)]?.(key))}`);
  return parts.join('\n');
}
