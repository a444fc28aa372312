/** HTTP_REQUEST against real servers on loopback, one of which is the service and the others are not to be reached. */
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { httpRequestJob, BODY_BYTES_MAX } from '../../../src/agent/jobs/http-request.ts';
import { serviceDirectory } from '../../../src/agent/jobs/service-directory.ts';
import type { ContainerService } from '../../../src/agent/observe-containers.ts';
import type { ModelServer } from '../../../src/agent/observe-models.ts';
import type { Json } from '../../../src/protocol/json.ts';
import { freePort } from '../../redis-server.ts';
import { until } from '../until.ts';
import { handed } from './handed.ts';

const servers: Server[] = [];
let containers: ContainerService[];
let models: ModelServer[];
let ownPort: number | undefined;

beforeEach(() => {
  containers = [];
  models = [];
  ownPort = undefined;
});
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});

async function listen(answer: RequestListener): Promise<number> {
  const server = createServer(answer);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}
/** The service `llm` answers so. */
async function serve(answer: RequestListener): Promise<void> {
  const port = await listen(answer);
  containers = [{ name: 'llm', state: 'running', port, loopbackPort: port }];
}
const definition = httpRequestJob(
  serviceDirectory(
    { observe: async () => await Promise.resolve({ kind: 'listed', containers }) },
    { observe: async () => await Promise.resolve(models) },
    () => ownPort,
  ),
);
const ask = async (payload: { readonly [field: string]: Json }, signal?: AbortSignal) => await handed(definition, { service: 'llm', ...payload }, signal);
async function bodyOf(request: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of request) text += String(chunk);
  return text;
}

describe('an exchange', () => {
  test('passes method, path, headers and body on, and the answer back', async () => {
    let seen: Json = null;
    await serve(async (request, response) => {
      const { 'x-model': model, 'content-type': type, authorization = null, host } = request.headers as { readonly [name: string]: string };
      seen = {
        method: request.method ?? '',
        url: request.url ?? '',
        model: model ?? '',
        type: type ?? '',
        authorization,
        host: host ?? '',
        body: await bodyOf(request),
      };
      response.writeHead(201, { 'content-type': 'application/json', 'set-cookie': 'id=1', 'x-internal': 'no' }).end('{"answer":42}');
    });
    const { result } = await ask({
      method: 'post',
      path: '/v1/./a/../chat?stream=no&q=%20',
      headers: { 'X-Model': 'llama', Authorization: 'Bearer secret', Connection: 'x-hop, close', 'X-Hop': '1', Host: 'evil', Cookie: 'a=b' },
      body: { prompt: 'hello' },
    });
    expect(result).toEqual({ status: 201, headers: { 'content-type': 'application/json' }, body: { answer: 42 } });
    expect(seen).toEqual({
      method: 'POST',
      url: '/v1/chat?stream=no&q=%20',
      model: 'llama',
      type: 'application/json',
      authorization: null,
      host: `127.0.0.1:${containers[0]?.port}`,
      body: '{"prompt":"hello"}',
    });
  });

  test('answers with whatever the service says: an error, a redirect that is not followed, bytes', async () => {
    let stolen = 0;
    const elsewhere = await listen((_request, response) => {
      stolen++;
      response.end();
    });
    await serve((request, response) => {
      if (request.url === '/error') response.writeHead(503, { 'content-type': 'text/plain', 'retry-after': '5' }).end('loading');
      else if (request.url === '/moved') response.writeHead(302, { location: `http://127.0.0.1:${elsewhere}/` }).end();
      else response.writeHead(200, { 'content-type': 'application/octet-stream' }).end(Buffer.from([0, 255, 1]));
    });
    expect((await ask({ path: '/error' })).result).toMatchObject({ status: 503, headers: { 'retry-after': '5' }, body: 'loading' });
    expect((await ask({ path: '/moved' })).result).toMatchObject({ status: 302, headers: { location: `http://127.0.0.1:${elsewhere}/` } });
    expect(stolen).toBe(0);
    expect((await ask({ path: '/bytes' })).result).toMatchObject({ body: 'AP8B', encoding: 'base64' });
  });

  test('tells a streamed answer event by event as it comes', async () => {
    const go = Promise.withResolvers<void>();
    await serve(async (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
      response.write(': hi\n\ndata: {"token":"a"}\r\n\r\nevent: to');
      response.write('ken\ndata: b\ndata: "ü');
      await go.promise;
      response.end('"\n\ndata: [DONE]\n');
    });
    const chunks: Json[] = [];
    const signal = new AbortController().signal;
    const job = { id: 'j', type: 'HTTP_REQUEST', payload: { service: 'llm', path: '/' }, attempt: 1, rayId: undefined, signal };
    const answered = definition.handler({
      ...job,
      progress: () => undefined,
      log: () => undefined,
      chunk: (value: Json) => void chunks.push(value),
    } as never) as Promise<Json>;
    await until('the first event is told', () => chunks.length === 1);
    go.resolve();
    expect(await answered).toMatchObject({ status: 200, events: 3, body: expect.stringContaining('[DONE]') });
    expect(chunks).toEqual([{ data: '{"token":"a"}' }, { event: 'token', data: 'b\n"ü"' }, { data: '[DONE]' }]);
  });

  test('ends when the job is aborted, with the reason of the abort', async () => {
    let closed = false;
    let asked = false;
    await serve((request) => {
      asked = true;
      request.on('close', () => (closed = true));
    });
    const stop = new AbortController();
    const reason = new Error('cancelled');
    const answered = ask({ path: '/' }, stop.signal).catch((error: unknown) => error);
    await until('the service is asked', () => asked);
    stop.abort(reason);
    expect(await answered).toBe(reason);
    await until('the service saw it', () => closed);
  });

  test('is bounded in both directions, which is final', async () => {
    await serve((_request, response) => void response.end('x'.repeat(BODY_BYTES_MAX + 1)));
    await expect(ask({ path: '/' })).rejects.toMatchObject({ code: 'answer_too_large', retryable: false });
    await expect(ask({ path: '/', method: 'POST', body: 'x'.repeat(BODY_BYTES_MAX + 1) })).rejects.toMatchObject({ code: 'body_too_large', retryable: false });
    await serve((_request, response) => void response.writeHead(200, { 'content-type': 'text/event-stream' }).end(`data: ${'x'.repeat(200_000)}\n\n`));
    await expect(ask({ path: '/' })).rejects.toMatchObject({ code: 'answer_too_large' });
  });

  test('with a service that does not answer may be tried again', async () => {
    const port = await freePort();
    containers = [{ name: 'llm', state: 'running', port, loopbackPort: port }];
    await expect(ask({ path: '/' })).rejects.toMatchObject({ code: 'service_unreachable', retryable: true });
  });
});

describe('nothing but a running service of this node is asked', () => {
  test.for([
    '//evil.example/x',
    'http://evil.example/',
    '/\\evil.example',
    'evil.example',
    '',
    '@evil.example/',
    '/a\r\nHost: evil',
    '/x#y',
    '/\u0000',
    '/..//evil.example/',
  ])('the path %j is refused, and no connection is made', async (path) => {
    let asked = 0;
    await serve((_request, response) => {
      asked++;
      response.end();
    });
    await expect(ask({ path })).rejects.toMatchObject({ code: 'invalid_payload', retryable: false, field: 'path' });
    expect(asked).toBe(0);
  });

  test.for([
    [{ path: '/', method: 'CONNECT' }, 'method'],
    [{ path: '/', method: 'TRACE' }, 'method'],
    [{ path: '/', headers: { a: 'b\r\nc: d' } }, 'headers.a'],
    [{ path: '/', headers: { 'a b': 'c' } }, 'headers.a b'],
    [{ path: '/', headers: ['x'] }, 'headers'],
    [{ path: '/', service: '../x' }, 'service'],
    [{ path: '/', service: '127.0.0.1:6379' }, 'service'],
    [{ path: '/', service: null }, 'service'],
  ] as const)('%j is refused and names %s', async ([payload, field]) => {
    await expect(ask(payload)).rejects.toMatchObject({ code: 'invalid_payload', retryable: false, field });
  });

  test.for([
    [{ name: 'llm', state: 'stopped', port: 1, loopbackPort: 1 }, 'service_not_running', true],
    [{ name: 'llm', state: 'running', port: 9_999 }, 'service_not_reachable', false],
    [{ name: 'llm', state: 'running' }, 'service_not_reachable', false],
    [{ name: 'other', state: 'running', port: 1, loopbackPort: 1 }, 'unknown_service', false],
  ] as const)('of %j nothing is asked: %s', async ([container, code, retryable]) => {
    containers = [container];
    await expect(ask({ path: '/' })).rejects.toMatchObject({ code, retryable });
  });

  test('a model server without a container is asked under its kind; the agent itself never', async () => {
    const port = await listen((_request, response) => void response.end('{}'));
    models = [{ kind: 'ollama', port, models: [] }];
    expect((await ask({ service: 'ollama', path: '/api/tags' })).result).toMatchObject({ status: 200 });
    expect((await ask({ service: `ollama-${port}`, path: '/api/tags' })).result).toMatchObject({ status: 200 });
    ownPort = port;
    await expect(ask({ service: 'ollama', path: '/' })).rejects.toMatchObject({ code: 'service_not_reachable', retryable: false });
  });
});
