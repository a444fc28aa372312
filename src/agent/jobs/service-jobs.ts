/**
 * `SERVICE_STATUS`, `SERVICE_START` and `SERVICE_STOP`: containers `citadel-<service>` of this node, payload `{service}`.
 *
 * 1. Only a container with exactly that name is touched, by the id that it had when its name was read.
 * 2. Starting what runs and stopping what does not are fine: `changed` is false then.
 * 3. A service that does not exist here fails the job for good; an engine that does not answer may be tried again.
 */
import { JobError } from '../../protocol/errors.ts';
import type { AnyJobDefinition, Job } from '../../protocol/job-handler.ts';
import type { Json, JsonObject } from '../../protocol/json.ts';
import { askEngine, CONTAINER_PREFIX, DEFAULT_ENGINE, engineAddress, type EngineAddress, type EngineAnswer } from '../docker-engine.ts';
import { containerObserver, type ContainerObserver, type ContainerService } from '../observe-containers.ts';
import { fieldsOf, serviceIn } from './payload.ts';

/** What a container is given to end by itself before it is killed. The engine's own default, s. */
const STOP_GRACE_S = 10;
/** The engine inspects from memory. */
const INSPECT_TIMEOUT_MS = 5_000;
/** Starting waits for nothing but the container's first process. */
const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = STOP_GRACE_S * 1_000 + 20_000;

export function serviceJobs(dockerHost: string = DEFAULT_ENGINE, observer: ContainerObserver = containerObserver(dockerHost)): readonly AnyJobDefinition[] {
  const address = engineAddress(dockerHost);
  const act = (action: string, path: string, timeoutMs: number) => async (job: Job) => {
    if (address === undefined) throw new JobError('engine_unreachable', 'DOCKER_HOST is neither unix:// nor tcp://.', { retryable: false });
    const service = serviceIn(fieldsOf(job.payload));
    const id = await containerId(address, service, job.signal);
    const answer = await asked(address, 'POST', `/containers/${id}/${path}`, timeoutMs, job.signal);
    if (answer.status === 404) throw unknownService(service);
    if (answer.status >= 400) throw new JobError('engine_refused', `The engine could not ${action} ${CONTAINER_PREFIX}${service}: ${messageIn(answer.body)}`);
    return { service, status: await stateOf(address, id, job.signal), changed: answer.status !== 304 }; // (2)
  };
  return [
    { type: 'SERVICE_STATUS', timeoutMs: 30_000, handler: async (job: Job) => await status(observer, fieldsOf(job.payload)) },
    { type: 'SERVICE_START', timeoutMs: START_TIMEOUT_MS * 2, handler: act('start', 'start', START_TIMEOUT_MS) },
    { type: 'SERVICE_STOP', timeoutMs: STOP_TIMEOUT_MS * 2, handler: act('stop', `stop?t=${STOP_GRACE_S}`, STOP_TIMEOUT_MS) },
  ];
}

/** Of the service that is named, or of all. */
async function status(observer: ContainerObserver, fields: JsonObject): Promise<Json> {
  const service = fields['service'] === undefined ? undefined : serviceIn(fields);
  const outcome = await observer.observe();
  if (outcome.kind === 'absent') throw new JobError('engine_unreachable', 'There is no Docker engine on this node.');
  if (outcome.kind === 'unreachable') throw new JobError('engine_unreachable', `The Docker engine does not answer: ${outcome.reason}`);
  if (service === undefined) return { services: outcome.containers.map(shown) };
  const container = outcome.containers.find(({ name }) => name === service);
  if (container === undefined) throw unknownService(service);
  return shown(container);
}

function shown({ name, state, health, port }: ContainerService): JsonObject {
  return { service: name, status: state, ...(health === undefined ? {} : { health }), ...(port === undefined ? {} : { port }) };
}

/** (1) */
async function containerId(address: EngineAddress, service: string, signal: AbortSignal): Promise<string> {
  const name = CONTAINER_PREFIX + service;
  const { status: code, body } = await asked(address, 'GET', `/containers/${encodeURIComponent(name)}/json`, INSPECT_TIMEOUT_MS, signal);
  const { Id, Name } = (body ?? {}) as { readonly Id?: unknown; readonly Name?: unknown };
  if (code !== 200 || Name !== `/${name}` || typeof Id !== 'string' || !/^[0-9a-f]+$/.test(Id)) throw unknownService(service);
  return Id;
}

async function stateOf(address: EngineAddress, id: string, signal: AbortSignal): Promise<string> {
  const { body } = await asked(address, 'GET', `/containers/${id}/json`, INSPECT_TIMEOUT_MS, signal);
  const { State } = (body ?? {}) as { readonly State?: { readonly Status?: unknown } };
  return State?.Status === 'running' ? 'running' : 'stopped';
}

/** (3) */
async function asked(
  address: EngineAddress,
  method: 'GET' | 'POST',
  path: string,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Extract<EngineAnswer, { kind: 'answered' }>> {
  const answer = await askEngine(address, method, path, AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]));
  if (answer.kind === 'answered') return answer;
  throw new JobError('engine_unreachable', `The Docker engine does not answer: ${answer.reason}`);
}

function unknownService(service: string): JobError {
  return new JobError('unknown_service', `There is no container ${CONTAINER_PREFIX}${service} on this node.`, { retryable: false, field: 'service' });
}

function messageIn(body: unknown): string {
  const message = (body as { readonly message?: unknown } | undefined)?.message;
  return typeof message === 'string' ? message.slice(0, 500) : 'it gave no reason';
}
