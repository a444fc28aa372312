/**
 * An engine process with its own proxy to Redis, as a test holds it: started, waited for, killed at a call or at any time.
 *
 * Only the process started here is signalled, by its pid.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import type { EngineSettings } from '../../src/engine/settings.ts';
import type { EngineProcessOptions } from './engine-process.ts';
import { KillProxy, type KillPoint } from './kill-proxy.ts';

/** A node process starts and takes 64 partitions, on a loaded machine. */
const START_MS_MAX = 30_000;

export class EngineChild {
  readonly #child: ChildProcess;
  readonly #proxy: KillProxy;
  readonly #gone: Promise<void>;
  readonly #started: Promise<void>;
  #output = '';

  private constructor(child: ChildProcess, proxy: KillProxy) {
    this.#child = child;
    this.#proxy = proxy;
    this.#gone = new Promise((resolve) => child.once('exit', () => resolve()));
    this.#started = new Promise((resolve) => child.once('message', () => resolve()));
    void this.#gone.then(() => proxy.close());
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk: Buffer) => (this.#output += chunk.toString()));
  }

  static async launch(redisPort: number, settings: Partial<EngineSettings>): Promise<EngineChild> {
    let child: ChildProcess | undefined;
    const proxy = await KillProxy.listen(redisPort, () => void child?.kill('SIGKILL'));
    const options: EngineProcessOptions = { url: proxy.url, effectsUrl: `redis://127.0.0.1:${redisPort}/0`, settings };
    child = fork(join(import.meta.dirname, 'engine-process.ts'), [JSON.stringify(options)], { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
    return new EngineChild(child, proxy);
  }

  /** Resolves when Redis has given it its first partition. */
  async acquired(): Promise<void> {
    await this.#until('its first partition', this.#proxy.acquired);
  }

  /** Resolves when it owns all partitions. */
  async started(): Promise<void> {
    await this.#until('all partitions', this.#started);
  }

  /** Resolves with true when it was killed at that point, with false when the call did not come in time and nothing was killed. */
  async killAt(point: KillPoint, withinMs: number): Promise<boolean> {
    const hit = await within(withinMs, this.#proxy.killAt(point));
    if (hit) await this.#gone;
    else this.#proxy.disarm();
    return hit;
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    this.#child.kill('SIGCONT');
    this.#child.kill(signal);
    await this.#gone;
  }

  async #until(what: string, reached: Promise<void>): Promise<void> {
    const died = this.#gone.then(() => Promise.reject(new Error(`The engine ended before it had ${what}: ${this.#output}`)));
    if (!(await within(START_MS_MAX, Promise.race([reached, died])))) throw new Error(`The engine had not ${what} after ${START_MS_MAX} ms: ${this.#output}`);
  }
}

/** False when the time is over first. */
async function within(ms: number, promise: Promise<void>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => (timer = setTimeout(() => resolve(false), ms)));
  try {
    return await Promise.race([promise.then(() => true as const), late]);
  } finally {
    clearTimeout(timer);
  }
}
