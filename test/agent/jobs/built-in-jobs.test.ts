/** The agent's own job types; those for containers on a real Docker engine, which this test starts and ends. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { builtInJobs } from '../../../src/agent/jobs/built-in-jobs.ts';
import type { Json } from '../../../src/protocol/json.ts';
import { freePort } from '../../redis-server.ts';
import { ENGINE_TIMEOUT_MS, startDockerEngine, whyNoEngine, type DockerEngine } from '../docker-engine.ts';
import { until } from '../until.ts';
import { handed } from './handed.ts';

const IMAGE = 'test/service:latest';
const missing = await whyNoEngine();
if (missing !== undefined) console.warn(`Tests with a real Docker engine are skipped: ${missing}.`);

const runOn = (dockerHost: string) => async (type: string, payload: Json) =>
  (
    await handed(
      builtInJobs({ dockerHost, statusPort: () => undefined }).find((each) => each.type === type),
      payload,
    )
  ).result;

describe('without an engine', () => {
  const run = runOn('unix:///nonexistent.sock');

  test('the types are those that are documented, and ECHO returns its payload', async () => {
    expect(builtInJobs({ statusPort: () => undefined }).map(({ type }) => type)).toEqual([
      'ECHO',
      'SERVICE_STATUS',
      'SERVICE_START',
      'SERVICE_STOP',
      'HTTP_REQUEST',
    ]);
    expect(await run('ECHO', { a: [1, null] })).toEqual({ a: [1, null] });
  });

  test('a service cannot be told or started now, and it may be tried again', async () => {
    for (const type of ['SERVICE_STATUS', 'SERVICE_START', 'SERVICE_STOP']) {
      await expect(run(type, { service: 'ollama' })).rejects.toMatchObject({ code: 'engine_unreachable', retryable: true });
    }
  });

  test.for([{}, { service: '' }, { service: '../../images' }, { service: 'a/b' }, { service: 7 }, 'ollama', null])(
    'the payload %j starts nothing',
    async (payload) => {
      await expect(run('SERVICE_START', payload)).rejects.toMatchObject({ code: 'invalid_payload', retryable: false });
    },
  );

  test.for([{ service: '../../images' }, { service: '--help' }, { service: 7 }])(
    'the payload %j is refused for good before anything is asked',
    async (payload) => {
      await expect(run('SERVICE_STATUS', payload)).rejects.toMatchObject({ code: 'invalid_payload', retryable: false });
    },
  );
});

describe.skipIf(missing !== undefined)('a real engine', () => {
  let engine: DockerEngine;
  beforeAll(async () => void (engine = await startDockerEngine(IMAGE)), ENGINE_TIMEOUT_MS);
  afterAll(async () => {
    const left = await engine.docker.listContainers({ all: true });
    await Promise.all(left.map(({ Id }) => engine.docker.getContainer(Id).remove({ force: true })));
    await engine.stop();
  });

  const run = async (type: string, payload: Json) => await runOn(engine.host)(type, payload);
  const create = async (name: string, command: string, more: object = {}) =>
    await engine.docker.createContainer({ name, Image: IMAGE, Cmd: ['/bin/sh', '-c', command], ...more });
  // Ends at SIGTERM: the first process of a container has no default for it.
  const forever = "trap 'exit 0' TERM; while :; do busybox sleep 0.1; done";

  test('a service is started and stopped; doing it again changes nothing', async () => {
    await create('citadel-worker', forever);
    expect(await run('SERVICE_STATUS', { service: 'worker' })).toEqual({ service: 'worker', status: 'stopped' });
    expect(await run('SERVICE_START', { service: 'worker' })).toEqual({ service: 'worker', status: 'running', changed: true });
    expect(await run('SERVICE_START', { service: 'worker' })).toEqual({ service: 'worker', status: 'running', changed: false });
    expect(await run('SERVICE_STATUS', {})).toEqual({ services: [{ service: 'worker', status: 'running' }] });
    expect(await run('SERVICE_STOP', { service: 'worker' })).toEqual({ service: 'worker', status: 'stopped', changed: true });
    expect(await run('SERVICE_STOP', { service: 'worker' })).toEqual({ service: 'worker', status: 'stopped', changed: false });
  });

  test('a container that is none of ours is not touched, and one that does not exist fails for good', async () => {
    const stranger = await create('database', forever);
    await stranger.start();
    for (const service of ['database', 'nothing']) {
      for (const type of ['SERVICE_STOP', 'SERVICE_START', 'SERVICE_STATUS']) {
        await expect(run(type, { service })).rejects.toMatchObject({ code: 'unknown_service', retryable: false });
      }
    }
    expect((await stranger.inspect()).State.Running).toBe(true);
  });

  test('a service that cannot start says why', async () => {
    await create('citadel-broken', 'unused', { Entrypoint: ['/no/such/program'] });
    await expect(run('SERVICE_START', { service: 'broken' })).rejects.toMatchObject({
      code: 'engine_refused',
      message: expect.stringContaining('no/such/program'),
    });
  });

  test('HTTP_REQUEST reaches a service through the port that it publishes on loopback', async () => {
    const port = await freePort();
    const serve = `busybox mkdir -p /www && echo '{"answer":42}' > /www/answer.json && busybox httpd -f -p 80 -h /www`;
    const published = { ExposedPorts: { '80/tcp': {} }, HostConfig: { PortBindings: { '80/tcp': [{ HostIp: '127.0.0.1', HostPort: String(port) }] } } };
    await (await create('citadel-web', serve, published)).start();
    const result = await until('it answers', async () => await run('HTTP_REQUEST', { service: 'web', path: '/answer.json' }).catch(() => undefined));
    expect(result).toMatchObject({ status: 200 });
    expect(JSON.stringify(result)).toContain('42');
    await expect(run('HTTP_REQUEST', { service: 'database', path: '/' })).rejects.toMatchObject({ code: 'unknown_service' });
  });
});
