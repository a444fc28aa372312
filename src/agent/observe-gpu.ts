/**
 * The graphics processors of this machine; none is `[]`.
 *
 * NVIDIA: `nvidia-smi` is asked directly. systeminformation would ask it too, but on Linux it lists only what `lspci`
 * (often not installed) lists, drops readings that are 0 (an idle GPU), and blocks the event loop meanwhile.
 * Others: systeminformation, once, for it starts several programs a call and has only what does not change.
 *
 * 1. A sensor that answers `[N/A]` or `[Not Supported]` is left out; a 0 is a reading.
 * 2. No program is started on a machine without a GPU, except once at the start.
 */
import { execFile } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import systeminformation from 'systeminformation';
import { reading } from './reading.ts';
import type { GpuStatus } from './status.ts';

const NVIDIA_SMI = process.platform === 'win32' ? 'nvidia-smi.exe' : 'nvidia-smi';
const NVIDIA_FIELDS = ['index', 'name', 'memory.used', 'memory.total', 'utilization.gpu', 'temperature.gpu', 'driver_version'];
/** Without persistence mode the driver is loaded for each call, which takes seconds; longer than this is a fault. */
const NVIDIA_TIMEOUT_MS = 5_000;
const NVIDIA_OUTPUT_BYTES_MAX = 64 * 1024;
/** Makers of processors that compute; a server's management display (ASPEED, Matrox) or a virtual one (QXL, VMware) is none. */
const COMPUTING_VENDORS = /nvidia|advanced micro devices|\bamd\b|\bati\b|intel|apple/i;

export interface GpuObserver {
  observe(): Promise<readonly GpuStatus[]>;
}

/** `run` starts nvidia-smi with arguments and resolves with its output, or with undefined where there is none. */
export type NvidiaSmi = (args: readonly string[]) => Promise<string | undefined>;
export type ListControllers = () => Promise<readonly GraphicsController[]>;
export interface GraphicsController {
  readonly vendor?: string;
  readonly model?: string;
  readonly vram?: number | null;
  readonly driverVersion?: string;
}

export function gpuObserver(runNvidiaSmi: NvidiaSmi = nvidiaSmi, listControllers: ListControllers = graphicsControllers): GpuObserver {
  let others: Promise<readonly GpuStatus[]> | undefined;
  return {
    async observe() {
      const output = await runNvidiaSmi([`--query-gpu=${NVIDIA_FIELDS.join(',')}`, '--format=csv,noheader,nounits']).catch(() => '');
      if (output !== undefined) return parseNvidiaSmi(output);
      others ??= listControllers().then(fromControllers, () => []);
      return others;
    },
  };
}

/** One line a GPU, fields separated by comma and space; a name holds no comma. */
export function parseNvidiaSmi(output: string): readonly GpuStatus[] {
  return output.split('\n').flatMap((line) => {
    const [index, name, used, total, utilization, temperature, driver] = line.split(',').map((field) => field.trim());
    const number = reading(index);
    if (number === undefined || name === undefined || name === '') return [];
    return [
      {
        index: number,
        name,
        ...present('memory_used_mb', reading(used)),
        ...present('memory_total_mb', reading(total)),
        ...present('utilization_percent', reading(utilization)),
        ...present('temperature_celsius', reading(temperature)),
        ...(driver === undefined || !/^\d/.test(driver) ? {} : { driver }),
      },
    ];
  });
}

function fromControllers(controllers: readonly GraphicsController[]): readonly GpuStatus[] {
  return controllers
    .filter(({ vendor, model }) => COMPUTING_VENDORS.test(`${vendor ?? ''} ${model ?? ''}`))
    .map(({ vendor, model, vram, driverVersion }, index) => ({
      index,
      name: `${vendor ?? ''} ${model ?? ''}`.trim(),
      ...present('memory_total_mb', reading(vram) === 0 ? undefined : reading(vram)),
      ...(driverVersion === undefined || driverVersion === '' ? {} : { driver: driverVersion }),
    }));
}

function present<Name extends string>(name: Name, value: number | undefined): { readonly [key in Name]?: number } {
  return value === undefined ? {} : ({ [name]: value } as { readonly [key in Name]: number });
}

async function nvidiaSmi(args: readonly string[]): Promise<string | undefined> {
  const path = await findOnPath(NVIDIA_SMI);
  if (path === undefined) return undefined;
  const { stdout } = await promisify(execFile)(path, [...args], { timeout: NVIDIA_TIMEOUT_MS, maxBuffer: NVIDIA_OUTPUT_BYTES_MAX, windowsHide: true });
  return stdout;
}

/** A few access calls: cheaper than a failed start of a program. (2) */
async function findOnPath(program: string): Promise<string | undefined> {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    if (folder === '') continue;
    const path = join(folder, program);
    if (
      await access(path, constants.X_OK).then(
        () => true,
        () => false,
      )
    )
      return path;
  }
  return undefined;
}

async function graphicsControllers(): Promise<readonly GraphicsController[]> {
  const { controllers } = await systeminformation.graphics();
  return controllers;
}
