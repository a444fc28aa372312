/** An agent's way to the control plane: a port with one implementation per `--mode`. */
import type { ConfigSource } from '../agent/config-source.ts';
import type { Publisher } from '../agent/publisher.ts';
import type { JobTransport } from '../protocol/worker.ts';

export interface NodeLink {
  /** For log lines, without secrets. */
  readonly name: string;
  /** Asked for once. Closed by who asked. */
  publisher(): Publisher;
  /** Asked for once. Closed by who asked. */
  jobTransport(): JobTransport;
  /** Those of the wanted that this node may take jobs from; waits for the control plane if that must be asked. Undefined when the signal aborts. */
  queues(wanted: readonly string[] | undefined, signal: AbortSignal): Promise<readonly string[] | undefined>;
  /** Asked for once. Closed by who asked. */
  configSource(): ConfigSource;
  close(): Promise<void>;
}
