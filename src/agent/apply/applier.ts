/**
 * Applies configurations on this node, one after another, and finds the way on after a restart.
 *
 * 1. The machine (machines/apply) decides. Each of its snapshots is in the journal before the promise of its state begins.
 * 2. An apply that a crash or a stop left behind is finished first, to whichever end it comes.
 * 3. One delivery is applied once: a second one with its key is given the first one's report.
 * 4. Two never work at the same time: an apply, another apply, the reconcile loop.
 */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { createActor, type Actor, type Snapshot } from 'xstate';
import { StoppedError } from '../../protocol/errors.ts';
import { secretsOf } from '../../provisioning/service-secrets.ts';
import {
  createApplyMachine,
  type ApplyContext,
  type ApplyMachine,
  type ApplyRequest,
  type ApplyServices,
  type Validated,
} from '../../../machines/apply/machine.ts';
import { backoffDelayMs } from '../schedule.ts';
import { attempt, BACK, FORWARD, whileAway, type Patience } from './attempt.ts';
import { reportOf } from './apply-report.ts';
import type { StepTools } from './execute.ts';
import { passGate } from './gate.ts';
import { Journal } from './journal.ts';
import { asDevice, loadNodeState, saveNodeState, withFinished, EMPTY_STATE, type NodeSettings, type NodeState } from './node-state.ts';
import { planApply } from './plan.ts';
import { originOf, validate, type EnrolledAs, type ValidationInput } from './validate.ts';
import type { Containers } from './containers.ts';
import type { Ssh } from './ssh.ts';
import type { AgentClock } from '../clock.ts';
import type { ConfigReport, DeviceConfig, ServiceOutcome } from '../../protocol/device-config.ts';
import type { Json } from '../../protocol/json.ts';
import type { Catalogue } from '../../provisioning/node-catalogue.ts';
import type { ContainerSpec, Step } from '../../../machines/apply/steps.ts';
import type { Logger } from 'pino';

const RETRY_MS_LAST = 10_000;

export interface ApplierOptions {
  readonly nodeId: string;
  /** The agent's own folder; everything in it is for this user alone. */
  readonly folder: string;
  readonly containers: Containers;
  readonly catalogue: Catalogue;
  /** Asked each time: a node may be enrolled while its agent runs. */
  readonly enrolled: () => EnrolledAs | undefined;
  readonly allowManual: boolean;
  readonly hasGpu: () => Promise<boolean>;
  readonly ssh: Ssh;
  /** Told how an apply stands, each time that changes, and how one ended; `key` is the request's. Must not throw. */
  readonly onReport: (report: ConfigReport, key: string, isFinal: boolean) => void;
  readonly clock: AgentClock;
  readonly log: Logger;
}

export type ConfigRequest = Omit<ApplyRequest, 'apply'>;

export class Applier {
  readonly #options: ApplierOptions;
  readonly #journal: Journal;
  readonly #stopped = new AbortController();
  readonly #statePath: string;
  #state: NodeState = EMPTY_STATE;
  #last: Promise<unknown> = Promise.resolve();
  readonly #working = new Set<Promise<unknown>>();

  constructor(options: ApplierOptions) {
    this.#options = options;
    this.#statePath = join(options.folder, 'node-state.json');
    const onFault = ({ message }: Error): void => options.log.error({ reason: message }, 'The journal cannot be written; the apply waits for the disk');
    this.#journal = new Journal({ path: join(options.folder, 'apply.json'), clock: options.clock, onFault });
  }

  get state(): NodeState {
    return asDevice(this.#state, this.#options.enrolled()?.deviceId);
  }

  get settings(): NodeSettings {
    return this.state.settings;
  }

  /** Reads what the node was configured to be, and goes on with what was left behind. Throws InvalidSettingError. (2) */
  async start(): Promise<void> {
    this.#state = await loadNodeState(this.#statePath);
    const left = await this.#journal.load();
    if (left === undefined) return;
    this.#options.log.info('Going on with an apply that was interrupted');
    this.exclusively(() => this.#run(undefined, left as Snapshot<unknown>)).catch((error: unknown) => {
      if (!(error instanceof StoppedError)) this.#options.log.error({ reason: String(error) }, 'The interrupted apply could not be gone on with');
    });
  }

  /** Resolves with the report of its end. Rejects with StoppedError when the agent stops before: it goes on at the next start. */
  async apply(request: ConfigRequest): Promise<ConfigReport> {
    return await this.exclusively(async () => {
      const known = this.#known(request);
      if (known !== undefined) return known;
      const started: ApplyRequest = { ...request, apply: randomUUID() };
      // What is refused needs no journal, and never gets into one: it may be of any depth.
      const validated = validate(this.#validation(request.payload));
      return validated.kind === 'refused' ? await this.#refuse(started, validated) : await this.#run(started, undefined);
    });
  }

  /** Runs alone. (4) */
  async exclusively<Result>(work: () => Promise<Result>): Promise<Result> {
    const mine = this.#last.then(async () => {
      if (this.#stopped.signal.aborted) throw stopping();
      return await work();
    });
    this.#last = mine.catch(() => undefined);
    return await mine;
  }

  async stop(): Promise<void> {
    this.#stopped.abort(stopping());
    this.#journal.close();
    await Promise.allSettled([this.#last, ...this.#working]);
  }

  /** For the reconcile loop, with `exclusively`. */
  tools(signal: AbortSignal, pulling: (service: string, percent: number) => void): StepTools {
    const { containers, ssh } = this.#options;
    return { containers, ssh, pulling, signal, secretsOf: async (spec) => this.#secrets(spec) };
  }

  /** (3) */
  #known({ key, payload }: ConfigRequest): ConfigReport | undefined {
    const byKey = this.state.finished.find((each) => each.key === key)?.report;
    if (byKey !== undefined) return byKey;
    const origin = originOf(this.#validation(payload));
    return origin.kind === 'repeated' ? this.state.finished.findLast(({ report }) => report.desiredRevision === origin.revision)?.report : undefined;
  }

  #validation(payload: Json): ValidationInput {
    const { nodeId, enrolled, allowManual, catalogue, clock } = this.#options;
    const { highestRevision } = this.state;
    return { payload, nodeId, enrolled: enrolled(), allowManual, catalogue, highestRevision, now: clock.wallTime().getTime() };
  }

  async #run(request: ApplyRequest | undefined, left: Snapshot<unknown> | undefined): Promise<ConfigReport> {
    const { clock, onReport, log } = this.#options;
    const seen = new Map<string, ServiceOutcome>();
    const machine = createApplyMachine(this.#services((outcome) => note(outcome)));
    const actor: Actor<ApplyMachine> = createActor(
      machine,
      left === undefined ? { input: request as ApplyRequest } : { snapshot: left, input: undefined as never },
    );
    const present = (): ConfigReport => {
      const { value, context } = actor.getSnapshot();
      return reportOf({ value, context, state: this.state, seen, at: clock.wallTime() });
    };
    const note = (outcome: ServiceOutcome): void => {
      seen.set(outcome.name, outcome);
      if (actor.getSnapshot().status === 'active') onReport(present(), actor.getSnapshot().context.request.key, false);
    };
    const ended = Promise.withResolvers<void>();
    const stop = (): void => {
      ended.reject(stopping());
      actor.stop();
    };
    this.#stopped.signal.addEventListener('abort', stop);
    actor.subscribe({
      next: ({ status, value, context }) => {
        if (this.#stopped.signal.aborted) return;
        try {
          this.#journal.save(actor.getPersistedSnapshot()); // (1)
        } catch (error) {
          ended.reject(error); // Nothing that waits for it goes on.
          actor.stop();
          return;
        }
        log.info({ step: value, index: context.index }, 'Applying a configuration');
        if (status === 'active') onReport(present(), context.request.key, false);
      },
      complete: () => ended.resolve(),
      error: (error) => ended.reject(error),
    });
    try {
      actor.start();
      await ended.promise;
    } finally {
      this.#stopped.signal.removeEventListener('abort', stop);
    }
    await this.#journal.written();
    if (this.#stopped.signal.aborted) throw stopping();
    const { context } = actor.getSnapshot();
    return await this.#finish(context.request, present(), context.accepted?.revision ?? null);
  }

  async #refuse(request: ApplyRequest, { failure, revision, isTakenUp = false }: Extract<Validated, { kind: 'refused' }>): Promise<ConfigReport> {
    const context: ApplyContext = { request, index: 0, failure };
    const told = revision === undefined ? {} : { refused: revision };
    const report = reportOf({ value: 'rejected', context, ...told, state: this.state, seen: new Map(), at: this.#options.clock.wallTime() });
    return await this.#finish(request, report, isTakenUp ? report.desiredRevision : null);
  }

  /** `takenUp`: the revision that nothing older is taken after. */
  async #finish(request: ApplyRequest, report: ConfigReport, takenUp: number | null): Promise<ConfigReport> {
    await this.#save(withFinished(this.state, { key: request.key, report }, takenUp));
    await this.#journal.clear();
    this.#options.onReport(report, request.key, true);
    const { phase, desiredRevision, error } = report;
    this.#options.log.info({ phase, revision: desiredRevision, ...(error === undefined ? {} : { code: error.code }) }, 'A configuration was dealt with');
    return report;
  }

  #services(note: (outcome: ServiceOutcome) => void): ApplyServices {
    const { containers, clock, catalogue, hasGpu } = this.#options;
    /** (1) */
    const journaled =
      <Input, Result>(work: (input: Input, signal: AbortSignal) => Promise<Result>) =>
      async (input: Input, signal: AbortSignal): Promise<Result> => {
        const done = this.#journal.written().then(async () => {
          signal.throwIfAborted();
          return await work(input, signal);
        });
        this.#working.add(done);
        return await done.finally(() => this.#working.delete(done));
      };
    const steps = (patience: Patience) => async (step: Step, signal: AbortSignal) => {
      const pulling = (name: string, percent: number): void => note({ name, phase: 'pulling', percent });
      return await attempt(step, this.tools(signal, pulling), patience, this.#options);
    };
    return {
      validate: journaled(async ({ payload }) => validate(this.#validation(payload))),
      plan: journaled(async ({ accepted, apply }, signal) => {
        const config = accepted.desired as unknown as DeviceConfig;
        const ssh = config.sshEnabled === undefined ? undefined : { from: await this.#options.ssh.enabled(signal), to: config.sshEnabled };
        const touches = config.services !== undefined || this.state.recorded.length > 0;
        const found = touches ? await whileAway(() => containers.list(signal), FORWARD.awayMs, clock, signal) : [];
        const gpu = touches && (await hasGpu());
        return planApply({ state: this.state, config, revision: accepted.revision, apply, catalogue, containers: found, hasGpu: gpu, ssh });
      }),
      execute: journaled(steps(FORWARD)),
      undo: journaled(steps(BACK)),
      gate: journaled(async (input, signal) => {
        const redact = async (service: string, text: string): Promise<string> => this.#redacted(service, text);
        return await passGate(input, { containers, clock, told: note, redact, signal });
      }),
      commit: journaled(async ({ plan }, signal) => await this.#commit(plan.next as unknown as NodeState, signal)),
      now: () => clock.wallTime().getTime(),
    };
  }

  /** Whether it was written is known, or it is tried again: nothing else may be said at the point of no return. */
  async #commit(next: NodeState, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    for (let tries = 1; ; tries++) {
      try {
        return await this.#save({ ...next, finished: this.state.finished });
      } catch (error) {
        log.error({ reason: String(error) }, 'The new state of this node cannot be written; the apply waits for the disk');
        await clock.sleep(backoffDelayMs(tries, RETRY_MS_LAST, clock.random()), signal);
        signal.throwIfAborted();
      }
    }
  }

  async #save(state: NodeState): Promise<void> {
    await saveNodeState(this.#statePath, state);
    this.#state = state;
  }

  #secrets({ service, secrets }: ContainerSpec): { readonly [name: string]: string } {
    if (secrets.length === 0) return {};
    const declared = Object.fromEntries(secrets.map((name) => [name, { description: name }]));
    return secretsOf(join(this.#options.folder, 'secrets'), { name: service, secrets: declared });
  }

  /** Without the service's secrets. */
  #redacted(service: string, text: string): string {
    const names = Object.keys(this.#options.catalogue.services.get(service)?.secrets ?? {});
    if (names.length === 0) return text;
    const secrets = Object.values(this.#secrets({ service, secrets: names } as unknown as ContainerSpec));
    return secrets.reduce((clean, secret) => clean.replaceAll(secret, '***'), text);
  }
}

function stopping(): StoppedError {
  return new StoppedError('The agent stops; the apply goes on at its next start.');
}
