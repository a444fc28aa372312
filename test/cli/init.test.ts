/** `castellan init` as a process, against a control plane that answers as the test says. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { qrCode } from '../../src/cli/qr-code.ts';
import { scriptedApi, type Answered, type ScriptedApi } from '../agent/scripted-api.ts';
import { until } from '../agent/until.ts';

const RUN_INIT = `
  import { initCommand } from ${JSON.stringify(new URL('../../src/cli/init.ts', import.meta.url).href)};
  await initCommand().parseAsync(process.argv.slice(1), { from: 'user' }).catch((error) => { console.error(error.message); process.exitCode = 1; });
`;
const GRANT = {
  authkey: 'k',
  device_api_token: 'cdt_secret-token',
  device_id: 'abcdefghij0123456789',
  org_id: 'default',
  nodeId: 'gpu-1',
  config_public_key: 'key',
};

let folder: string;
let server: ScriptedApi | undefined;
const children: ChildProcess[] = [];

beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), 'castellan-init-'))));
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await server?.close();
  server = undefined;
  await rm(folder, { recursive: true, force: true });
});

/** Codes with an interval of 20 ms; the decision is the test's. */
async function controlPlane(decide: (poll: number) => Answered): Promise<void> {
  let polls = 0;
  server = await scriptedApi(({ path }) =>
    path.endsWith('/start')
      ? {
          body: {
            device_code: 'secret-code',
            user_code: 'BCDF-\u001b[31mGHJK',
            verification_uri: 'http://127.0.0.1:3001/device',
            verification_uri_complete: 'http://127.0.0.1:3001/device?code=BCDF-GHJK',
            expires_in: 600,
            interval: 0.02,
          },
        }
      : decide(++polls),
  );
}

function init(args: readonly string[] = []) {
  const child = spawn(process.execPath, ['--input-type=module', '-e', RUN_INIT, '--', `--api-url=${server?.url}`, ...args], {
    env: { PATH: process.env['PATH'] ?? '', CASTELLAN_AGENT_DIR: join(folder, 'agent') },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const exited = new Promise<number | NodeJS.Signals | null>((resolve) => child.once('close', (code, signal) => resolve(code ?? signal)));
  return { child, exited, output: () => output };
}
const file = () => join(folder, 'agent/credentials.json');
const pending = { status: 400, body: { error: 'authorization_pending' } };

test('shows code and page, waits for the approval, and keeps the secrets in its file alone', async () => {
  await controlPlane((poll) => (poll < 3 ? pending : { body: GRANT }));
  const command = init();
  expect(await command.exited).toBe(0);
  expect(command.output()).toContain('BCDF- [31mGHJK'); // without the escape
  expect(command.output()).toContain('http://127.0.0.1:3001/device');
  expect(command.output()).toContain('Enrolled as node gpu-1 of default');
  expect(command.output()).not.toMatch(/secret-/);
  expect(JSON.parse(await readFile(file(), 'utf8'))).toEqual({
    api_url: server?.url,
    device_id: GRANT.device_id,
    node_id: 'gpu-1',
    org_id: 'default',
    device_api_token: 'cdt_secret-token',
    config_public_key: 'key',
    device_code: 'secret-code',
  });
  expect(((await stat(file())).mode & 0o777).toString(8)).toBe('600');
  expect(server?.asked[0]?.body).toMatchObject({ client_id: 'castellan-cli', client_version: expect.stringMatching(/^\d/) });
});

test('an enrolled node says so and asks nobody; --force enrols it again', async () => {
  await controlPlane(() => ({ body: GRANT }));
  expect(await init().exited).toBe(0);
  const asked = server?.asked.length;
  const again = init();
  expect(await again.exited).toBe(0);
  expect(again.output()).toContain('--force');
  expect(server?.asked.length).toBe(asked);
  expect(await init(['--force']).exited).toBe(0);
  expect(server?.asked.length).toBe(2 * (asked ?? 0));
  expect(await init(['--force-new']).exited).toBe(0);
  expect(server?.asked.filter(({ body }) => body['force_new'] === true)).toHaveLength(1);
});

test.for([
  ['access_denied', 'denied'],
  ['expired_token', 'expired'],
  ['invalid_client', 'invalid_client'],
] as const)('%s ends it with 1 and what to do', async ([error, says]) => {
  await controlPlane(() => ({ status: 400, body: { error } }));
  const command = init();
  expect(await command.exited).toBe(1);
  expect(command.output()).toContain(says);
  expect(command.output()).toContain('castellan init');
  await expect(stat(file())).rejects.toThrow('ENOENT');
});

test('a refused repeat leaves the credentials as they were', async () => {
  let denies = false;
  await controlPlane(() => (denies ? { status: 400, body: { error: 'access_denied' } } : { body: GRANT }));
  expect(await init().exited).toBe(0);
  const before = await readFile(file(), 'utf8');
  denies = true;
  expect(await init(['--force']).exited).toBe(1);
  expect(await readFile(file(), 'utf8')).toBe(before);
});

test('--rotate changes the token and nothing else', async () => {
  await controlPlane(() => ({ body: GRANT }));
  expect(await init().exited).toBe(0);
  await server?.close();
  const stranger = init(['--rotate']);
  expect(await stranger.exited).toBe(1);
  const before = JSON.parse(await readFile(file(), 'utf8'));
  expect(before.device_api_token).toBe('cdt_secret-token');
  server = await scriptedApi(({ path, token }) =>
    path === '/api/fabric/device-auth/rotate' && token === 'cdt_secret-token' ? { body: { device_api_token: 'cdt_secret-2' } } : { status: 404 },
  );
  const command = init(['--rotate']);
  expect(await command.exited).toBe(0);
  expect(command.output()).not.toContain('cdt_');
  expect(JSON.parse(await readFile(file(), 'utf8'))).toEqual({ ...before, device_api_token: 'cdt_secret-2' });
});

test.for(['SIGINT', 'SIGTERM'] as const)('%s leaves at once', async (signal) => {
  await controlPlane(() => pending);
  const command = init();
  await until('it waits', () => (server?.asked.length ?? 0) > 2);
  command.child.kill(signal);
  expect(await command.exited).toBe(0);
  expect(command.output()).toContain('Left.');
});

test('a control plane that is not there is named', async () => {
  await controlPlane(() => pending);
  await server?.close();
  const command = init();
  expect(await command.exited).toBe(1);
  expect(command.output()).toContain('--api-url');
  expect(command.output()).toContain('ECONNREFUSED');
});

test('a URL with a password is refused without being quoted', async () => {
  const command = init(['--api-url=http://me:s3cret@127.0.0.1:1']);
  expect(await command.exited).toBe(1);
  expect(command.output()).toContain('--api-url');
  expect(command.output()).not.toContain('s3cret');
});

test('the QR code: square, with its three finders, light on dark without colours', () => {
  const plain = qrCode('http://127.0.0.1:3001/device?code=BCDF-GHJK', false).split('\n');
  const width = plain[0]?.length ?? 0;
  expect(new Set(plain.map((row) => row.length))).toEqual(new Set([width]));
  expect(plain.length).toBe(Math.ceil(width / 2));
  const finder = '██ ▄▄▄▄▄ █';
  expect(plain[2]?.startsWith(finder) || plain[1]?.startsWith(finder)).toBe(true);
  const coloured = qrCode('http://127.0.0.1:3001/device?code=BCDF-GHJK', true);
  expect(coloured.split('\n').every((row) => row.startsWith('\u001b[30;107m') && row.endsWith('\u001b[0m'))).toBe(true);
});
