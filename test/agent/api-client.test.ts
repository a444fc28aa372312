/** What the agent does with the answers of a control plane that is well, away, busy, or knows it no more. */
import { afterEach, expect, test } from 'vitest';
import { pino } from 'pino';
import { createApiCaller } from '../../src/agent/api-call.ts';
import { ApiClient, REFUSED_RETRY_MS, isFinal } from '../../src/agent/api-client.ts';
import { scriptedApi, type Answered, type Asked, type ScriptedApi } from './scripted-api.ts';

let server: ScriptedApi | undefined;
let client: ApiClient | undefined;
afterEach(async () => {
  client?.close();
  await server?.close();
});

interface World {
  readonly api: ApiClient;
  readonly log: { readonly msg: string }[];
  readonly opened: () => number;
  now: number;
  token: string;
}

async function world(answer: (asked: Asked) => Answered): Promise<World> {
  server = await scriptedApi(answer);
  const lines: { readonly msg: string }[] = [];
  let opened = 0;
  const it = { now: 0, token: 'cdt_1', log: lines, opened: () => opened } as { now: number; token: string } & World;
  const log = pino({ level: 'debug' }, { write: (line: string) => void lines.push(JSON.parse(line) as { readonly msg: string }) });
  client = new ApiClient({ api: createApiCaller(new URL(server.url)), token: async () => it.token, clock: { now: () => it.now }, log });
  client.onOpen(() => opened++);
  return Object.assign(it, { api: client });
}
const failure = async (asked: Promise<unknown>): Promise<Error & { readonly status?: number; readonly code?: string }> =>
  await asked.then(
    () => new Error('It did not fail.'),
    (error: Error) => error,
  );

test('sends the token in its header, and nowhere else', async () => {
  const { api } = await world(() => ({ body: { ok: true } }));
  expect(await api.post('/a', { x: 1 })).toEqual({ ok: true });
  expect(server?.asked).toEqual([{ method: 'POST', path: '/a', token: 'cdt_1', body: { x: 1 } }]);
});

test('a refused token is tried once more as it stands now, then not for a while, and mended by a new one', async () => {
  const it = await world(({ token }) => (token === 'cdt_2' ? {} : { status: 401, body: { code: 'unauthorized', detail: 'revoked' } }));
  expect(await failure(it.api.post('/a', {}))).toMatchObject({ status: 401, code: 'unauthorized' });
  expect(server?.asked).toHaveLength(2);
  expect(it.log.filter(({ msg }) => msg.includes('castellan init'))).toHaveLength(1);
  it.token = 'cdt_2';
  expect(await failure(it.api.post('/b', {}))).toMatchObject({ status: 401 });
  expect(server?.asked).toHaveLength(2);
  it.now += REFUSED_RETRY_MS;
  await it.api.post('/b', {});
  expect(server?.asked.at(-1)?.token).toBe('cdt_2');
  expect(it.opened()).toBe(1);
});

test('a token that was changed beside a running agent costs it nothing', async () => {
  let accepted = 'cdt_1';
  const it = await world(({ token }) => (token === accepted ? {} : { status: 401 }));
  await it.api.post('/a', {});
  accepted = it.token = 'cdt_2';
  await it.api.post('/a', {});
  expect(server?.asked.map(({ token }) => token)).toEqual(['cdt_1', 'cdt_1', 'cdt_2']);
  expect(it.log).toEqual([]);
});

test('a 429 closes its own path for as long as it says', async () => {
  let busy = true;
  const it = await world(({ path }) => (busy && path === '/a' ? { status: 429, body: { error: 'rate_limited', retry_after: 7 } } : {}));
  expect(await failure(it.api.post('/a', {}))).toMatchObject({ status: 429, retryable: true });
  busy = false;
  it.now = 6_999;
  await failure(it.api.post('/a?x=1', {}));
  await it.api.post('/b', {});
  expect(server?.asked.map(({ path }) => path)).toEqual(['/a', '/b']);
  it.now = 7_000;
  await it.api.post('/a', {});
  expect(server?.asked).toHaveLength(3);
});

test('an outage is told once, with its end, and whoever waits hears of it', async () => {
  const answers: Answered[] = [{ status: 503 }, undefined, { status: 500 }, {}];
  const it = await world(() => answers.shift());
  for (let index = 0; index < 3; index++) await failure(it.api.post('/a', {}));
  await it.api.post('/a', {});
  expect(it.log.map(({ msg }) => msg)).toEqual([expect.stringContaining('cannot be reached'), expect.stringContaining('answers again')]);
  expect(it.opened()).toBe(1);
});

test('what is refused for good is told from what may be repeated', async () => {
  const answers: Answered[] = [{ status: 403, body: { code: 'job_not_held', detail: 'x' } }, { status: 429 }, { status: 503 }, undefined];
  const it = await world(() => answers.shift());
  const final: boolean[] = [];
  for (const path of ['/a', '/b', '/c', '/d']) final.push(isFinal(await failure(it.api.post(path, {}))));
  expect(final).toEqual([true, false, false, false]);
});

test('another program in its place is an outage, not an answer', async () => {
  const it = await world(() => ({ body: [1, 2] }));
  expect(await failure(it.api.post('/a', {}))).toMatchObject({ code: 'control_plane_unreachable' });
});
