import { request } from 'node:http';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { agentMetrics } from '../../src/agent/metrics.ts';
import { nodeStatus } from '../../src/agent/status.ts';
import { StatusServer } from '../../src/agent/status-server.ts';
import { InvalidSettingError } from '../../src/protocol/errors.ts';

const status = nodeStatus(
  {
    node: { name: 'gpu-1', uptime_seconds: 5 },
    system: { cpu_percent: 12.5, memory_total_gb: 64 },
    gpu: [{ index: 0, name: 'NVIDIA H200', temperature_celsius: 64, utilization_percent: 0 }],
    services: [{ name: 'ollama', type: 'llm', status: 'running', health: 'healthy' }],
  },
  new Date('2026-01-12T10:30:00Z'),
);
const open: { close(): Promise<void> | unknown }[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((each) => each.close()));
});

async function listen(port = 0, answer = async () => status): Promise<StatusServer> {
  const metrics = agentMetrics({ status: answer, counts: () => ({ published: 7, failed: 1, dropped: 0 }) });
  const server = new StatusServer({ port, status: answer, metrics });
  open.push(server);
  await server.listen();
  return server;
}
const url = (server: StatusServer, path: string): string => `http://127.0.0.1:${server.port}${path}`;

test('GET /status is the flat form', async () => {
  const answer = await fetch(url(await listen(), '/status?x=1'));
  expect(answer.status).toBe(200);
  expect(answer.headers.get('content-type')).toBe('application/json');
  expect(await answer.json()).toEqual(status);
});

test('GET /health is 200', async () => {
  expect((await fetch(url(await listen(), '/health'))).status).toBe(200);
});

test('GET /metrics has the readings that there are, and the counters, at every scrape', async () => {
  const server = await listen();
  for (let scrape = 0; scrape < 2; scrape++) {
    const answer = await fetch(url(server, '/metrics'));
    expect(answer.headers.get('content-type')).toContain('text/plain');
    const lines = (await answer.text()).split('\n');
    expect(lines).toContain('castellan_node_cpu_percent 12.5');
    expect(lines).toContain('castellan_gpu_utilization_percent{gpu="0",name="NVIDIA H200"} 0');
    expect(lines).toContain('castellan_gpu_temperature_celsius{gpu="0",name="NVIDIA H200"} 64');
    expect(lines).toContain('castellan_service_running{service="ollama",type="llm",status="running",health="healthy"} 1');
    expect(lines).toContain('castellan_agent_statuses_published_total 7');
    expect(lines.some((line) => line.startsWith('castellan_node_disk_used_gb '))).toBe(false);
    expect(lines.some((line) => /^castellan_agent_resident_memory_bytes \d+$/.test(line))).toBe(true);
  }
});

test('other paths are 404, other methods 405, a failing observation 500', async () => {
  const server = await listen();
  expect((await fetch(url(server, '/'))).status).toBe(404);
  expect((await fetch(url(server, '/status'), { method: 'POST', body: 'x' })).status).toBe(405);
  const failing = await listen(0, () => Promise.reject(new Error('no')));
  expect((await fetch(url(failing, '/status'))).status).toBe(500);
  expect((await fetch(url(failing, '/metrics'))).status).toBe(500);
});

test('a taken port names the flag', async () => {
  const other: Server = createServer();
  open.push(other);
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  const { port } = other.address() as AddressInfo;
  const failure = await listen(port).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(InvalidSettingError);
  expect((failure as InvalidSettingError).message).toContain('--status-port');
  expect((failure as InvalidSettingError).message).toContain(String(port));
});

test('it listens on loopback and on the mesh address alone, and follows the mesh address', async () => {
  const server = await listen();
  const reaches = (host: string): Promise<boolean> =>
    new Promise((resolve) => {
      const question = request({ host, port: server.port, path: '/health' }, (answer) => {
        answer.resume();
        resolve(true);
      });
      question.on('error', () => resolve(false));
      question.end();
    });
  expect(await reaches('127.0.0.1')).toBe(true);
  expect(await reaches('127.0.0.2')).toBe(false);
  await server.follow('127.0.0.2');
  expect(await reaches('127.0.0.2')).toBe(true);
  await server.follow('127.0.0.3');
  expect(await reaches('127.0.0.2')).toBe(false);
  expect(await reaches('127.0.0.3')).toBe(true);
  await server.follow(undefined);
  expect(await reaches('127.0.0.3')).toBe(false);
  expect(await reaches('127.0.0.1')).toBe(true);
});
