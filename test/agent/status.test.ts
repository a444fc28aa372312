import { expect, test } from 'vitest';
import { nodeStatus, statusMessage, type Observation } from '../../src/agent/status.ts';

const at = new Date('2026-01-12T10:30:00Z');
const observation: Observation = {
  node: { name: 'gpu-node-01', tailscale_ip: '100.64.0.1', uptime_seconds: 86_400, status_port: 8080 },
  system: { cpu_percent: 45.217, memory_used_gb: 24.4999, memory_total_gb: 64, disk_used_gb: 450, disk_total_gb: 1000 },
  gpu: [{ index: 0, name: 'NVIDIA RTX 3090', memory_used_mb: 4200, memory_total_mb: 24_576, utilization_percent: 0, temperature_celsius: 72 }],
  services: [{ name: 'vllm', type: 'llm', status: 'running', port: 8000, health: 'healthy', models: ['meta-llama/Llama-3-8b'] }],
};

test('the flat form, as documented', () => {
  expect(nodeStatus(observation, at)).toEqual({
    version: '1.0',
    timestamp: '2026-01-12T10:30:00.000Z',
    node: { name: 'gpu-node-01', tailscale_ip: '100.64.0.1', uptime_seconds: 86_400, status_port: 8080 },
    system: { cpu_percent: 45.2, memory_used_gb: 24.5, memory_total_gb: 64, disk_used_gb: 450, disk_total_gb: 1000 },
    gpu: [{ index: 0, name: 'NVIDIA RTX 3090', memory_used_mb: 4200, memory_total_mb: 24_576, utilization_percent: 0, temperature_celsius: 72 }],
    services: [{ name: 'vllm', type: 'llm', status: 'running', port: 8000, health: 'healthy', models: ['meta-llama/Llama-3-8b'] }],
  });
});

test('the wrapped form carries the device code only when there is one', () => {
  const status = nodeStatus(observation, at);
  expect(statusMessage('gpu-1', status)).toEqual({ version: '1.0', timestamp: status.timestamp, nodeId: 'gpu-1', status });
  expect(statusMessage('gpu-1', status, 'abc123')).toEqual({ version: '1.0', timestamp: status.timestamp, nodeId: 'gpu-1', deviceCode: 'abc123', status });
});

test('a sentinel is left out; a zero is a reading', () => {
  const sentinels = [-1, Number.NaN, Number.POSITIVE_INFINITY, null, 'N/A', '[Not Supported]', '', undefined];
  for (const sentinel of sentinels) {
    const gpu = { index: 0, name: 'X', temperature_celsius: sentinel as number, utilization_percent: 0 };
    const status = nodeStatus({ ...observation, system: { cpu_percent: sentinel as number, memory_used_gb: 1 }, gpu: [gpu] }, at);
    expect(status.system).toEqual({ memory_used_gb: 1 });
    expect(status.gpu).toEqual([{ index: 0, name: 'X', utilization_percent: 0 }]);
  }
});

test('lists and texts are bounded', () => {
  const models = Array.from({ length: 500 }, (_, index) => `model-${index}-${'x'.repeat(500)}`);
  const services = Array.from({ length: 500 }, (_, index) => ({ name: `service-${index}`, type: 'llm', status: 'running', models }) as const);
  const status = nodeStatus({ ...observation, services }, at);
  expect(status.services).toHaveLength(64);
  expect(status.services[0]?.models).toHaveLength(64);
  expect(status.services[0]?.models?.[0]).toHaveLength(200);
});
