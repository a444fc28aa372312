#!/usr/bin/env node
/**
 * Where the commands `castellan` and `citadel` begin. Plain JavaScript, so that an old Node can still say what is wrong.
 *
 * In a checkout the sources run as they are; in the package, where Node strips no types, what `npm run build` made of them.
 */
import { existsSync } from 'node:fs';

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < 22 || (major === 22 && minor < 18)) {
  console.error(`Castellan needs Node 22.18 or newer; this is ${process.version} (${process.execPath}).`);
  console.error('In a checkout, "npm start" and "npx castellan …" run on the Node that "npm ci" installed.');
  process.exitCode = 1;
} else {
  const source = new URL('../src/cli/main.ts', import.meta.url);
  const built = new URL('../dist/src/cli/main.js', import.meta.url);
  const { main } = await import((existsSync(source) ? source : built).href);
  await main();
}
