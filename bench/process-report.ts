/** What a measured process tells of itself, and the parent's side of the conversation. */
import { fork, type ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';

export interface ProcessReport {
  /** Events or entries worked off so far. */
  readonly done: number;
  readonly cpuMs: number;
  readonly rssBytes: number;
  readonly counters?: { readonly [name: string]: number };
  readonly meanStepMicroseconds?: number;
  readonly meanBatch?: number;
  readonly meanTimerLatenessMs?: number;
  /** Of single jobs, one after the other: how long each took, ms. */
  readonly took?: readonly number[];
}

/** A run that takes longer has failed. */
const WORK_MS_MAX = 180_000;
const REPORT_EVERY_MS = 5;

export class MeasuredProcess {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  /** Resolves when the process has reported for the first time: it is ready. */
  static async start(file: string, options: object): Promise<MeasuredProcess> {
    const child = fork(new URL(file, import.meta.url), [JSON.stringify(options)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    const measured = new MeasuredProcess(child);
    await measured.#next();
    return measured;
  }

  async report(): Promise<ProcessReport> {
    this.#child.send('report');
    return await this.#next();
  }

  /** Begins something that is seen in later reports. */
  tell(message: object): void {
    this.#child.send(message);
  }

  /** Asks for something that is answered when it is done. */
  async ask(message: object): Promise<ProcessReport> {
    this.#child.send(message);
    return await this.#next();
  }

  /** Waits until so much is done; tells the report of that moment. */
  async until(done: number): Promise<ProcessReport> {
    const deadline = performance.now() + WORK_MS_MAX;
    for (;;) {
      const report = await this.report();
      if (report.done >= done) return report;
      if (performance.now() > deadline) throw new Error(`Only ${report.done} of ${done} were done in ${WORK_MS_MAX} ms.`);
      await sleep(REPORT_EVERY_MS);
    }
  }

  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    if (this.#child.exitCode !== null) return;
    this.#child.send('stop');
    await ended;
  }

  async #next(): Promise<ProcessReport> {
    return await new Promise((resolve, reject) => {
      const ended = (code: number | null): void => reject(new Error(`A measured process ended with ${code}.`));
      this.#child.once('exit', ended);
      this.#child.once('message', (message) => {
        this.#child.off('exit', ended);
        resolve(message as ProcessReport);
      });
    });
  }
}
