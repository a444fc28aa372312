/** Starts agents as processes of their own, and ends them. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { World } from './world.ts';

export interface TestAgent {
  readonly child: ChildProcess;
  readonly folder: string;
  output(): string;
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>;
  /** SIGTERM; resolves with the exit code. */
  end(): Promise<number | null>;
}

export class Agents {
  readonly #world: World;
  readonly #redisUrl: string;
  readonly #started: TestAgent[] = [];
  readonly #folders: string[] = [];

  constructor(world: World, redisUrl: string) {
    this.#world = world;
    this.#redisUrl = redisUrl;
  }

  /** Started again with the `folder` of one that was killed, it is the same node. */
  async start(options: { readonly node?: string; readonly folder?: string; readonly args?: readonly string[] } = {}): Promise<TestAgent> {
    const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'castellan-agent-')));
    this.#folders.push(folder);
    const catalogue = join(folder, 'catalogue.json');
    await writeFile(catalogue, JSON.stringify({ services: this.#world.services }));
    const program = new URL('agent-process.ts', import.meta.url).pathname;
    const args = ['--redis', this.#redisUrl, '--docker', this.#world.engine.host, '--folder', folder, '--catalogue', catalogue];
    const child = spawn(process.execPath, [program, ...args, '--node', options.node ?? 'node-1', ...(options.args ?? [])], {
      env: { PATH: process.env['PATH'] ?? '', LOG_LEVEL: 'debug' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    const keep = (chunk: Buffer): void => void (output = (output + chunk.toString()).slice(-200_000));
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    const gone = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)));
    const ended = async (signal: NodeJS.Signals): Promise<number | null> => {
      child.kill(signal);
      return await gone;
    };
    const agent: TestAgent = { child, folder, output: () => output, kill: async () => void (await ended('SIGKILL')), end: async () => await ended('SIGTERM') };
    this.#started.push(agent);
    return agent;
  }

  async stop(): Promise<void> {
    await Promise.all(this.#started.splice(0).map(async (agent) => await agent.kill()));
    await Promise.all(this.#folders.splice(0).map(async (folder) => await rm(folder, { recursive: true, force: true })));
  }
}
