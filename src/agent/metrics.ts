/**
 * This node's status and the agent's own counters for Prometheus.
 *
 * prom-client is loaded at the first scrape: it takes some 8 MB that an agent nobody scrapes need not hold.
 */
import type { Registry } from 'prom-client';
import type { ReporterCounts } from './reporter.ts';
import type { NodeStatus, SystemStatus } from './status.ts';

export interface MetricsSources {
  readonly status: () => Promise<NodeStatus>;
  readonly counts: () => ReporterCounts | undefined;
}

export type Metrics = () => Promise<{ readonly contentType: string; readonly text: string }>;

const SYSTEM: { readonly [name in keyof SystemStatus]-?: string } = {
  cpu_percent: 'Processor load since the last observation, percent',
  memory_used_gb: 'Memory in use, in units of 1024³ bytes',
  memory_total_gb: 'Memory of the machine, in units of 1024³ bytes',
  memory_percent: 'Memory in use, percent',
  disk_used_gb: 'Used part of the root file system, in units of 1024³ bytes',
  disk_total_gb: 'Size of the root file system, in units of 1024³ bytes',
  disk_percent: 'Used part of the root file system, percent',
};

const GPU = {
  memory_used_mb: 'GPU memory in use, MiB',
  memory_total_mb: 'GPU memory, MiB',
  utilization_percent: 'GPU load, percent',
  temperature_celsius: 'GPU temperature, degrees Celsius',
} as const;

export function agentMetrics(sources: MetricsSources): Metrics {
  let registry: Promise<Registry> | undefined;
  return async () => {
    registry ??= buildRegistry(sources);
    const ready = await registry;
    return { contentType: ready.contentType, text: await ready.metrics() };
  };
}

async function buildRegistry({ status, counts }: MetricsSources): Promise<Registry> {
  const { Counter, Gauge, Registry } = await import('prom-client');
  const registry = new Registry();
  const registers: [] = [];

  for (const [name, help] of Object.entries(SYSTEM)) {
    registry.registerMetric(
      new Gauge({
        name: `castellan_node_${name}`,
        help,
        registers,
        async collect() {
          const value = (await status()).system[name as keyof SystemStatus];
          if (value === undefined) this.remove();
          else this.set(value);
        },
      }),
    );
  }
  for (const [name, help] of Object.entries(GPU)) {
    registry.registerMetric(
      new Gauge({
        name: `castellan_gpu_${name}`,
        help,
        labelNames: ['gpu', 'name'],
        registers,
        async collect() {
          this.reset();
          for (const gpu of (await status()).gpu) {
            const value = gpu[name as keyof typeof GPU];
            if (value !== undefined) this.set({ gpu: String(gpu.index), name: gpu.name }, value);
          }
        },
      }),
    );
  }
  registry.registerMetric(
    new Gauge({
      name: 'castellan_service_running',
      help: 'Whether a service of this node runs (1) or not (0)',
      labelNames: ['service', 'type', 'status', 'health'],
      registers,
      async collect() {
        this.reset();
        for (const { name, type, status: state, health } of (await status()).services) {
          this.set({ service: name, type, status: state, health: health ?? 'unknown' }, state === 'running' ? 1 : 0);
        }
      },
    }),
  );
  registry.registerMetric(
    new Gauge({
      name: 'castellan_agent_resident_memory_bytes',
      help: 'Memory of the agent itself',
      registers,
      collect() {
        this.set(process.memoryUsage.rss());
      },
    }),
  );
  const counter = (name: string, help: string, value: () => number): void => {
    registry.registerMetric(
      new Counter({
        name,
        help,
        registers,
        collect() {
          this.reset();
          this.inc(value());
        },
      }),
    );
  };
  counter('castellan_agent_cpu_seconds_total', 'Processor time of the agent itself', () => cpuSeconds(process.cpuUsage()));
  counter('castellan_agent_statuses_published_total', 'Statuses stored at the control plane', () => counts()?.published ?? 0);
  counter('castellan_agent_statuses_failed_total', 'Attempts to publish that failed', () => counts()?.failed ?? 0);
  counter('castellan_agent_statuses_dropped_total', 'Statuses replaced by a newer one before they could be sent', () => counts()?.dropped ?? 0);
  return registry;
}

function cpuSeconds({ user, system }: NodeJS.CpuUsage): number {
  return (user + system) / 1e6;
}
