import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { castellan, REPOSITORY } from './program.ts';

describe('castellan', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'castellan-main-'));
  });
  afterAll(async () => {
    await rm(folder, { recursive: true });
  });

  it('tells its version from any folder', async () => {
    const { version } = JSON.parse(await readFile(join(REPOSITORY, 'package.json'), 'utf8')) as { version: string };
    expect(await castellan(['--version'], {}, folder)).toMatchObject({ code: 0, stdout: `${version}\n` });
  });

  it('lists its commands', async () => {
    const { code, stdout } = await castellan(['--help'], {}, folder);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^ {2}doctor /m);
    expect(stdout).toMatch(/^ {2}work /m);
  });

  it('says what is wrong with a setting, without a stack', async () => {
    const { code, stderr } = await castellan(['work', '--redis-url=nonsense'], {}, folder);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^castellan: The setting --redis-url must look like/);
    expect(stderr).not.toContain('    at ');
  });

  it('has the same commands under its other name', async () => {
    const { bin } = JSON.parse(await readFile(join(REPOSITORY, 'package.json'), 'utf8')) as { bin: Record<string, string> };
    expect(bin['citadel']).toBe(bin['castellan']);
  });

  it('tells an old Node apart from a broken installation', async () => {
    // The launcher itself must load on any Node: it is the one that says so.
    const launcher = await readFile(join(REPOSITORY, 'bin/castellan.js'), 'utf8');
    expect(launcher.match(/^import .*/gm)).toEqual(["import { existsSync } from 'node:fs';"]);
    await promisify(execFile)(process.execPath, ['--check', join(REPOSITORY, 'bin/castellan.js')]);
  });
});
