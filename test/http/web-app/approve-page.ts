/** The page on which a person lets a device in. */
import type { Browser } from 'playwright-core';
import { expect, it, onTestFinished } from 'vitest';
import { expectAccessible, openApp, picture, type AppOptions, type OpenApp } from './app-fixture.ts';
import { fakePending } from './scripted-devices.ts';

export function approvalPage(browser: () => Browser): void {
  const open = (options: Partial<AppOptions> = {}): Promise<OpenApp> =>
    openApp(browser(), { path: '/device', fill: (_server, devices) => devices.waiting.set('BCDFGHJK', fakePending()), ...options });

  it('lets a device in by keyboard alone, after it has shown who asks', async () => {
    const { page, devices, complaints } = await open();
    const code = page.getByLabel('Code on the device’s screen');
    await code.waitFor();
    await picture(page, 'approve-code');
    await expectAccessible(page);
    await code.focus();
    await page.keyboard.type('bcdf ghjk');
    await page.keyboard.press('Enter');

    const heading = page.getByRole('heading', { name: 'Is this your device?' });
    await heading.waitFor();
    expect(await heading.evaluate((element) => element.matches(':focus'))).toBe(true);
    const shown = await page.getByRole('main').innerText();
    for (const fact of ['BCDF-GHJK', 'lab-7.example', '192.0.2.17', 'castellan-agent']) expect(shown).toContain(fact);
    expect(shown).toMatch(/The code expires in 8 min \d+ s/);
    await picture(page, 'approve-decide');
    await expectAccessible(page);

    await page.keyboard.press('Tab');
    await page.keyboard.type('Lab 7');
    await page.keyboard.press('Tab');
    expect(await page.locator(':focus').innerText()).toBe('Approve');
    await page.keyboard.press('Enter');
    await page.getByRole('status').getByText('Lab 7 now gets its credentials').waitFor();
    expect(devices.asked).toEqual(['find BCDF-GHJK', 'approve BCDF-GHJK by admin {"name":"Lab 7"}']);
    await picture(page, 'approve-approved');
    await expectAccessible(page);
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await page.waitForURL('**/devices/mzxw6ytboi2gk3tdnfxa/setup');
    expect(complaints).toEqual([]);
  });

  it('does nothing by itself with a code in the link, and asks to compare it', async () => {
    const { page, devices } = await open({ path: '/device?code=bcdf-ghjk' });
    expect(await page.getByLabel('Code on the device’s screen').inputValue()).toBe('BCDF-GHJK');
    await page.waitForLoadState('networkidle');
    expect(devices.asked).toEqual([]);
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByRole('button', { name: 'Approve' }).click();
    await page.getByRole('alert').getByText('Compare the code first').waitFor();
    const compared = page.getByLabel('The device in front of me shows this code');
    expect(await compared.evaluate((element) => element.matches(':focus'))).toBe(true);
    expect(devices.asked).toEqual(['find BCDF-GHJK']);
    await page.keyboard.press('Space');
    await page.getByRole('button', { name: 'Approve' }).click();
    await page.getByRole('status').getByText('lab-7.example now gets its credentials').waitFor();
    expect(devices.asked).toEqual(['find BCDF-GHJK', 'approve BCDF-GHJK by admin {}']);
  });

  it('denies', async () => {
    const { page, devices, complaints } = await open();
    await page.getByLabel('Code on the device’s screen').fill('BCDF-GHJK');
    await page.keyboard.press('Enter');
    await page.getByRole('button', { name: 'Deny' }).click();
    await page.getByRole('status').getByText('gets no access').waitFor();
    expect(devices.asked.at(-1)).toBe('deny BCDF-GHJK by admin');
    expect(complaints).toEqual([]);
  });

  it('says in words what is wrong with a code, at its field', async () => {
    const { page, devices } = await open({ colorScheme: 'dark' });
    const code = page.getByLabel('Code on the device’s screen');
    const fault = page.locator('#code-fault');
    await code.waitFor();
    for (const [typed, words] of [
      ['', 'Enter the code'],
      ['BCDF-GHA', '“A” is in no code'],
      ['BCDF', 'A code has 8 letters; this has 4.'],
      ['ZZZZ-ZZZZ', 'No device waits with this code'],
    ] as const) {
      await code.fill(typed);
      await page.keyboard.press('Enter');
      await fault.getByText(words).waitFor();
      expect(await code.getAttribute('aria-invalid')).toBe('true');
      expect(await code.evaluate((element) => element.matches(':focus'))).toBe(true);
    }
    expect(devices.asked).toEqual(['find ZZZZ-ZZZZ']);
    await picture(page, 'approve-wrong-dark');
    await expectAccessible(page);
  });

  it('says when the code expires while one decides', async () => {
    const { page, devices } = await open({
      fill: (_server, scripted) => scripted.waiting.set('BCDFGHJK', fakePending({ expiresAt: new Date(Date.now() + 3_000).toISOString() })),
    });
    await page.getByLabel('Code on the device’s screen').fill('BCDF-GHJK');
    await page.keyboard.press('Enter');
    await page.getByRole('alert').getByText('This code has expired').waitFor();
    expect(await page.getByRole('button', { name: 'Approve' }).isDisabled()).toBe(true);
    expect(devices.asked).toEqual(['find BCDF-GHJK']);
  });

  it('says when the code was used meanwhile', async () => {
    const { page, devices } = await open();
    await page.getByLabel('Code on the device’s screen').fill('BCDF-GHJK');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Is this your device?' }).waitFor();
    devices.waiting.clear();
    await page.getByRole('button', { name: 'Approve' }).click();
    await page.getByRole('alert').getByText('This code is not waiting any more').waitFor();
    expect(devices.devices.size).toBe(0);
  });

  it('says how to sign in, and goes on when one did in another tab', async () => {
    const { server, page, base, complaints } = await open({ role: 'nobody', path: '/device?code=BCDF-GHJK', viewport: { width: 390, height: 760 } });
    await page
      .getByRole('alert')
      .getByText(/no session.*castellan token --link/)
      .waitFor();
    await picture(page, 'approve-signed-out-small');
    await expectAccessible(page);
    const other = await page.context().newPage();
    onTestFinished(() => other.close());
    await other.goto(`${base}/#link=${server.sessions.createLink({ subject: 'admin', role: 'admin', org: null })}`);
    await other.getByText('live', { exact: true }).waitFor();
    await page.bringToFront();
    await page.evaluate('window.dispatchEvent(new Event("focus"))');
    await page.getByLabel('Code on the device’s screen').waitFor();
    expect(complaints).toEqual([]);
  });

  it('asks for a role that may approve', async () => {
    const { page } = await open({ role: 'viewer' });
    await page.getByRole('alert').getByText('needs the role “operator”').waitFor();
    expect(await page.getByRole('textbox').count()).toBe(0);
  });
}
