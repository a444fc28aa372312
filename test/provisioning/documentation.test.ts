/** docs/catalogue.md says what the code does. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { catalogueOf, parseLocalCatalogue } from '../../src/provisioning/node-catalogue.ts';
import { parseDeviceConfig } from '../../src/provisioning/parse-config.ts';
import { BUILTIN_SERVICES } from '../../src/provisioning/services.ts';

const page = readFileSync(new URL('../../docs/catalogue.md', import.meta.url), 'utf8');
const examples = [...page.matchAll(/```json\n(.*?)```/gs)].map((match): unknown => JSON.parse(match[1] ?? ''));

describe('the page about the catalogue', () => {
  it('lists every built-in service with its port, its image and what it needs', () => {
    const rows = page.split('\n').filter((line) => /^\| `[a-z]+` +\|.*\| +\d+ \|/.test(line));
    expect(rows.map((row) => row.split('|')[1]?.replaceAll(/[ `]/g, ''))).toEqual(BUILTIN_SERVICES.map((service) => service.name));
    BUILTIN_SERVICES.forEach(({ ports, image, diskGb, gpu }, index) => {
      expect(rows[index]).toContain(` ${ports[0]?.host} |`);
      expect(rows[index]).toContain(`\`${image}\``);
      expect(rows[index]).toContain(`${diskGb} GB disk`);
      if (gpu?.required === true) expect(rows[index]).toContain(`GPU with ${gpu.memoryMb / 1024} GB`);
    });
  });

  it('shows a configuration and a file that are taken as they stand', () => {
    const [config, file] = examples;
    expect(parseDeviceConfig(config, catalogueOf())).toEqual({
      config: { services: [{ name: 'ollama' }, { name: 'vllm', parameters: { model: 'Qwen/Qwen2.5-0.5B-Instruct', maxModelLen: 4096 } }] },
      unsupported: [],
    });
    const catalogue = catalogueOf(BUILTIN_SERVICES, parseLocalCatalogue(file, 'the page'));
    expect([...catalogue.vetoed.keys()]).toEqual(['postgres']);
    expect(parseDeviceConfig({ services: [{ name: 'embedder', parameters: { batchSize: 8 } }] }, catalogue).unsupported).toEqual([]);
  });
});
