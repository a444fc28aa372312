/**
 * Pages for people: the live fleet at `/`, the API's reference at `/docs`. Plain files, nothing from other servers,
 * under a policy that would not let anything else in.
 */
import { readFileSync } from 'node:fs';
import type { App } from './context.ts';

const PAGES: readonly (readonly [url: string, file: string, type: string])[] = [
  ['/', 'fleet.html', 'text/html; charset=utf-8'],
  ['/fleet.js', 'fleet.js', 'text/javascript; charset=utf-8'],
  ['/words.js', 'words.js', 'text/javascript; charset=utf-8'],
  ['/docs', 'reference.html', 'text/html; charset=utf-8'],
  ['/reference.js', 'reference.js', 'text/javascript; charset=utf-8'],
  ['/castellan.css', 'castellan.css', 'text/css; charset=utf-8'],
];

export function pageRoutes(app: App): void {
  for (const [url, file, type] of PAGES) {
    const content = readFileSync(new URL(`../pages/${file}`, import.meta.url));
    app.get(url, {
      config: { access: 'public' },
      schema: { hide: true },
      handler: async (_request, reply) => reply.type(type).header('cache-control', 'no-cache').send(content),
    });
  }
}
