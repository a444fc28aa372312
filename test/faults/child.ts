/** A process of a test: started, waited for, signalled by its pid. Its program ends when the test's process is gone; a stopped one cannot. */
import { fork, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';

/** A node process on a loaded machine. */
const START_MS_MAX = 30_000;

export class Child {
  readonly #child: ChildProcess;
  readonly #gone: Promise<void>;
  readonly #started: Promise<void>;
  #running = true;
  #output = '';

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#gone = new Promise((resolve) =>
      child.once('exit', () => {
        this.#running = false;
        resolve();
      }),
    );
    this.#started = new Promise((resolve) => child.once('message', () => resolve()));
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk: Buffer) => (this.#output = (this.#output + chunk.toString()).slice(-20_000)));
  }

  /** `program`: a file of this folder, which tells its parent when it has started. It is given the options as JSON. */
  static launch(program: string, options: object): Child {
    return new Child(fork(join(import.meta.dirname, program), [JSON.stringify(options)], { stdio: ['ignore', 'pipe', 'pipe', 'ipc'], execArgv: [] }));
  }

  get running(): boolean {
    return this.#running;
  }

  get output(): string {
    return this.#output;
  }

  async started(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => (timer = setTimeout(() => reject(new Error(`It did not start: ${this.#output}`)), START_MS_MAX)));
    const died = this.#gone.then(() => Promise.reject(new Error(`It ended before it had started: ${this.#output}`)));
    try {
      await Promise.race([this.#started, died, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  send(message: object): void {
    if (this.#running) this.#child.send(message);
  }

  /** Sends the signal and resolves when the process is gone. */
  async end(signal: NodeJS.Signals): Promise<void> {
    this.#child.kill('SIGCONT');
    this.#child.kill(signal);
    await this.#gone;
  }
}
