/**
 * This node's side of remote configuration, put together: source → consumer → applier, and the loop that keeps what was applied.
 *
 * 1. What is started last is stopped first. An apply under way is left to the next start.
 */
import { join } from 'node:path';
import { Applier } from './apply/applier.ts';
import { Containers } from './apply/containers.ts';
import { Reconciler } from './apply/reconcile.ts';
import { systemdSsh, type Ssh } from './apply/ssh.ts';
import { ConfigConsumer } from './config-consumer.ts';
import { DEFAULT_ENGINE, engineAddress } from './docker-engine.ts';
import { gpuObserver } from './observe-gpu.ts';
import { InvalidSettingError } from '../protocol/errors.ts';
import type { EnrolledAs } from './apply/validate.ts';
import type { AgentClock } from './clock.ts';
import type { NodeProfile } from './collector.ts';
import type { ConfigSource } from './config-source.ts';
import type { Catalogue } from '../provisioning/node-catalogue.ts';
import type { AnyJobDefinition } from '../protocol/job-handler.ts';
import type { Logger } from 'pino';

export interface ProvisioningOptions {
  readonly nodeId: string;
  /** The agent's own folder. What is applied is kept in `nodes/<nodeId>` below it. */
  readonly folder: string;
  readonly source: ConfigSource;
  /** Of this node: built-in services, its own file, its veto and policy (`loadCatalogue`). */
  readonly catalogue: Catalogue;
  /** Asked with each configuration. Undefined for a node that never was enrolled. */
  readonly enrolled: () => EnrolledAs | undefined;
  /** CASTELLAN_ALLOW_MANUAL_CONFIG. */
  readonly allowManual: boolean;
  readonly onRedeemed: () => void;
  /** As in `DOCKER_HOST`; default: the standard socket. */
  readonly dockerHost?: string;
  readonly ssh?: Ssh;
  readonly reconcileEveryMs?: number;
  readonly clock: AgentClock;
  readonly log: Logger;
}

export class Provisioning {
  readonly #applier: Applier;
  readonly #consumer: ConfigConsumer;
  readonly #reconciler: Reconciler;

  /** Throws InvalidSettingError. */
  constructor(options: ProvisioningOptions) {
    const { nodeId, folder, source, catalogue, enrolled, allowManual, onRedeemed, clock, log } = options;
    const address = engineAddress(options.dockerHost ?? DEFAULT_ENGINE);
    if (address === undefined) throw new InvalidSettingError('DOCKER_HOST', 'must begin with unix:// or tcp://.');
    const containers = new Containers(address);
    const gpu = gpuObserver();
    this.#applier = new Applier({
      nodeId,
      folder: join(folder, 'nodes', nodeId),
      containers,
      catalogue,
      enrolled,
      allowManual,
      hasGpu: async () => (await gpu.observe()).length > 0 && (await containers.hasGpuRuntime()),
      ssh: options.ssh ?? systemdSsh(),
      onReport: (report, key, isFinal) => this.#consumer.onReport(report, key, isFinal),
      clock,
      log,
    });
    this.#consumer = new ConfigConsumer({ nodeId, applier: this.#applier, source, isEnrolled: () => enrolled() !== undefined, onRedeemed, clock, log });
    this.#reconciler = new Reconciler({
      applier: this.#applier,
      containers,
      onReport: (report) => this.#consumer.onReport(report, undefined, true),
      ...(options.reconcileEveryMs === undefined ? {} : { everyMs: options.reconcileEveryMs }),
      clock,
      log,
    });
  }

  /** The node's name and tags as they were configured. */
  readonly profile = (): NodeProfile => {
    const { deviceName, customTags } = this.#applier.settings;
    return { ...(deviceName === undefined ? {} : { name: deviceName }), ...(customTags === undefined ? {} : { tags: customTags }) };
  };

  /** For the worker of this node. */
  job(): AnyJobDefinition {
    return this.#consumer.job();
  }

  /** Throws InvalidSettingError when the folder holds what cannot be read. */
  async start(): Promise<void> {
    await this.#applier.start();
    this.#consumer.start();
    this.#reconciler.start();
  }

  async stop(): Promise<void> {
    await Promise.all([this.#reconciler.stop(), this.#applier.stop()]);
    await this.#consumer.stop();
  }
}
