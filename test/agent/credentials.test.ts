/** The file that enrolment leaves, on a real file system. */
import { chmod, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { agentFolder, credentialsFile, forgetDeviceCode, readCredentials, writeCredentials, type Credentials } from '../../src/agent/credentials.ts';

const CREDENTIALS: Credentials = {
  apiUrl: 'http://127.0.0.1:3001',
  deviceId: 'abcdefghij0123456789',
  nodeId: 'gpu-1',
  orgId: 'default',
  orgName: 'Default',
  token: 'cdt_secret-token',
  configKey: 'key',
  deviceCode: 'secret-code',
};

let base: string;
let folder: string;
let warnings: string[];
const warn = (message: string) => void warnings.push(message);

beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'castellan-credentials-'));
  folder = join(base, 'a/castellan');
  warnings = [];
});
afterEach(async () => await rm(base, { recursive: true, force: true }));

const modeOf = async (path: string) => ((await stat(path)).mode & 0o777).toString(8);

test('what was written is read again, and belongs to the owner alone', async () => {
  expect(await readCredentials(folder, warn)).toBeUndefined();
  await writeCredentials(folder, CREDENTIALS);
  expect(await readCredentials(folder, warn)).toEqual(CREDENTIALS);
  expect(await modeOf(folder)).toBe('700');
  expect(await modeOf(credentialsFile(folder))).toBe('600');
  expect(await readdir(folder)).toEqual(['credentials.json']);
  expect(warnings).toEqual([]);
});

test('the file has the names of the contract', async () => {
  await writeCredentials(folder, CREDENTIALS);
  expect(Object.keys(JSON.parse(await readFile(credentialsFile(folder), 'utf8')))).toEqual([
    'api_url',
    'device_id',
    'node_id',
    'org_id',
    'org_name',
    'device_api_token',
    'config_public_key',
    'device_code',
  ]);
});

test('a file that others can read is tightened, and that is said', async () => {
  await writeCredentials(folder, CREDENTIALS);
  await chmod(credentialsFile(folder), 0o644);
  await chmod(folder, 0o755);
  expect(await readCredentials(folder, warn)).toEqual(CREDENTIALS);
  expect(await modeOf(credentialsFile(folder))).toBe('600');
  expect(warnings.join()).toContain('could be read by others');
  await writeCredentials(folder, CREDENTIALS);
  expect(await modeOf(folder)).toBe('700');
});

test('a redeemed code is forgotten, but not that of a later enrolment', async () => {
  await writeCredentials(folder, CREDENTIALS);
  await forgetDeviceCode(folder, 'another-code', warn);
  expect((await readCredentials(folder, warn))?.deviceCode).toBe('secret-code');
  await forgetDeviceCode(folder, 'secret-code', warn);
  const rest: { deviceCode?: string } & Credentials = { ...CREDENTIALS };
  delete rest.deviceCode;
  expect(await readCredentials(folder, warn)).toEqual(rest);
  expect(await readFile(credentialsFile(folder), 'utf8')).not.toContain('secret-code');
});

test.for([
  ['{"api_url":"http://x","device_api_token":"cdt_secret', 'not JSON'],
  ['"cdt_secret"', 'not an object'],
  ['{"api_url":"http://x","device_api_token":7}', 'device_id'],
] as const)('a file that cannot be used is refused by name, and nothing of it is quoted: %s', async ([text, says]) => {
  await writeCredentials(folder, CREDENTIALS);
  await writeFile(credentialsFile(folder), text);
  const failure = await readCredentials(folder, warn).catch((error: Error) => error.message);
  expect(failure).toContain(says);
  expect(failure).toContain('castellan init --force');
  expect(failure).not.toContain('cdt_secret');
});

test('the folder: its own variable, else the base directory specification, else the home folder', () => {
  expect(agentFolder({ CASTELLAN_AGENT_DIR: '/var/lib/castellan', XDG_CONFIG_HOME: '/x', HOME: '/home/a' })).toBe('/var/lib/castellan');
  expect(agentFolder({ XDG_CONFIG_HOME: '/x', HOME: '/home/a' })).toBe('/x/castellan');
  expect(agentFolder({ XDG_CONFIG_HOME: 'relative', HOME: '/home/a' })).toBe('/home/a/.config/castellan');
});
