/** A browser with the web app on a server with scripted devices. Set CASTELLAN_SCREENSHOTS to a folder to keep pictures of it. */
import { access, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium, type Browser, type BrowserContextOptions, type Page } from 'playwright-core';
import { expect, onTestFinished } from 'vitest';
import type { Role } from '../../../src/http/auth/principal.ts';
import type { Devices } from '../../../src/protocol/device.ts';
import { catalogueOf, servicesOffered } from '../../../src/provisioning/node-catalogue.ts';
import { startFixture, type Fixture } from '../server-fixture.ts';
import { audit } from './page-audit.js';
import { scriptedDevices, type ScriptedDevices } from './scripted-devices.ts';

const EXECUTABLE = process.env['CHROMIUM'] ?? '/usr/bin/chromium';
export const browserPresent = await access(EXECUTABLE).then(
  () => true,
  () => false,
);
if (!browserPresent) console.warn(`The web app is not tested: no browser at ${EXECUTABLE}. Install Debian's chromium, or name one in CHROMIUM.`);

export async function launchBrowser(): Promise<Browser> {
  return await chromium.launch({ executablePath: EXECUTABLE, args: ['--no-sandbox'] });
}

export interface OpenApp {
  readonly server: Fixture;
  readonly devices: ScriptedDevices;
  readonly base: string;
  readonly page: Page;
  /** Errors in the console, violations of the security policy, requests to elsewhere. */
  readonly complaints: string[];
}

export interface AppOptions extends BrowserContextOptions {
  readonly path: string;
  readonly role?: Role | 'nobody';
  /** Instead of scripted devices. */
  readonly instead?: Devices;
  fill?(server: Fixture, devices: ScriptedDevices): void;
}

export async function openApp(browser: Browser, { path, role = 'admin', instead, fill, ...options }: AppOptions): Promise<OpenApp> {
  const devices = scriptedDevices();
  const server = await startFixture({ devices: { devices: instead ?? devices, catalogue: servicesOffered(catalogueOf()), defaultOrg: 'acme' } });
  fill?.(server, devices);
  const base = await server.listen();
  const context = await browser.newContext({ viewport: { width: 1120, height: 800 }, locale: 'en-GB', ...options });
  onTestFinished(() => context.close());
  const page = await context.newPage();
  const complaints: string[] = [];
  // A refused request is an answer that the page words itself.
  page.on('console', (message) => message.type() === 'error' && !message.text().startsWith('Failed to load resource') && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('request', (request) => request.url().startsWith(base) || request.url().startsWith('data:') || complaints.push(`left the server: ${request.url()}`));
  const link = role === 'nobody' ? '' : `#link=${server.sessions.createLink({ subject: role, role, org: null })}`;
  await page.goto(`${base}${path}${link}`);
  return { server, devices, base, page, complaints };
}

const folder = process.env['CASTELLAN_SCREENSHOTS'] ?? (await mkdtemp(join(tmpdir(), 'castellan-pages-')));

export async function picture(page: Page, name: string): Promise<void> {
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
}

/** What an audit would find: controls without a name, ids twice, levels of headings left out, wide content, text that is hard to see. */
export async function expectAccessible(page: Page): Promise<void> {
  expect(await page.evaluate(audit)).toEqual([]);
}
