/**
 * Builds the web app of `inspector/` into the folder of pages that the server reads, so that checkout and package serve it from the same place.
 *
 * 1. Nothing inline and nothing from elsewhere: the pages' security policy allows only files of this server.
 * 2. Each file comes into its place whole, the document last, and what is old goes after that: a server that reads meanwhile, or another
 *    build at the same time, never meets half of it.
 */
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build, type Rolldown } from 'vite';

const SOURCES = fileURLToPath(new URL('inspector/', import.meta.url));
const PAGES = new URL('../src/http/pages/', import.meta.url);
const DOCUMENT = 'index.html';

export async function buildWebApp(): Promise<void> {
  const built = (await build({
    root: SOURCES,
    configFile: false,
    base: '/app/',
    publicDir: false,
    logLevel: 'warn',
    oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
    build: { write: false, target: 'es2022', assetsInlineLimit: 0, modulePreload: false },
  })) as Rolldown.RolldownOutput;
  const files = built.output.map((file) => [file.fileName, file.type === 'chunk' ? file.code : file.source] as const);

  // (2)
  const folder = new URL('app/', PAGES);
  await mkdir(new URL('assets/', folder), { recursive: true });
  for (const [name, content] of files.toSorted(([left], [right]) => Number(left === DOCUMENT) - Number(right === DOCUMENT))) {
    const half = new URL(`.half-${process.pid}`, PAGES);
    await writeFile(half, content);
    await rename(half, new URL(name, folder));
  }
  const names = new Set(files.map(([name]) => name));
  for (const name of await readdir(new URL('assets/', folder))) if (!names.has(`assets/${name}`)) await rm(new URL(`assets/${name}`, folder), { force: true });
}
