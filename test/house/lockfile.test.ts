/** `npm ci` is the first command that a user types: it refuses a lock file that leaves out what package.json or a package names. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';

interface Package {
  readonly dependencies?: Record<string, string>;
  readonly devDependencies?: Record<string, string>;
  readonly optionalDependencies?: Record<string, string>;
}

const REPOSITORY = join(import.meta.dirname, '../..');

async function readJson<Value>(name: string): Promise<Value> {
  return JSON.parse(await readFile(join(REPOSITORY, name), 'utf8')) as Value;
}

it('the lock file has the dependencies of package.json', async () => {
  const manifest = await readJson<Package>('package.json');
  const { packages } = await readJson<{ packages: Record<string, Package> }>('package-lock.json');
  expect(packages['']?.dependencies).toEqual(manifest.dependencies);
  expect(packages['']?.devDependencies).toEqual(manifest.devDependencies);
});

it('the lock file has the packages of every platform, not only of the one it was made on', async () => {
  const { packages } = await readJson<{ packages: Record<string, Package> }>('package-lock.json');
  const missing = Object.entries(packages).flatMap(([place, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies).filter((name) => !(`node_modules/${name}` in packages) && !(`${place}/node_modules/${name}` in packages)),
  );
  expect(missing).toEqual([]);
});
