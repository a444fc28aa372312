/** What the agent costs the machine that it watches: memory, and CPU at the 30 s interval, over a minute after its start. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort, startTestRedis } from '../test/redis-server.ts';
import { figure, type Figure } from './figures.ts';

const INTERVAL_MS = 30_000;
const SETTLE_MS = 10_000;
const MEASURED_MS = 60_000;
const MEBIBYTE = 1_048_576;
/** Linux counts a process's CPU in hundredths of a second. */
const MS_PER_TICK = 10;
const PAGE_BYTES = 4_096;

export async function agent(): Promise<readonly Figure[]> {
  const redis = await startTestRedis();
  const port = await freePort();
  // As `npm start` runs it: see src/cli/agent-process.ts. The first start fills the cache of compiled code, the second is measured.
  const folder = await mkdtemp(join(tmpdir(), 'castellan-bench-'));
  const run = (): ChildProcess =>
    spawn(
      process.execPath,
      ['--max-semi-space-size=1', 'src/cli/main.ts', 'work', '--mode=redis', `--redis-url=${redis.url}`, `--status-port=${port}`, '--node-id=bench'],
      {
        env: { ...process.env, HEARTBEAT_INTERVAL_MS: String(INTERVAL_MS), LOG_LEVEL: 'warn', NODE_COMPILE_CACHE: folder },
        stdio: ['ignore', 'ignore', 'inherit'],
      },
    );
  await end(run(), SETTLE_MS);
  const child = run();
  try {
    await sleep(SETTLE_MS);
    const before = await cpuMs(child.pid);
    await sleep(MEASURED_MS);
    const cpuShare = (((await cpuMs(child.pid)) - before) / MEASURED_MS) * 100;
    const rss = (await residentBytes(child.pid)) / MEBIBYTE;
    return [
      figure('agent memory (RSS)', 'MiB', [rss], { goal: { text: '≤ 100 MB', reached: rss * MEBIBYTE <= 100e6 } }),
      figure('agent CPU at 30 s', '% of a core', [cpuShare], { goal: { text: '≤ 0.5 %', reached: cpuShare <= 0.5 } }),
    ];
  } finally {
    await end(child, 0);
    await redis.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

async function end(child: ChildProcess, afterMs: number): Promise<void> {
  await sleep(afterMs);
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await ended;
}

async function cpuMs(pid: number | undefined): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * MS_PER_TICK;
}

async function residentBytes(pid: number | undefined): Promise<number> {
  return Number((await readFile(`/proc/${pid}/statm`, 'utf8')).split(' ')[1]) * PAGE_BYTES;
}
