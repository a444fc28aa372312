/** A browser with the web app on a server with scripted devices. Set CASTELLAN_SCREENSHOTS to a folder to keep pictures of it. */
import { access, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium, type Browser, type BrowserContextOptions, type Page } from 'playwright-core';
import { expect, onTestFinished } from 'vitest';
import { build } from 'vite';
import type { Role } from '../../../src/http/auth/principal.ts';
import { catalogueOf, servicesOffered } from '../../../src/provisioning/node-catalogue.ts';
import { startFixture, type Fixture } from '../server-fixture.ts';
import { scriptedDevices, type ScriptedDevices } from './scripted-devices.ts';

const EXECUTABLE = process.env['CHROMIUM'] ?? '/usr/bin/chromium';
export const browserPresent = await access(EXECUTABLE).then(
  () => true,
  () => false,
);
if (!browserPresent) console.warn(`The web app is not tested: no browser at ${EXECUTABLE}. Install Debian's chromium, or name one in CHROMIUM.`);

/** As `npm run build:web` makes it: what is tested is what the sources say now. */
export async function buildWebApp(): Promise<void> {
  await build({ root: fileURLToPath(new URL('../../../visualizations/inspector', import.meta.url)), logLevel: 'warn' });
}

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
  fill?(server: Fixture, devices: ScriptedDevices): void;
}

export async function openApp(browser: Browser, { path, role = 'admin', fill, ...options }: AppOptions): Promise<OpenApp> {
  const devices = scriptedDevices();
  const server = await startFixture({ devices: { devices, catalogue: servicesOffered(catalogueOf()), defaultOrg: 'acme' } });
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

/** Runs in the page: it may name nothing of this file. */
function audit(): string[] {
  const found: string[] = [];
  const shown = (element: Element) => element.checkVisibility({ visibilityProperty: true });
  const all = (selector: string) => [...document.querySelectorAll(selector)].filter(shown);
  const ids = [...document.querySelectorAll('[id]')].map(({ id }) => id);
  for (const id of new Set(ids)) if (ids.filter((each) => each === id).length > 1) found.push(`two elements have the id ${id}`);
  for (const control of all('input, select, textarea') as HTMLInputElement[])
    if (!control.labels?.length && !control.getAttribute('aria-label')) found.push(`no label: ${control.outerHTML.slice(0, 120)}`);
  for (const control of all('a, button, summary'))
    if (!control.textContent.trim() && !control.getAttribute('aria-label')) found.push(`no name: ${control.outerHTML.slice(0, 120)}`);
  for (const element of all('[aria-describedby], [aria-labelledby]'))
    for (const id of `${element.getAttribute('aria-describedby') ?? ''} ${element.getAttribute('aria-labelledby') ?? ''}`.trim().split(/\s+/))
      if (!document.getElementById(id)) found.push(`${element.tagName} points to #${id}, which is not there`);
  let level = 0;
  for (const heading of all('h1, h2, h3, h4')) {
    const own = Number(heading.tagName[1]);
    if (own > level + 1) found.push(`heading ${heading.textContent} jumps to level ${own}`);
    level = own;
  }
  if (all('h1').length !== 1) found.push(`${all('h1').length} headings of level 1`);
  if (all('main').length !== 1) found.push('not one main');
  if (!document.documentElement.lang) found.push('no language');
  if (document.documentElement.scrollWidth > document.documentElement.clientWidth) found.push('wider than the window');

  // Contrast as WCAG 2.2, 1.4.3 computes it; colours are read from a canvas, whatever notation they have.
  const pixels = document.createElement('canvas').getContext('2d', { willReadFrequently: true })!;
  const rgba = (colour: string) => {
    pixels.clearRect(0, 0, 1, 1);
    pixels.fillStyle = colour;
    pixels.fillRect(0, 0, 1, 1);
    return [...pixels.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([red = 0, green = 0, blue = 0]: number[]) => {
    const [r = 0, g = 0, b = 0] = [red, green, blue].map((each) => (each / 255 <= 0.04045 ? each / 255 / 12.92 : ((each / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element: Element | null): number[] => {
    if (element === null) return [255, 255, 255];
    const colour = rgba(getComputedStyle(element).backgroundColor);
    return colour[3] === 255 ? colour : ground(element.parentElement);
  };
  for (const element of all('body *')) {
    const text = [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE && node.textContent!.trim() !== '');
    if (text.length === 0 || element.matches(':disabled')) continue;
    const [light = 0, dark = 0] = [luminance(rgba(getComputedStyle(element).color)), luminance(ground(element))].sort((a, b) => b - a);
    const contrast = (light + 0.05) / (dark + 0.05);
    if (contrast < 4.5) found.push(`contrast ${contrast.toFixed(2)}: ${element.textContent.trim().slice(0, 60)}`);
  }
  return found;
}
