/** What a running agent knows of its own enrolment, as the file changes beside it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readCredentials, writeCredentials, type Credentials } from '../../src/agent/credentials.ts';
import { EnrolledNode } from '../../src/agent/enrolled-node.ts';
import { until } from './until.ts';

const CREDENTIALS: Credentials = { apiUrl: 'http://c', deviceId: 'd1', nodeId: 'gpu-1', orgId: 'o', token: 'cdt_1', configKey: 'k', deviceCode: 'code-1' };
let folder: string;
let told: (string | undefined)[];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'castellan-node-'));
  told = [];
  await writeCredentials(folder, CREDENTIALS);
});
afterEach(async () => await rm(folder, { recursive: true, force: true }));

function node(options: { readonly nodeId?: string; readonly deviceCode?: string } = {}): EnrolledNode {
  const made = new EnrolledNode({ folder, nodeId: 'gpu-1', credentials: CREDENTIALS, warn: () => undefined, ...options });
  made.onDeviceCode((code) => told.push(code));
  return made;
}

test('credentials of another node are as if they were not there', () => {
  const other = node({ nodeId: 'gpu-2' });
  expect([other.credentials, other.deviceCode]).toEqual([undefined, undefined]);
  expect(node({ nodeId: 'gpu-2', deviceCode: 'abc123' }).deviceCode).toBe('abc123');
});

test('a redeemed code is told once, and leaves the file', async () => {
  const enrolled = node();
  enrolled.redeemed();
  enrolled.redeemed();
  expect(told).toEqual([undefined]);
  await until('it is out of the file', async () => (await readCredentials(folder, () => undefined))?.deviceCode === undefined);
});

test('a new token is found, and a new enrolment with its code and its key', async () => {
  const enrolled = node();
  await writeCredentials(folder, { ...CREDENTIALS, token: 'cdt_2' });
  expect(await enrolled.token()).toBe('cdt_2');
  expect(told).toEqual([]);
  await writeCredentials(folder, { ...CREDENTIALS, deviceId: 'd2', token: 'cdt_3', configKey: 'k2', deviceCode: 'code-2' });
  expect(await enrolled.token()).toBe('cdt_3');
  expect(told).toEqual(['code-2']);
  expect(enrolled.credentials).toMatchObject({ deviceId: 'd2', configKey: 'k2' });
});

test('a file that is gone, or another node’s, changes nothing', async () => {
  const enrolled = node();
  await writeCredentials(folder, { ...CREDENTIALS, nodeId: 'gpu-2', token: 'cdt_9' });
  expect(await enrolled.token()).toBe('cdt_1');
  await rm(folder, { recursive: true });
  expect(await enrolled.token()).toBe('cdt_1');
});
