import { generateKeyPairSync } from 'node:crypto';
import { chmodSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { canonicalJson } from '../../src/provisioning/canonical-json.ts';
import { parseConfigEntry } from '../../src/provisioning/config-entry.ts';
import { CONFIG_KEY_FILE, loadConfigKey } from '../../src/provisioning/config-key.ts';
import { publicKeyText, signConfig, verifyConfig, type UnsignedConfig } from '../../src/provisioning/config-signature.ts';
import { InvalidSettingError } from '../../src/protocol/errors.ts';
import { secretsOf } from '../../src/provisioning/service-secrets.ts';
import { catalogueOf } from '../../src/provisioning/node-catalogue.ts';
import { hostileEnvelopes } from './hostile-configs.ts';

const { privateKey } = generateKeyPairSync('ed25519');
const anotherKey = generateKeyPairSync('ed25519').privateKey;
const publicKey = publicKeyText(privateKey)!;
const NOW = Date.parse('2026-03-01T12:00:00Z');
const VALID: UnsignedConfig = {
  config: { services: [{ name: 'ollama' }], autoStartServices: true },
  nodeId: 'gpu-1',
  deviceId: 'abcdefghijklmnopqrst',
  revision: 6,
  issuedAt: '2026-03-01T00:00:00Z',
  expiresAt: '2026-03-02T00:00:00Z',
};
const EXPECTED = { nodeId: 'gpu-1', deviceId: VALID.deviceId, now: NOW, lastRevision: 5 };

const folder = mkdtempSync(join(tmpdir(), 'castellan-keys-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('a signed configuration', () => {
  it('holds for its node, its time and a new revision', () => {
    const verified = verifyConfig(JSON.parse(JSON.stringify(signConfig(VALID, privateKey))), publicKey, EXPECTED);
    expect(verified).toEqual({ kind: 'ok', revision: 6, deviceId: VALID.deviceId, config: VALID.config });
  });

  it('does not depend on the order of keys, nor on what lies beside it', () => {
    const signed = signConfig(VALID, privateKey);
    const shuffled = Object.fromEntries([...Object.entries(signed).toReversed(), ['target_node', 'gpu-1']]);
    expect(verifyConfig(shuffled, publicKey, EXPECTED).kind).toBe('ok');
  });

  it('that was taken up last is known again, and not carried out a second time', () => {
    expect(verifyConfig(signConfig({ ...VALID, revision: 5 }, privateKey), publicKey, EXPECTED)).toMatchObject({ kind: 'repeated', revision: 5 });
  });

  it('is over at its very end', () => {
    const signed = signConfig(VALID, privateKey);
    const end = Date.parse(VALID.expiresAt);
    expect(verifyConfig(signed, publicKey, { ...EXPECTED, now: end - 1 }).kind).toBe('ok');
    expect(verifyConfig(signed, publicKey, { ...EXPECTED, now: end })).toMatchObject({ code: 'expired' });
    expect(verifyConfig(signConfig({ ...VALID, expiresAt: 'tomorrow' }, privateKey), publicKey, EXPECTED)).toMatchObject({ code: 'expired' });
  });

  const hostile = hostileEnvelopes(VALID, privateKey, anotherKey, 4, { issuedAt: '2025-01-01T00:00:00Z', expiresAt: '2025-01-02T00:00:00Z' });
  it.each(hostile)('is refused as $code: $what', ({ payload, code, field }) => {
    const entry = parseConfigEntry(['type', 'APPLY_DEVICE_CONFIG', 'payload', payload]);
    expect(entry.kind).toBe('config');
    if (entry.kind === 'config') expect(verifyConfig(entry.envelope, publicKey, EXPECTED)).toMatchObject({ kind: 'refused', code, field });
  });

  it('has one spelling of its signature: the unused bits of its last character are nought', () => {
    const signed = signConfig(VALID, privateKey);
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    const last = alphabet.indexOf(signed.signature.at(-1)!);
    const same = signed.signature.slice(0, -1) + alphabet[last + 1]!;
    expect(Buffer.from(same, 'base64url')).toEqual(Buffer.from(signed.signature, 'base64url'));
    expect(verifyConfig({ ...signed, signature: same }, publicKey, EXPECTED)).toMatchObject({ code: 'bad_signature' });
  });

  it('is of no key that is none', () => {
    for (const key of ['', 'x', `${publicKey}A`, publicKey.slice(1)])
      expect(verifyConfig(signConfig(VALID, privateKey), key, EXPECTED)).toMatchObject({ code: 'bad_signature' });
  });

  it('holds whatever is configured, and fails when any byte of it is changed', () => {
    const config = fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 }), { maxKeys: 5 });
    fc.assert(
      fc.property(config, fc.nat(), fc.integer({ min: 1, max: 255 }), (chosen, place, flip) => {
        const signed = JSON.parse(JSON.stringify(signConfig({ ...VALID, config: JSON.parse(JSON.stringify(chosen)) as object }, privateKey))) as object;
        expect(verifyConfig(signed, publicKey, EXPECTED).kind).toBe('ok');

        const bytes = Buffer.from(canonicalJson(signed)!);
        const at = place % bytes.length;
        bytes[at] = bytes[at]! ^ flip;
        let changed: unknown;
        try {
          changed = JSON.parse(bytes.toString());
        } catch {
          return;
        }
        // Another spelling of the same value, such as \u001F for \u001f, is no change.
        if (canonicalJson(changed) === canonicalJson(signed)) return;
        expect(verifyConfig(changed, publicKey, EXPECTED).kind).toBe('refused');
      }),
      { numRuns: 500 },
    );
  });
});

describe('canonical JSON', () => {
  it('is one text for one value', () => {
    expect(canonicalJson({ b: [1, -0, 1e21, 'é\n'], a: { d: null, c: true } })).toBe('{"a":{"c":true,"d":null},"b":[1,0,1e+21,"é\\n"]}');
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(canonicalJson(JSON.parse(canonicalJson(value)!))).toBe(canonicalJson(JSON.parse(JSON.stringify(value))));
      }),
    );
  });

  it('is bounded', () => {
    let deep: unknown = 1;
    for (let depth = 0; depth < 100_000; depth++) deep = [deep];
    expect(canonicalJson(deep)).toBeUndefined();
    expect(canonicalJson(Array.from({ length: 200_000 }, () => 1))).toBeUndefined();
    expect(canonicalJson({ a: undefined })).toBeUndefined();
    expect(canonicalJson(Number.NaN)).toBeUndefined();
  });
});

describe('the key of a control plane', () => {
  it('is made at the first start, for its owner alone, and is the same ever after', () => {
    const home = join(folder, 'data', 'new');
    const first = loadConfigKey(home);
    expect(readdirSync(home)).toEqual([CONFIG_KEY_FILE]);
    expect(statSync(join(home, CONFIG_KEY_FILE)).mode & 0o777).toBe(0o600);
    const again = loadConfigKey(home);
    expect(again).toMatchObject({ publicKey: first.publicKey, tightened: false });
    expect(verifyConfig(signConfig(VALID, first.privateKey), again.publicKey, EXPECTED).kind).toBe('ok');
  });

  it('is closed to others when it was open', () => {
    const home = join(folder, 'open');
    loadConfigKey(home);
    chmodSync(join(home, CONFIG_KEY_FILE), 0o644);
    expect(loadConfigKey(home).tightened).toBe(true);
    expect(statSync(join(home, CONFIG_KEY_FILE)).mode & 0o777).toBe(0o600);
  });

  it('is never replaced because it cannot be read', () => {
    writeFileSync(join(folder, CONFIG_KEY_FILE), 'not a key', { mode: 0o600 });
    expect(() => loadConfigKey(folder)).toThrow(InvalidSettingError);
  });
});

describe('the secrets of a service', () => {
  it('are made once, for this node alone', () => {
    const home = join(folder, 'secrets');
    const postgres = catalogueOf().services.get('postgres')!;
    const made = secretsOf(home, postgres);
    expect(Object.keys(made)).toEqual(['POSTGRES_PASSWORD']);
    expect(made['POSTGRES_PASSWORD']).toMatch(/^[\w-]{32}$/);
    expect(statSync(join(home, 'postgres.POSTGRES_PASSWORD')).mode & 0o777).toBe(0o600);
    expect(secretsOf(home, postgres)).toEqual(made);
    expect(secretsOf(join(folder, 'another'), postgres)).not.toEqual(made);
    expect(secretsOf(join(folder, 'none'), catalogueOf().services.get('ollama')!)).toEqual({});
  });
});
