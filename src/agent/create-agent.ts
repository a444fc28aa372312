/** The agent over this machine's real observers. `src/cli` adds the publisher and the settings. */
import { hostname, networkInterfaces } from 'node:os';
import { Agent } from './agent.ts';
import { systemClock } from './clock.ts';
import type { NodeProfile } from './collector.ts';
import { nodeAddresses, nodeIdFrom } from './identity.ts';
import { containerObserver } from './observe-containers.ts';
import { gpuObserver } from './observe-gpu.ts';
import { modelObserver } from './observe-models.ts';
import { serviceObserver } from './observe-services.ts';
import { systemObserver } from './observe-system.ts';
import type { Publisher } from './publisher.ts';
import type { Logger } from 'pino';

export interface CreateAgentOptions {
  /** Default: the hostname, sanitised. */
  readonly nodeId?: string;
  readonly intervalMs: number;
  readonly statusPort: number;
  readonly publisher?: Publisher;
  readonly deviceCode?: string;
  /** What jobs may ask for of this node. */
  readonly tags?: readonly string[];
  /** What the node was configured to be called, and tags beside those above; asked with each status. */
  readonly profile?: () => NodeProfile;
  /** As in `DOCKER_HOST`; default: the standard socket. */
  readonly dockerHost?: string;
  readonly log: Logger;
}

/** Throws InvalidIdError for a node id that does not match `^[a-zA-Z0-9._-]{1,64}$`. */
export function createAgent({ dockerHost, ...options }: CreateAgentOptions): Agent {
  const { log } = options;
  const clock = systemClock();
  const services = serviceObserver(containerObserver(dockerHost), modelObserver(), (engine) => log.info({ engine }, 'The Docker engine changed'));
  return new Agent({
    ...options,
    nodeId: nodeIdFrom(options.nodeId, hostname()),
    observers: { system: systemObserver(clock), gpu: gpuObserver(), services },
    addresses: () => nodeAddresses(networkInterfaces()),
    clock,
  });
}
