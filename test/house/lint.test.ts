/**
 * The linter is part of the design: each rule that upholds it is seen to refuse a violation planted in a copy of the sources.
 */
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { refusal } from '../../lint/layers.ts';

const REPOSITORY = join(import.meta.dirname, '../..');
const COPIED = ['src/protocol', 'src/core', 'src/engine/ports.ts', 'lint', '.oxlintrc.json', 'tsconfig.json', 'package.json'];

const run = promisify(execFile);
let copy: string;

/** What the linter says of the copy with these files planted in it; they are gone afterwards. */
async function lintWith(planted: { readonly [path: string]: string }): Promise<string> {
  const paths = Object.keys(planted);
  for (const path of paths) {
    await mkdir(dirname(join(copy, path)), { recursive: true });
    await writeFile(join(copy, path), planted[path]!);
  }
  try {
    const { stdout } = await run(process.execPath, [join(REPOSITORY, 'node_modules/oxlint/bin/oxlint'), '--format=unix', ...paths], { cwd: copy });
    return stdout;
  } catch (error) {
    return (error as { stdout: string }).stdout;
  } finally {
    for (const path of paths) await rm(join(copy, path));
  }
}

beforeAll(async () => {
  copy = await mkdtemp(join(tmpdir(), 'castellan-lint-'));
  for (const path of COPIED) await cp(join(REPOSITORY, path), join(copy, path), { recursive: true });
  await symlink(join(REPOSITORY, 'node_modules'), join(copy, 'node_modules'));
});

afterAll(async () => {
  await rm(copy, { recursive: true, force: true });
});

describe('the linter', () => {
  it('accepts a file that keeps the rules', async () => {
    const said = await lintWith({ 'src/core/planted.ts': "import type { Json } from '../protocol/json.ts';\nexport const planted: Json = 1;\n" });
    expect(said).not.toContain('planted.ts');
  });

  it.each([
    ['the core importing a Redis client', 'src/core/planted.ts', "import { Redis } from 'ioredis';\nexport const planted = Redis;\n", 'castellan(layers)'],
    [
      'the core importing the Redis adapter',
      'src/core/planted.ts',
      "import { planted as other } from '../redis/planted.ts';\nexport const planted = other;\n",
      'castellan(layers)',
    ],
    ['the core importing Node', 'src/core/planted.ts', "export { readFile } from 'node:fs/promises';\n", 'castellan(layers)'],
    ['a dynamic import past the table', 'src/core/planted.ts', "export const planted = (): Promise<unknown> => import('ioredis');\n", 'castellan(layers)'],
    [
      'an adapter importing another',
      'src/http/planted.ts',
      "import type { planted } from '../redis/planted.ts';\nexport type Planted = typeof planted;\n",
      'castellan(layers)',
    ],
    [
      'an adapter importing the engine for more than its types',
      'src/redis/planted.ts',
      "import { ports } from '../engine/ports.ts';\nexport const planted: unknown = ports;\n",
      'castellan(layers)',
    ],
    ['a machine importing the engine', 'machines/planted.ts', "export type { Clock } from '../src/engine/ports.ts';\n", 'castellan(layers)'],
    ['the clock in the core', 'src/core/planted.ts', 'export const planted = (): number => Date.now();\n', 'eslint(no-restricted-globals)'],
    ['a timer in the engine', 'src/engine/planted.ts', 'export const planted = (): unknown => setTimeout(String, 1);\n', 'eslint(no-restricted-globals)'],
    ['chance in the core', 'src/core/planted.ts', 'export const planted = (): number => Math.random();\n', 'eslint(no-restricted-properties)'],
    ['the process in a machine', 'machines/planted.ts', 'export const planted = (): unknown => process.env;\n', 'eslint(no-restricted-globals)'],
    ['the console in the core', 'src/core/planted.ts', "export const planted = (): void => console.log('');\n", 'eslint(no-console)'],
    [
      'a promise nobody waits for',
      'src/http/planted.ts',
      'export const planted = (work: () => Promise<void>): void => {\n  work();\n};\n',
      'typescript(no-floating-promises)',
    ],
    ['a file over 400 lines', 'src/http/planted.ts', `${'// A line.\n'.repeat(400)}export const planted = 1;\n`, 'eslint(max-lines)'],
  ])('refuses %s', async (_what, path, text, rule) => {
    const said = await lintWith({ 'src/redis/other.ts': 'export const planted = 1;\n', [path]: text });
    const line = said.split('\n').find((each) => each.includes('planted.ts') && each.includes(rule));
    expect(line, said).toBeDefined();
  });

  it('refuses a cycle', async () => {
    const said = await lintWith({
      'src/core/planted.ts': "import { second } from './second.ts';\nexport const first = (): unknown => second;\n",
      'src/core/second.ts': "import { first } from './planted.ts';\nexport const second = (): unknown => first;\n",
    });
    expect(said).toContain('import(no-cycle)');
  });
});

describe('the layer table', () => {
  it('judges the file that an import resolves to, whatever its spelling', () => {
    expect(refusal('src/core/kernel.ts', './../redis/store.ts', false)).toContain('src/core may not import src/redis/store.ts');
    expect(refusal('src/http/routes/nodes.ts', '../../protocol/errors.ts', false)).toBeUndefined();
    expect(refusal('src/http/routes/nodes.ts', '../../cli/settings.ts', false)).toBeDefined();
  });

  it('lets an adapter know the ports by their types alone', () => {
    expect(refusal('src/redis/store.ts', '../engine/ports.ts', true)).toBeUndefined();
    expect(refusal('src/redis/store.ts', '../engine/ports.ts', false)).toBeDefined();
    expect(refusal('src/redis/store.ts', '../engine/partition.ts', true)).toBeDefined();
  });

  it('lets only src/cli and src/index.ts wire things together', () => {
    for (const adapter of ['redis', 'http', 'agent', 'contracts', 'engine']) {
      expect(refusal('src/cli/serve.ts', `../${adapter}/any.ts`, false)).toBeUndefined();
      expect(refusal('src/index.ts', `./${adapter}/any.ts`, false)).toBeUndefined();
    }
  });
});
