/**
 * Does the steps of a plan on the Docker engine. Each looks at what is there and does what is missing, so that it may be done again.
 *
 * 1. Only containers that an apply made are touched; the plan has refused names that somebody else's container has.
 * 2. Containers are hardened: no privileges, no capabilities but declared ones, limits, published on loopback, a network of their own,
 *    volumes by name and nothing of the host.
 */
import { ContainerEngineError } from '../../protocol/errors.ts';
import { CONTAINER_PREFIX } from '../docker-engine.ts';
import { LABELS, type Containers, type FoundContainer } from './containers.ts';
import type { Ssh } from './ssh.ts';
import type { ContainerSpec, Step, StepKinds } from '../../../machines/apply/steps.ts';

export interface StepTools {
  readonly containers: Containers;
  readonly ssh: Ssh;
  /** Values of a service's secrets, made when they are asked for first. */
  readonly secretsOf: (spec: ContainerSpec) => Promise<{ readonly [name: string]: string }>;
  readonly pulling: (service: string, percent: number) => void;
  readonly signal: AbortSignal;
}

export function containerName(service: string): string {
  return CONTAINER_PREFIX + service;
}

/** While its successor is on trial. */
export function parkedName(service: string): string {
  return `${CONTAINER_PREFIX}${service}-previous`;
}

const EXECUTORS: { readonly [Kind in keyof StepKinds]: (step: StepKinds[Kind], tools: StepTools) => Promise<void> } = {
  async pull({ service, image }, { containers, pulling, signal }) {
    if (await containers.hasImage(image, signal)) return;
    pulling(service, 0);
    await containers.pull(image, (percent) => pulling(service, percent), signal);
  },

  async park({ service, id }, { containers, signal }) {
    const all = await containers.list(signal);
    const found = all.find((each) => each.id === id);
    if (found === undefined) return;
    const inTheWay = all.find(({ name, id: other, service: theirs }) => name === parkedName(service) && other !== id && theirs === service);
    if (inTheWay !== undefined) await containers.remove(inTheWay.id, signal);
    await containers.stop(id, signal);
    if (found.name !== parkedName(service)) await containers.rename(id, parkedName(service), signal);
  },

  async create({ service, spec, specHash, apply, revision }, tools) {
    const { containers, signal } = tools;
    if ((await madeBy(apply, service, tools)) !== undefined) return;
    await containers.ensureNetwork(containerName(service), { [LABELS.service]: service }, signal);
    const labels = { [LABELS.service]: service, [LABELS.apply]: apply, [LABELS.spec]: specHash, [LABELS.revision]: String(revision ?? 'manual') };
    await containers.create(containerName(service), createBody(spec, labels, await tools.secretsOf(spec)), signal);
  },

  async start({ service, apply }, tools) {
    const made = await madeBy(apply, service, tools);
    if (made === undefined) throw new ContainerEngineError('engine_refused', `The container ${containerName(service)} is gone.`);
    await tools.containers.start(made.id, tools.signal);
  },

  async resume({ id }, { containers, signal }) {
    await containers.start(id, signal);
  },

  async ssh({ enabled }, { ssh, signal }) {
    if ((await ssh.enabled(signal)) !== enabled) await ssh.set(enabled, signal);
  },

  async discard({ service, apply }, tools) {
    const made = await madeBy(apply, service, tools);
    if (made !== undefined) await tools.containers.remove(made.id, tools.signal);
    await dropUnusedNetwork(service, tools);
  },

  async restore({ service, id, running }, { containers, signal }) {
    const found = (await containers.list(signal)).find((each) => each.id === id);
    if (found === undefined) throw new ContainerEngineError('engine_refused', `The container ${id.slice(0, 12)} that ran ${service} before is gone.`);
    if (found.name !== containerName(service)) await containers.rename(id, containerName(service), signal);
    if (running) await containers.start(id, signal);
    else await containers.stop(id, signal);
  },

  async remove({ service, id }, tools) {
    await tools.containers.remove(id, tools.signal);
    await dropUnusedNetwork(service, tools);
  },
};

/** Throws ContainerEngineError. */
export async function execute(step: Step, tools: StepTools): Promise<void> {
  await (EXECUTORS[step.kind] as (step: Step, tools: StepTools) => Promise<void>)(step, tools);
}

export async function madeBy(
  apply: string,
  service: string,
  { containers, signal }: Pick<StepTools, 'containers' | 'signal'>,
): Promise<FoundContainer | undefined> {
  return (await containers.list(signal)).find((each) => each.apply === apply && each.service === service);
}

/** A container that stands parked needs it still, although the engine would let it go. */
async function dropUnusedNetwork(service: string, { containers, signal }: StepTools): Promise<void> {
  if ((await containers.list(signal)).some((each) => each.service === service)) return;
  await containers.removeNetwork(containerName(service), signal);
}

const MB = 1024 * 1024;
const TMP_MB = 256;
const LOG_OPTIONS = { 'max-size': '10m', 'max-file': '3' };
const SECOND_NS = 1_000_000_000;
/** Of a check that the engine runs inside: often until it passes once, seldom afterwards. */
const CHECK = { Interval: 10 * SECOND_NS, Timeout: 5 * SECOND_NS, Retries: 3, StartInterval: SECOND_NS };

/** (2) https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerCreate */
export function createBody(spec: ContainerSpec, labels: { readonly [name: string]: string }, secrets: { readonly [name: string]: string }): object {
  const ports = spec.ports.map(({ container, host }) => [`${container}/tcp`, host] as const);
  const { health } = spec;
  return {
    Image: spec.image,
    ...(spec.command === null ? {} : { Cmd: spec.command }),
    ...(spec.user === null ? {} : { User: spec.user }),
    Env: Object.entries({ ...spec.env, ...secrets }).map(([name, value]) => `${name}=${value}`),
    Labels: labels,
    ExposedPorts: Object.fromEntries(ports.map(([port]) => [port, {}])),
    ...(health.kind === 'command' ? { Healthcheck: { Test: ['CMD', ...health.command], ...CHECK, StartPeriod: spec.startDeadlineMs * 1_000_000 } } : {}),
    HostConfig: {
      Privileged: false,
      CapDrop: ['ALL'],
      CapAdd: spec.capabilities,
      SecurityOpt: ['no-new-privileges'],
      ReadonlyRootfs: spec.readOnlyRoot,
      Tmpfs: { '/tmp': `rw,nosuid,nodev,size=${TMP_MB}m` },
      Mounts: spec.volumes.map(({ name, path }) => ({ Type: 'volume', Source: `${containerName(spec.service)}-${name}`, Target: path })),
      NetworkMode: containerName(spec.service),
      IpcMode: 'private',
      PortBindings: Object.fromEntries(ports.map(([port, host]) => [port, [{ HostIp: '127.0.0.1', HostPort: String(host) }]])),
      PidsLimit: spec.pids,
      // Swap beyond memory would turn a limit into a slow node.
      ...(spec.memoryMb === null ? {} : { Memory: spec.memoryMb * MB, MemorySwap: spec.memoryMb * MB }),
      ...(spec.cpus === null ? {} : { NanoCpus: Math.round(spec.cpus * 1e9) }),
      ...(spec.sharedMemoryMb === null ? {} : { ShmSize: spec.sharedMemoryMb * MB }),
      ...(spec.gpu ? { DeviceRequests: [{ Driver: 'nvidia', Count: -1, Capabilities: [['gpu']] }] } : {}),
      RestartPolicy: { Name: 'unless-stopped' },
      LogConfig: { Type: 'json-file', Config: LOG_OPTIONS },
    },
  };
}
