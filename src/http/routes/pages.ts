/**
 * Pages for people: the live fleet at `/`, the API's reference at `/docs`, and the web app's rooms. Nothing from other servers,
 * under a policy that would not let anything else in.
 *
 * 1. A file is found by its exact name in what was read; no path of a request ever reaches the disk.
 * 2. The web app's assets carry a hash of their content in their names: they may be kept for ever, its document never.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import type { App } from './context.ts';

const PAGES: readonly (readonly [url: string, file: string])[] = [
  ['/', 'fleet.html'],
  ['/fleet.js', 'fleet.js'],
  ['/session.js', 'session.js'],
  ['/words.js', 'words.js'],
  ['/docs', 'reference.html'],
  ['/reference.js', 'reference.js'],
  ['/castellan.css', 'castellan.css'],
];

/** All are the web app's one document, which looks at the address itself. */
const APP_PAGES = ['/device', '/devices', '/devices/:id', '/devices/:id/setup'];
const APP_DOCUMENT = 'index.html';
const ASSET_LIFETIME_S = 31_536_000;

const MEDIA_TYPES: { readonly [extension: string]: string } = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
};

const NOT_BUILT = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <title>Castellan: not built</title>
    <link rel="stylesheet" href="/castellan.css" />
  </head>
  <body>
    <main class="reference">
      <h1>This page is not built yet</h1>
      <p>In the checkout, run <code>npm run build:web</code> and load this page again. <code>npm ci</code> does it by itself, unless it was told to run no scripts.</p>
      <p><a href="/">Fleet</a></p>
    </main>
  </body>
</html>
`;

interface BuiltFile {
  readonly type: string;
  readonly plain: Buffer;
  readonly gzipped: Buffer;
}

export function pageRoutes(app: App): void {
  for (const [url, file] of PAGES) {
    const content = readFileSync(new URL(`../pages/${file}`, import.meta.url));
    app.get(url, {
      config: { access: 'public' },
      schema: { hide: true },
      handler: async (_request, reply) => reply.type(mediaType(file)).header('cache-control', 'no-cache').send(content),
    });
  }
  builtPages(app, new URL('../pages/app/', import.meta.url));
}

/** The web app as it lies in `folder`. */
export function builtPages(app: App, folder: URL): void {
  let built = readBuilt(folder);
  /** Read again while it is missing: whoever follows the page's advice need not start the server anew. */
  const files = () => (built ??= readBuilt(folder));

  for (const url of APP_PAGES)
    app.get(url, {
      config: { access: 'public' },
      schema: { hide: true },
      handler: async (_request, reply) => {
        const document = files()?.get(APP_DOCUMENT);
        reply.type(mediaType(APP_DOCUMENT)).header('cache-control', 'no-cache');
        return document === undefined ? reply.code(503).send(NOT_BUILT) : reply.send(document.plain);
      },
    });

  app.get<{ Params: { file: string } }>('/app/assets/:file', {
    config: { access: 'public' },
    schema: { hide: true },
    handler: async (request, reply) => {
      const asset = files()?.get(`assets/${request.params.file}`);
      if (asset === undefined) return reply.callNotFound();
      reply.type(asset.type).header('cache-control', `public, max-age=${ASSET_LIFETIME_S}, immutable`).header('vary', 'accept-encoding');
      return acceptsGzip(request.headers['accept-encoding']) ? reply.header('content-encoding', 'gzip').send(asset.gzipped) : reply.send(asset.plain);
    },
  });
}

/** By its path in the folder; undefined when the web app was not built. */
function readBuilt(folder: URL): ReadonlyMap<string, BuiltFile> | undefined {
  try {
    const names = [APP_DOCUMENT, ...readdirSync(new URL('assets/', folder)).map((name) => `assets/${name}`)];
    return new Map(
      names.map((name) => {
        const plain = readFileSync(new URL(name, folder));
        return [name, { type: mediaType(name), plain, gzipped: gzipSync(plain) }];
      }),
    );
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function mediaType(file: string): string {
  return MEDIA_TYPES[file.slice(file.lastIndexOf('.') + 1)] ?? 'application/octet-stream';
}

function acceptsGzip(header: string | string[] | undefined): boolean {
  return String(header ?? '')
    .split(',')
    .some((each) => /^\s*gzip\s*(;\s*q=(?!0(\.0*)?\s*$).*)?$/i.test(each));
}
