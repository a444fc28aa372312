/**
 * The Docker engine's API as far as applying a configuration needs it, over plain HTTP.
 * Fields: https://docs.docker.com/reference/api/engine/version/v1.41/
 *
 * 1. Doing what is done already is no failure: starting what runs, stopping what stands, removing what is gone.
 * 2. Every call has a limit; each method throws ContainerEngineError, with the engine's own words when it refused.
 */
import { ContainerEngineError } from '../../protocol/errors.ts';
import { askEngine, askEngineBytes, CONTAINER_PREFIX, type EngineAddress, type EngineMethod } from '../docker-engine.ts';
import { PullProgress, type PullLine } from './pull-progress.ts';

/** What a container is given to end by itself before it is killed: room for a database to write what it holds. */
const STOP_GRACE_S = 10;
const LOOK_TIMEOUT_MS = 10_000;
const ACT_TIMEOUT_MS = 60_000;
/** Images of model servers have 10 GB and more. */
const PULL_TIMEOUT_MS = 4 * 3_600_000;
const MESSAGE_LENGTH_MAX = 500;

export const LABELS = { service: 'castellan.service', revision: 'castellan.revision', apply: 'castellan.apply', spec: 'castellan.spec' } as const;

export interface FoundContainer {
  readonly id: string;
  readonly name: string;
  /** Undefined when it was not made by an apply. */
  readonly service: string | undefined;
  readonly apply: string | undefined;
  readonly specHash: string | undefined;
  readonly running: boolean;
  /** It ends again and again, and the engine is about to start it once more. */
  readonly restarting: boolean;
}

export interface InspectedContainer {
  readonly running: boolean;
  readonly restarts: number;
  readonly exitCode: number;
  readonly outOfMemory: boolean;
  /** Of the engine's own check. */
  readonly health: 'healthy' | 'unhealthy' | 'starting' | undefined;
  readonly address: string | undefined;
}

export class Containers {
  readonly #address: EngineAddress;

  constructor(address: EngineAddress) {
    this.#address = address;
  }

  /** Those with our prefix or our label, running or not. */
  async list(signal: AbortSignal): Promise<readonly FoundContainer[]> {
    const found = (await this.#ask('GET', '/containers/json?all=1', signal, LOOK_TIMEOUT_MS)) as readonly ListedContainer[];
    return found.map(foundContainer).filter(({ name, service }) => service !== undefined || name.startsWith(CONTAINER_PREFIX));
  }

  /** Undefined when there is none. */
  async inspect(id: string, signal: AbortSignal): Promise<InspectedContainer | undefined> {
    const found = await this.#askFor(404, 'GET', `/containers/${encodeURIComponent(id)}/json`, signal, LOOK_TIMEOUT_MS);
    return found === undefined ? undefined : inspected(found as InspectAnswer);
  }

  async create(name: string, body: object, signal: AbortSignal): Promise<string> {
    const { Id } = (await this.#ask('POST', `/containers/create?name=${encodeURIComponent(name)}`, signal, ACT_TIMEOUT_MS, body)) as { readonly Id: string };
    return Id;
  }

  async start(id: string, signal: AbortSignal): Promise<void> {
    await this.#ask('POST', `/containers/${id}/start`, signal, ACT_TIMEOUT_MS); // (1): 304
  }

  async stop(id: string, signal: AbortSignal): Promise<void> {
    await this.#askFor(404, 'POST', `/containers/${id}/stop?t=${STOP_GRACE_S}`, signal, ACT_TIMEOUT_MS);
  }

  async rename(id: string, name: string, signal: AbortSignal): Promise<void> {
    await this.#ask('POST', `/containers/${id}/rename?name=${encodeURIComponent(name)}`, signal, ACT_TIMEOUT_MS);
  }

  /** Also what runs. Its named volumes stay; `v=1` drops those without a name. */
  async remove(id: string, signal: AbortSignal): Promise<void> {
    await this.#askFor(404, 'DELETE', `/containers/${id}?force=1&v=1`, signal, ACT_TIMEOUT_MS);
  }

  /** The newest lines that the container wrote. */
  async lines(id: string, count: number, signal: AbortSignal): Promise<readonly string[]> {
    const path = `/containers/${id}/logs?stdout=1&stderr=1&tail=${count}`;
    const answer = await askEngineBytes(this.#address, 'GET', path, limited(signal, LOOK_TIMEOUT_MS));
    if (answer.kind !== 'answered' || answer.status !== 200) return [];
    return demultiplexed(answer.body)
      .split('\n')
      .filter((line) => line !== '')
      .slice(-count);
  }

  async ensureNetwork(name: string, labels: object, signal: AbortSignal): Promise<void> {
    const found = await this.#askFor(404, 'GET', `/networks/${encodeURIComponent(name)}`, signal, LOOK_TIMEOUT_MS);
    if (found !== undefined) return;
    await this.#askFor(409, 'POST', '/networks/create', signal, ACT_TIMEOUT_MS, { Name: name, Driver: 'bridge', CheckDuplicate: true, Labels: labels });
  }

  /** Unless a container is still on it. */
  async removeNetwork(name: string, signal: AbortSignal): Promise<void> {
    await this.#askFor([404, 403], 'DELETE', `/networks/${encodeURIComponent(name)}`, signal, ACT_TIMEOUT_MS);
  }

  async hasImage(image: string, signal: AbortSignal): Promise<boolean> {
    return (await this.#askFor(404, 'GET', `/images/${encodeURIComponent(image)}/json`, signal, LOOK_TIMEOUT_MS)) !== undefined;
  }

  /** Whether the engine can give containers a GPU: it has NVIDIA's runtime, or devices by CDI. */
  async hasGpuRuntime(): Promise<boolean> {
    const info = (await this.#ask('GET', '/info', AbortSignal.timeout(LOOK_TIMEOUT_MS), LOOK_TIMEOUT_MS)) as EngineInfo;
    return info.Runtimes?.['nvidia'] !== undefined || (info.DiscoveredDevices ?? []).some(({ ID }) => ID?.startsWith('nvidia.com/gpu') === true);
  }

  /** `told`: percent, 0 to 100. */
  async pull(image: string, told: (percent: number) => void, signal: AbortSignal): Promise<void> {
    const progress = new PullProgress();
    let failure: string | undefined;
    const read = (line: PullLine): void => {
      failure ??= line.error;
      const percent = progress.take(line);
      if (percent !== undefined) told(percent);
    };
    const lines = new JsonLines<PullLine>(read);
    const path = `/images/create?fromImage=${encodeURIComponent(image)}`;
    const answer = await askEngineBytes(this.#address, 'POST', path, limited(signal, PULL_TIMEOUT_MS), undefined, (part) => lines.take(part));
    if (answer.kind === 'unreachable') throw new ContainerEngineError('engine_unreachable', `The Docker engine does not answer: ${answer.reason}`);
    if (answer.status >= 400) throw refusal(`get the image ${image}`, answer.status, parsedMessage(answer.body));
    if (failure !== undefined) throw refusal(`get the image ${image}`, answer.status, failure);
  }

  async #ask(method: EngineMethod, path: string, signal: AbortSignal, timeoutMs: number, body?: object): Promise<unknown> {
    return await this.#askFor([], method, path, signal, timeoutMs, body);
  }

  /** Undefined for a status that means what was wanted is so already, or that there is none. */
  async #askFor(fine: number | readonly number[], method: EngineMethod, path: string, signal: AbortSignal, timeoutMs: number, body?: object): Promise<unknown> {
    const answer = await askEngine(this.#address, method, path, limited(signal, timeoutMs), body);
    if (answer.kind === 'unreachable') throw new ContainerEngineError('engine_unreachable', `The Docker engine does not answer: ${answer.reason}`);
    if ([fine].flat().includes(answer.status)) return undefined;
    if (answer.status >= 400) {
      const { message } = (answer.body ?? {}) as { readonly message?: unknown };
      throw refusal(`${method} ${path.replace(/\?.*/, '')}`, answer.status, typeof message === 'string' ? message : '');
    }
    return answer.body ?? {};
  }
}

function limited(signal: AbortSignal, timeoutMs: number): AbortSignal {
  return AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
}

function refusal(what: string, status: number, words: string): ContainerEngineError {
  const said = words === '' ? 'it gave no reason' : words.slice(0, MESSAGE_LENGTH_MAX);
  return new ContainerEngineError('engine_refused', `The Docker engine could not ${what}: ${said}`, status);
}

interface EngineInfo {
  readonly Runtimes?: { readonly [name: string]: unknown };
  readonly DiscoveredDevices?: readonly { readonly ID?: string }[];
}

interface ListedContainer {
  readonly Id: string;
  readonly Names: readonly string[];
  readonly State: string;
  readonly Labels?: { readonly [name: string]: string };
}

function foundContainer({ Id, Names, State, Labels = {} }: ListedContainer): FoundContainer {
  return {
    id: Id,
    name: (Names[0] ?? '').replace(/^\//, ''),
    service: Labels[LABELS.service],
    apply: Labels[LABELS.apply],
    specHash: Labels[LABELS.spec],
    running: State === 'running' || State === 'restarting',
    restarting: State === 'restarting',
  };
}

interface InspectAnswer {
  readonly RestartCount?: number;
  readonly State?: { readonly Running?: boolean; readonly ExitCode?: number; readonly OOMKilled?: boolean; readonly Health?: { readonly Status?: string } };
  readonly NetworkSettings?: { readonly Networks?: { readonly [name: string]: { readonly IPAddress?: string } } };
}

function inspected({ State = {}, RestartCount = 0, NetworkSettings }: InspectAnswer): InspectedContainer {
  const health = State.Health?.Status;
  const address = Object.values(NetworkSettings?.Networks ?? {}).find(({ IPAddress }) => IPAddress !== undefined && IPAddress !== '')?.IPAddress;
  return {
    running: State.Running === true,
    restarts: RestartCount,
    exitCode: State.ExitCode ?? 0,
    outOfMemory: State.OOMKilled === true,
    health: health === 'healthy' || health === 'unhealthy' || health === 'starting' ? health : undefined,
    address,
  };
}

/** Without a terminal the engine frames each piece: stream, three zeroes, length, bytes. */
function demultiplexed(bytes: Buffer): string {
  const pieces: Buffer[] = [];
  let at = 0;
  while (at + 8 <= bytes.length) {
    const length = bytes.readUInt32BE(at + 4);
    pieces.push(bytes.subarray(at + 8, at + 8 + length));
    at += 8 + length;
  }
  return Buffer.concat(pieces).toString();
}

function parsedMessage(body: Buffer): string {
  try {
    const { message } = JSON.parse(body.toString()) as { readonly message?: unknown };
    return typeof message === 'string' ? message : '';
  } catch {
    return '';
  }
}

/** Lines of JSON out of parts that end anywhere. */
class JsonLines<Line> {
  readonly #told: (line: Line) => void;
  #rest = '';

  constructor(told: (line: Line) => void) {
    this.#told = told;
  }

  take(part: Buffer): void {
    const lines = (this.#rest + part.toString()).split('\n');
    this.#rest = (lines.pop() ?? '').slice(-LINE_LENGTH_MAX);
    for (const line of lines) {
      if (line.trim() === '') continue;
      try {
        this.#told(JSON.parse(line) as Line);
      } catch {
        // A line that is no JSON says nothing.
      }
    }
  }
}
const LINE_LENGTH_MAX = 65_536;
