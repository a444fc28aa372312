/**
 * Runs the promises that actors invoke.
 *
 * 1. A promise starts after the commit that holds its invocation, and is aborted when a commit no longer holds it.
 * 2. Its result is an entry of the actor's inbox, under its token: a result of an earlier run is ignored by the kernel. (I1)
 * 3. A new owner starts every invocation again: a promise may run more than once, its result counts once.
 * 4. At most `invocationsMax` run at once; the others wait in the order in which they were committed. (I8)
 */
import { invocationRun } from '../core/kernel.ts';
import type { InvocationOutcome, MachineEvent } from '../protocol/envelope.ts';
import type { ActorKey } from '../protocol/ids.ts';
import type { Json } from '../protocol/json.ts';
import type { ActorRecord } from '../protocol/record.ts';
import type { HostedType } from './actor-types.ts';
import type { Meter } from './meter.ts';
import type { Clock, EngineStore } from './ports.ts';
import { SETTLED, type SettledEvent } from './stimulus.ts';

/** Characters of an error's message that are kept. */
const ERROR_MESSAGE_MAX = 2_000;
const FAILURE_PAUSE_MS = 100;
/** A function that heeds its signal returns at once; one that does not is left behind after so long: its result would not count. */
const STOP_WAIT_MS = 2_000;

export interface InvocationPorts {
  readonly store: Pick<EngineStore, 'append'>;
  readonly clock: Clock;
  readonly meter: Meter;
  readonly max: number;
}

interface Run {
  readonly actor: ActorKey;
  readonly key: string;
  readonly token: string;
  readonly partition: number;
  readonly abort: AbortController;
  readonly promise: (signal: AbortSignal) => Promise<Json>;
}

export class Invocations {
  readonly #ports: InvocationPorts;
  /** By token: running, or waiting for room. */
  readonly #runs = new Map<string, Run>();
  readonly #waiting: Run[] = [];
  readonly #ended = new Set<Promise<void>>();
  #running = 0;

  constructor(ports: InvocationPorts) {
    this.#ports = ports;
  }

  get running(): number {
    return this.#running;
  }

  /** A commit changed the invocations of an actor, or its partition was taken over (`before` is null). */
  update(partition: number, hosted: HostedType, actor: ActorKey, before: ActorRecord | null, after: ActorRecord): void {
    const tokens = new Set(Object.values(after.invocations).map((invocation) => invocation.token));
    for (const { token } of Object.values(before?.invocations ?? {})) if (!tokens.has(token)) this.#abort(token);
    for (const [key, { token, input }] of Object.entries(after.invocations)) {
      if (this.#runs.has(token)) continue;
      const run = invocationRun(hosted.registered, after, key);
      const promise = async (signal: AbortSignal): Promise<Json> => {
        if (run === undefined) throw new Error(`The machine has no promise for the invocation "${key}".`);
        return toJson(await run(input, signal));
      };
      const entry: Run = { actor, key, token, partition, abort: new AbortController(), promise };
      this.#runs.set(token, entry);
      this.#waiting.push(entry);
    }
    this.#startWaiting();
  }

  /** The partition is no longer ours: its next owner starts its invocations again. */
  close(partition: number): void {
    for (const run of [...this.#runs.values()]) if (run.partition === partition) this.#abort(run.token);
  }

  /** Aborts all and waits until their functions have returned, those that heed their signal. */
  async stop(): Promise<void> {
    for (const token of [...this.#runs.keys()]) this.#abort(token);
    const returned = new AbortController();
    await Promise.race([Promise.all(this.#ended), this.#ports.clock.sleep(STOP_WAIT_MS, returned.signal)]);
    returned.abort();
  }

  #abort(token: string): void {
    this.#runs.get(token)?.abort.abort();
    this.#runs.delete(token);
  }

  #startWaiting(): void {
    while (this.#running < this.#ports.max) {
      const run = this.#waiting.shift();
      if (run === undefined) return;
      if (run.abort.signal.aborted) continue;
      this.#running++;
      const ended = this.#run(run).finally(() => {
        this.#running--;
        this.#ended.delete(ended);
        this.#startWaiting();
      });
      this.#ended.add(ended);
    }
  }

  async #run(run: Run): Promise<void> {
    this.#ports.meter.count('invocations');
    const outcome = await settle(run);
    const { signal } = run.abort;
    while (!signal.aborted) {
      const event: SettledEvent = { type: SETTLED, invocation: run.key, token: run.token, outcome };
      const [result] = await this.#ports.store
        .append([{ actor: run.actor, event: event as unknown as MachineEvent, source: 'invocation', dedupeId: `settled:${run.token}:${run.key}` }])
        .catch((error: unknown) => [error instanceof Error ? error : new Error(String(error))]);
      if (!(result instanceof Error)) break;
      await this.#ports.clock.sleep(FAILURE_PAUSE_MS * (0.5 + this.#ports.clock.random()), signal);
    }
    // The token stays known until the commit that ends the invocation, so that it is not started twice meanwhile.
  }
}

async function settle(run: Run): Promise<InvocationOutcome> {
  try {
    return { ok: true, output: await run.promise(run.abort.signal) };
  } catch (error) {
    const { name, message } = error instanceof Error ? error : new Error(String(error));
    return { ok: false, error: { name, message: message.slice(0, ERROR_MESSAGE_MAX) } };
  }
}

/** A promise's result as it will be read back: JSON, with nothing for undefined. Throws what JSON cannot hold. */
function toJson(value: unknown): Json {
  return value === undefined ? null : (JSON.parse(JSON.stringify(value)) as Json);
}
