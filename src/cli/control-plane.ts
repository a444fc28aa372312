/** The control plane as `serve` and `start` run it: engine, contracts and HTTP over one Redis. */
import type { Logger } from 'pino';
import type { RedisTarget } from '../redis/target.ts';
import type { Environment } from './settings.ts';

export interface ControlPlaneOptions {
  readonly redis: RedisTarget;
  readonly environment: Environment;
  /** Holds the secret and the administrator's token. */
  readonly dataDir: string;
  readonly host: string;
  readonly port: number;
  /** The node whose agent was started together with the control plane: asked live on loopback. */
  readonly localNodeId?: string;
  readonly log: Logger;
}

export interface RunningControlPlane {
  /** Where it listens, such as `http://127.0.0.1:3001`. */
  readonly url: string;
  /** Opens the inspector as administrator, once: the secret stands in the fragment. */
  readonly inspectorLink: string;
  /** Releases the partitions, closes HTTP and Redis connections. */
  stop(): Promise<void>;
}

/** Resolves when it takes requests and owns its partitions. What fails to start leaves nothing running. */
export type StartControlPlane = (options: ControlPlaneOptions) => Promise<RunningControlPlane>;
