/**
 * The statuses of simulated agents: pure, repeatable, about 760 bytes each, in the documented wrapped shape.
 * Readings wander with the beat, so that documents differ while the facts that a machine decides by stay in their bands.
 */
export interface SimulatedStatus {
  readonly nodeId: string;
  /** RFC 3339. */
  readonly timestamp: string;
  /** JSON text of the stream's payload. */
  readonly payload: string;
}

/** `sim-000042`. */
export function simulatedNodeId(node: number): string {
  return `sim-${String(node).padStart(6, '0')}`;
}

/** The status that simulated node number `node` sends as its `beat`-th, at `atMs` by its own clock. */
export function simulatedStatus(node: number, beat: number, atMs: number): SimulatedStatus {
  const nodeId = simulatedNodeId(node);
  const timestamp = new Date(atMs).toISOString();
  const wander = (node * 7919 + beat * 104_729) % 1000;
  const payload = {
    version: '1.0',
    timestamp,
    nodeId,
    status: {
      version: '1.0',
      timestamp,
      node: { name: nodeId, tailscale_ip: `100.64.${(node >> 8) & 255}.${node & 255}`, uptime_seconds: 86_400 + beat * 30, status_port: 8080 },
      system: {
        cpu_percent: round(5 + wander / 20),
        memory_used_gb: round(12 + wander / 100),
        memory_total_gb: 64,
        disk_used_gb: 450,
        disk_total_gb: 1000,
        disk_percent: 45,
      },
      gpu: [
        {
          index: 0,
          name: 'NVIDIA RTX 3090',
          memory_used_mb: 4200 + wander,
          memory_total_mb: 24_576,
          utilization_percent: wander % 100,
          temperature_celsius: 50 + (wander % 20),
          driver: '550.54.15',
        },
      ],
      services: [
        { name: 'vllm', type: 'llm', status: 'running', port: 8000, health: 'healthy', models: ['meta-llama/Llama-3-8b'] },
        { name: 'postgres', type: 'database', status: 'running', port: 5432, health: 'healthy' },
      ],
    },
  };
  return { nodeId, timestamp, payload: JSON.stringify(payload) };
}

/** The field list of its stream entry: what follows the id in XADD. */
export function statusEntryFields({ nodeId, timestamp, payload }: SimulatedStatus): readonly string[] {
  return ['nodeId', nodeId, 'timestamp', timestamp, 'payload', payload];
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
