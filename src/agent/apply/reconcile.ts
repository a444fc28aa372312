/**
 * Keeps what was applied running: looks every few seconds, brings back what does not run, and says so.
 *
 * 1. It repairs towards the node's state alone. A container that no apply made is left as it is, also one that took a service's name.
 * 2. Each repair of a service that does not last waits longer before the next; one that lasts is forgotten after a while.
 * 3. The control plane asks for the newest revision. When that one was taken back or refused, a drift is told under its number, and what
 *    became of it again when the drift is over.
 * 4. It never works while something is being applied, and never changes what the node was configured to be.
 */
import { ContainerEngineError } from '../../protocol/errors.ts';
import { backoffDelayMs } from '../schedule.ts';
import { standing } from './apply-report.ts';
import { containerName, execute, parkedName, type StepTools } from './execute.ts';
import type { Applier } from './applier.ts';
import type { Containers, FoundContainer } from './containers.ts';
import type { AppliedService, NodeState } from './node-state.ts';
import type { AgentClock } from '../clock.ts';
import type { ConfigReport, ServiceOutcome } from '../../protocol/device-config.ts';
import type { Step } from '../../../machines/apply/steps.ts';
import type { Logger } from 'pino';

export const RECONCILE_EVERY_MS = 10_000;
const BACKOFF_MS_LAST = 5 * 60_000;
const LASTS_MS = 5 * 60_000;
const REPAIR_TIMEOUT_MS = 120_000;

export type Drift =
  | { readonly kind: 'as-it-should-be' }
  /** Something to be done about it. */
  | { readonly kind: 'repairable'; readonly why: string; readonly steps: readonly Step[] }
  /** Somebody else's to solve: the engine's, or a person's. */
  | { readonly kind: 'told'; readonly why: string };

/** What is to be done about one service: a pure function of what is there. */
export function driftOf({ choice: { name }, spec, specHash }: AppliedService, revision: number | null, containers: readonly FoundContainer[]): Drift {
  const found = containers.find((each) => each.name === containerName(name));
  const parked = containers.find((each) => each.name === parkedName(name) && each.service === name && each.specHash === specHash);
  if (found !== undefined && found.service !== name) return { kind: 'told', why: `a container that no configuration made has the name ${containerName(name)}` }; // (1)
  if (found?.specHash === specHash) {
    if (found.restarting) return { kind: 'told', why: 'it ends again and again' };
    if (found.running) return { kind: 'as-it-should-be' };
    return { kind: 'repairable', why: 'it was stopped', steps: [{ kind: 'resume', service: name, id: found.id }] };
  }
  const instead: readonly Step[] = found === undefined ? [] : [{ kind: 'remove', service: name, id: found.id }];
  const why = found === undefined ? 'its container was removed' : 'another revision of it has its place';
  if (parked !== undefined) return { kind: 'repairable', why, steps: [...instead, { kind: 'restore', service: name, id: parked.id, running: true }] };
  const apply = `repair-${name}-${specHash}`;
  return {
    kind: 'repairable',
    why,
    steps: [
      ...instead,
      { kind: 'pull', service: name, image: spec.image },
      { kind: 'create', service: name, spec, specHash, apply, revision },
      { kind: 'start', service: name, apply },
    ],
  };
}

export interface ReconcilerOptions {
  readonly applier: Pick<Applier, 'exclusively' | 'tools' | 'state'>;
  readonly containers: Containers;
  readonly onReport: (report: ConfigReport) => void;
  readonly everyMs?: number;
  readonly clock: AgentClock;
  readonly log: Logger;
}

interface Repair {
  tries: number;
  lastAt: number;
  notBefore: number;
}

export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly #stopped = new AbortController();
  readonly #repairs = new Map<string, Repair>();
  /** What was told last, so that the same is not told at every look. */
  #told = '';
  #done: Promise<void> | undefined;

  constructor(options: ReconcilerOptions) {
    this.#options = options;
  }

  start(): void {
    this.#done ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#done;
  }

  async #run(): Promise<void> {
    const { clock, applier, log, everyMs = RECONCILE_EVERY_MS } = this.#options;
    const { signal } = this.#stopped;
    while (!signal.aborted) {
      await clock.sleep(everyMs, signal);
      if (signal.aborted) return;
      try {
        await applier.exclusively(async () => await this.#look()); // (4)
      } catch (error) {
        // An engine that is away is no drift: nothing is known.
        if (!signal.aborted)
          log.debug({ reason: error instanceof Error ? error.message : String(error) }, 'Services could not be compared with what they should be');
      }
    }
  }

  async #look(): Promise<void> {
    const { applier, containers } = this.#options;
    const { state } = applier;
    if (state.services.length === 0) return;
    const found = await containers.list(this.#stopped.signal);
    const drifted: ServiceOutcome[] = [];
    for (const service of state.services) {
      const { name } = service.choice;
      const drift = driftOf(service, state.revision, found);
      if (drift.kind === 'as-it-should-be') {
        this.#forget(name);
        await this.#sweep(name, found);
        continue;
      }
      drifted.push(await this.#repair(name, drift));
    }
    this.#tell(state, drifted);
  }

  async #repair(name: string, drift: Exclude<Drift, { kind: 'as-it-should-be' }>): Promise<ServiceOutcome> {
    const { applier, clock, log } = this.#options;
    if (drift.kind === 'told') return { name, phase: 'failed', message: drift.why };
    const now = clock.now();
    const repair = this.#repairs.get(name) ?? { tries: 0, lastAt: now, notBefore: now };
    this.#repairs.set(name, repair);
    const again = `${drift.why}; brought back ${repair.tries} times already`;
    if (now < repair.notBefore) return { name, phase: 'waiting', message: again };
    repair.tries++;
    repair.lastAt = now;
    repair.notBefore = now + backoffDelayMs(repair.tries + 5, BACKOFF_MS_LAST, clock.random()); // (2)
    const signal = AbortSignal.any([this.#stopped.signal, AbortSignal.timeout(REPAIR_TIMEOUT_MS)]);
    const tools: StepTools = applier.tools(signal, () => undefined);
    log.warn({ service: name, why: drift.why, tries: repair.tries }, 'A service is not as it should be and is brought back');
    try {
      for (const step of drift.steps) await execute(step, tools);
      return { name, phase: 'starting', message: drift.why };
    } catch (error) {
      if (!(error instanceof ContainerEngineError)) throw error;
      return { name, phase: 'failed', message: `${drift.why}, and could not be brought back: ${error.message}` };
    }
  }

  #forget(name: string): void {
    const repair = this.#repairs.get(name);
    if (repair !== undefined && this.#options.clock.now() - repair.lastAt > LASTS_MS) this.#repairs.delete(name);
  }

  /** What an apply parked and could not remove. */
  async #sweep(name: string, found: readonly FoundContainer[]): Promise<void> {
    const parked = found.find((each) => each.name === parkedName(name) && each.service === name);
    if (parked !== undefined) await this.#options.containers.remove(parked.id, this.#stopped.signal);
  }

  #tell(state: NodeState, drifted: readonly ServiceOutcome[]): void {
    const { clock, onReport } = this.#options;
    const told = JSON.stringify(drifted);
    if (told === this.#told || (drifted.length === 0 && this.#told === '')) return;
    this.#told = drifted.length === 0 ? '' : told;
    const byName = new Map(drifted.map((outcome) => [outcome.name, outcome]));
    const services = standing(state).map(
      (each): ServiceOutcome => byName.get(each.name) ?? (each.phase === 'unchanged' ? { name: each.name, phase: 'healthy' } : each),
    );
    const timestamp = clock.wallTime().toISOString();
    const unwanted = takenBack(state);
    if (drifted.length === 0 && unwanted !== undefined) return onReport({ ...unwanted, timestamp }); // (3)
    onReport({
      phase: drifted.length === 0 ? 'applied' : 'drifted',
      desiredRevision: unwanted?.desiredRevision ?? state.revision,
      appliedRevision: state.revision,
      services,
      timestamp,
    });
  }
}

/** What became of the newest revision, when it is not what runs. Its job has been told already. */
function takenBack({ revision, highestRevision, finished }: NodeState): ConfigReport | undefined {
  if (highestRevision === null || highestRevision === revision) return undefined;
  const report = finished.findLast((each) => each.report.desiredRevision === highestRevision)?.report;
  if (report === undefined || !['rolled-back', 'rejected', 'failed'].includes(report.phase)) return undefined;
  const untold: ConfigReport & { jobId?: string } = { ...report };
  delete untold.jobId;
  return untold;
}
