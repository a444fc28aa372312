/** The commands that are clients of the HTTP interface, run against a real server over the fake control plane. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { actorsCommand } from '../../src/cli/actors.ts';
import { deadLettersCommand } from '../../src/cli/dead-letters.ts';
import { eventsCommand } from '../../src/cli/events.ts';
import { nodesCommand } from '../../src/cli/nodes.ts';
import { renderTable } from '../../src/cli/table.ts';
import { tokenCommand } from '../../src/cli/token.ts';
import { createFirstStartToken } from '../../src/http/auth/first-start.ts';
import { fakeActor, fakeNode, fakeTransition } from './fake-control-plane.ts';
import { startFixture, type Fixture } from './server-fixture.ts';

let lines: string[];
let server: Fixture;
let dataDir: string;

beforeEach(async () => {
  lines = [];
  vi.spyOn(console, 'log').mockImplementation((line: string) => void lines.push(line));
  dataDir = await mkdtemp(join(tmpdir(), 'castellan-commands-'));
  onTestFinished(() => rm(dataDir, { recursive: true, force: true }));
  const { secret } = await createFirstStartToken(dataDir);
  server = await startFixture({ ownSecret: secret, tokenKeys: { kind: 'secret', secret, strict: true } });
  for (const name of ['CASTELLAN_TOKEN', 'JWT_SECRET', 'JWT_JWKS_URL', 'JWT_ISSUER', 'JWT_AUDIENCE']) vi.stubEnv(name, undefined);
  vi.stubEnv('CASTELLAN_DATA_DIR', dataDir);
  vi.stubEnv('CASTELLAN_URL', await server.listen());
  onTestFinished(() => void vi.unstubAllEnvs());
  server.fake.nodes.set('gpu-1', fakeNode('gpu-1'));
  server.fake.actors.set('node/gpu-1', fakeActor('node', 'gpu-1'));
  server.fake.histories.set('node/gpu-1', [fakeTransition('node', 'gpu-1', 1), fakeTransition('node', 'gpu-1', 2)]);
});

async function run(...argv: string[]): Promise<string> {
  const program = new Command('castellan').exitOverride();
  for (const command of [tokenCommand(), nodesCommand(), actorsCommand(), eventsCommand(), deadLettersCommand()]) program.addCommand(command);
  await program.parseAsync(argv, { from: 'user' });
  return lines.join('\n');
}

describe('castellan token', () => {
  it('prints the token alone, and the server accepts it with its role', async () => {
    const token = await run('token', '--user', 'ada', '--role', 'operator');
    expect(token).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+$/);
    const response = await server.app.inject({ url: '/api/session', headers: { authorization: `Bearer ${token}` } });
    expect(response.json()).toMatchObject({ subject: 'ada', role: 'operator', org: null });
  });

  it('makes a link that opens a session once', async () => {
    const link = new URL(await run('token', '--link'));
    expect(link.search).toBe('');
    const secret = new URLSearchParams(link.hash.slice(1)).get('link');
    expect((await server.app.inject({ method: 'POST', url: '/api/session', payload: { secret } })).statusCode).toBe(200);
  });

  it('says what is missing', async () => {
    await expect(run('token')).rejects.toThrow(/--user/);
    await expect(run('token', '--user', 'ada', '--expires-in', 'soon')).rejects.toThrow(/12h/);
    vi.stubEnv('CASTELLAN_DATA_DIR', join(dataDir, 'elsewhere'));
    await expect(run('token', '--user', 'ada')).rejects.toThrow(/holds no secret yet/);
  });
});

describe('castellan nodes', () => {
  it('prints a table', async () => {
    const [titles, row] = (await run('nodes')).split('\n');
    expect(titles).toMatch(/^NODE +NAME +STATE +SINCE +LAST SEEN +CPU +MEMORY +GPU +ORG +TAGS$/);
    expect(row).toMatch(/^gpu-1 +gpu-1 +online +.* 13% +25% +83% +acme +gpu$/);
  });

  it('prints one JSON object a line, over all pages', async () => {
    for (let index = 0; index < 600; index++) server.fake.nodes.set(`n${index}`, fakeNode(`n${index}`));
    const printed = (await run('nodes', '--json')).split('\n').map((line) => JSON.parse(line) as { nodeId: string });
    expect(printed).toHaveLength(601);
    expect(printed[0]).toEqual(server.fake.nodes.get('gpu-1'));
  });

  it('says what to do when no server is there', async () => {
    vi.stubEnv('CASTELLAN_URL', 'http://127.0.0.1:1');
    await expect(run('nodes')).rejects.toThrow(/No control plane answers at http:\/\/127.0.0.1:1. Start one/);
  });

  it('says what to do without a token, and does not send the data folder’s to another machine', async () => {
    vi.stubEnv('CASTELLAN_DATA_DIR', join(dataDir, 'elsewhere'));
    await expect(run('nodes')).rejects.toThrow(/Set CASTELLAN_TOKEN/);
    vi.stubEnv('CASTELLAN_DATA_DIR', dataDir);
    vi.stubEnv('CASTELLAN_URL', 'http://fleet.example');
    const fetched = vi.spyOn(globalThis, 'fetch').mockRejectedValue(new Error('not sent'));
    await expect(run('nodes')).rejects.toThrow(/No control plane/);
    expect(new Headers(fetched.mock.calls[0]?.[1]?.headers).has('authorization')).toBe(false);
  });
});

describe('castellan actors', () => {
  it('lists them and shows one', async () => {
    expect(await run('actors', '--type', 'node', '--state', 'connection.online')).toMatch(/node\/gpu-1 +connection.online, health.disk.ok .* active +2/);
    lines = [];
    const shown = await run('actors', 'node/gpu-1');
    expect(shown).toMatch(/takes now +STATUS, FORGET/);
    expect(shown).toMatch(/node\/gpu-1 #2 {2}connection.degraded → connection.online {2}\(STATUS from stream:node:status:stream\)/);
    await expect(run('actors', 'node/gpu-9')).rejects.toThrow(/There is no actor "node\/gpu-9"/);
  });
});

describe('castellan events', () => {
  it('follows, and goes on after the last cursor when the connection breaks', async () => {
    const running = run('events', '--json');
    await vi.waitFor(() => expect(server.fake.followers).toBe(1));
    server.fake.push(fakeTransition('node', 'gpu-1', 3));
    await vi.waitFor(() => expect(lines).toHaveLength(1));
    server.app.server.closeAllConnections();
    server.fake.push(fakeTransition('node', 'gpu-1', 4));
    await vi.waitFor(() => expect(lines).toHaveLength(2), { timeout: 10_000 });
    expect(lines.map((line) => (JSON.parse(line) as { cursor: string }).cursor)).toEqual(['c1', 'c2']);
    process.emit('SIGTERM');
    await running;
  });

  it('ends with the reason when its cursor is not held', async () => {
    await expect(run('events', '--cursor', 'c99')).rejects.toMatchObject({ code: 'cursor_gone', status: 410 });
  });
});

describe('castellan dead-letters', () => {
  it('lists them and replays one', async () => {
    const letter = {
      at: new Date().toISOString(),
      source: 'http' as const,
      ref: '1-0',
      code: 'invalid_event',
      field: 'amount',
      reason: 'must be a number',
      excerpt: '{}',
    };
    server.fake.letters.push({ ...letter, id: '7-1700000000000-0', event: { type: 'A' } });
    expect(await run('dead-letters')).toMatch(/7-1700000000000-0 +\d s +http +invalid_event +amount +must be a number/);
    lines = [];
    expect(await run('dead-letters', 'replay', '7-1700000000000-0')).toBe('Sent again as entry 1-0.');
    await expect(run('dead-letters', 'replay', '8-1-0')).rejects.toMatchObject({ code: 'dead_letter_not_found' });
  });
});

it('what nodes say cannot move the cursor of a terminal', () => {
  expect(renderTable(['name'], [['a\u001b[2Jb\nc']])).toBe('NAME\na [2Jb c');
});
