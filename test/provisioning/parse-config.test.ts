import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InvalidConfigError } from '../../src/protocol/errors.ts';
import { parseConfigEntry } from '../../src/provisioning/config-entry.ts';
import { catalogueOf } from '../../src/provisioning/node-catalogue.ts';
import { parseDeviceConfig } from '../../src/provisioning/parse-config.ts';
import { HOSTILE_CONFIGS } from './hostile-configs.ts';

const catalogue = catalogueOf();
const parse = (value: unknown) => parseDeviceConfig(value, catalogue);

/** The field that a value is refused for. */
function fieldOf(act: () => unknown): string | undefined {
  try {
    act();
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidConfigError);
    return (error as InvalidConfigError).field;
  }
  return undefined;
}

describe('a configuration', () => {
  it('is taken as document 000 writes it', () => {
    expect(parse({ services: ['ollama'], autoStartServices: true })).toEqual({
      config: { services: [{ name: 'ollama' }], autoStartServices: true },
      unsupported: [],
    });
  });

  it('may have every field, in either spelling', () => {
    const camel = {
      deviceName: ' Box 7 ',
      services: ['redis', { name: 'vllm', parameters: { model: 'Qwen/Qwen3-8B', maxModelLen: 4096 } }],
      autoStartServices: false,
      sshEnabled: true,
      customTags: ['gpu', 'eu-west/1', 'gpu'],
      healthMonitoringEnabled: true,
      alertOnOffline: true,
      alertOnHighTemp: 82.5,
      replaceServices: true,
    };
    const snake = Object.fromEntries(Object.entries(camel).map(([key, value]) => [key.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`), value]));
    expect(Object.keys(snake)).toContain('alert_on_high_temp');
    expect(parse(snake)).toEqual(parse(camel));
    expect(parse(camel).config).toEqual({
      ...camel,
      deviceName: 'Box 7',
      services: [{ name: 'redis' }, { name: 'vllm', parameters: { model: 'Qwen/Qwen3-8B', maxModelLen: 4096 } }],
      customTags: ['gpu', 'eu-west/1'],
    });
  });

  it('leaves out what is null or an empty name: the node keeps its setting', () => {
    expect(parse({ deviceName: '', services: null, sshEnabled: null }).config).toEqual({});
    expect(parse({ services: [{ name: 'ollama', parameters: null }] }).config).toEqual({ services: [{ name: 'ollama' }] });
  });

  it('lists what it does not know, and what would open remote access, and changes nothing by it', () => {
    const parsed = parse({ services: ['ollama'], vncEnabled: true, shellEnabled: true, nodePasscode: '1234', 'odd\nname': 1 });
    expect(parsed.unsupported).toEqual(['vncEnabled', 'shellEnabled', 'nodePasscode', '"odd\\nname"']);
    expect(parsed.config).toEqual({ services: [{ name: 'ollama' }] });
  });

  it('names a service twice only as the same', () => {
    expect(parse({ services: ['ollama', { name: 'ollama' }] }).config.services).toEqual([{ name: 'ollama' }]);
    const model = (name: string) => ({ name: 'vllm', parameters: { model: name } });
    expect(fieldOf(() => parse({ services: [model('a/b'), model('a/c')] }))).toBe('services[1]');
  });

  it('may stop everything, when it says so', () => {
    expect(parse({ services: [], replaceServices: true }).config).toEqual({ services: [], replaceServices: true });
  });

  it('asks for a port once', () => {
    const redis = catalogue.services.get('redis')!;
    const two = catalogueOf([redis, { ...redis, name: 'redis-two' }]);
    expect(fieldOf(() => parseDeviceConfig({ services: ['redis', 'redis-two'] }, two))).toBe('services[1]');
  });

  it('asks for a parameter that is needed', () => {
    const redis = catalogue.services.get('redis')!;
    const own = catalogueOf([{ ...redis, parameters: { shard: { description: 'Shard', type: 'integer', min: 0, required: true } } }]);
    expect(fieldOf(() => parseDeviceConfig({ services: ['redis'] }, own))).toBe('services[0].parameters.shard');
    expect(parseDeviceConfig({ services: [{ name: 'redis', parameters: { shard: -0 } }] }, own).config.services).toEqual([
      { name: 'redis', parameters: { shard: 0 } },
    ]);
  });
});

describe('a hostile configuration', () => {
  it.each(HOSTILE_CONFIGS)('is refused for its field: $what', ({ payload, field }) => {
    const entry = parseConfigEntry(['jobId', 'evil-1', 'type', 'APPLY_DEVICE_CONFIG', 'payload', payload]);
    expect(entry.kind).not.toBe('other');
    const found = entry.kind === 'config' ? fieldOf(() => parse(entry.config)) : entry.kind === 'bad' ? entry.field : undefined;
    expect(found).toBe(field);
    expect(({} as { privileged?: unknown }).privileged).toBeUndefined();
  });

  it('is told in a message of bounded length', () => {
    const long = 'x'.repeat(4000);
    for (const value of [{ services: [long] }, { [long]: { __proto__: null, constructor: 1 } }, { services: [{ name: 'ollama', [long]: 1 }] }]) {
      expect(() => parse(value)).toThrow(InvalidConfigError);
      try {
        parse(value);
      } catch (error) {
        expect((error as Error).message.length).toBeLessThan(600);
      }
    }
  });
});

describe('any JSON', () => {
  const name = fc.constantFrom('ollama', 'redis', 'vllm', 'nope', '../x');
  const likely = fc.record(
    {
      deviceName: fc.oneof(fc.string(), fc.jsonValue()),
      services: fc.oneof(
        fc.array(fc.oneof(name, fc.record({ name, parameters: fc.dictionary(fc.constantFrom('model', 'maxModelLen'), fc.jsonValue()) })), { maxLength: 4 }),
        fc.jsonValue(),
      ),
      autoStartServices: fc.oneof(fc.boolean(), fc.jsonValue()),
      custom_tags: fc.oneof(fc.array(fc.stringMatching(/^[a-z]{1,8}$/)), fc.jsonValue()),
      alertOnHighTemp: fc.oneof(fc.boolean(), fc.integer({ min: 0, max: 150 }), fc.jsonValue()),
      replaceServices: fc.boolean(),
      vncEnabled: fc.jsonValue(),
    },
    { requiredKeys: [] },
  );

  it('parses, or is refused with a field; what was parsed parses to itself', () => {
    let parsed = 0;
    fc.assert(
      fc.property(fc.oneof({ arbitrary: likely, weight: 4 }, { arbitrary: fc.jsonValue(), weight: 1 }), (value) => {
        let first;
        try {
          first = parse(value);
        } catch (error) {
          expect(error).toBeInstanceOf(InvalidConfigError);
          expect((error as InvalidConfigError).field).toBeTruthy();
          return;
        }
        parsed++;
        expect(parse(JSON.parse(JSON.stringify(first.config)))).toEqual({ config: first.config, unsupported: [] });
      }),
      { numRuns: 2000 },
    );
    expect(parsed).toBeGreaterThan(50);
  });
});
