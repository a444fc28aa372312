/**
 * `npm run build:web`; and, with --if-possible, what follows `npm ci` in a checkout, so that `npm start` shows the web app.
 *
 * An installation without development dependencies has nothing to build with, and needs nothing built: the package contains it.
 * Plain JavaScript, so that in such an installation any Node gets to the end.
 */
const missing = await import('vite').then(
  () => undefined,
  (error) => error,
);
if (missing === undefined) {
  const { buildWebApp } = await import('./build-web-app.ts');
  await buildWebApp();
} else if (!(process.argv.includes('--if-possible') && missing.code === 'ERR_MODULE_NOT_FOUND')) throw missing;
