/**
 * The agent of this machine as a child process: started again when it dies, ended with its parent.
 *
 * 1. A second process, so that the agent of `npm start` is the very program that runs on any other node.
 * 2. Its Redis URL travels in its environment, not in its arguments: those are public on the machine.
 * 3. The child is given none of this process's own Node flags: one such as `--eval` would run this program again, and again.
 * 4. The child watches its IPC channel: when this process is gone, even by SIGKILL, the child ends too.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Environment } from './settings.ts';

/** An agent makes little garbage: a small young generation saves about 7 MB of its 100 MB, and no time. */
const NODE_FLAGS = ['--max-semi-space-size=1'];
/** First delay before a dead agent is started again; doubles with each death that follows soon. */
const RESTART_MS_FIRST = 1_000;
const RESTART_MS_LAST = 30_000;
/** An agent that lived this long was well: its next death starts at the first delay again. */
const WELL_AFTER_MS = 60_000;
/** The agent ends within a second; one that hangs is killed. */
const STOP_MS_MAX = 5_000;
/** For jobs under way, within it; what is left then is handed out again. */
const GRACE_S = 4;

export interface AgentProcessOptions {
  readonly nodeId: string;
  readonly statusPort: number;
  /** Of the agent; must name its Redis. */
  readonly environment: Environment;
  /** Folder for compiled code: from a checkout, Node then keeps no TypeScript compiler in memory after the first start. */
  readonly cacheDir: string;
  readonly log: Logger;
}

type State =
  | { readonly kind: 'running'; readonly child: ChildProcess; readonly since: number; readonly deaths: number }
  | { readonly kind: 'waiting'; readonly timer: NodeJS.Timeout; readonly deaths: number }
  | { readonly kind: 'stopped' };

export class AgentProcess {
  readonly #options: AgentProcessOptions;
  #state: State = { kind: 'stopped' };

  constructor(options: AgentProcessOptions) {
    this.#options = options;
  }

  /** Of the running child; undefined between a death and the next start. */
  get pid(): number | undefined {
    return this.#state.kind === 'running' ? this.#state.child.pid : undefined;
  }

  start(): void {
    if (this.#state.kind === 'stopped') this.#spawn(0);
  }

  /** Resolves when the child is gone. May be called in any state. */
  async stop(): Promise<void> {
    const state = this.#state;
    this.#state = { kind: 'stopped' };
    if (state.kind === 'waiting') clearTimeout(state.timer);
    if (state.kind !== 'running' || state.child.exitCode !== null || state.child.signalCode !== null) return;
    const gone = new Promise<void>((resolve) => state.child.once('exit', () => resolve()));
    state.child.kill('SIGTERM');
    const impatience = setTimeout(() => state.child.kill('SIGKILL'), STOP_MS_MAX);
    await gone;
    clearTimeout(impatience);
  }

  #spawn(deaths: number): void {
    const { nodeId, statusPort, environment, cacheDir, log } = this.#options;
    const args = [...NODE_FLAGS, mainModule(), 'work', '--mode=redis', `--grace=${GRACE_S}`, `--node-id=${nodeId}`, `--status-port=${statusPort}`];
    const child = spawn(process.execPath, args, { env: { ...environment, NODE_COMPILE_CACHE: cacheDir }, stdio: ['ignore', 2, 2, 'ipc'] });
    this.#state = { kind: 'running', child, since: performance.now(), deaths };
    const { promise, resolve } = Promise.withResolvers<string>();
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`));
    void promise.then((reason) => {
      const state = this.#state;
      if (state.kind !== 'running' || state.child !== child) return;
      const before = performance.now() - state.since > WELL_AFTER_MS ? 0 : state.deaths;
      const delayMs = Math.min(RESTART_MS_LAST, RESTART_MS_FIRST * 2 ** before);
      log.warn({ reason, delayMs }, 'The agent died; it will be started again');
      this.#state = { kind: 'waiting', timer: setTimeout(() => this.#spawn(before + 1), delayMs), deaths: before + 1 };
    });
  }
}

/** This program's main module: TypeScript in a checkout, JavaScript in the package. */
function mainModule(): string {
  return join(import.meta.dirname, import.meta.filename.endsWith('.ts') ? 'main.ts' : 'main.js');
}
