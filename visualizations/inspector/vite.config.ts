/**
 * The web app's build: into the folder of pages that the server reads, so that checkout and package serve it from the same place.
 *
 * Nothing inline and nothing from elsewhere: the pages' security policy allows only files of this server.
 */
import { defineConfig } from 'vite';

export default defineConfig({
  base: '/app/',
  publicDir: false,
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    outDir: '../../src/http/pages/app',
    emptyOutDir: true,
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: false,
  },
});
