/**
 * The containers named `citadel-<service>` of this machine's Docker engine.
 *
 * 1. No engine is an ordinary outcome. An engine that is there and does not answer is another: nothing is concluded from it.
 * 2. dockerode is loaded when a socket is first seen: it brings some 20 MB that a node without Docker need not hold.
 */
import { access } from 'node:fs/promises';
import type Docker from 'dockerode';
import type { ServiceHealth, ServiceState } from './status.ts';

export const CONTAINER_PREFIX = 'citadel-';
const DEFAULT_SOCKET = '/var/run/docker.sock';
/** The engine lists from memory; longer means that it hangs. */
const ENGINE_TIMEOUT_MS = 2_000;
/** `docker stop` ends with SIGTERM, then SIGKILL; a person with SIGINT. None of these is a failure by itself. */
const EXIT_CODES_WHEN_STOPPED = new Set([0, 130, 137, 143]);
const EXIT_CODE_KILLED = 137;

export interface ContainerService {
  /** The container's name without its prefix. */
  readonly name: string;
  readonly state: ServiceState;
  readonly health?: ServiceHealth;
  /** The lowest published TCP port. */
  readonly port?: number;
}

export type ContainerOutcome =
  | { readonly kind: 'listed'; readonly containers: readonly ContainerService[] }
  | { readonly kind: 'absent' }
  | { readonly kind: 'unreachable'; readonly reason: string };

export interface ContainerObserver {
  observe(): Promise<ContainerOutcome>;
}

/** `engine` is `unix:///path` or `tcp://host:port`, as in `DOCKER_HOST`; default: the standard socket. */
export function containerObserver(engine: string = `unix://${DEFAULT_SOCKET}`): ContainerObserver {
  const address = parseEngine(engine);
  let client: Promise<Docker> | undefined;
  return {
    async observe() {
      if (address.socketPath !== undefined && !(await exists(address.socketPath))) return { kind: 'absent' };
      client ??= import('dockerode').then(({ default: Engine }) => new Engine({ ...address, timeout: ENGINE_TIMEOUT_MS }));
      try {
        return { kind: 'listed', containers: await list(await client) };
      } catch (error) {
        const { code, message } = error as NodeJS.ErrnoException;
        return code === 'ENOENT' || code === 'ECONNREFUSED' ? { kind: 'absent' } : { kind: 'unreachable', reason: code ?? message };
      }
    },
  };
}

interface EngineAddress {
  readonly socketPath?: string;
  readonly protocol?: 'http';
  readonly host?: string;
  readonly port?: number;
}

function parseEngine(engine: string): EngineAddress {
  if (!engine.startsWith('tcp://')) return { socketPath: engine.replace(/^unix:\/\//, '') };
  const { hostname, port } = new URL(engine);
  return { protocol: 'http', host: hostname, port: Number(port || 2375) };
}

async function list(docker: Docker): Promise<readonly ContainerService[]> {
  const found = await docker.listContainers({ all: true, filters: { name: [CONTAINER_PREFIX] } });
  const ours = found.flatMap((container) => {
    const name = container.Names.map((each) => each.replace(/^\//, '')).find((each) => each.startsWith(CONTAINER_PREFIX));
    return name === undefined || name.length === CONTAINER_PREFIX.length ? [] : [{ ...container, name: name.slice(CONTAINER_PREFIX.length) }];
  });
  const services = await Promise.all(
    ours.map(async (container): Promise<ContainerService> => {
      const health = healthOf(container.Status);
      const port = publishedPort(container.Ports);
      return {
        name: container.name,
        state: await stateOf(docker, container),
        ...(health === undefined ? {} : { health }),
        ...(port === undefined ? {} : { port }),
      };
    }),
  );
  return services.toSorted((left, right) => (left.name < right.name ? -1 : 1));
}

async function stateOf(docker: Docker, container: Docker.ContainerInfo): Promise<ServiceState> {
  if (container.State === 'running') return 'running';
  if (container.State === 'created' || container.State === 'paused' || container.State === 'removing') return 'stopped';
  if (container.State !== 'exited') return 'error';
  const exitCode = Number(/^Exited \((\d+)\)/.exec(container.Status)?.[1]);
  if (!EXIT_CODES_WHEN_STOPPED.has(exitCode)) return 'error';
  if (exitCode !== EXIT_CODE_KILLED) return 'stopped';
  // Only an inspection tells the kernel's kill for want of memory from an operator's.
  const { State } = await docker.getContainer(container.Id).inspect();
  return State.OOMKilled ? 'error' : 'stopped';
}

/** The list has the health only in its sentence: `Up 3 minutes (healthy)`, `Up 2 seconds (health: starting)`. */
function healthOf(sentence: string): ServiceHealth | undefined {
  const word = /\((?:health: )?(healthy|unhealthy|starting)\)/.exec(sentence)?.[1];
  return word as ServiceHealth | undefined;
}

function publishedPort(ports: readonly Docker.Port[]): number | undefined {
  const published = ports.filter(({ Type, PublicPort }) => Type === 'tcp' && PublicPort).map(({ PublicPort }) => PublicPort);
  return published.length === 0 ? undefined : Math.min(...published);
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
