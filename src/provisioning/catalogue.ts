/**
 * What a service of the catalogue is: everything that decides how its container looks. A configuration only names it.
 *
 * A node may have a catalogue of its own, which adds and replaces, and a veto, which no configuration overrides.
 */

export type ServiceKind = 'llm' | 'embedding' | 'database' | 'other';

export interface CatalogueParameter {
  readonly description: string;
  readonly type: 'string' | 'integer' | 'boolean';
  /** Of a string; always anchored. */
  readonly pattern?: string;
  readonly min?: number;
  readonly max?: number;
  readonly default?: string | number | boolean;
  readonly required?: true;
  /** The environment variable that carries it. */
  readonly env?: string;
  /** What the variable is set to, `{}` replaced by the value; default: the value alone. */
  readonly format?: string;
  /** Arguments that carry it, each `{}` replaced by the value: never parsed by a shell. */
  readonly args?: readonly string[];
}

export interface CatalogueSecret {
  readonly description: string;
}

export type HealthCheck =
  | { readonly kind: 'http'; readonly port: number; readonly path: string }
  | { readonly kind: 'tcp'; readonly port: number }
  /** Run inside the container. */
  | { readonly kind: 'command'; readonly command: readonly string[] };

export interface CatalogueService {
  /** `^[a-z][a-z0-9-]{0,31}$`; the container is `citadel-<name>`. */
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly kind: ServiceKind;
  /** By digest or by tag; chosen here and nowhere else. */
  readonly image: string;
  readonly command?: readonly string[];
  readonly env?: { readonly [name: string]: string };
  /** By the environment variable that carries it. Made once on the node, kept in its own folder; in no configuration, report or log. See `secretsOf`. */
  readonly secrets?: { readonly [env: string]: CatalogueSecret };
  /** Who the processes run as, where it is not the image's own choice: spares the capabilities for changing users. */
  readonly user?: string;
  readonly parameters?: { readonly [name: string]: CatalogueParameter };
  /** Container port → loopback port of the node. */
  readonly ports: readonly { readonly container: number; readonly host: number }[];
  /** Named volumes `citadel-<service>-<name>`; nothing of the host is mounted. */
  readonly volumes: readonly { readonly name: string; readonly path: string }[];
  readonly gpu?: { readonly required: boolean; readonly memoryMb: number };
  readonly diskGb: number;
  readonly limits: { readonly memoryMb?: number; readonly cpus?: number; readonly pids: number; readonly sharedMemoryMb?: number };
  /** The root file system cannot be written, except volumes and /tmp. */
  readonly readOnlyRoot?: boolean;
  /** Capabilities that the image cannot do without; all others are dropped. */
  readonly capabilities?: readonly string[];
  readonly health: HealthCheck;
  /** Longest time from start to healthy, ms. */
  readonly startDeadlineMs: number;
  readonly models?: { readonly api: 'openai' | 'ollama'; readonly port: number };
}

/** What a node's own file says: services of its own, and its veto. */
export interface LocalCatalogue {
  readonly services?: readonly CatalogueService[];
  /** Names that are never run here. */
  readonly deny?: readonly string[];
  /** When present, only these may run. */
  readonly allow?: readonly string[];
  /** Settings that remote configuration may change; default none. */
  readonly policy?: { readonly ssh?: boolean; readonly manualConfig?: boolean };
}
