/**
 * A worker: takes entries, runs them, reports. Over a transport, so that it knows neither Redis nor HTTP.
 *
 *   idle ──start──▶ running ──stop──▶ draining ──running jobs ended, or the grace is over──▶ stopped
 *
 * 1. An entry is run at most once in this process, however often the transport gives it.
 * 2. No more jobs run at once than `concurrency`; what came beyond waits here, and is given back when the worker stops.
 * 3. An entry for another node is left pending for it. One of an unknown type fails and may be tried again: another worker may know the type,
 *    and the backoff and the number of tries bound the search.
 * 4. While the control plane calls this node degraded or offline no job is taken; but a message that was lost must not stop a worker
 *    for ever, so it takes jobs again after three heartbeats without news.
 * 5. Stopping takes no more jobs, gives back what was not begun, waits for the rest up to a grace, aborts and gives back what is left.
 * 6. A worker that reads nothing because it is busy says that it lives: what waits here to be begun must not be taken for lost.
 * 7. Entries for this node come before new ones, which any worker may take.
 */
import { StoppedError } from '../protocol/errors.ts';
import type { AnyJobDefinition } from '../protocol/job-handler.ts';
import type { JobEntry } from '../protocol/job-progress.ts';
import type { Json } from '../protocol/json.ts';
import type { JobTransport } from '../protocol/worker.ts';
import { sleep, systemWorkerClock, type WorkerClock } from './clock.ts';
import { badPayload, checkSettings, definitionsByType, keyOf, readPayload, unknownType, type ReadyEntry } from './entries.ts';
import { JobRunner, type RunCounts } from './job-runner.ts';
import { Messages } from './messages.ts';
import { ReportLane } from './report-lane.ts';
import {
  CONSUME_BLOCK_MS,
  DEFAULT_CONCURRENCY,
  DEFAULT_GRACE_MS,
  DEFAULT_HEARTBEAT_MS,
  LAST_REPORTS_MS,
  LOOK_EVERY_MS,
  RETRY_MS_FIRST,
  RETRY_MS_LAST,
  UNWELL_HEARTBEATS,
} from './settings.ts';

export interface WorkerOptions {
  /** The worker closes it when it stops. */
  readonly transport: JobTransport;
  /** In the order of their importance for who reads them; at least one. */
  readonly queues: readonly string[];
  /** One for each type. */
  readonly jobs: readonly AnyJobDefinition[];
  /** Jobs at once. */
  readonly concurrency?: number;
  /** This machine; entries that name another one are left to it. */
  readonly nodeId?: string;
  readonly graceMs?: number;
  readonly heartbeatMs?: number;
  readonly clock?: WorkerClock;
  readonly log: { warn(message: string): void; info?(message: string): void };
}

export interface WorkerCounts extends Readonly<RunCounts> {
  /** Entries taken. */
  readonly taken: number;
  /** Left pending for another node. */
  readonly leftToOthers: number;
  readonly running: number;
  /** Taken and not begun. */
  readonly waiting: number;
  /** Not stored yet. */
  readonly reports: number;
  /** Log lines and chunks that were left out because too many reports waited. */
  readonly leftOut: number;
}

type WorkerState =
  | { readonly kind: 'idle' }
  | { readonly kind: 'running'; readonly stop: AbortController; readonly taking: Promise<void>; readonly listening: readonly (() => void)[] }
  | { readonly kind: 'draining'; readonly stopped: Promise<void> }
  | { readonly kind: 'stopped' };

export class Worker {
  readonly #options: WorkerOptions;
  readonly #concurrency: number;
  readonly #clock: WorkerClock;
  readonly #definitions: ReadonlyMap<string, AnyJobDefinition>;
  readonly #lane: ReportLane;
  readonly #runner: JobRunner;
  readonly #held = new Set<string>();
  readonly #waiting: ReadyEntry[] = [];
  #state: WorkerState = { kind: 'idle' };
  #taken = 0;
  #leftToOthers = 0;
  #unwellUntil = -Infinity;
  #consuming: AbortController | undefined;
  #wake: (() => void) | undefined;
  #beginning = false;
  #tickAt = Infinity;
  #cancelTick: (() => void) | undefined;
  #lookAt = 0;
  #looking = false;
  #lookAgain = false;
  /** There may be more entries for this node than there was room for. */
  #targetedDue = false;

  /** Throws InvalidSettingError. */
  constructor(options: WorkerOptions) {
    const { queues, jobs, concurrency = DEFAULT_CONCURRENCY, transport, nodeId, clock = systemWorkerClock, log } = options;
    checkSettings(queues, concurrency);
    this.#definitions = definitionsByType(jobs);
    this.#options = options;
    this.#concurrency = concurrency;
    this.#clock = clock;
    const warn = (message: string): void => log.warn(message);
    this.#lane = new ReportLane({
      transport,
      clock,
      onSettled: (entry) => void this.#held.delete(keyOf(entry)),
      onStored: () => this.#wakeUp(),
      warn,
    });
    const messages = new Messages(clock, transport.consumer, nodeId);
    this.#runner = new JobRunner({ clock, lane: this.#lane, messages, warn, onFree: () => this.#onFree() });
  }

  get state(): WorkerState['kind'] {
    return this.#state.kind;
  }

  get counts(): WorkerCounts {
    return {
      ...this.#runner.counts,
      taken: this.#taken,
      leftToOthers: this.#leftToOthers,
      running: this.#runner.size,
      waiting: this.#waiting.length,
      reports: this.#lane.size,
      leftOut: this.#lane.leftOut,
    };
  }

  /** Begins to take jobs. A transport that cannot be reached is waited for. Throws StoppedError after `stop`. */
  start(): void {
    if (this.#state.kind === 'running') return;
    if (this.#state.kind !== 'idle') throw new StoppedError('The worker was stopped. Make a new one to start again.');
    const stop = new AbortController();
    const { transport } = this.#options;
    const listening = [transport.onNodeState((state) => this.#onNodeState(state)), transport.onTargeted(() => this.#lookNow())];
    this.#state = { kind: 'running', stop, taking: this.#take(stop.signal), listening };
    this.#armTick(0);
  }

  /** See (5). `graceMs` wins over the worker's own. Resolves when nothing of it runs any more and the transport is closed. */
  async stop(graceMs: number = this.#options.graceMs ?? DEFAULT_GRACE_MS): Promise<void> {
    const state = this.#state;
    if (state.kind === 'draining') return await state.stopped;
    if (state.kind === 'idle') await this.#options.transport.close();
    if (state.kind === 'running') {
      const stopped = this.#drain(state, graceMs);
      this.#state = { kind: 'draining', stopped };
      await stopped;
    }
    this.#state = { kind: 'stopped' };
  }

  async #drain({ stop, taking, listening }: Extract<WorkerState, { kind: 'running' }>, graceMs: number): Promise<void> {
    const { transport, log } = this.#options;
    stop.abort();
    this.#consuming?.abort();
    this.#wakeUp();
    for (const { entry } of this.#waiting.splice(0)) this.#runner.refuse(entry, 'released');
    await Promise.all([taking, this.#within(graceMs, this.#runner.empty())]);
    this.#runner.giveBackAll();
    await this.#within(LAST_REPORTS_MS, this.#lane.empty());
    const lost = this.#lane.close();
    if (lost > 0) log.warn(`${lost} reports could not be stored before the worker stopped; their jobs are handed out again when their lease ends.`);
    this.#cancelTick?.();
    this.#cancelTick = undefined;
    for (const end of listening) end();
    await transport.close();
  }

  async #within(ms: number, awaited: Promise<void>): Promise<void> {
    const over = new AbortController();
    await Promise.race([awaited, sleep(this.#clock, ms, over.signal)]);
    over.abort();
  }

  async #take(stop: AbortSignal): Promise<void> {
    const { transport, queues, log } = this.#options;
    let failures = 0;
    while (!stop.aborted) {
      const room = this.#room();
      if (room === 0) {
        await new Promise<void>((resolve) => (this.#wake = resolve));
        continue;
      }
      const consuming = (this.#consuming = new AbortController());
      try {
        if (this.#targetedDue) {
          await this.#claimTargeted(room); // (7)
          continue;
        }
        const count = Math.max(1, Math.floor(room / queues.length));
        const entries = await transport.consume({ queues, count, blockMs: CONSUME_BLOCK_MS, signal: consuming.signal });
        // One that was called off says nothing about Redis.
        if (!consuming.signal.aborted) {
          if (failures > 0) log.info?.('Jobs can be taken again.');
          failures = 0;
        }
        for (const entry of entries) this.#accept(entry, stop.aborted);
        // What ends at once is reported before the next read is sent: somebody may wait for it, and nobody for the read. Its end is heard in
        // one turn and sent in the next.
        if (entries.length > 0) await this.#turns(2);
      } catch (error) {
        if (stop.aborted) return;
        if (failures++ === 0) log.warn(`No jobs can be taken, and it is tried again: ${messageOf(error)}`);
        await sleep(this.#clock, Math.min(RETRY_MS_LAST, RETRY_MS_FIRST * 2 ** Math.min(failures - 1, 10)), stop);
      }
    }
  }

  async #turns(count: number): Promise<void> {
    for (let turn = 0; turn < count; turn++) await new Promise<void>((resolve) => this.#clock.soon(resolve));
  }

  /** How many entries may be taken now. */
  #room(): number {
    if (this.#lane.full || this.#clock.now() < this.#unwellUntil) return 0;
    return Math.max(0, this.#concurrency - this.#runner.size - this.#waiting.length);
  }

  #accept(entry: JobEntry, stopping: boolean): void {
    const key = keyOf(entry);
    if (this.#held.has(key)) return; // (1)
    const read = readPayload(entry);
    const target = entry.targetNode ?? read.target;
    if (target !== undefined && target !== this.#options.nodeId) {
      this.#leftToOthers++; // (3)
      return;
    }
    this.#taken++;
    this.#held.add(key);
    const definition = this.#definitions.get(entry.type);
    if (stopping)
      this.#runner.refuse(entry, 'released'); // (5)
    else if (read.fault !== undefined) this.#runner.refuse(entry, 'error', badPayload(read.fault));
    else if (definition === undefined) this.#runner.refuse(entry, 'error', unknownType(entry.type));
    else if (this.#runner.size < this.#concurrency) this.#begin(entry, definition, read.payload);
    else this.#waiting.push({ entry, definition, payload: read.payload }); // (2)
  }

  #begin(entry: JobEntry, definition: AnyJobDefinition, payload: Json): void {
    this.#runner.run(entry, definition, payload);
    this.#armTick(this.#runner.tickMs);
  }

  #onFree(): void {
    this.#wakeUp();
    if (this.#targetedDue) this.#lookNow();
    // A handler that ends at once comes back here from within: the loop that began it goes on.
    if (this.#beginning) return;
    this.#beginning = true;
    while (this.#waiting.length > 0 && this.#runner.size < this.#concurrency) {
      const next = this.#waiting.shift();
      if (next !== undefined) this.#begin(next.entry, next.definition, next.payload);
    }
    this.#beginning = false;
  }

  /** Soon, so that slots that come free in one turn are filled by one read. */
  #wakeUp(): void {
    const wake = this.#wake;
    if (wake === undefined) return;
    this.#wake = undefined;
    this.#clock.soon(wake);
  }

  #onNodeState(state: string): void {
    if (state === 'degraded' || state === 'offline') {
      this.#unwellUntil = this.#clock.now() + UNWELL_HEARTBEATS * (this.#options.heartbeatMs ?? DEFAULT_HEARTBEAT_MS); // (4)
      this.#consuming?.abort();
      this.#options.log.info?.(`This node is ${state}: no jobs are taken.`);
    } else if (state === 'online') {
      this.#unwellUntil = -Infinity;
      this.#wakeUp();
    }
  }

  #lookNow(): void {
    this.#lookAt = 0;
    this.#armTick(0);
  }

  #armTick(ms: number): void {
    const at = this.#clock.now() + ms;
    if (this.#state.kind === 'stopped' || this.#tickAt <= at) return;
    this.#cancelTick?.();
    this.#tickAt = at;
    this.#cancelTick = this.#clock.after(ms, () => this.#tick());
  }

  #tick(): void {
    this.#tickAt = Infinity;
    const now = this.#clock.now();
    this.#runner.tick(now);
    if (now >= this.#lookAt) {
      this.#lookAt = now + LOOK_EVERY_MS;
      this.#wakeUp(); // (4)
      if (this.#looking) this.#lookAgain = true;
      else void this.#look();
    }
    this.#armTick(this.#runner.tickMs);
  }

  /** No more than can begin: what waits too long is handed out again, and what waits here would be done twice. */
  async #claimTargeted(room: number): Promise<void> {
    const entries = await this.#options.transport.claimTargeted(this.#options.queues, room);
    this.#targetedDue = entries.length >= room;
    for (const entry of entries) this.#accept(entry, this.#state.kind !== 'running');
  }

  /** Cancel flags of what runs, and entries that others left to this node. A look that fails is made again. */
  async #look(): Promise<void> {
    const { transport, queues, nodeId } = this.#options;
    this.#looking = true;
    try {
      const running = this.#runner.running;
      if (running.length > 0) {
        const flags = await transport.cancelled(running.map(({ entry }) => entry));
        flags.forEach((cancelled, index) => {
          const job = running[index];
          if (cancelled && job !== undefined) this.#runner.cancel(job);
        });
      }
      const room = this.#room();
      if (room === 0 && this.#held.size > 0) await transport.keepAlive(queues); // (6)
      if (nodeId !== undefined && this.#state.kind === 'running') {
        if (room > 0) await this.#claimTargeted(room);
        else this.#targetedDue = true;
      }
    } catch {
      // The reads of the worker's loop fail for the same reason, and that is told there.
    } finally {
      this.#looking = false;
    }
    if (!this.#lookAgain) return;
    this.#lookAgain = false;
    this.#lookNow();
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
