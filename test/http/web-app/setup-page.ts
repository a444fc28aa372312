/** The form in which a person says what a device is called, runs and tells. */
import type { Browser, Page } from 'playwright-core';
import { expect, it } from 'vitest';
import { fakeNode } from '../fake-control-plane.ts';
import type { Fixture } from '../server-fixture.ts';
import { expectAccessible, openApp, picture, type AppOptions, type OpenApp } from './app-fixture.ts';
import { fakeDevice, type ScriptedDevices } from './scripted-devices.ts';

const ID = 'mzxw6ytboi2gk3tdnfxa';
const PATH = `/devices/${ID}/setup`;

function fill({ fake }: Fixture, { devices }: ScriptedDevices): void {
  devices.set(ID, fakeDevice(ID));
  const system = { cpu_percent: 3, memory_used_gb: 4, memory_total_gb: 32, disk_used_gb: 84, disk_total_gb: 100 };
  const gpu = [{ index: 0, name: 'RTX 4090', memory_total_mb: 24_576 }];
  fake.nodes.set('lab-7', fakeNode('lab-7', { status: { version: '1.0', node: { name: 'lab-7', uptime_seconds: 1 }, system, gpu } }));
}

export function setupPage(browser: () => Browser): void {
  const open = (options: Partial<AppOptions> = {}): Promise<OpenApp> => openApp(browser(), { path: PATH, fill, ...options });
  const service = (page: Page, title: string) => page.getByRole('checkbox', { name: new RegExp(`^${title}`) });
  const save = (page: Page) => page.getByRole('button', { name: /^Save/ }).click();
  const focused = (page: Page) => page.locator('body :focus').getAttribute('id');

  it('saves a configuration and shows how it comes to run', async () => {
    const { page, devices, complaints } = await open();
    await page.getByLabel('Name', { exact: true }).fill('Lab seven');
    await page.getByLabel('Tags').fill('lab, gpu');
    await service(page, 'Ollama').check();
    await page.getByLabel('Context length').fill('8192');
    await service(page, 'Whisper').check();
    await page.getByLabel('Model').selectOption('small');
    await page.getByLabel('When it goes offline').check();
    await page.getByLabel('When a GPU gets hot').selectOption('at a temperature');
    await page.getByLabel('Temperature in °C').fill('82,5');
    await page.getByRole('status').getByText('2 services: 18 GB of disk (16 GB free), up to 4 GB of GPU memory (largest GPU: 24 GB).').waitFor();
    await picture(page, 'setup');
    await expectAccessible(page);
    await save(page);

    await page.getByText('Saved as revision 1.').waitFor();
    expect(new URL(page.url()).pathname).toBe(`/devices/${ID}`);
    expect(devices.devices.get(ID)?.desired).toEqual({
      revision: 1,
      config: {
        deviceName: 'Lab seven',
        customTags: ['lab', 'gpu'],
        services: [
          { name: 'ollama', parameters: { contextLength: 8192 } },
          { name: 'transcribe', parameters: { model: 'small' } },
        ],
        autoStartServices: true,
        healthMonitoringEnabled: true,
        alertOnOffline: true,
        alertOnHighTemp: 82.5,
      },
    });
    const state = page.getByRole('status');
    await state.getByText('Revision 1 is on its way to the node.').waitFor();
    const before = devices.devices.get(ID)!;
    devices.devices.set(ID, { ...before, services: [{ name: 'ollama', phase: 'pulling', percent: 42 }] });
    await page.getByRole('progressbar', { name: 'ollama: 42 % pulled' }).waitFor();
    await picture(page, 'device-pulling');
    await expectAccessible(page);
    devices.devices.set(ID, { ...before, state: 'services-running', reason: null, appliedRevision: 1, services: [{ name: 'ollama', phase: 'healthy' }] });
    await state.getByText('running', { exact: true }).waitFor();
    expect(complaints).toEqual([]);
  });

  it('tells what a service needs, and what the node has not', async () => {
    const { page } = await open();
    const about = async (title: string) => await page.locator('.service', { has: service(page, title) }).innerText();
    await service(page, 'vLLM').waitFor();
    expect(await about('vLLM')).toMatch(/Needs a GPU with 8 GB · 30 GB of disk · port 8201\s+.*Only 16 GB of disk are free on this node\./);
    expect(await about('Ollama')).not.toContain('Only');
    expect(await about('Redis')).not.toContain('Only');
  });

  it('says that there is no GPU, and that nothing is known before the first report', async () => {
    const { page } = await open({
      fill(server, devices) {
        fill(server, devices);
        server.fake.nodes.set('lab-7', fakeNode('lab-7', { status: { system: {}, gpu: [] } }));
      },
    });
    await page
      .locator('.service', { has: service(page, 'vLLM') })
      .getByText('This node has reported no GPU.')
      .waitFor();
    const unknown = await open({ fill: (_server, { devices }) => devices.set(ID, fakeDevice(ID)) });
    await unknown.page.getByText('This node has not reported yet').waitFor();
  });

  it('shows what is refused at its field, keeps what was entered, and saves it once it is right', async () => {
    const { page, devices, complaints } = await open({ colorScheme: 'dark' });
    await service(page, 'vLLM').check();
    const model = page.getByRole('group', { name: 'Parameters of vLLM' }).getByLabel('Model', { exact: true });
    await model.fill('../../etc/passwd');
    await page.getByLabel('Tags').fill('lab, --privileged');
    await save(page);
    await page.locator('#customTags-fault').getByText('“--privileged” cannot be a tag').waitFor();
    expect(await focused(page)).toBe('customTags');

    await page.getByLabel('Tags').fill('lab');
    await save(page);
    await page.locator('#service-vllm-model-fault').getByText('Must look like this: Qwen/').waitFor();
    expect(await focused(page)).toBe('service-vllm-model');
    expect(await model.inputValue()).toBe('../../etc/passwd');
    await picture(page, 'setup-fault-dark');
    await expectAccessible(page);

    await model.fill('Qwen/Qwen3-8B');
    await page.getByLabel('Max model len').fill('many');
    await save(page);
    await page.locator('#service-vllm-maxModelLen-fault').getByText('Must be a whole number.').waitFor();
    await page.getByLabel('Max model len').fill('');
    await page.getByLabel('When a GPU gets hot').selectOption('at a temperature');
    await page.getByLabel('Temperature in °C').fill('900');
    await save(page);
    await page.locator('#alertOnHighTemp-fault').getByText('Must be from 30 to 120 °C.').waitFor();
    await page.getByLabel('Temperature in °C').fill('90');
    expect(devices.asked).toEqual([]);
    await save(page);
    await page.getByText('Saved as revision 1.').waitFor();
    expect(devices.devices.get(ID)?.desired?.config.services).toEqual([{ name: 'vllm', parameters: { model: 'Qwen/Qwen3-8B' } }]);
    expect(complaints).toEqual([]);
  });

  it('begins with what was saved, and passes on what it does not show', async () => {
    const config = { sshEnabled: false, services: [{ name: 'redis' }, { name: 'redis-of-ours' }], alertOnHighTemp: true, autoStartServices: false };
    const { page, devices } = await open({ fill: (_server, scripted) => scripted.devices.set(ID, fakeDevice(ID, { desired: { revision: 3, config } })) });
    await service(page, 'Redis').waitFor();
    expect(await service(page, 'Redis').isChecked()).toBe(true);
    expect(await page.getByRole('checkbox', { name: 'redis-of-ours' }).isChecked()).toBe(true);
    expect(await page.getByLabel('When a GPU gets hot').inputValue()).toBe('default');
    expect(await page.getByLabel('Start them by themselves').isChecked()).toBe(false);
    await page.getByRole('checkbox', { name: 'redis-of-ours' }).uncheck();
    await save(page);
    await page.getByText('Saved as revision 4.').waitFor();
    expect(devices.devices.get(ID)?.desired?.config).toMatchObject({ sshEnabled: false, services: [{ name: 'redis' }], autoStartServices: false });
  });

  it('stops everything only when that is asked for by name', async () => {
    const desired = { revision: 1, config: { services: [{ name: 'redis' }] } };
    const { page, devices } = await open({ fill: (_server, scripted) => scripted.devices.set(ID, fakeDevice(ID, { desired })) });
    await service(page, 'Redis').uncheck();
    await page.getByText('It goes on running unless services that are not chosen are stopped').waitFor();
    await page.getByLabel('Stop services that are not chosen').check();
    await page.getByRole('status').getByText('saving stops every service on this device').waitFor();
    await page.getByRole('button', { name: 'Save and stop all services' }).click();
    await page.getByText('Saved as revision 2.').waitFor();
    expect(devices.devices.get(ID)?.desired?.config).toMatchObject({ services: [], replaceServices: true });
  });

  it('is filled in by keyboard alone, on a small screen', async () => {
    const { page, devices, complaints } = await open({ viewport: { width: 360, height: 740 } });
    await page.getByLabel('Name', { exact: true }).waitFor();
    await expectAccessible(page);
    await page.keyboard.press('Tab');
    for (let steps = 0; (await focused(page)) !== 'service-redis' && steps < 40; steps++) await page.keyboard.press('Tab');
    await page.keyboard.press('Space');
    await picture(page, 'setup-small');
    await page.keyboard.press('Enter');
    await page.getByText('Saved as revision 1.').waitFor();
    expect(devices.devices.get(ID)?.desired?.config.services).toEqual([{ name: 'redis' }]);
    await expectAccessible(page);
    expect(complaints).toEqual([]);
  });

  it('says that somebody else saved meanwhile', async () => {
    const { page, devices } = await open();
    await page.getByLabel('Name', { exact: true }).waitFor();
    devices.devices.set(ID, fakeDevice(ID, { desired: { revision: 1, config: {} } }));
    await page.getByRole('alert').getByText('Revision 1 was saved meanwhile.').waitFor();
    expect(await page.getByRole('link', { name: 'Load it' }).count()).toBe(1);
  });

  it('offers no form for a device that takes no configuration, nor to who may only look', async () => {
    const over = await open({ fill: (_server, { devices }) => devices.set(ID, fakeDevice(ID, { state: 'revoked' })) });
    await over.page.getByRole('alert').getByText('This device is revoked').waitFor();
    const viewer = await open({ role: 'viewer' });
    await viewer.page.getByRole('alert').getByText('needs the role “operator”').waitFor();
    const missing = await open({ fill() {} });
    await missing.page.getByRole('alert').getByText('There is no such device').waitFor();
    expect(await missing.page.getByRole('textbox').count()).toBe(0);
  });
}
