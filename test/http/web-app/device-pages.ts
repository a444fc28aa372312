/** The list of devices, and one device at one look. */
import type { Browser } from 'playwright-core';
import { expect, it } from 'vitest';
import { fakeActor, fakeTransition } from '../fake-control-plane.ts';
import { expectAccessible, openApp, picture, type AppOptions, type OpenApp } from './app-fixture.ts';
import { fakeDevice, type ScriptedDevices } from './scripted-devices.ts';

const FAILED = 'mzxw6ytboi2gk3tdnfxb';
const LINES = Array.from({ length: 12 }, (_, index) => `INFO 11-21 10:4${index} [core.py:${index}] Initializing a V1 LLM engine with config ${index}`);

function fill(_server: unknown, { devices }: ScriptedDevices): void {
  const add = (id: string, overrides: Parameters<typeof fakeDevice>[1]) => devices.set(id, fakeDevice(id, overrides));
  add('d-new', { name: 'Lab 8', state: 'pending', reason: 'It waits for approval.', nodeId: null });
  add('d-run', { name: 'Lab 9', state: 'services-running', reason: null, desired: { revision: 4, config: {} }, appliedRevision: 4 });
  add('d-drift', {
    name: 'Edge 2',
    state: 'drifted',
    reason: 'ollama was stopped by hand and is being started again.',
    desired: { revision: 2, config: {} },
    appliedRevision: 2,
  });
  add(FAILED, {
    name: 'Lab <b>7</b>',
    state: 'rolled-back',
    reason: 'Revision 6 was rolled back: vllm did not get healthy within 30 min. Revision 5 runs.',
    desired: { revision: 6, config: { customTags: ['lab', 'gpu'] } },
    appliedRevision: 5,
    services: [
      { name: 'ollama', phase: 'unchanged' },
      { name: 'vllm', phase: 'failed', message: [...LINES, 'ValueError: No available memory for the cache blocks. <script>alert(1)</script>'].join('\n') },
    ],
    report: {
      phase: 'rolled-back',
      desiredRevision: 6,
      appliedRevision: 5,
      services: [],
      error: { code: 'unhealthy', message: 'vllm did not get healthy within 30 min.' },
      refused: ['sshEnabled'],
      timestamp: new Date().toISOString(),
    },
  });
}

export function devicePages(browser: () => Browser): void {
  const open = (options: Partial<AppOptions> = {}): Promise<OpenApp> => openApp(browser(), { path: '/devices', fill, ...options });

  it('lists the devices with their state and why', async () => {
    const { page, complaints } = await open();
    const row = (name: string) => page.getByRole('row', { name: new RegExp(name) });
    await row('Edge 2').getByText('repairing').waitFor();
    expect(await row('Lab 9').innerText()).toMatch(/running\s+12 min \d+ s\s+4$/);
    expect(await row('Lab <b>7').innerText()).toMatch(/rolled back\s+12 min \d+ s\s+Revision 6 was rolled back: .* Revision 5 runs\.\s+5 of 6/);
    await picture(page, 'devices');
    await expectAccessible(page);
    await row('Edge 2').getByRole('link').click();
    await page.getByRole('heading', { level: 1, name: 'Edge 2' }).waitFor();
    expect(complaints).toEqual([]);
  });

  it('follows them', async () => {
    const { page, devices } = await open();
    await page.getByRole('row', { name: /Lab 8/ }).getByText('waiting for approval').waitFor();
    devices.devices.set('d-new', fakeDevice('d-new', { name: 'Lab 8', state: 'denied', reason: 'admin denied it.' }));
    await page.getByRole('row', { name: /Lab 8/ }).getByText('admin denied it.').waitFor();
    expect(await page.getByRole('row').count()).toBe(5);
  });

  it('says how to add the first', async () => {
    const { page } = await open({ fill() {}, viewport: { width: 360, height: 740 } });
    await page.getByRole('heading', { name: 'No device yet' }).waitFor();
    await picture(page, 'devices-none-small');
    await expectAccessible(page);
    expect(await page.getByRole('link', { name: 'enter it here' }).getAttribute('href')).toBe('/device');
  });

  it('shows one device at one look: why, revisions, the failed container’s last lines, history', async () => {
    const { page, complaints } = await open({
      path: `/devices/${FAILED}`,
      colorScheme: 'dark',
      fill(server, devices) {
        fill(server, devices);
        server.fake.actors.set(`device/${FAILED}`, fakeActor('device', FAILED));
        server.fake.histories.set(`device/${FAILED}`, [fakeTransition('device', FAILED, 1, { to: 'configuring' })]);
      },
    });
    await page.getByRole('heading', { level: 1, name: 'Lab <b>7</b>' }).waitFor();
    const text = await page.getByRole('main').innerText();
    expect(text).toMatch(/rolled back\s+Revision 6 was rolled back: vllm did not get healthy/);
    expect(text).toMatch(/Wanted\s+revision 6\s+Runs\s+revision 5/);
    expect(text).toMatch(/Tags\s+lab, gpu/);
    expect(text).toContain('ValueError: No available memory for the cache blocks. <script>alert(1)</script>');
    expect(text).toContain('Its own policy refuses: sshEnabled.');
    await page.getByText('History').click();
    await page.getByText('(new) → configuring').waitFor();
    await picture(page, 'device-dark');
    await expectAccessible(page);
    expect(await page.getByRole('link', { name: 'Change' }).getAttribute('href')).toBe(`/devices/${FAILED}/setup`);
    expect(complaints).toEqual([]);
  });

  it('keeps what it showed when the control plane stops answering, and says so', async () => {
    const { server, page } = await open({ path: '/devices/d-drift' });
    await page.getByRole('status').getByText('repairing').waitFor();
    server.app.server.closeAllConnections();
    await server.app.close();
    await page.getByRole('alert').getByText('does not answer').waitFor();
    expect(await page.getByRole('status').innerText()).toContain('stopped by hand');
  });
}
