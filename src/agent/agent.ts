/**
 * The node agent: observes this machine and reports it. Built from ports; `src/cli` chooses them.
 *
 * 1. `start` either leaves everything running or, when it throws, nothing.
 * 2. `stop` may be called in any state and any number of times; when it resolves, nothing of the agent runs.
 */
import { Reporter, type ReporterCounts } from './reporter.ts';
import { StatusServer } from './status-server.ts';
import { StatusCollector, type NodeProfile } from './collector.ts';
import { agentMetrics } from './metrics.ts';
import { StoppedError } from '../protocol/errors.ts';
import type { AgentClock } from './clock.ts';
import type { NodeAddresses } from './identity.ts';
import type { GpuObserver } from './observe-gpu.ts';
import type { ServiceObserver } from './observe-services.ts';
import type { SystemObserver } from './observe-system.ts';
import type { Publisher } from './publisher.ts';
import type { Logger } from 'pino';

export interface AgentOptions {
  readonly nodeId: string;
  readonly intervalMs: number;
  /** 0: any free port. */
  readonly statusPort: number;
  /** Absent: nothing is reported, the agent only answers questions. */
  readonly publisher?: Publisher;
  readonly deviceCode?: string;
  /** What jobs may ask for of this node. */
  readonly tags?: readonly string[];
  /** Asked with each status. */
  readonly profile?: () => NodeProfile;
  readonly observers: { readonly system: SystemObserver; readonly gpu: GpuObserver; readonly services: ServiceObserver };
  readonly addresses: () => NodeAddresses;
  readonly clock: AgentClock;
  readonly log: Logger;
}

type AgentState =
  | { readonly kind: 'idle' }
  | { readonly kind: 'starting'; readonly started: Promise<void> }
  | { readonly kind: 'running'; readonly server: StatusServer; readonly reporter: Reporter | undefined }
  | { readonly kind: 'stopping'; readonly stopped: Promise<void> }
  | { readonly kind: 'stopped' };

export class Agent {
  readonly #options: AgentOptions;
  #state: AgentState = { kind: 'idle' };

  constructor(options: AgentOptions) {
    this.#options = options;
  }

  get kind(): AgentState['kind'] {
    return this.#state.kind;
  }

  /** The port that the status server really has; undefined unless running. */
  get statusPort(): number | undefined {
    return this.#state.kind === 'running' ? this.#state.server.port : undefined;
  }

  get counts(): ReporterCounts | undefined {
    return this.#state.kind === 'running' ? this.#state.reporter?.counts : undefined;
  }

  /** Undefined once the code was redeemed. */
  setDeviceCode(deviceCode: string | undefined): void {
    if (this.#state.kind === 'running') this.#state.reporter?.setDeviceCode(deviceCode);
  }

  /** Resolves when the status server listens and the first beat is on its way. Throws InvalidSettingError for a port that cannot be had. */
  async start(): Promise<void> {
    if (this.#state.kind === 'starting') return this.#state.started;
    if (this.#state.kind === 'running') return;
    if (this.#state.kind !== 'idle') throw new StoppedError('The agent was stopped. Make a new one to start again.');
    const started = this.#startAll();
    this.#state = { kind: 'starting', started };
    return started;
  }

  async stop(): Promise<void> {
    if (this.#state.kind === 'starting') await this.#state.started.catch(() => undefined);
    if (this.#state.kind === 'stopping') return this.#state.stopped;
    if (this.#state.kind === 'running') {
      const stopped = this.#stopAll(this.#state.server, this.#state.reporter);
      this.#state = { kind: 'stopping', stopped };
      await stopped;
    } else if (this.#state.kind === 'idle') {
      await this.#options.publisher?.close();
    }
    this.#state = { kind: 'stopped' };
  }

  async #startAll(): Promise<void> {
    const { nodeId, tags = [], profile, observers, addresses, clock, log, publisher, intervalMs, deviceCode } = this.#options;
    const described = { nodeId, tags, ...(profile === undefined ? {} : { profile }) };
    const collector: StatusCollector = new StatusCollector({ ...described, ...observers, addresses, clock, statusPort: () => server.port });
    const metrics = agentMetrics({ status: () => collector.recent(), counts: () => this.counts });
    const server = new StatusServer({ port: this.#options.statusPort, status: () => collector.recent(), metrics });
    try {
      await server.listen();
      await server.follow(addresses().tailscale);
    } catch (error) {
      await Promise.all([server.close(), publisher?.close()]); // (1)
      this.#state = { kind: 'stopped' };
      throw error;
    }
    const source = {
      services: () => collector.services(),
      collect: async () => {
        await followMesh(server, addresses, log);
        return collector.collect();
      },
    };
    const reporter =
      publisher === undefined
        ? undefined
        : new Reporter({ nodeId, source, publisher, intervalMs, ...(deviceCode === undefined ? {} : { deviceCode }), clock, log });
    reporter?.start();
    this.#state = { kind: 'running', server, reporter };
    log.info({ nodeId, statusPort: server.port, intervalMs, reporting: reporter !== undefined }, 'The agent runs');
  }

  async #stopAll(server: StatusServer, reporter: Reporter | undefined): Promise<void> {
    const reported = reporter?.stop();
    // Closed without waiting for the reporter, so that a send under way ends at once.
    await Promise.all([this.#options.publisher?.close(), reported, server.close()]);
    this.#options.log.info('The agent has stopped');
  }
}

/** The mesh may come up, or change, while the agent runs: looked at with each beat. */
async function followMesh(server: StatusServer, addresses: () => NodeAddresses, log: Logger): Promise<void> {
  try {
    await server.follow(addresses().tailscale);
  } catch (error) {
    log.warn({ reason: String(error) }, 'Cannot listen on the mesh address');
  }
}
