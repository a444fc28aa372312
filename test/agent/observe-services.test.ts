import { expect, test } from 'vitest';
import { serviceObserver } from '../../src/agent/observe-services.ts';
import type { ContainerOutcome, ContainerService } from '../../src/agent/observe-containers.ts';
import type { ModelEndpoint, ModelServer } from '../../src/agent/observe-models.ts';

function observing(servers: readonly ModelServer[], ...outcomes: readonly ContainerOutcome[]) {
  let round = 0;
  const engines: string[] = [];
  const asked: (readonly ModelEndpoint[])[] = [];
  const containers = { observe: async () => outcomes[Math.min(round++, outcomes.length - 1)] ?? ({ kind: 'absent' } as const) };
  const models = {
    observe: async (more: readonly ModelEndpoint[]) => {
      asked.push(more);
      return servers;
    },
  };
  return { observer: serviceObserver(containers, models, (engine) => engines.push(engine)), engines, asked };
}

const listed = (...containers: readonly ContainerService[]): ContainerOutcome => ({ kind: 'listed', containers });
const ollama: ContainerService = { name: 'ollama', state: 'running', port: 11_434 };

test('no engine and no server: no services', async () => {
  const { observer, engines } = observing([], { kind: 'absent' });
  expect(await observer.observe(undefined)).toEqual([]);
  expect(engines).toEqual([]);
});

test('a container and the server in it are one service', async () => {
  const { observer, asked } = observing([{ kind: 'ollama', port: 11_434, models: ['llama3:8b'] }], listed(ollama));
  expect(await observer.observe(undefined)).toEqual([
    { name: 'ollama', type: 'llm', status: 'running', port: 11_434, health: 'healthy', models: ['llama3:8b'] },
  ]);
  expect(asked).toEqual([[{ kind: 'ollama', port: 11_434 }]]);
});

test('a container on the network of the host is joined by its name', async () => {
  const { observer } = observing([{ kind: 'vllm', port: 8000, models: ['m'] }], listed({ name: 'vllm', state: 'running' }));
  expect(await observer.observe(undefined)).toEqual([{ name: 'vllm', type: 'llm', status: 'running', health: 'healthy', models: ['m'] }]);
});

test('servers without Docker are listed too, each with a name of its own', async () => {
  const servers: readonly ModelServer[] = [
    { kind: 'vllm', port: 8000, models: ['a'] },
    { kind: 'vllm', port: 8201, models: ['b'] },
    { kind: 'ollama', port: 11_434, models: [] },
  ];
  const { observer } = observing(servers, { kind: 'absent' });
  expect(await observer.observe(undefined)).toEqual([
    { name: 'vllm', type: 'llm', status: 'running', port: 8000, health: 'healthy', models: ['a'] },
    { name: 'vllm-8201', type: 'llm', status: 'running', port: 8201, health: 'healthy', models: ['b'] },
    { name: 'ollama', type: 'llm', status: 'running', port: 11_434, health: 'healthy', models: [] },
  ]);
});

test('a stopped container does not claim a server that runs beside it', async () => {
  const { observer } = observing([{ kind: 'ollama', port: 11_434, models: [] }], listed({ name: 'ollama', state: 'stopped' }));
  expect(await observer.observe(undefined)).toEqual([
    { name: 'ollama', type: 'llm', status: 'stopped' },
    { name: 'ollama-11434', type: 'llm', status: 'running', port: 11_434, health: 'healthy', models: [] },
  ]);
});

test("Docker's own health check is believed before ours; without either it is unknown or left out", async () => {
  const { observer } = observing(
    [],
    listed(
      { name: 'embedding', state: 'running', health: 'unhealthy' },
      { name: 'postgres', state: 'running', port: 5432 },
      { name: 'vllm', state: 'running', port: 8201 },
    ),
  );
  expect(await observer.observe(undefined)).toEqual([
    { name: 'embedding', type: 'embedding', status: 'running', health: 'unhealthy' },
    { name: 'postgres', type: 'database', status: 'running', port: 5432 },
    { name: 'vllm', type: 'llm', status: 'running', port: 8201, health: 'unknown' },
  ]);
});

test('while the engine does not answer, its containers are as last seen, with unknown health', async () => {
  const { observer, engines } = observing([], listed(ollama, { name: 'web', state: 'error' }), { kind: 'unreachable', reason: 'timeout' }, { kind: 'absent' });
  await observer.observe(undefined);
  expect(await observer.observe(undefined)).toEqual([
    { name: 'ollama', type: 'llm', status: 'running', port: 11_434, health: 'unknown' },
    { name: 'web', type: 'other', status: 'error', health: 'unknown' },
  ]);
  expect(await observer.observe(undefined)).toEqual([]);
  expect(engines).toEqual(['listed', 'unreachable', 'absent']);
});
