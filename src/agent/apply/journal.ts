/**
 * The journal of the apply that runs: the machine's newest snapshot, on disk.
 *
 * 1. `written` resolves when everything saved before it was called, or in the same turn, is on disk. Effects wait for it.
 * 2. A disk that cannot be written is waited for: going on without the journal could end between two revisions.
 */
import type { AgentClock } from '../clock.ts';
import { backoffDelayMs } from '../schedule.ts';
import { readText, removeDurably, writeDurably } from './durable-file.ts';

const RETRY_MS_LAST = 30_000;

export interface JournalOptions {
  readonly path: string;
  readonly clock: AgentClock;
  readonly onFault: (error: Error) => void;
}

export class Journal {
  readonly #options: JournalOptions;
  readonly #closed = new AbortController();
  #waiting: string | undefined;
  #writing: Promise<void> | undefined;

  constructor(options: JournalOptions) {
    this.#options = options;
  }

  /** The newest snapshot, or undefined. Throws for a file that is no JSON: nobody but this class writes it. */
  async load(): Promise<unknown> {
    const text = await readText(this.#options.path);
    return text === undefined ? undefined : JSON.parse(text);
  }

  save(snapshot: unknown): void {
    this.#waiting = JSON.stringify(snapshot);
    this.#writing ??= this.#write().finally(() => void (this.#writing = undefined));
  }

  async written(): Promise<void> {
    // The machine begins a promise before it tells the snapshot that holds it, in the same turn. (1)
    await Promise.resolve();
    while (this.#writing !== undefined) await this.#writing;
  }

  async clear(): Promise<void> {
    await this.written();
    await removeDurably(this.#options.path);
  }

  /** Ends the waiting for a disk. */
  close(): void {
    this.#closed.abort();
  }

  async #write(): Promise<void> {
    const { path, clock, onFault } = this.#options;
    for (let failures = 0; this.#waiting !== undefined && !this.#closed.signal.aborted;) {
      const text = this.#waiting;
      try {
        await writeDurably(path, text);
        failures = 0;
        if (this.#waiting === text) this.#waiting = undefined;
      } catch (error) {
        failures++;
        onFault(error as Error); // (2)
        await clock.sleep(backoffDelayMs(failures, RETRY_MS_LAST, clock.random()), this.#closed.signal);
      }
    }
  }
}
