/**
 * Puts the observers' findings together into this node's status.
 *
 * 1. Callers that ask at the same time share one round of observation; one that asks within {@link FRESH_MS} gets the last:
 *    however often `/status` is asked, observing costs what it costs once a second.
 */
import { nodeStatus, type GpuStatus, type NodeStatus, type ServiceStatus } from './status.ts';
import type { AgentClock } from './clock.ts';
import type { NodeAddresses } from './identity.ts';
import type { GpuObserver } from './observe-gpu.ts';
import type { ServiceObserver } from './observe-services.ts';
import type { SystemObserver } from './observe-system.ts';

export const FRESH_MS = 1_000;

export interface NodeProfile {
  readonly name?: string;
  readonly tags?: readonly string[];
}

export interface CollectorOptions {
  readonly nodeId: string;
  /** Left out of the status when there are none. */
  readonly tags?: readonly string[];
  /** What the node was configured to be called, and tags beside those above. */
  readonly profile?: () => NodeProfile;
  readonly system: SystemObserver;
  readonly gpu: GpuObserver;
  readonly services: ServiceObserver;
  readonly addresses: () => NodeAddresses;
  /** Known once the status server listens. */
  readonly statusPort: () => number | undefined;
  readonly clock: AgentClock;
}

export class StatusCollector {
  readonly #options: CollectorOptions;
  #running: Promise<NodeStatus> | undefined;
  #last: { readonly at: number; readonly status: NodeStatus } | undefined;

  constructor(options: CollectorOptions) {
    this.#options = options;
  }

  /** The status as it is now, or at most {@link FRESH_MS} ago. (1) */
  async recent(): Promise<NodeStatus> {
    const last = this.#last;
    if (last !== undefined && this.#options.clock.now() - last.at < FRESH_MS) return last.status;
    return this.collect();
  }

  /** Observes now, or joins the round that runs. */
  collect(): Promise<NodeStatus> {
    this.#running ??= this.#round().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /** The cheap part, for the watch: services and their health. */
  services(): Promise<readonly ServiceStatus[]> {
    return this.#options.services.observe(this.#options.statusPort());
  }

  async #round(): Promise<NodeStatus> {
    const { nodeId, system, gpu, clock } = this.#options;
    const { name = nodeId, tags: configured = [] } = this.#options.profile?.() ?? {};
    const tags = [...new Set([...(this.#options.tags ?? []), ...configured])];
    const [load, gpus, services] = await Promise.all([system.observe(), gpu.observe().catch((): readonly GpuStatus[] => []), this.services()]);
    const { tailscale, network } = this.#options.addresses();
    const statusPort = this.#options.statusPort();
    const node = {
      name,
      ...(tags.length === 0 ? {} : { tags }),
      ...(tailscale === undefined ? {} : { tailscale_ip: tailscale }),
      ...(network === undefined ? {} : { network_ip: network }),
      uptime_seconds: system.uptimeSeconds(),
      ...(statusPort === undefined ? {} : { status_port: statusPort }),
    };
    const status = nodeStatus({ node, system: load, gpu: gpus, services }, clock.wallTime());
    this.#last = { at: clock.now(), status };
    return status;
  }
}
