import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { PROBE_BYTES_MAX } from '../../src/agent/http-probe.ts';
import { modelObserver, type ModelServerKind } from '../../src/agent/observe-models.ts';
import { freePort } from '../redis-server.ts';

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});

async function serve(listener: RequestListener): Promise<number> {
  const server = createServer(listener);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

const answering = (path: string, body: unknown): Promise<number> =>
  serve((request, response) => (request.url === path ? response.end(JSON.stringify(body)) : response.writeHead(404).end()));

const observe = (kind: ModelServerKind, port: number, ownPort?: number) => modelObserver([{ kind, port }]).observe([], ownPort);

test('vLLM: the ids of its model list', async () => {
  const port = await answering('/v1/models', { object: 'list', data: [{ id: 'meta-llama/Llama-3-8b', object: 'model' }, { id: 'mistralai/Mistral-7B' }] });
  expect(await observe('vllm', port)).toEqual([{ kind: 'vllm', port, models: ['meta-llama/Llama-3-8b', 'mistralai/Mistral-7B'] }]);
});

test('Ollama: the names of its tags; none pulled yet is an empty list', async () => {
  const port = await answering('/api/tags', { models: [{ name: 'llama3:8b', size: 4_661_224_676 }] });
  expect(await observe('ollama', port)).toEqual([{ kind: 'ollama', port, models: ['llama3:8b'] }]);
  const empty = await answering('/api/tags', { models: [] });
  expect(await observe('ollama', empty)).toEqual([{ kind: 'ollama', port: empty, models: [] }]);
});

test('nobody there is no server', async () => {
  expect(await observe('ollama', await freePort())).toEqual([]);
});

test('our own status port is not asked', async () => {
  let asked = 0;
  const port = await serve((_, response) => {
    asked++;
    response.end('{"data":[]}');
  });
  expect(await observe('vllm', port, port)).toEqual([]);
  expect(asked).toBe(0);
});

test('a port that is named twice is asked once', async () => {
  let asked = 0;
  const port = await serve((_, response) => {
    asked++;
    response.end('{"data":[]}');
  });
  expect(await modelObserver([{ kind: 'vllm', port }]).observe([{ kind: 'vllm', port }], undefined)).toHaveLength(1);
  expect(asked).toBe(1);
});

test('anything else on the port is not listed: other shapes, errors, redirects, too much, no HTTP', async () => {
  let followed = false;
  const target = await serve((_, response) => {
    followed = true;
    response.end('{"data":[]}');
  });
  const listeners: readonly RequestListener[] = [
    (_, response) => response.end('<html>'),
    (_, response) => response.end('null'),
    (_, response) => response.end('{"data":{"id":"x"}}'),
    (_, response) => response.writeHead(500).end('{"data":[]}'),
    (_, response) => response.writeHead(302, { location: `http://127.0.0.1:${target}/v1/models` }).end(),
    (_, response) => response.end(`{"data":[],"padding":"${'x'.repeat(PROBE_BYTES_MAX)}"}`),
    (_, response) => void response.socket?.end('+PONG\r\n'),
    (_, response) => void response.socket?.destroy(),
  ];
  for (const listener of listeners) expect(await observe('vllm', await serve(listener))).toEqual([]);
  expect(followed).toBe(false);
});

test('a server that never answers is given up', async () => {
  expect(await observe('vllm', await serve(() => undefined))).toEqual([]);
  const slow = await serve((_, response) => void response.write('{"data":['));
  expect(await observe('vllm', slow)).toEqual([]);
});
