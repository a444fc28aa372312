/**
 * The status message that a node sends, in its two forms, and how it is assembled.
 *
 * 1. Strict writer: only declared fields, only finite numbers that can be true; what could not be read is left out,
 *    never replaced by a sentinel such as -1 or NaN.
 * 2. Bounded: lists and texts are cut, so that a message stays far below what a reader accepts.
 */
import { round, reading } from './reading.ts';

export const STATUS_VERSION = '1.0';
/** Redis stream, its approximate length, and the channel of one node. */
export const STATUS_STREAM = 'node:status:stream';
export const STATUS_STREAM_LENGTH = 10_000;
export function statusChannel(nodeId: string): string {
  return `node:status:${nodeId}`;
}

/** More GPUs than any single machine has. */
const GPUS_MAX = 64;
/** A node runs a handful of services; 64 leaves room and bounds the message. */
const SERVICES_MAX = 64;
const MODELS_MAX = 64;
const TEXT_LENGTH_MAX = 200;

export type ServiceType = 'llm' | 'embedding' | 'database' | 'other';
export type ServiceState = 'running' | 'stopped' | 'error';
export type ServiceHealth = 'healthy' | 'ok' | 'degraded' | 'unhealthy' | 'starting' | 'unknown';

export interface ServiceStatus {
  readonly name: string;
  readonly type: ServiceType;
  readonly status: ServiceState;
  readonly port?: number;
  readonly health?: ServiceHealth;
  readonly models?: readonly string[];
}

export interface GpuStatus {
  readonly index: number;
  readonly name: string;
  readonly memory_used_mb?: number;
  readonly memory_total_mb?: number;
  readonly utilization_percent?: number;
  readonly temperature_celsius?: number;
  readonly driver?: string;
}

/** GB are units of 1024³ bytes, as memory is sold and as the other writers of this message count. */
export interface SystemStatus {
  readonly cpu_percent?: number;
  readonly memory_used_gb?: number;
  readonly memory_total_gb?: number;
  readonly memory_percent?: number;
  readonly disk_used_gb?: number;
  readonly disk_total_gb?: number;
  readonly disk_percent?: number;
}

export interface NodeIdentity {
  readonly name: string;
  /** What jobs may ask for of a node. */
  readonly tags?: readonly string[];
  readonly tailscale_ip?: string;
  readonly network_ip?: string;
  readonly uptime_seconds: number;
  readonly status_port?: number;
}

/** The flat form: what `GET /status` answers. */
export interface NodeStatus {
  readonly version: string;
  /** RFC 3339, UTC. */
  readonly timestamp: string;
  readonly node: NodeIdentity;
  readonly system: SystemStatus;
  readonly gpu: readonly GpuStatus[];
  readonly services: readonly ServiceStatus[];
}

/** The wrapped form: the `payload` of a stream entry. */
export interface StatusMessage {
  readonly version: string;
  readonly timestamp: string;
  readonly nodeId: string;
  /** A bearer secret: only in the stream, and only until it was redeemed. */
  readonly deviceCode?: string;
  readonly status: NodeStatus;
}

/** What the observers found, before it is made fit for sending. */
export interface Observation {
  readonly node: NodeIdentity;
  readonly system: SystemStatus;
  readonly gpu: readonly GpuStatus[];
  readonly services: readonly ServiceStatus[];
}

export function nodeStatus(observation: Observation, at: Date): NodeStatus {
  return {
    version: STATUS_VERSION,
    timestamp: at.toISOString(),
    node: observation.node,
    system: system(observation.system),
    gpu: observation.gpu.slice(0, GPUS_MAX).map(gpu),
    services: observation.services.slice(0, SERVICES_MAX).map(service),
  };
}

export function statusMessage(nodeId: string, status: NodeStatus, deviceCode?: string): StatusMessage {
  return { version: STATUS_VERSION, timestamp: status.timestamp, nodeId, ...(deviceCode === undefined ? {} : { deviceCode }), status };
}

function system(found: SystemStatus): SystemStatus {
  return {
    ...number('cpu_percent', found.cpu_percent, 1),
    ...number('memory_used_gb', found.memory_used_gb, 2),
    ...number('memory_total_gb', found.memory_total_gb, 2),
    ...number('memory_percent', found.memory_percent, 1),
    ...number('disk_used_gb', found.disk_used_gb, 2),
    ...number('disk_total_gb', found.disk_total_gb, 2),
    ...number('disk_percent', found.disk_percent, 1),
  };
}

function gpu(found: GpuStatus): GpuStatus {
  return {
    index: found.index,
    name: text(found.name),
    ...number('memory_used_mb', found.memory_used_mb, 0),
    ...number('memory_total_mb', found.memory_total_mb, 0),
    ...number('utilization_percent', found.utilization_percent, 1),
    ...number('temperature_celsius', found.temperature_celsius, 1),
    ...(found.driver === undefined ? {} : { driver: text(found.driver) }),
  };
}

function service(found: ServiceStatus): ServiceStatus {
  return {
    name: text(found.name),
    type: found.type,
    status: found.status,
    ...(found.port === undefined ? {} : { port: found.port }),
    ...(found.health === undefined ? {} : { health: found.health }),
    ...(found.models === undefined ? {} : { models: found.models.slice(0, MODELS_MAX).map(text) }),
  };
}

function number<Name extends string>(name: Name, value: unknown, digits: number): { readonly [key in Name]?: number } {
  const found = reading(value);
  return found === undefined ? {} : ({ [name]: round(found, digits) } as { readonly [key in Name]: number });
}

function text(value: string): string {
  return value.slice(0, TEXT_LENGTH_MAX);
}
