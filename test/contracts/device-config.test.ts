/** Configurations and reports on the wire, and the code in a status that names a device without being kept. */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { nodeStatusSource } from '../../src/contracts/citadel.ts';
import { configOutlet, deviceReportsSource } from '../../src/contracts/device-config.ts';
import type { Json } from '../../src/protocol/json.ts';
import { deviceIdOf, readUserCode, shownUserCode } from '../../src/provisioning/device-code.ts';

const DEVICE = 'abcdefghij234567abcd';
const AT = 1_767_225_600_000;

describe('a device’s id', () => {
  it('is the beginning of the base32 of its code’s SHA-256', () => {
    // printf abc123 | openssl dgst -sha256 -binary | base32 | tr A-Z a-z | cut -c1-20
    expect(deviceIdOf('abc123')).toBe(base32(createHash('sha256').update('abc123').digest()).slice(0, 20));
    expect(deviceIdOf('abc123')).toBe('nsqt2uwkodeihyhqxmib');
    expect(deviceIdOf('x')).toMatch(/^[a-z2-7]{20}$/);
  });

  it('is found under a user code however that was typed', () => {
    expect(['bcdf ghjk', ' BCDF-GHJK\n', 'b-c-d-f-g-h-j-k'].map(readUserCode)).toEqual(['BCDFGHJK', 'BCDFGHJK', 'BCDFGHJK']);
    expect(['', 'ABCDEFGH', 'BCDFGHJ', 'BCDFGHJKL', '1CDFGHJK', '{CDFGHJK'].map(readUserCode)).toEqual(Array(6).fill(undefined));
    expect(shownUserCode('BCDFGHJK')).toBe('BCDF-GHJK');
  });
});

describe('a status', () => {
  const payload = (fields: object = {}) => JSON.stringify({ nodeId: 'n1', status: { node: { name: 'n1' } }, ...fields });
  const decode = (...fields: string[]) => nodeStatusSource.decode('1-0', ['nodeId', 'n1', ...fields]);
  const device = deviceIdOf('abc123');

  it.each([
    ['the entry', ['payload', payload(), 'deviceCode', 'abc123']],
    ['the entry, in the other spelling', ['payload', payload(), 'device_code', 'abc123']],
    ['the payload', ['payload', payload({ deviceCode: 'abc123' })]],
    ['the payload, in the other spelling', ['payload', payload({ device_code: 'abc123' })]],
    ['both', ['payload', payload({ deviceCode: 'abc123' }), 'deviceCode', 'abc123']],
  ])('with a code in %s names the device and keeps no code', (_where, fields) => {
    const decoded = decode(...fields);
    expect(decoded).toMatchObject({ ok: true, event: { device } });
    expect(JSON.stringify(decoded)).not.toContain('abc123');
  });

  it.each([
    [['payload', payload()]],
    [['payload', payload(), 'deviceCode', '']],
    [['payload', payload({ deviceCode: 7 })]],
    [['payload', payload(), 'deviceCode', 'x'.repeat(600)]],
  ])('without a usable code names none: %j', (fields) => {
    const decoded = decode(...fields);
    expect(decoded).toMatchObject({ ok: true });
    expect('device' in (decoded as { event: object }).event).toBe(false);
  });

  it('with two different codes is refused, and quotes neither', () => {
    const decoded = decode('payload', payload(), 'deviceCode', 'secret-1', 'device_code', 'secret-2');
    expect(decoded).toMatchObject({ ok: false, code: 'conflicting_field', field: 'deviceCode' });
    expect(JSON.stringify(decoded)).not.toContain('secret-');
  });
});

describe('a pushed configuration', () => {
  const outlet = configOutlet((unsigned) => ({ ...unsigned, signature: 'sig' }));
  const push = { type: 'push', deviceId: DEVICE, revision: 3, config: { services: [{ name: 'ollama' }] } };

  it('names its node twice, and ends after a day', () => {
    const entry = outlet.encode('gpu-1', push, `device/${DEVICE}`, AT);
    expect(entry).toEqual({
      stream: 'jobs:v1:config',
      maxLength: 10_000,
      fields: [
        ...['jobId', `cfg-${DEVICE}-3`, 'type', 'APPLY_DEVICE_CONFIG', 'payload', expect.any(String)],
        ...['enqueuedAt', '2026-01-01T00:00:00.000Z', 'target_node', 'gpu-1'],
      ],
    });
    expect(JSON.parse(entry?.fields[5] ?? '')).toEqual({
      config: { services: [{ name: 'ollama' }] },
      nodeId: 'gpu-1',
      deviceId: DEVICE,
      revision: 3,
      issuedAt: '2026-01-01T00:00:00.000Z',
      expiresAt: '2026-01-02T00:00:00.000Z',
      signature: 'sig',
      target_node: 'gpu-1',
    });
  });

  it('is nothing else', () => {
    expect(outlet.encode('gpu 1', push, `device/${DEVICE}`, AT)).toBeUndefined();
    expect(outlet.encode('gpu-1', { type: 'post' }, `device/${DEVICE}`, AT)).toBeUndefined();
  });
});

describe('a report', () => {
  const good = { phase: 'applied', desiredRevision: 1, appliedRevision: 1, services: [{ name: 'ollama', phase: 'healthy' }], timestamp: 'now' };
  const entry = (report: Json | string, deviceId: string | undefined = DEVICE, nodeId = 'n1') => [
    ...['nodeId', nodeId, 'report', typeof report === 'string' ? report : JSON.stringify(report)],
    ...(deviceId === undefined ? [] : ['deviceId', deviceId]),
  ];
  const decode = (fields: readonly string[]) => deviceReportsSource.decode('1-0', fields);

  it('is its device’s, by the entry’s own field', () => {
    expect(deviceReportsSource.keyOf(entry(good))).toBe(`device/${DEVICE}`);
    expect(decode(entry({ ...good, nodeId: 'other', deviceId: 'other' }))).toEqual({
      ok: true,
      event: { type: 'report', nodeId: 'n1', phase: 'applied', desiredRevision: 1, appliedRevision: 1, services: good.services, timestamp: 'now' },
    });
    expect(deviceReportsSource.keyOf(entry(good).slice(0, 4))).toBeNull();
    expect(deviceReportsSource.keyOf(entry(good, '../x'))).toBeUndefined();
  });

  it('keeps the end of what a container said', () => {
    const decoded = decode(entry({ ...good, services: [{ name: 'a', phase: 'failed', message: `${'x'.repeat(9_000)}END` }] }));
    expect(JSON.stringify(decoded)).toContain('END"');
    expect(JSON.stringify(decoded).length).toBeLessThan(5_000);
  });

  it.each<[string, Json | string, string]>([
    ['no JSON', '{', 'report'],
    ['no object', [], 'report'],
    ['no phase', {}, 'report.phase'],
    ['an unknown phase', { ...good, phase: 'constructor' }, 'report.phase'],
    ['a fraction of a revision', { ...good, desiredRevision: 1.5 }, 'report.desiredRevision'],
    ['a revision beyond all', '{"phase":"applied","appliedRevision":1e999}', 'report.appliedRevision'],
    ['services that are none', { ...good, services: 'ollama' }, 'report.services'],
    ['too many services', { ...good, services: Array(65).fill(good.services[0]) }, 'report.services'],
    ['a service without a phase', { ...good, services: [{ name: 'a' }] }, 'report.services[0]'],
    ['too much', 'x'.repeat(600_000), 'report'],
  ])('with %s is refused by its field', (_what, report, field) => {
    expect(decode(entry(report))).toMatchObject({ ok: false, field });
  });

  it('of a node with a bad name is refused', () => {
    expect(decode(entry(good, DEVICE, 'a b'))).toMatchObject({ ok: false, field: 'nodeId' });
  });
});

function base32(bytes: Buffer): string {
  const bits = [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  return (bits.match(/.{5}/g) ?? []).map((five) => 'abcdefghijklmnopqrstuvwxyz234567'[Number.parseInt(five, 2)]).join('');
}
