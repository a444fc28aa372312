/**
 * Load, memory, disk and uptime of this machine.
 *
 * 1. No process is started: a beat must cost next to nothing (systeminformation's own currentLoad and fsSize start one each).
 * 2. A reading that fails is left out; the others are still reported.
 */
import { statfs } from 'node:fs/promises';
import { cpus, uptime } from 'node:os';
import { parse } from 'node:path';
import systeminformation from 'systeminformation';
import { percentOf, reading } from './reading.ts';
import type { AgentClock } from './clock.ts';
import type { SystemStatus } from './status.ts';

const BYTES_PER_GB = 1024 ** 3;
/** The kernel counts processor time in ticks of 10 ms: over less than this a percentage would be noise. */
const LOAD_WINDOW_MS_MIN = 250;

interface ProcessorTime {
  readonly at: number;
  readonly busy: number;
  readonly total: number;
}

export interface SystemObserver {
  observe(): Promise<SystemStatus>;
  uptimeSeconds(): number;
}

export function systemObserver(clock: AgentClock): SystemObserver {
  let before = processorTime(clock.now());
  let load: number | undefined;

  /** Load since the last call that was at least a window ago; the first call waits for its window. */
  async function cpuPercent(): Promise<number | undefined> {
    if (load === undefined) await clock.sleep(Math.max(0, LOAD_WINDOW_MS_MIN - (clock.now() - before.at)));
    const after = processorTime(clock.now());
    const tooSoon = load !== undefined && after.at - before.at < LOAD_WINDOW_MS_MIN;
    if (tooSoon || after.total === before.total) return load;
    load = percentOf(reading(after.busy - before.busy), after.total - before.total);
    before = after;
    return load;
  }

  return {
    uptimeSeconds: () => Math.floor(uptime()),
    async observe() {
      const [cpu, memory, disk] = await Promise.all([cpuPercent(), orNothing(readMemory), orNothing(readDisk)]);
      return { ...(cpu === undefined ? {} : { cpu_percent: cpu }), ...memory, ...disk };
    },
  };
}

function processorTime(at: number): ProcessorTime {
  let busy = 0;
  let total = 0;
  for (const { times } of cpus()) {
    const working = times.user + times.nice + times.sys + times.irq;
    busy += working;
    total += working + times.idle;
  }
  return { at, busy, total };
}

/** Used memory is what programs hold and cannot be given back: total minus available, not total minus free. */
async function readMemory(): Promise<SystemStatus> {
  const { total, available } = await systeminformation.mem();
  return usage('memory', total, total - available);
}

/** The file system of the root folder, as its users see it: reserved blocks count as used. */
async function readDisk(): Promise<SystemStatus> {
  const { bsize, blocks, bavail } = await statfs(parse(process.cwd()).root);
  return usage('disk', bsize * blocks, bsize * (blocks - bavail));
}

function usage(name: 'memory' | 'disk', totalBytes: number, usedBytes: number): SystemStatus {
  const total = reading(totalBytes);
  const used = reading(usedBytes);
  if (total === undefined || total === 0 || used === undefined) return {};
  return { [`${name}_used_gb`]: used / BYTES_PER_GB, [`${name}_total_gb`]: total / BYTES_PER_GB, [`${name}_percent`]: percentOf(used, total) };
}

async function orNothing(read: () => Promise<SystemStatus>): Promise<SystemStatus> {
  try {
    return await read();
  } catch {
    return {};
  }
}
