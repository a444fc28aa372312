import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { CatalogueService } from '../../src/provisioning/catalogue.ts';
import { InvalidSettingError } from '../../src/protocol/errors.ts';
import { catalogueOf, findService, loadCatalogue, parseLocalCatalogue, servicesOffered } from '../../src/provisioning/node-catalogue.ts';
import { containerSettings } from '../../src/provisioning/parameters.ts';
import { parseDeviceConfig } from '../../src/provisioning/parse-config.ts';
import { BUILTIN_SERVICES } from '../../src/provisioning/services.ts';

const folder = mkdtempSync(join(tmpdir(), 'castellan-catalogue-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const redis = BUILTIN_SERVICES.find((service) => service.name === 'redis') as CatalogueService;
const JSON_OF = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

describe('the built-in services', () => {
  it('are such as a node could write into its own file', () => {
    expect(parseLocalCatalogue({ services: JSON_OF(BUILTIN_SERVICES) }, 'built-in').services).toEqual(JSON_OF(BUILTIN_SERVICES));
  });

  it('stand on ports of their own, where the public client has them', () => {
    const ports = Object.fromEntries(BUILTIN_SERVICES.map((service) => [service.name, service.ports[0]?.host]));
    expect(ports).toEqual({
      vllm: 8201,
      ollama: 11_434,
      llamacpp: 8200,
      sglang: 30_000,
      tei: 8102,
      transcribe: 8101,
      kokoro: 8211,
      postgres: 5432,
      redis: 6379,
    });
  });

  it('publish the port that their health and their models are asked at', () => {
    for (const { ports, health, models } of BUILTIN_SERVICES) {
      const published = ports.map((port) => port.container);
      if (health.kind !== 'command') expect(published).toContain(health.port);
      if (models !== undefined) expect(published).toContain(models.port);
    }
  });

  it('name a version of their image; Ollama alone follows its newest', () => {
    expect(BUILTIN_SERVICES.filter((service) => !/:[^/]*\d/.test(service.image)).map((service) => service.image)).toEqual(['ollama/ollama:latest']);
  });

  it('run by their bare names', () => {
    for (const { name } of BUILTIN_SERVICES) expect(parseDeviceConfig({ services: [name] }, catalogueOf()).config.services).toEqual([{ name }]);
  });

  it('have defaults within their own bounds', () => {
    for (const { name, parameters = {} } of BUILTIN_SERVICES) {
      const defaults = Object.entries(parameters).flatMap(([parameter, { default: value }]) => (value === undefined ? [] : [[parameter, value] as const]));
      const choice = { name, parameters: Object.fromEntries(defaults) };
      expect(parseDeviceConfig({ services: [choice] }, catalogueOf()).config.services).toEqual([defaults.length === 0 ? { name } : choice]);
    }
  });
});

describe('what a service is started with', () => {
  const vllm = catalogueOf().services.get('vllm')!;
  const ollama = catalogueOf().services.get('ollama')!;

  it('has one argument for one value', () => {
    const { command } = containerSettings(vllm, { name: 'vllm', parameters: { model: 'Qwen/Qwen3-8B', gpuMemoryPercent: 50 } });
    expect(command).toEqual(['--host', '0.0.0.0', '--port', '8000', '--model', 'Qwen/Qwen3-8B', '--max-model-len', '8192', '--gpu-memory-utilization', '0.50']);
  });

  it('has variables for what the image reads from there', () => {
    expect(containerSettings(ollama, { name: 'ollama' })).toEqual({ env: {} });
    const chosen = { name: 'ollama', parameters: { contextLength: 4096, keepAliveMinutes: 5 } };
    expect(containerSettings(ollama, chosen)).toEqual({ env: { OLLAMA_CONTEXT_LENGTH: '4096', OLLAMA_KEEP_ALIVE: '5m' } });
  });
});

describe("a node's own file", () => {
  it('adds services and replaces them as a whole', () => {
    const own = { ...redis, image: 'registry.example:5000/redis:7.4@sha256:' + 'a'.repeat(64) };
    const catalogue = catalogueOf(BUILTIN_SERVICES, parseLocalCatalogue({ services: [own, { ...redis, name: 'cache' }] }, 'file'));
    expect(findService(catalogue, 'redis')).toEqual({ kind: 'found', service: own });
    expect(findService(catalogue, 'cache').kind).toBe('found');
    expect(findService(catalogue, 'ollama').kind).toBe('found');
  });

  it('has the last word on what never runs', () => {
    const denied = catalogueOf(BUILTIN_SERVICES, { deny: ['ollama'] });
    expect(() => parseDeviceConfig({ services: ['ollama'] }, denied)).toThrow(/services\[0\] names ollama, which does not run here: it is denied/);
    const allowed = catalogueOf(BUILTIN_SERVICES, { allow: ['redis', 'ollama'], deny: ['ollama'] });
    expect(servicesOffered(allowed).map((service) => service.name)).toEqual(['redis']);
    expect(findService(allowed, 'nothing')).toEqual({ kind: 'unknown', known: ['redis'] });
  });

  it('permits nothing that it does not say', () => {
    expect(catalogueOf().policy).toEqual({ ssh: false, manualConfig: false });
    expect(catalogueOf(BUILTIN_SERVICES, { policy: { ssh: true } }).policy).toEqual({ ssh: true, manualConfig: false });
  });

  it('is read from its path', () => {
    const path = join(folder, 'catalogue.json');
    writeFileSync(path, JSON.stringify({ deny: ['vllm'] }));
    expect([...loadCatalogue(path).vetoed.keys()]).toEqual(['vllm']);
    expect(loadCatalogue().vetoed.size).toBe(0);
    expect(() => loadCatalogue(join(folder, 'missing.json'))).toThrow(/CASTELLAN_CATALOGUE names .*missing\.json, which cannot be read \(ENOENT\)/);
    writeFileSync(path, '{');
    expect(() => loadCatalogue(path)).toThrow(/catalogue\.json, which is not JSON/);
  });

  const wrong: readonly (readonly [what: string, file: unknown, place: string])[] = [
    ['an unknown setting', { denied: ['vllm'] }, 'its top'],
    ['a veto that is a text', { deny: 'vllm' }, 'deny'],
    ['a name that climbs', { services: [{ ...redis, name: '../x' }] }, 'services[0].name'],
    ['a service twice', { services: [redis, redis] }, 'services'],
    ['a privileged service', { services: [{ ...redis, privileged: true }] }, 'services[0]'],
    ['a capability that is as good as root', { services: [{ ...redis, capabilities: ['SYS_ADMIN'] }] }, 'services[0].capabilities[0]'],
    ['an image with a space', { services: [{ ...redis, image: 'redis --privileged' }] }, 'services[0].image'],
    ['a volume over everything', { services: [{ ...redis, volumes: [{ name: 'data', path: '/' }] }] }, 'services[0].volumes[0].path'],
    ['a volume of the host', { services: [{ ...redis, volumes: [{ name: '/etc', path: '/data' }] }] }, 'services[0].volumes[0].name'],
    ['a text without a pattern', { services: [{ ...redis, parameters: { x: { description: 'x', type: 'string' } } }] }, 'services[0].parameters.x.pattern'],
    [
      'a pattern that is anchored at one alternative',
      { services: [{ ...redis, parameters: { x: { description: 'x', type: 'string', pattern: '^a|b$' } } }] },
      'services[0].parameters.x.pattern',
    ],
    [
      'a default of another type',
      { services: [{ ...redis, parameters: { x: { description: 'x', type: 'integer', default: '7' } } }] },
      'services[0].parameters.x.default',
    ],
  ];
  it.each(wrong)('is refused as a whole, naming the place: %s', (_what, file, place) => {
    expect(() => parseLocalCatalogue(file, '/etc/castellan/catalogue.json')).toThrow(InvalidSettingError);
    expect(() => parseLocalCatalogue(file, '/etc/castellan/catalogue.json')).toThrow(`/etc/castellan/catalogue.json, which is wrong at ${place}: `);
  });

  it('gives no parameter a name that objects have already', () => {
    const file = (name: string): unknown => {
      const parameters = `{"${name}":{"description":"x","type":"boolean"}}`;
      return JSON.parse(`{"services":[${JSON.stringify(redis).replace('"ports"', `"parameters":${parameters},"ports"`)}]}`);
    };
    expect(Object.keys(parseLocalCatalogue(file('fine'), 'file').services?.[0]?.parameters ?? {})).toEqual(['fine']);
    for (const name of ['constructor', 'toString']) expect(() => parseLocalCatalogue(file(name), 'file')).toThrow(InvalidSettingError);
    expect(Object.keys(parseLocalCatalogue(file('__proto__'), 'file').services?.[0]?.parameters ?? {})).toEqual([]);
  });
});
