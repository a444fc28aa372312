/**
 * The services of this node: its containers, joined with the model servers that answer.
 *
 * 1. A model server inside one of our containers is that container's service, not a second one.
 * 2. A server that runs without Docker is listed under its kind; a second of the same kind with its port.
 * 3. While the engine does not answer, its containers are listed as last seen, with unknown health.
 */
import type { ContainerObserver, ContainerService } from './observe-containers.ts';
import type { ModelEndpoint, ModelObserver, ModelServer, ModelServerKind } from './observe-models.ts';
import type { ServiceHealth, ServiceStatus, ServiceType } from './status.ts';

export interface ServiceObserver {
  observe(ownPort: number | undefined): Promise<readonly ServiceStatus[]>;
}

export function serviceObserver(
  containers: ContainerObserver,
  models: ModelObserver,
  onEngine: (engine: 'listed' | 'absent' | 'unreachable') => void,
): ServiceObserver {
  let lastSeen: readonly ContainerService[] = [];
  let engine: 'listed' | 'absent' | 'unreachable' = 'absent';
  return {
    async observe(ownPort) {
      const outcome = await containers.observe();
      if (outcome.kind !== engine) onEngine(outcome.kind);
      engine = outcome.kind;
      if (outcome.kind === 'listed') lastSeen = outcome.containers;
      else if (outcome.kind === 'absent') lastSeen = [];
      const known = outcome.kind === 'unreachable' ? lastSeen.map((container) => ({ ...container, health: 'unknown' as const })) : lastSeen;
      return join(known, await models.observe(endpointsOf(known), ownPort));
    },
  };
}

function endpointsOf(containers: readonly ContainerService[]): readonly ModelEndpoint[] {
  return containers.flatMap(({ name, state, port }) => {
    const kind = modelServerKind(name);
    return kind === undefined || port === undefined || state !== 'running' ? [] : [{ kind, port }];
  });
}

function join(containers: readonly ContainerService[], servers: readonly ModelServer[]): readonly ServiceStatus[] {
  const unclaimed = new Set(servers);
  const services = containers.map((container): ServiceStatus => {
    const server = container.state === 'running' ? servers.find((each) => belongsTo(each, container)) : undefined;
    if (server !== undefined) unclaimed.delete(server);
    const health = container.health ?? healthByAnswer(container, server);
    return {
      name: container.name,
      type: serviceType(container.name),
      status: container.state,
      ...(container.port === undefined ? {} : { port: container.port }),
      ...(health === undefined ? {} : { health }),
      ...(server === undefined ? {} : { models: server.models }),
    };
  });
  const names = new Set(services.map(({ name }) => name));
  for (const { kind, port, models } of unclaimed) {
    const name = names.has(kind) ? `${kind}-${port}` : kind;
    names.add(name);
    services.push({ name, type: 'llm', status: 'running', port, health: 'healthy', models });
  }
  return services;
}

/** By its published port; a container on the host's network publishes none and is known by its name. */
function belongsTo(server: ModelServer, container: ContainerService): boolean {
  return container.port === undefined ? modelServerKind(container.name) === server.kind : container.port === server.port;
}

function healthByAnswer(container: ContainerService, server: ModelServer | undefined): ServiceHealth | undefined {
  if (container.state !== 'running' || modelServerKind(container.name) === undefined) return undefined;
  return server === undefined ? 'unknown' : 'healthy';
}

function modelServerKind(name: string): ModelServerKind | undefined {
  return (['vllm', 'ollama'] as const).find((kind) => name === kind || name.startsWith(`${kind}-`));
}

const TYPES: readonly (readonly [ServiceType, RegExp])[] = [
  ['llm', /^(vllm|ollama|llamacpp|lmstudio|sglang|bonsai)(-|$)/],
  ['embedding', /^(tei|embedding|embeddings)(-|$)/],
  ['database', /^(postgres|postgresql|redis|valkey|mysql|mariadb|mongo|mongodb|qdrant|milvus|weaviate|chroma)(-|$)/],
];

function serviceType(name: string): ServiceType {
  return TYPES.find(([, pattern]) => pattern.test(name))?.[0] ?? 'other';
}
