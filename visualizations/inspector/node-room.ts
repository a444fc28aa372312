/** What a node has, from its newest status (untrusted), against what services need. GB are units of 1024³ bytes, as the agent counts. */
import type { CatalogueItem } from '../../src/protocol/catalogue-item.ts';
import type { NodeView } from '../../src/protocol/control-plane.ts';

export interface NodeRoom {
  /** Memory of its largest GPU; 0: it has none; undefined: its size was not told. */
  readonly gpuMemoryMb: number | undefined;
  readonly diskFreeGb: number | undefined;
}

interface LooseStatus {
  readonly system?: { readonly disk_used_gb?: unknown; readonly disk_total_gb?: unknown };
  readonly gpu?: unknown;
}

/** Undefined while the node has not reported. */
export function roomOf(node: NodeView | undefined): NodeRoom | undefined {
  const status = node?.status as LooseStatus | null | undefined;
  if (status === null || typeof status !== 'object') return undefined;
  const { disk_used_gb: used, disk_total_gb: total } = status.system ?? {};
  const gpus = Array.isArray(status.gpu) ? (status.gpu as readonly { readonly memory_total_mb?: unknown }[]) : [];
  const sizes = gpus.map((gpu) => gpu?.memory_total_mb).filter((size) => typeof size === 'number');
  return {
    gpuMemoryMb: gpus.length === 0 ? 0 : sizes.length === 0 ? undefined : Math.max(...sizes),
    diskFreeGb: typeof used === 'number' && typeof total === 'number' ? Math.max(0, total - used) : undefined,
  };
}

export function gigabytes(gb: number): string {
  return `${gb < 10 && !Number.isInteger(gb) ? gb.toFixed(1) : Math.round(gb)} GB`;
}

export function needsText({ gpu, diskGb, ports }: CatalogueItem): string {
  const needs = [`${gigabytes(diskGb)} of disk`];
  if (gpu?.required === true) needs.unshift(`a GPU with ${gigabytes(gpu.memoryMb / 1024)}`);
  else if (gpu !== undefined) needs.unshift(`a GPU with ${gigabytes(gpu.memoryMb / 1024)}, if there is one`);
  if (ports.length > 0) needs.push(`port ${ports.map(({ host }) => host).join(', ')}`);
  return `Needs ${needs.join(' · ')}`;
}

/** What speaks against a service on this node; undefined when nothing is known to. */
export function obstacleOf({ gpu, diskGb }: CatalogueItem, room: NodeRoom | undefined): string | undefined {
  if (room === undefined) return undefined;
  const { gpuMemoryMb, diskFreeGb } = room;
  if (gpu?.required === true && gpuMemoryMb === 0) return 'This node has reported no GPU.';
  if (gpu?.required === true && gpuMemoryMb !== undefined && gpuMemoryMb < gpu.memoryMb)
    return `The largest GPU of this node has ${gigabytes(gpuMemoryMb / 1024)}.`;
  if (diskFreeGb !== undefined && diskFreeGb < diskGb) return `Only ${gigabytes(diskFreeGb)} of disk are free on this node.`;
  return undefined;
}

/** All chosen services together, and whether what is new among them finds its room. */
export function togetherOf(
  chosen: readonly CatalogueItem[],
  saved: readonly string[],
  room: NodeRoom | undefined,
): { readonly text: string; readonly fits: boolean } {
  const disk = diskOf(chosen);
  const gpuMb = chosen.reduce((sum, item) => sum + (item.gpu?.memoryMb ?? 0), 0);
  const parts = [`${gigabytes(disk)} of disk${room?.diskFreeGb === undefined ? '' : ` (${gigabytes(room.diskFreeGb)} free)`}`];
  if (gpuMb > 0)
    parts.push(`up to ${gigabytes(gpuMb / 1024)} of GPU memory${room?.gpuMemoryMb ? ` (largest GPU: ${gigabytes(room.gpuMemoryMb / 1024)})` : ''}`);
  return {
    text: `${chosen.length === 1 ? 'One service' : `${chosen.length} services`}: ${parts.join(', ')}.`,
    // What runs already has its disk.
    fits: room?.diskFreeGb === undefined || diskOf(chosen.filter(({ name }) => !saved.includes(name))) <= room.diskFreeGb,
  };
}

function diskOf(items: readonly CatalogueItem[]): number {
  return items.reduce((sum, { diskGb }) => sum + diskGb, 0);
}
