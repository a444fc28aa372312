/**
 * Reports on their way out: in order, stored before the next one is sent.
 *
 * 1. An end is sent until it is stored. Of what was told on the way only the newest is kept, and not more often than some times a second.
 * 2. Ends that cannot be sent wait, up to a bound; then the oldest goes: newer ones say more.
 */
import { StoppedError } from '../protocol/errors.ts';
import { backoffDelayMs } from './schedule.ts';
import type { AgentClock } from './clock.ts';
import type { ConfigDelivery, ConfigSource } from './config-source.ts';
import type { ConfigReport } from '../protocol/device-config.ts';
import type { Logger } from 'pino';

const WAITING_MAX = 100;
const RETRY_MS_LAST = 10_000;
const PACE_MS = 250;

interface Waiting {
  readonly report: ConfigReport;
  readonly about: ConfigDelivery | undefined;
  readonly isFinal: boolean;
  readonly stored?: PromiseWithResolvers<void>;
}

export interface ReportLaneOptions {
  readonly source: Pick<ConfigSource, 'report'>;
  readonly clock: AgentClock;
  readonly log: Logger;
}

export class ReportLane {
  readonly #options: ReportLaneOptions;
  readonly #stopped = new AbortController();
  readonly #waiting: Waiting[] = [];
  #wake: () => void = () => undefined;
  /** Ends the pause after what was told on the way: an end does not wait for it. */
  #pause = new AbortController();
  #done: Promise<void> | undefined;

  constructor(options: ReportLaneOptions) {
    this.#options = options;
  }

  start(): void {
    this.#done ??= this.#send();
  }

  tell(report: ConfigReport, about: ConfigDelivery | undefined, isFinal: boolean): void {
    this.#add({ report, about, isFinal });
  }

  /** Resolves when the report is stored; rejects with StoppedError when that can no longer happen here. */
  async store(report: ConfigReport, about: ConfigDelivery): Promise<void> {
    if (this.#stopped.signal.aborted) throw stopped();
    const stored = Promise.withResolvers<void>();
    this.#add({ report, about, isFinal: true, stored });
    await stored.promise;
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    this.#wake();
    await this.#done;
    for (const { stored } of this.#waiting.splice(0)) stored?.reject(stopped());
  }

  #add(waiting: Waiting): void {
    const last = this.#waiting.at(-1);
    if (last?.isFinal === false) this.#waiting.pop(); // (1)
    if (this.#waiting.length >= WAITING_MAX) this.#waiting.shift()?.stored?.reject(stopped()); // (2)
    this.#waiting.push(waiting);
    if (waiting.isFinal) this.#pause.abort();
    this.#wake();
  }

  async #send(): Promise<void> {
    const { source, clock, log } = this.#options;
    const { signal } = this.#stopped;
    for (let failures = 0; !signal.aborted;) {
      const next = this.#waiting.shift();
      if (next === undefined) {
        await this.#nextWake();
        continue;
      }
      try {
        await source.report(next.report, next.about);
        next.stored?.resolve();
        failures = 0;
        if (!next.isFinal) await this.#paced();
      } catch (error) {
        failures++;
        // A newer one that came meanwhile takes its place, unless this is an end.
        if (next.isFinal || this.#waiting.length === 0) this.#waiting.unshift(next);
        log.debug({ reason: error instanceof Error ? error.message : String(error), failures }, 'A report could not be stored');
        await clock.sleep(backoffDelayMs(failures, RETRY_MS_LAST, clock.random()), signal);
      }
    }
  }

  async #paced(): Promise<void> {
    if (this.#waiting.some(({ isFinal }) => isFinal)) return;
    this.#pause = new AbortController();
    await this.#options.clock.sleep(PACE_MS, AbortSignal.any([this.#pause.signal, this.#stopped.signal]));
  }

  async #nextWake(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    if (!this.#stopped.signal.aborted) await promise;
  }
}

function stopped(): StoppedError {
  return new StoppedError('The agent stops; the report is made again at its next start.');
}
