import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { gpuObserver, parseNvidiaSmi, type ListControllers } from '../../src/agent/observe-gpu.ts';

afterEach(() => vi.unstubAllEnvs());

test('readings of two GPUs; an idle one reports 0', () => {
  const output = '0, NVIDIA H200, 4, 143771, 0, 29, 570.86.15\n1, NVIDIA H200, 81920, 143771, 97, 64, 570.86.15\n';
  expect(parseNvidiaSmi(output)).toEqual([
    { index: 0, name: 'NVIDIA H200', memory_used_mb: 4, memory_total_mb: 143_771, utilization_percent: 0, temperature_celsius: 29, driver: '570.86.15' },
    { index: 1, name: 'NVIDIA H200', memory_used_mb: 81_920, memory_total_mb: 143_771, utilization_percent: 97, temperature_celsius: 64, driver: '570.86.15' },
  ]);
});

test('a sensor that is not there is left out', () => {
  const output = '0, NVIDIA H200 MIG 1g.18gb, [N/A], [Not Supported], [N/A], [Unknown Error], [N/A]\n';
  expect(parseNvidiaSmi(output)).toEqual([{ index: 0, name: 'NVIDIA H200 MIG 1g.18gb' }]);
});

test('what is no reading is no GPU', () => {
  for (const output of ['', 'No devices were found\n', "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"]) {
    expect(parseNvidiaSmi(output)).toEqual([]);
  }
});

test('a machine without nvidia-smi and without a graphics card has no GPU', async () => {
  const observer = gpuObserver(
    async () => undefined,
    async () => [],
  );
  expect(await observer.observe()).toEqual([]);
});

test('other computing GPUs are listed, looked up once; display adapters of servers and virtual machines are not', async () => {
  const controllers = vi.fn<ListControllers>(async () => [
    { vendor: 'Advanced Micro Devices, Inc. [AMD/ATI]', model: 'Radeon Pro W7900', vram: 49_152 },
    { vendor: 'ASPEED Technology, Inc.', model: 'ASPEED Graphics Family', vram: 64 },
    { vendor: 'Red Hat, Inc.', model: 'Virtio 1.0 GPU', vram: -1 },
  ]);
  const observer = gpuObserver(async () => undefined, controllers);
  await observer.observe();
  expect(await observer.observe()).toEqual([{ index: 0, name: 'Advanced Micro Devices, Inc. [AMD/ATI] Radeon Pro W7900', memory_total_mb: 49_152 }]);
  expect(controllers).toHaveBeenCalledTimes(1);
});

test('nvidia-smi is found on the path and run; its failure is no GPU', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'castellan-gpu-'));
  try {
    const program = join(folder, 'nvidia-smi');
    await writeFile(program, '#!/bin/sh\n[ "$2" = "--format=csv,noheader,nounits" ] && echo "0, NVIDIA RTX 3090, 4200, 24576, 85, 72, 550.1"\n');
    await chmod(program, 0o755);
    vi.stubEnv('PATH', `${folder}${delimiter}${process.env['PATH']}`);
    const observer = gpuObserver();
    expect(await observer.observe()).toEqual([
      { index: 0, name: 'NVIDIA RTX 3090', memory_used_mb: 4200, memory_total_mb: 24_576, utilization_percent: 85, temperature_celsius: 72, driver: '550.1' },
    ]);
    await writeFile(program, '#!/bin/sh\necho "NVIDIA-SMI has failed"\nexit 9\n');
    expect(await observer.observe()).toEqual([]);
  } finally {
    await rm(folder, { recursive: true });
  }
});
