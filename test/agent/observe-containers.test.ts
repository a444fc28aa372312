/** Containers of a real Docker engine, which this test starts and ends; skipped, with the reason, where it cannot. */
import { createServer, type Server } from 'node:http';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { containerObserver, type ContainerService } from '../../src/agent/observe-containers.ts';
import { modelObserver } from '../../src/agent/observe-models.ts';
import { serviceObserver } from '../../src/agent/observe-services.ts';
import { freePort } from '../redis-server.ts';
import { ENGINE_TIMEOUT_MS, startDockerEngine, whyNoEngine, type DockerEngine } from './docker-engine.ts';
import { until } from './until.ts';
import type { ContainerCreateOptions } from 'dockerode';

const IMAGE = 'ollama/ollama:latest';
const missing = await whyNoEngine();
if (missing !== undefined) console.warn(`Tests with a real Docker engine are skipped: ${missing}.`);

describe.skipIf(missing !== undefined)('a real engine', () => {
  let engine: DockerEngine;
  beforeAll(async () => void (engine = await startDockerEngine(IMAGE)), ENGINE_TIMEOUT_MS);
  afterAll(async () => {
    const left = await engine.docker.listContainers({ all: true });
    await Promise.all(left.map(({ Id }) => engine.docker.getContainer(Id).remove({ force: true })));
    await engine.stop();
  });

  const start = async (name: string, command: string, more: ContainerCreateOptions = {}) => {
    const container = await engine.docker.createContainer({ name, Image: IMAGE, Cmd: ['/bin/sh', '-c', command], ...more });
    await container.start();
    return container;
  };
  const observed = async (name: string): Promise<ContainerService | undefined> => {
    const outcome = await containerObserver(engine.host).observe();
    if (outcome.kind !== 'listed') throw new Error(`The engine is ${outcome.kind}.`);
    return outcome.containers.find((container) => container.name === name);
  };
  /** Waits for the state and the health, then compares the whole. */
  const becomes = async (name: string, expected: ContainerService): Promise<void> => {
    const found = await until(`${name} is ${JSON.stringify(expected)}`, async () => {
      const service = await observed(name);
      return service?.state === expected.state && service.health === expected.health && service;
    });
    expect(found).toEqual(expected);
  };
  const forever = 'while :; do busybox sleep 1; done';

  test('only containers with our prefix are services', async () => {
    const stranger = await start('my-citadel-thing', forever);
    const ours = await start('citadel-other', forever);
    const outcome = await containerObserver(engine.host).observe();
    expect(outcome).toEqual({ kind: 'listed', containers: [{ name: 'other', state: 'running' }] });
    await Promise.all([stranger.remove({ force: true }), ours.remove({ force: true })]);
  });

  test('created and stopped are stopped; a failed exit is an error; gone is gone', async () => {
    await engine.docker.createContainer({ name: 'citadel-made', Image: IMAGE, Cmd: ['/bin/sh', '-c', forever] });
    await becomes('made', { name: 'made', state: 'stopped' });
    const killed = await start('citadel-killed', forever);
    await becomes('killed', { name: 'killed', state: 'running' });
    await killed.kill();
    await becomes('killed', { name: 'killed', state: 'stopped' });
    await start('citadel-failing', 'exit 3');
    await becomes('failing', { name: 'failing', state: 'error' });
    await killed.remove();
    expect(await observed('killed')).toBeUndefined();
  });

  test("the engine's health check is the service's health", async () => {
    expect.hasAssertions();
    const probe = { Test: ['CMD', '/bin/busybox', 'test', '-f', '/healthy'], Interval: 100_000_000, Timeout: 5_000_000_000, Retries: 1, StartPeriod: 0 };
    const container = await start('citadel-checked', forever, { Healthcheck: probe });
    await becomes('checked', { name: 'checked', state: 'running', health: 'unhealthy' });
    const touch = await container.exec({ Cmd: ['/bin/busybox', 'touch', '/healthy'] });
    await touch.start({});
    await becomes('checked', { name: 'checked', state: 'running', health: 'healthy' });
  });

  test('a model server in a container is found through the port that it publishes', async () => {
    const port = await freePort();
    const serve = `busybox mkdir -p /www/api && echo '{"models":[{"name":"llama3:8b"}]}' > /www/api/tags && busybox httpd -f -p 11434 -h /www`;
    await start('citadel-ollama', serve, {
      ExposedPorts: { '11434/tcp': {} },
      HostConfig: { PortBindings: { '11434/tcp': [{ HostIp: '127.0.0.1', HostPort: String(port) }] } },
    });
    const observer = serviceObserver(containerObserver(engine.host), modelObserver([]), () => undefined);
    const service = await until('its models are listed', async () => {
      return (await observer.observe(undefined)).find(({ name, models }) => name === 'ollama' && models !== undefined);
    });
    expect(service).toEqual({ name: 'ollama', type: 'llm', status: 'running', port, health: 'healthy', models: ['llama3:8b'] });
  });

  test('an engine that hangs is unreachable, not absent', async () => {
    engine.pause();
    try {
      const outcome = await until('it stands still', async () => {
        const found = await containerObserver(engine.host).observe();
        return found.kind === 'unreachable' && found;
      });
      expect(outcome).toEqual({ kind: 'unreachable', reason: 'no answer in 2000 ms' });
    } finally {
      engine.resume();
    }
    expect((await containerObserver(engine.host).observe()).kind).toBe('listed');
  });
});

describe('without an engine', () => {
  test('no socket, or one that nobody serves, is an ordinary outcome', async () => {
    expect(await containerObserver('unix:///nonexistent/docker.sock').observe()).toEqual({ kind: 'absent' });
    expect(await containerObserver(`tcp://127.0.0.1:${await freePort()}`).observe()).toEqual({ kind: 'absent' });
  });

  test('an address that cannot be used is said', async () => {
    expect(await containerObserver('ssh://host').observe()).toMatchObject({ kind: 'unreachable' });
  });
});

describe('answers that the real engine gives only under conditions a test cannot make', () => {
  let folder: string;
  let server: Server | undefined;
  beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'castellan-engine-'))));
  afterAll(async () => {
    server?.close();
    await rm(folder, { recursive: true });
  });

  test('a container killed for want of memory is an error', async () => {
    const list = [{ Id: 'abc', Names: ['/citadel-vllm'], State: 'exited', Status: 'Exited (137) 2 minutes ago', Ports: [] }];
    server = createServer((request, response) =>
      response.end(JSON.stringify(request.url?.startsWith('/containers/json') ? list : { State: { OOMKilled: true } })),
    );
    const socketPath = join(folder, 'engine.sock');
    await new Promise<void>((resolve) => server?.listen(socketPath, resolve));
    expect(await containerObserver(`unix://${socketPath}`).observe()).toEqual({ kind: 'listed', containers: [{ name: 'vllm', state: 'error' }] });
  });
});
