/**
 * Tells the control plane how this node is: at each beat, and at once when a service or its health changes.
 *
 * 1. Beats keep their mean interval however long observing and sending take: each is due relative to the one before, not to its end.
 * 2. At most one status waits, the newest; while the way is closed, older ones are dropped. They are history, not state.
 * 3. A failed send is tried again after a spread backoff below half an interval, or as soon as the way is open.
 * 4. Every wait ends at once when the reporter stops; nothing is sent after that.
 */
import { backoffDelayMs, beatDelayMs, secondBeatDelayMs } from './schedule.ts';
import { statusMessage, type NodeStatus, type ServiceStatus, type StatusMessage } from './status.ts';
import type { AgentClock } from './clock.ts';
import type { Publisher } from './publisher.ts';
import type { Logger } from 'pino';

/** How often services and their health are looked at between beats: often enough to be called at once, at a few milliseconds a look. */
const WATCH_MS = 5_000;

/** What the reporter needs of the collector. */
export interface StatusSource {
  collect(): Promise<NodeStatus>;
  services(): Promise<readonly ServiceStatus[]>;
}

export interface ReporterOptions {
  readonly nodeId: string;
  readonly source: StatusSource;
  readonly publisher: Publisher;
  readonly intervalMs: number;
  /** Default: 5 s, or half an interval if that is shorter. */
  readonly watchMs?: number;
  readonly deviceCode?: string;
  readonly clock: AgentClock;
  readonly log: Logger;
}

/** Counted since the start. */
export interface ReporterCounts {
  readonly published: number;
  readonly failed: number;
  /** Replaced by a newer one before they could be sent. */
  readonly dropped: number;
}

export class Reporter {
  readonly #options: ReporterOptions;
  readonly #stopped = new AbortController();
  readonly #counts = { published: 0, failed: 0, dropped: 0 };
  #deviceCode: string | undefined;
  /** Services as last put into a status, as JSON: what a change is measured against. */
  #reportedServices: string | undefined;
  #waiting: StatusMessage | undefined;
  /** Ends the sender's present wait. */
  #wake: () => void = () => undefined;
  #done: Promise<void> | undefined;

  constructor(options: ReporterOptions) {
    this.#options = options;
    this.#deviceCode = options.deviceCode;
    options.publisher.onReady(() => this.#wake());
  }

  get counts(): ReporterCounts {
    return this.#counts;
  }

  /** Undefined once it was redeemed: it is not sent again. */
  setDeviceCode(deviceCode: string | undefined): void {
    this.#deviceCode = deviceCode;
  }

  /** Runs until {@link stop}. */
  start(): void {
    this.#done ??= Promise.all([this.#beat(), this.#watch(), this.#send()]).then(() => undefined);
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    this.#wake();
    await this.#done;
  }

  async #beat(): Promise<void> {
    const { clock, intervalMs } = this.#options;
    let due = clock.now();
    let delayMs = secondBeatDelayMs(intervalMs, clock.random());
    while (!this.#stopped.signal.aborted) {
      await this.#report();
      // After a long stall (a suspended machine) the beats missed are not made up for.
      due = Math.max(due + delayMs, clock.now());
      await clock.sleep(Math.max(0, due - clock.now()), this.#stopped.signal);
      delayMs = beatDelayMs(intervalMs, clock.random());
    }
  }

  async #watch(): Promise<void> {
    const { clock, source, intervalMs, log } = this.#options;
    const watchMs = this.#options.watchMs ?? Math.min(WATCH_MS, intervalMs / 2);
    while (!this.#stopped.signal.aborted) {
      await clock.sleep(watchMs, this.#stopped.signal);
      if (this.#stopped.signal.aborted) return;
      try {
        const services = JSON.stringify(await source.services());
        if (this.#reportedServices === undefined || services === this.#reportedServices) continue;
      } catch (error) {
        log.warn({ reason: String(error) }, 'Services could not be observed');
        continue;
      }
      log.info('Services changed; reporting at once');
      await this.#report();
    }
  }

  /** Observes and hands the status to the sender. */
  async #report(): Promise<void> {
    const { source, nodeId, log } = this.#options;
    try {
      const status = await source.collect();
      this.#reportedServices = JSON.stringify(status.services);
      if (this.#waiting !== undefined) this.#counts.dropped++; // (2)
      this.#waiting = statusMessage(nodeId, status, this.#deviceCode);
      this.#wake();
    } catch (error) {
      log.error({ reason: String(error) }, 'The status could not be collected; the next beat tries again');
    }
  }

  async #send(): Promise<void> {
    const { publisher, clock, intervalMs, log } = this.#options;
    let failures = 0;
    while (!this.#stopped.signal.aborted) {
      const message = this.#waiting;
      if (message === undefined) {
        await this.#nextWake();
        continue;
      }
      this.#waiting = undefined;
      try {
        await publisher.publish(message);
        this.#counts.published++;
        failures = 0;
      } catch (error) {
        if (this.#stopped.signal.aborted) return;
        this.#counts.failed++;
        failures++;
        if (this.#waiting === undefined) this.#waiting = message;
        else this.#counts.dropped++; // (2)
        log.debug({ reason: error instanceof Error ? error.message : String(error), failures }, 'The status could not be published');
        await this.#nextWakeOr(backoffDelayMs(failures, intervalMs / 2, clock.random())); // (3)
      }
    }
  }

  #nextWake(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    return this.#stopped.signal.aborted ? Promise.resolve() : promise;
  }

  async #nextWakeOr(delayMs: number): Promise<void> {
    const slept = new AbortController();
    await Promise.race([this.#nextWake(), this.#options.clock.sleep(delayMs, slept.signal)]);
    slept.abort();
  }
}
