import { beforeEach, describe, expect, it } from 'vitest';
import type { z } from 'zod';
import * as schemas from '../../src/http/schemas.ts';
import { fakeActor, fakeNode, fakeTransition } from './fake-control-plane.ts';
import { startFixture, type Fixture } from './server-fixture.ts';

let server: Fixture;
let viewer: { authorization: string };
let operator: { authorization: string };

beforeEach(async () => {
  server = await startFixture();
  viewer = await server.bearer('viewer');
  operator = await server.bearer('operator');
  server.fake.nodes.set('gpu-1', fakeNode('gpu-1'));
  server.fake.actors.set('node/gpu-1', fakeActor('node', 'gpu-1'));
  server.fake.histories.set('node/gpu-1', [fakeTransition('node', 'gpu-1', 1), fakeTransition('node', 'gpu-1', 2)]);
});

async function get(url: string, headers: Record<string, string> = viewer) {
  return await server.app.inject({ url, headers });
}

describe('every answer has the shape that the OpenAPI document promises', () => {
  const cases: readonly (readonly [url: string, schema: z.ZodType])[] = [
    ['/health', schemas.healthReport],
    ['/api/fabric/nodes', schemas.pageOf(schemas.nodeView)],
    ['/api/fabric/nodes/gpu-1', schemas.nodeView],
    ['/api/machines', schemas.pageOf(schemas.machineView)],
    ['/api/actors?type=node', schemas.pageOf(schemas.actorSummary)],
    ['/api/actors/node/gpu-1', schemas.actorView],
    ['/api/actors/node/gpu-1/history', schemas.historyPage],
    ['/api/actors/node/gpu-1/at/2', schemas.pastActorView],
    ['/api/dead-letters', schemas.pageOf(schemas.deadLetterView)],
    ['/api/partitions', schemas.pageOf(schemas.partitionView)],
    ['/api/session', schemas.caller],
  ];
  it.each(cases)('%s', async (url, schema) => {
    const response = await get(url);
    expect(response.statusCode).toBe(200);
    const parsed = schema.safeParse(response.json());
    expect(parsed.error).toBeUndefined();
    expect(parsed.data).toEqual(response.json());
  });
});

describe('lists', () => {
  it('go on from the cursor and end with null', async () => {
    server.fake.nodes.set('gpu-2', fakeNode('gpu-2'));
    const first = (await get('/api/fabric/nodes?limit=1')).json();
    expect(first.items).toHaveLength(1);
    const second = (await get(`/api/fabric/nodes?limit=1&cursor=${first.next}`)).json();
    expect([first.items[0].nodeId, second.items[0].nodeId]).toEqual(['gpu-1', 'gpu-2']);
    expect(second.next).toBeNull();
  });

  it('page through partitions', async () => {
    const first = (await get('/api/partitions?limit=60')).json();
    const second = (await get(`/api/partitions?limit=60&cursor=${first.next}`)).json();
    expect(first.items.length + second.items.length).toBe(64);
    expect(second.next).toBeNull();
  });

  it('refuse a limit above the cap and name the field', async () => {
    const response = await get('/api/fabric/nodes?limit=1001');
    expect(response.statusCode).toBe(400);
    expect(response.headers['content-type']).toContain('application/problem+json');
    expect(response.json()).toMatchObject({ status: 400, code: 'invalid_request', field: 'limit' });
  });

  it('answer 410 to a cursor that is not theirs', async () => {
    expect((await get('/api/partitions?cursor=abc')).json()).toMatchObject({ status: 410, code: 'cursor_gone' });
  });
});

describe('problems', () => {
  it.each([
    ['/nowhere', 404, 'not_found'],
    ['/api/fabric/nodes/gpu-9', 404, 'node_not_found'],
    ['/api/actors/node/gpu-9', 404, 'actor_not_found'],
    ['/api/actors/node/gpu-9/history', 404, 'actor_not_found'],
    ['/api/actors/node/gpu-1/at/9', 404, 'revision_not_found'],
    ['/api/actors/node/gpu-1/at/1', 410, 'revision_gone'],
    ['/api/actors/NODE/gpu-1', 400, 'invalid_request'],
    ['/api/actors/node/%7Bx%7D', 400, 'invalid_request'],
    ['/api/fabric/nodes?state=asleep', 400, 'invalid_request'],
  ])('%s is %i %s', async (url, status, code) => {
    const response = await get(url);
    expect(response.statusCode).toBe(status);
    expect(response.headers['content-type']).toContain('application/problem+json');
    expect(schemas.problemDocument.safeParse(response.json()).success).toBe(true);
    expect(response.json()).toMatchObject({ status, code });
  });

  it('an inner failure is a 500 that tells nothing of the inside', async () => {
    server.fake.listNodes = async () => {
      throw new Error('redis://user:password@10.0.0.1 is gone');
    };
    const response = await get('/api/fabric/nodes');
    expect(response.json()).toMatchObject({ status: 500, code: 'internal' });
    expect(response.body).not.toContain('password');
  });

  it('an unhealthy control plane answers 503', async () => {
    server.fake.healthy = false;
    const response = await get('/health', {});
    expect(response.statusCode).toBe(503);
    expect(response.json()).toMatchObject({ status: 'unhealthy', checks: { redis: { status: 'down' } } });
  });
});

describe('sending an event', () => {
  const send = async (payload: unknown, { url = '/api/actors/node/gpu-1/events', headers = {} }: { url?: string; headers?: Record<string, string> } = {}) =>
    await server.app.inject({
      method: 'POST',
      url,
      headers: { ...operator, 'content-type': 'application/json', ...headers },
      payload: typeof payload === 'string' ? payload : JSON.stringify(payload),
    });

  it('is accepted with the entry’s id', async () => {
    const response = await send({ type: 'FORGET', reason: 'gone' }, { headers: { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' } });
    expect(response.statusCode).toBe(202);
    expect(schemas.sent.safeParse(response.json()).success).toBe(true);
    expect(server.fake.sent).toEqual([
      { key: 'node/gpu-1', event: { type: 'FORGET', reason: 'gone' }, options: { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' } },
    ]);
  });

  it('with the same Idempotency-Key is accepted once', async () => {
    const headers = { 'idempotency-key': 'order-7' };
    const first = await send({ type: 'FORGET' }, { headers });
    const second = await send({ type: 'FORGET' }, { headers });
    expect(second.json()).toEqual({ ...first.json(), repeated: true });
    expect(server.fake.sent).toHaveLength(1);
  });

  it('with another caller’s or actor’s equal key is another event', async () => {
    const headers = { 'idempotency-key': 'order-7' };
    await send({ type: 'FORGET' }, { headers });
    await send({ type: 'FORGET' }, { headers, url: '/api/actors/node/gpu-2/events' });
    await send({ type: 'FORGET' }, { headers: { ...headers, ...(await server.bearer('admin')) } });
    expect(server.fake.sent).toHaveLength(3);
  });

  it('can wait for the outcome', async () => {
    const response = await send({ type: 'FORGET' }, { url: '/api/actors/node/gpu-1/events?wait=1000' });
    expect(response.statusCode).toBe(200);
    expect(response.json()).toMatchObject({ outcome: { kind: 'transition', revision: 3 } });
    const poison = await send({ type: 'POISON' }, { url: '/api/actors/node/gpu-1/events?wait=1000' });
    expect(poison.statusCode).toBe(422);
    expect(poison.json()).toMatchObject({ code: 'step_failed', field: 'x', detail: 'The machine threw.' });
  });

  it('with dryRun tells what would happen and sends nothing, also for a viewer', async () => {
    const response = await send({ type: 'FORGET' }, { url: '/api/actors/node/gpu-1/events?dryRun=true', headers: viewer });
    expect(response.statusCode).toBe(200);
    expect(schemas.dryRun.safeParse(response.json()).success).toBe(true);
    expect(server.fake.sent).toHaveLength(0);
    expect(server.fake.dryRuns).toHaveLength(1);
  });

  it.each([
    ['not JSON', '{"type":', 400, 'invalid_json', 'body'],
    ['an empty body', '', 400, 'invalid_request', 'body'],
    ['no type', '{"kind":"x"}', 400, 'invalid_request', 'body.type'],
    ['an event of the interpreter', '{"type":"xstate.done.actor.x"}', 400, 'invalid_request', 'body.type'],
    ['a prototype', '{"type":"A","__proto__":{"admin":true}}', 400, 'invalid_json', 'body'],
    ['endless depth', `{"type":"A","x":${'['.repeat(5_000)}${']'.repeat(5_000)}}`, 400, 'body_too_deep', 'body'],
    ['too many values', JSON.stringify({ type: 'A', x: Array.from({ length: 30_000 }, () => 1) }), 400, 'body_too_deep', 'body'],
    ['more than 1 MiB', JSON.stringify({ type: 'A', x: 'x'.repeat(1_100_000) }), 413, 'body_too_large', 'body'],
    ['fields that the machine refuses', '{"type":"BROKEN"}', 400, 'invalid_event', 'amount'],
  ])('refuses %s', async (_what, payload, status, code, field) => {
    const response = await send(payload);
    expect(response.json()).toMatchObject({ status, code, field });
    expect(server.fake.sent).toHaveLength(0);
  });

  it('refuses another media type and an unknown actor type', async () => {
    expect((await send('type=A', { headers: { 'content-type': 'text/plain' } })).json()).toMatchObject({ status: 415, code: 'unsupported_media_type' });
    expect((await send({ type: 'A' }, { url: '/api/actors/nosuch/x/events' })).json()).toMatchObject({ status: 404, code: 'unknown_actor_type' });
  });
});

describe('dead letters', () => {
  const letter = { at: '2030-01-01T00:00:00.000Z', source: 'http' as const, ref: '1-0', code: 'invalid_event', reason: 'bad', excerpt: '{}' };

  it('are listed and replayed by an operator', async () => {
    server.fake.letters.push({ ...letter, id: '7-1700000000000-0', event: { type: 'A' }, actor: 'node/gpu-1' }, { ...letter, id: '7-1700000000000-1' });
    expect((await get('/api/dead-letters')).json().items).toHaveLength(2);
    const replay = async (id: string, headers: { [name: string]: string } = operator) =>
      await server.app.inject({ method: 'POST', url: `/api/dead-letters/${id}/replay`, headers });
    expect((await replay('7-1700000000000-0', viewer)).json()).toMatchObject({ status: 403, code: 'forbidden' });
    // Many programs name JSON with every POST.
    expect((await replay('7-1700000000000-0', { ...operator, 'content-type': 'application/json' })).statusCode).toBe(202);
    expect((await replay('7-1700000000000-1')).json()).toMatchObject({ status: 409, code: 'not_replayable' });
    expect((await replay('8-1-0')).json()).toMatchObject({ status: 404, code: 'dead_letter_not_found' });
    expect((await replay('x')).json()).toMatchObject({ status: 400, field: 'id' });
    expect(server.fake.replayed).toEqual(['7-1700000000000-0']);
  });
});

describe('documentation', () => {
  it('the OpenAPI document names every route of the API', async () => {
    const document = (await get('/openapi.json', {})).json();
    expect(document.openapi).toBe('3.1.0');
    expect(Object.keys(document.paths).sort()).toEqual([
      '/api/actors',
      '/api/actors/{type}/{id}',
      '/api/actors/{type}/{id}/at/{revision}',
      '/api/actors/{type}/{id}/events',
      '/api/actors/{type}/{id}/history',
      '/api/dead-letters',
      '/api/dead-letters/{id}/replay',
      '/api/fabric/nodes',
      '/api/fabric/nodes/{id}',
      '/api/fabric/nodes/{id}/live',
      '/api/links',
      '/api/machines',
      '/api/partitions',
      '/api/session',
      '/events/stream',
      '/health',
      '/metrics',
    ]);
  });

  it.each(['/', '/docs'])('%s lets nothing in from elsewhere', async (url) => {
    const response = await get(url, {});
    expect(response.statusCode).toBe(200);
    const policy = response.headers['content-security-policy'];
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("script-src 'self'");
    expect(policy).not.toContain('unsafe');
    expect(response.body).not.toMatch(/https?:\/\//);
  });
});
