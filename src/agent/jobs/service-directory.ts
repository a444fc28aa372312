/**
 * Where a running service of this node answers: the loopback port that is surely its own.
 *
 * 1. A container is asked through a port that it publishes on loopback. One that is published on another address only is not asked: on
 *    loopback the same port may be anybody's.
 * 2. A model server without a container, or in one on the host's network, is known by its answer (observe-models.ts).
 */
import { JobError } from '../../protocol/errors.ts';
import type { ContainerObserver } from '../observe-containers.ts';
import type { ModelObserver } from '../observe-models.ts';

export interface ServiceDirectory {
  /** Throws JobError when nothing of that name runs here, or it cannot be asked. */
  portOf(service: string): Promise<number>;
}

/** `ownPort`: of the agent's status server, which is no service. */
export function serviceDirectory(containers: ContainerObserver, models: ModelObserver, ownPort: () => number | undefined): ServiceDirectory {
  const modelServerPort = async (service: string): Promise<number | undefined> => {
    const servers = await models.observe([], ownPort());
    return servers.find(({ kind, port }) => service === kind || service === `${kind}-${port}`)?.port;
  };
  const find = async (service: string): Promise<number> => {
    const outcome = await containers.observe();
    const container = outcome.kind === 'listed' ? outcome.containers.find(({ name }) => name === service) : undefined;
    if (container !== undefined && container.state !== 'running') throw new JobError('service_not_running', `The service ${service} is ${container.state}.`);
    if (container?.loopbackPort !== undefined) return container.loopbackPort; // (1)
    if (container?.port !== undefined) {
      throw new JobError('service_not_reachable', `The service ${service} publishes no port on loopback.`, { retryable: false });
    }
    const port = await modelServerPort(service); // (2)
    if (port !== undefined) return port;
    if (container !== undefined) throw new JobError('service_not_reachable', `The service ${service} publishes no port.`, { retryable: false });
    if (outcome.kind === 'unreachable') throw new JobError('engine_unreachable', `The Docker engine does not answer: ${outcome.reason}`);
    throw new JobError('unknown_service', `There is no service ${service} on this node.`, { retryable: false, field: 'service' });
  };
  return {
    async portOf(service) {
      const port = await find(service);
      if (port === ownPort()) throw new JobError('service_not_reachable', 'The agent does not ask itself.', { retryable: false });
      return port;
    },
  };
}
