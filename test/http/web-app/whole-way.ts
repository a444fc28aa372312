/** The pages over the real device service, its engine and a Redis: nothing is scripted but the machine that enrols. */
import type { Browser } from 'playwright-core';
import { expect, it, onTestFinished } from 'vitest';
import type { ConfigEnvelope } from '../../../src/protocol/device-config.ts';
import { verifyConfig } from '../../../src/provisioning/config-signature.ts';
import { startDeviceWorld, until } from '../../devices/device-world.ts';
import { startTestRedis } from '../../redis-server.ts';
import { openApp, picture } from './app-fixture.ts';

const FIRST_STATUS = { node: { name: 'lab-7' }, system: {}, services: [] };

export function wholeWay(browser: () => Browser): void {
  it('a person approves, chooses, and the node gets it signed', async () => {
    const redis = await startTestRedis();
    onTestFinished(() => redis.stop());
    const { devices, raw, publicKey, untilState } = await startDeviceWorld(redis, { settings: { intervalMs: 0 } });
    const { userCode, deviceCode } = await devices.start({ clientId: 'castellan', hostname: 'lab-7', address: '192.0.2.17' });
    const { page, complaints } = await openApp(browser(), { path: `/device?code=${userCode}`, instead: devices });

    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByText('192.0.2.17').waitFor();
    await page.getByLabel('The device in front of me shows this code').check();
    expect(await devices.token(deviceCode)).toEqual({ kind: 'pending' });
    await page.getByRole('button', { name: 'Approve' }).click();
    await page.getByRole('link', { name: 'Set up this device' }).click();
    expect(await devices.token(deviceCode)).toMatchObject({ kind: 'granted', nodeId: 'lab-7', orgId: 'acme' });

    await page.getByRole('checkbox', { name: /^Ollama/ }).check();
    await page.getByLabel('Tags').fill('lab');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByText('Saved as revision 1.').waitFor();
    await picture(page, 'whole-way-saved');

    const payload = JSON.stringify({ version: '1.0', nodeId: 'lab-7', deviceCode, status: FIRST_STATUS });
    await raw.xadd('node:status:stream', '*', 'nodeId', 'lab-7', 'deviceCode', deviceCode, 'payload', payload);
    const fields = await until(
      async () => (await raw.xrange('jobs:v1:config', '-', '+'))[0]?.[1],
      () => 'no configuration was pushed',
    );
    const envelope = JSON.parse(fields[fields.indexOf('payload') + 1] ?? '') as ConfigEnvelope;
    expect(verifyConfig(envelope, publicKey, { nodeId: 'lab-7', lastRevision: 0, now: Date.now() })).toMatchObject({ kind: 'ok', revision: 1 });
    expect(envelope.config).toMatchObject({ services: [{ name: 'ollama' }], customTags: ['lab'] });

    const deviceId = devices.idOf(deviceCode);
    const report = {
      phase: 'applied',
      desiredRevision: 1,
      appliedRevision: 1,
      services: [{ name: 'ollama', phase: 'healthy' }],
      timestamp: new Date().toISOString(),
    };
    await raw.xadd('device:reports', '*', 'nodeId', 'lab-7', 'deviceId', deviceId, 'report', JSON.stringify(report));
    await untilState(deviceId, 'services-running');
    await page.getByRole('status').getByText('running', { exact: true }).waitFor();
    await page.getByText('healthy').waitFor();
    await picture(page, 'whole-way-running');
    expect(complaints).toEqual([]);
  });
}
