import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { environmentWith, loadEnvironmentFile, readDataDir, readLogLevel } from '../../src/cli/settings.ts';

describe('where a setting comes from', () => {
  let folder: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'castellan-settings-'));
  });
  afterEach(async () => {
    delete process.env['CASTELLAN_TEST_SETTING'];
    await rm(folder, { recursive: true });
  });

  it('a flag wins over the environment', () => {
    expect(environmentWith({ PORT: '4000' }, { PORT: '3000', HOST: '::1' })).toEqual({ PORT: '4000', HOST: '::1' });
    expect(environmentWith({ PORT: undefined }, { PORT: '3000' })).toEqual({ PORT: '3000' });
  });

  it('the environment wins over .env, which wins over nothing', async () => {
    await writeFile(join(folder, '.env'), 'CASTELLAN_TEST_SETTING="from the file"\n');
    loadEnvironmentFile(folder);
    expect(process.env['CASTELLAN_TEST_SETTING']).toBe('from the file');

    process.env['CASTELLAN_TEST_SETTING'] = 'from outside';
    loadEnvironmentFile(folder);
    expect(process.env['CASTELLAN_TEST_SETTING']).toBe('from outside');
  });

  it('an empty value in the environment keeps .env from filling it', async () => {
    await writeFile(join(folder, '.env'), 'CASTELLAN_TEST_SETTING=from the file\n');
    process.env['CASTELLAN_TEST_SETTING'] = '';
    loadEnvironmentFile(folder);
    expect(process.env['CASTELLAN_TEST_SETTING']).toBe('');
  });

  it('a folder without .env is no error', () => {
    expect(() => loadEnvironmentFile(folder)).not.toThrow();
  });

  it('the data folder is .castellan in the present folder, unless it is named', () => {
    expect(readDataDir({}, folder)).toBe(join(folder, '.castellan'));
    expect(readDataDir({ CASTELLAN_DATA_DIR: 'data' }, folder)).toBe(join(folder, 'data'));
    expect(readDataDir({ CASTELLAN_DATA_DIR: '/var/lib/castellan' }, folder)).toBe('/var/lib/castellan');
  });

  it('an unusable level is refused by name', () => {
    expect(readLogLevel({}, 'warn')).toBe('warn');
    expect(readLogLevel({ LOG_LEVEL: 'DEBUG' }, 'warn')).toBe('debug');
    expect(() => readLogLevel({ LOG_LEVEL: 'loud' }, 'warn')).toThrow(/LOG_LEVEL must be one of fatal/);
  });
});
