/** The web app in a real browser. One file, because it is built once for all its pages. */
import Fastify from 'fastify';
import { cp, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { builtPages } from '../../../src/http/routes/pages.ts';
import { buildWebApp } from '../../../visualizations/build-web-app.ts';
import { startFixture } from '../server-fixture.ts';
import { approvalPage } from './approve-page.ts';
import { devicePages } from './device-pages.ts';
import { audit } from './page-audit.js';
import { setupPage } from './setup-page.ts';
import { wholeWay } from './whole-way.ts';
import { browserPresent, launchBrowser } from './app-fixture.ts';

/** gzip, everything that a first visit loads. */
const SIZE_BYTES_MAX = 40 * 1_024;
const FOLDER = new URL('../../../src/http/pages/app/', import.meta.url);

let browser: Browser;
beforeAll(async () => {
  await buildWebApp(); // What is tested is what the sources say now.
  if (browserPresent) browser = await launchBrowser();
}, 60_000);
afterAll(async () => {
  await browser?.close();
});

describe('the build', () => {
  it('is small', async () => {
    const assets = (await readdir(new URL('assets/', FOLDER))).map((name) => `assets/${name}`);
    const sizes = await Promise.all(['index.html', ...assets].map(async (name) => gzipSync(await readFile(new URL(name, FOLDER))).byteLength));
    const total = sizes.reduce((sum, size) => sum + size, 0);
    console.log(`The web app: ${(total / 1_024).toFixed(1)} KiB gzipped in ${sizes.length} files.`);
    expect(total).toBeLessThan(SIZE_BYTES_MAX);
  });

  it('is served with hashed files that are kept, and a document that is not', async () => {
    const { app } = await startFixture();
    const document = await app.inject('/device');
    expect(document.headers).toMatchObject({ 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-cache' });
    const script = /src="(\/app\/assets\/[^"]+\.js)"/.exec(document.body)?.[1] ?? '';
    const plain = await app.inject(script);
    expect(plain.headers).toMatchObject({ 'content-type': 'text/javascript; charset=utf-8', 'cache-control': 'public, max-age=31536000, immutable' });
    const gzipped = await app.inject({ url: script, headers: { 'accept-encoding': 'br, gzip' } });
    expect(gzipped.headers['content-encoding']).toBe('gzip');
    expect(gzipped.rawPayload.byteLength).toBeLessThan(plain.rawPayload.byteLength / 2);
    const refusing = await app.inject({ url: script, headers: { 'accept-encoding': 'gzip;q=0' } });
    expect(refusing.headers['content-encoding']).toBeUndefined();
  });

  it('gives out nothing but its own files', async () => {
    const { app } = await startFixture();
    for (const url of ['/app/assets/..%2Findex.html', '/app/assets/..%2F..%2Ffleet.html', '/app/assets/%2Fetc%2Fpasswd', '/app/', '/app/index.html'])
      expect((await app.inject(url)).statusCode).toBe(404);
  });
});

describe('a server without the build', () => {
  it('says how to make it, and shows the pages as soon as it is made', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'castellan-app-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    const app = Fastify();
    onTestFinished(() => app.close());
    builtPages(app, pathToFileURL(`${folder}/`));
    const before = await app.inject('/devices');
    expect(before.statusCode).toBe(503);
    expect(before.body).toContain('npm run build:web');
    await cp(FOLDER, folder, { recursive: true });
    const after = await app.inject('/devices/d-1/setup');
    expect(after.statusCode).toBe(200);
    expect(after.body).toContain('<script type="module"');
  });
});

it.skipIf(!browserPresent)('the audit of pages finds what it looks for', async () => {
  const page = await browser.newPage();
  onTestFinished(() => page.close());
  await page.setContent(`
    <h1>One</h1><h3>Three</h3><input><button></button><i id="twice"></i><i id="twice"></i><a href="/" aria-describedby="nowhere">link</a>
    <p style="color: #999; background: #fff">pale</p><div style="width: 200vw">wide</div>`);
  expect(await page.evaluate(audit)).toEqual([
    'two elements have the id twice',
    'no label: <input>',
    'no name: <button></button>',
    'A points to #nowhere, which is not there',
    'heading Three jumps to level 3',
    'not one main',
    'no language',
    'wider than the window',
    'contrast 2.85: pale',
  ]);
});

describe.skipIf(!browserPresent)('the approval page', { timeout: 30_000 }, () => {
  approvalPage(() => browser);
});

describe.skipIf(!browserPresent)('the onboarding form', { timeout: 30_000 }, () => {
  setupPage(() => browser);
});

describe.skipIf(!browserPresent)('the pages of devices', { timeout: 30_000 }, () => {
  devicePages(() => browser);
});

describe.skipIf(!browserPresent)('from a code on a screen to a configuration on its way, over a real Redis', { timeout: 60_000 }, () => {
  wholeWay(() => browser);
});
