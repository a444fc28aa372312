/** The package as a user gets it: packed, unpacked into a project of its own, type-checked there and run by plain Node. */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const REPOSITORY = join(import.meta.dirname, '../..');
const run = promisify(execFile);
/** Two type checks on a machine that does other things too. */
const LIMIT_MS = 180_000;
let project: string;

beforeAll(async () => {
  project = await mkdtemp(join(tmpdir(), 'castellan-package-'));
  const packed = await run('npm', ['pack', '--silent', '--pack-destination', project], { cwd: REPOSITORY, timeout: LIMIT_MS });
  const modules = join(project, 'node_modules');
  await mkdir(join(modules, 'castellan'), { recursive: true });
  const tarball = packed.stdout.trim().split('\n').at(-1) ?? '';
  await run('tar', ['-xzf', join(project, tarball), '--strip-components=1', '-C', join(modules, 'castellan')]);
  // The dependencies as npm would install them, without asking a registry.
  for (const name of await readdir(join(REPOSITORY, 'node_modules'))) {
    if (!name.startsWith('.')) await symlink(join(REPOSITORY, 'node_modules', name), join(modules, name));
  }
  const user = await readFile(join(import.meta.dirname, 'package-user.ts'), 'utf8');
  const named = user.replace("'../../src/index.ts'", "'castellan'").replace("'../../src/testing/index.ts'", "'castellan/testing'");
  await writeFile(join(project, 'user.ts'), named);
  await writeFile(join(project, 'package.json'), JSON.stringify({ name: 'user', private: true, type: 'module' }));
  const compilerOptions = {
    ...{ target: 'es2023', lib: ['es2024', 'esnext.disposable'], module: 'nodenext', moduleResolution: 'nodenext', types: ['node'] },
    ...{ strict: true, noUncheckedIndexedAccess: true, exactOptionalPropertyTypes: true, skipLibCheck: true },
  };
  await writeFile(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['user.ts'] }));
}, LIMIT_MS);

afterAll(async () => {
  await rm(project, { recursive: true, force: true });
});

describe('the package', () => {
  it(
    'type-checks in a strict project and runs there',
    async () => {
      const compiler = join(REPOSITORY, 'node_modules/typescript/lib/tsc.js');
      const checked = await run(process.execPath, [compiler, '-p', project], { timeout: LIMIT_MS }).catch((error: { stdout: string }) => error);
      expect(checked.stdout).toBe('');
      const { stdout } = await run(process.execPath, [join(project, 'user.js')], { cwd: project });
      expect(stdout).toBe('"ringing" after 60000 ms; start is needed: stopped\n');
    },
    LIMIT_MS,
  );

  it('holds no tests and no sources', async () => {
    expect((await readdir(join(project, 'node_modules/castellan'))).toSorted()).toEqual([
      'ARCHITECTURE.md',
      'CHANGELOG.md',
      'LICENSE',
      'README.md',
      'bin',
      'dist',
      'docs',
      'package.json',
    ]);
  });
});
