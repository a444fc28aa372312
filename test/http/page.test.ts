/** The fleet page in a real browser. Set CASTELLAN_SCREENSHOTS to a folder to keep pictures of it. */
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { chromium, type Browser, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { fakeActor, fakeNode, fakeTransition } from './fake-control-plane.ts';
import { startFixture, type Fixture } from './server-fixture.ts';

const EXECUTABLE = process.env['CHROMIUM'] ?? '/usr/bin/chromium';
const present = await access(EXECUTABLE).then(
  () => true,
  () => false,
);
if (!present) console.warn(`The page is not tested: no browser at ${EXECUTABLE}. Install Debian's chromium, or name one in CHROMIUM.`);

let browser: Browser;
beforeAll(async () => {
  if (present) browser = await chromium.launch({ executablePath: EXECUTABLE, args: ['--no-sandbox'] });
}, 60_000);
afterAll(async () => {
  await browser?.close();
});

const ago = (ms: number) => new Date(Date.now() - ms).toISOString();
const ahead = (ms: number) => new Date(Date.now() + ms).toISOString();

function fill({ fake }: Fixture): void {
  const status = (cpu: number, memory: number, gpu?: number) => ({
    node: { name: 'x', uptime_seconds: 1 },
    system: { cpu_percent: cpu, memory_used_gb: memory, memory_total_gb: 64, disk_used_gb: 1, disk_total_gb: 2 },
    gpu: gpu === undefined ? [] : [{ index: 0, name: 'H200', utilization_percent: gpu }],
  });
  const fleet = [
    fakeNode('gpu-1', { since: ago(3_700_000), lastSeenAt: ago(4_000), status: status(34, 21, 97) }),
    fakeNode('gpu-2', { state: 'degraded', since: ago(31_000), lastSeenAt: ago(66_000), status: status(88, 60, 40) }),
    fakeNode('edge-7', { state: 'offline', since: ago(200_000_000), lastSeenAt: ago(200_090_000), status: status(3, 4) }),
    fakeNode('lab-3', { state: 'unknown', since: ago(90_000), lastSeenAt: null, status: null }),
  ];
  for (const node of fleet) {
    fake.nodes.set(node.nodeId, node);
    fake.actors.set(
      `node/${node.nodeId}`,
      fakeActor('node', node.nodeId, {
        value: { connection: node.state, health: { services: 'ok', disk: 'ok' } },
        timers: [{ id: '|degraded', event: { type: 'degraded' }, dueAt: ahead(42_000) }],
      }),
    );
    const timer = { event: { type: 'xstate.after.degradedDelay.node.connection.online' }, cause: { source: 'timer' as const, ref: '|x' } };
    fake.histories.set(`node/${node.nodeId}`, [
      fakeTransition('node', node.nodeId, 1, { at: ago(5_000_000), to: { connection: 'online', health: { disk: 'ok' } } }),
      fakeTransition('node', node.nodeId, 2, {
        at: node.since,
        from: { connection: 'online' },
        to: { connection: node.state },
        ...(node.state === 'online' ? {} : timer),
      }),
    ]);
  }
}

interface OpenPage {
  readonly server: Fixture;
  readonly page: Page;
  readonly complaints: string[];
}

async function openPage({
  colorScheme = 'light',
  signedIn = true,
  width = 1280,
}: { colorScheme?: 'light' | 'dark'; signedIn?: boolean; width?: number } = {}): Promise<OpenPage> {
  const server = await startFixture();
  fill(server);
  const base = await server.listen();
  const context = await browser.newContext({ colorScheme, viewport: { width, height: 760 } });
  onTestFinished(() => context.close());
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('request', (request) => request.url().startsWith(base) || request.url().startsWith('data:') || complaints.push(`left the server: ${request.url()}`));
  const secret = server.sessions.createLink({ subject: 'admin', role: 'admin', org: null });
  await page.goto(signedIn ? `${base}/#link=${secret}` : base);
  return { server, page, complaints };
}

async function picture(page: Page, name: string): Promise<void> {
  const folder = process.env['CASTELLAN_SCREENSHOTS'];
  if (folder !== undefined) await page.screenshot({ path: join(folder, `${name}.png`) });
}

describe.skipIf(!present)('the fleet page', { timeout: 30_000 }, () => {
  it('exchanges the link for a session, hides it, and lists the nodes with why', async () => {
    const { page, complaints } = await openPage();
    const row = (name: string) => page.getByRole('row', { name: new RegExp(name) });
    await row('gpu-2').getByText('degraded', { exact: true }).waitFor();
    await row('gpu-2')
      .getByText(/timer degradedDelay/)
      .waitFor();
    expect(await row('gpu-1').innerText()).toMatch(/online\s+1 h 1 min\s+\d s\s+STATUS from node:status:stream\s+34 %\s+33 %\s+97 %/);
    expect(await row('lab-3').innerText()).toMatch(/unknown.*never/s);
    expect(await page.getByRole('list', { name: 'Nodes by state' }).innerText()).toMatch(/1 online.*1 degraded.*1 offline.*1 unknown/s);
    expect(new URL(page.url()).hash).toBe('');
    await page.getByText('live', { exact: true }).waitFor();
    await picture(page, 'fleet');
    expect(complaints).toEqual([]);
  });

  it('shows a change when it is committed', async () => {
    const { server, page } = await openPage();
    await page.getByText('live', { exact: true }).waitFor();
    server.fake.nodes.set('gpu-1', fakeNode('gpu-1', { state: 'offline', since: ago(0) }));
    server.fake.push(fakeTransition('node', 'gpu-1', 3));
    const state = page.getByRole('row', { name: /gpu-1/ }).getByText('offline', { exact: true });
    await state.waitFor({ timeout: 4_000 });
    expect(await state.isVisible()).toBe(true);
  });

  it('shows a node’s actor by keyboard, and gives the focus back', async () => {
    const { page, complaints } = await openPage({ colorScheme: 'dark' });
    const opener = page.getByRole('button', { name: 'gpu-2' });
    await opener.focus();
    await page.keyboard.press('Enter');
    const detail = page.getByRole('complementary', { name: 'node/gpu-2' });
    await detail.getByText(/due in (4[0-2]) s/).waitFor();
    const text = await detail.innerText();
    expect(text).toContain('connection.degraded');
    expect(text).toContain('STATUS');
    expect(text).toMatch(/\(new\) → connection\.online, health\.disk\.ok\s+STATUS from node:status:stream · revision 1/);
    await picture(page, 'detail-dark');
    await page.keyboard.press('Escape');
    expect(await detail.isHidden()).toBe(true);
    expect(await opener.evaluate((button) => button.matches(':focus'))).toBe(true);
    expect(complaints).toEqual([]);
  });

  it('says what to do without a session', async () => {
    const { page } = await openPage({ signedIn: false, width: 420 });
    await page
      .getByRole('alert')
      .getByText(/no session.*castellan token --link/)
      .waitFor();
    expect(await page.getByRole('table').isHidden()).toBe(true);
    await picture(page, 'signed-out');
  });

  it('says so when the link was used before', async () => {
    const { server, page } = await openPage();
    await page.getByText('live', { exact: true }).waitFor();
    const other = await browser.newContext();
    onTestFinished(() => other.close());
    const stranger = await other.newPage();
    const secret = server.sessions.createLink({ subject: 'admin', role: 'admin', org: null });
    await page.goto(`${new URL(page.url()).origin}/?again#link=${secret}`);
    await page.getByText('live', { exact: true }).waitFor();
    await stranger.goto(`${new URL(page.url()).origin}/#link=${secret}`);
    const alert = stranger.getByRole('alert');
    await alert.getByText(/used before/).waitFor();
    expect(await alert.innerText()).toContain('castellan token --link');
  });

  it('treats what nodes say as text', async () => {
    const { server, page, complaints } = await openPage();
    server.fake.nodes.set('evil', fakeNode('evil', { name: '<img src=x onerror=alert(1)>' }));
    server.fake.actors.set('node/evil', fakeActor('node', 'evil'));
    server.fake.histories.set('node/evil', [fakeTransition('node', 'evil', 1)]);
    server.fake.push(fakeTransition('node', 'evil', 1));
    await page.getByRole('button', { name: '<img src=x onerror=alert(1)>' }).waitFor();
    expect(await page.locator('main img').count()).toBe(0);
    expect(complaints).toEqual([]);
  });

  it('the reference lists the API without leaving the server', async () => {
    const { page, complaints } = await openPage();
    await page.goto(new URL('/docs', page.url()).href);
    await page.getByText('/api/fabric/nodes/{id}/live').click();
    await page.locator('details[open]').getByText('Parameters').waitFor();
    await picture(page, 'reference');
    expect(complaints).toEqual([]);
  });
});
