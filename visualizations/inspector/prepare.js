/**
 * After `npm ci` in a checkout: builds the web app, so that `npm start` shows it. Plain JavaScript, for whatever Node ran the installation.
 * An installation without development dependencies has nothing to build with, and needs nothing built: the package contains it.
 */
import { fileURLToPath } from 'node:url';

const vite = await import('vite').catch((error) => {
  if (error.code === 'ERR_MODULE_NOT_FOUND') return undefined;
  throw error;
});
await vite?.build({ root: fileURLToPath(new URL('.', import.meta.url)), logLevel: 'warn' });
