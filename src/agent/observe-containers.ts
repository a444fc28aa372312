/**
 * The containers named `citadel-<service>` of this machine's Docker engine.
 *
 * The engine's API is asked over plain HTTP: listing is one GET, and a client library for it was measured at 15 MB of
 * the agent's memory. Fields: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerList
 *
 * 1. No engine is an ordinary outcome. An engine that is there and does not answer is another: nothing is concluded from it.
 */
import { CONTAINER_PREFIX, DEFAULT_ENGINE, engineAddress, type EngineAddress } from './docker-engine.ts';
import { probeJson } from './http-probe.ts';
import type { ServiceHealth, ServiceState } from './status.ts';

/** The engine lists from memory; longer means that it hangs. */
const ENGINE_TIMEOUT_MS = 2_000;
/** Some 2 KB a container. */
const ENGINE_BYTES_MAX = 1024 * 1024;
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
  /** The lowest TCP port that is published on loopback: what may be asked from here and is surely the container's. */
  readonly loopbackPort?: number;
}

export type ContainerOutcome =
  | { readonly kind: 'listed'; readonly containers: readonly ContainerService[] }
  | { readonly kind: 'absent' }
  | { readonly kind: 'unreachable'; readonly reason: string };

export interface ContainerObserver {
  observe(): Promise<ContainerOutcome>;
}

/** `engine` is `unix:///path` or `tcp://host:port`, as in `DOCKER_HOST`; default: the standard socket. */
export function containerObserver(engine: string = DEFAULT_ENGINE): ContainerObserver {
  const address = engineAddress(engine);
  return {
    async observe() {
      if (address === undefined) return { kind: 'unreachable', reason: 'DOCKER_HOST is neither unix:// nor tcp://' };
      const filters = encodeURIComponent(JSON.stringify({ name: [CONTAINER_PREFIX] }));
      const outcome = await askEngine(address, `/containers/json?all=1&filters=${filters}`);
      if (outcome.kind === 'refused') return { kind: 'absent' };
      if (outcome.kind === 'unusable') return { kind: 'unreachable', reason: outcome.reason };
      const containers = (outcome.body as readonly EngineContainer[]).map((container) => serviceOf(address, container));
      const found = (await Promise.all(containers)).filter((service) => service !== undefined);
      return { kind: 'listed', containers: found.toSorted((left, right) => (left.name < right.name ? -1 : 1)) };
    },
  };
}

/** The fields of the engine's list that are read. */
interface EngineContainer {
  readonly Id: string;
  readonly Names: readonly string[];
  readonly State: string;
  readonly Status: string;
  readonly Ports?: readonly { readonly IP?: string; readonly Type: string; readonly PublicPort?: number }[];
}

function askEngine(address: EngineAddress, path: string): ReturnType<typeof probeJson> {
  return probeJson({ address, path, timeoutMs: ENGINE_TIMEOUT_MS, bytesMax: ENGINE_BYTES_MAX });
}

async function serviceOf(address: EngineAddress, container: EngineContainer): Promise<ContainerService | undefined> {
  // The engine's filter matches anywhere in a name.
  const name = container.Names.map((each) => each.replace(/^\//, '')).find((each) => each.startsWith(CONTAINER_PREFIX));
  if (name === undefined || name.length === CONTAINER_PREFIX.length) return undefined;
  const health = healthOf(container.Status);
  const port = publishedPort(container);
  const loopbackPort = publishedPort(container, LOOPBACK_BINDINGS);
  return {
    name: name.slice(CONTAINER_PREFIX.length),
    state: await stateOf(address, container),
    ...(health === undefined ? {} : { health }),
    ...(port === undefined ? {} : { port }),
    ...(loopbackPort === undefined ? {} : { loopbackPort }),
  };
}

async function stateOf(address: EngineAddress, { Id, State, Status }: EngineContainer): Promise<ServiceState> {
  if (State === 'running') return 'running';
  if (State === 'created' || State === 'paused' || State === 'removing') return 'stopped';
  if (State !== 'exited') return 'error';
  const exitCode = Number(/^Exited \((\d+)\)/.exec(Status)?.[1]);
  if (!EXIT_CODES_WHEN_STOPPED.has(exitCode)) return 'error';
  if (exitCode !== EXIT_CODE_KILLED) return 'stopped';
  // Only an inspection tells the kernel's kill for want of memory from an operator's.
  const outcome = await askEngine(address, `/containers/${encodeURIComponent(Id)}/json`);
  const inspected = outcome.kind === 'json' ? (outcome.body as { readonly State?: { readonly OOMKilled?: boolean } }) : {};
  return inspected.State?.OOMKilled === true ? 'error' : 'stopped';
}

/** The list has the health only in its sentence: `Up 3 minutes (healthy)`, `Up 2 seconds (health: starting)`. */
function healthOf(sentence: string): ServiceHealth | undefined {
  const word = /\((?:health: )?(healthy|unhealthy|starting)\)/.exec(sentence)?.[1];
  return word as ServiceHealth | undefined;
}

/** Host addresses that 127.0.0.1 reaches. */
const LOOPBACK_BINDINGS: ReadonlySet<string> = new Set(['127.0.0.1', '0.0.0.0']);

function publishedPort({ Ports }: EngineContainer, bindings?: ReadonlySet<string>): number | undefined {
  const published = (Ports ?? []).flatMap(({ IP, Type, PublicPort }) =>
    Type === 'tcp' && PublicPort !== undefined && (bindings === undefined || bindings.has(IP ?? '')) ? [PublicPort] : [],
  );
  return published.length === 0 ? undefined : Math.min(...published);
}
