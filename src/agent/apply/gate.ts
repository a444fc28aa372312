/**
 * The health gate: every service that an apply started is well within its deadline, and all of them stay so for a while.
 *
 * 1. A deadline runs from when the gate began, also across a restart of the agent; but a service has a moment at least after one.
 * 2. A container that ends again and again has failed, whatever is left of its time.
 */
import type { AgentClock } from '../clock.ts';
import { containerName, madeBy } from './execute.ts';
import { askHealth } from './health.ts';
import type { Containers, InspectedContainer } from './containers.ts';
import type { ServiceOutcome } from '../../protocol/device-config.ts';
import { ContainerEngineError } from '../../protocol/errors.ts';
import type { GateInput } from '../../../machines/apply/machine.ts';
import type { GateTarget, Outcome } from '../../../machines/apply/steps.ts';

const LOOK_EVERY_MS = 500;
/** Long enough to see most programs that start, answer once and fall. */
export const STABLE_MS = 3_000;
const MOMENT_MS = 5_000;
const CRASHES_MAX = 3;
const LAST_LINES = 20;
const LINES_LENGTH_MAX = 4_096;

export interface GateTools {
  readonly containers: Containers;
  readonly clock: AgentClock;
  readonly told: (outcome: ServiceOutcome) => void;
  /** Takes what must not be told out of a container's lines. */
  readonly redact: (service: string, text: string) => Promise<string>;
  readonly signal: AbortSignal;
}

type Watch = { readonly target: GateTarget; readonly budgetMs: number; wellSince?: number | undefined; restarts?: number | undefined; why: string };

export async function passGate({ targets, apply, since }: GateInput, tools: GateTools): Promise<Outcome> {
  const { clock, signal, told } = tools;
  const passed = Math.max(0, clock.wallTime().getTime() - since);
  const began = clock.now();
  const watches = targets.map((target): Watch => ({
    target,
    budgetMs: Math.max(target.deadlineMs - passed, Math.min(MOMENT_MS, target.deadlineMs)),
    why: 'it was not looked at',
  })); // (1)
  for (const { target } of watches) told({ name: target.service, phase: 'starting' });
  while (!signal.aborted) {
    for (const watch of watches) {
      const failed = await look(watch, apply, tools);
      if (failed !== undefined) return await failure(watch, apply, failed, tools);
    }
    const now = clock.now();
    if (watches.every(({ wellSince }) => wellSince !== undefined && now - wellSince >= STABLE_MS)) return { kind: 'done' };
    const late = watches.find(({ wellSince, budgetMs }) => wellSince === undefined && now - began > budgetMs);
    if (late !== undefined) return await failure(late, apply, `was not healthy within ${Math.round(late.target.deadlineMs / 1_000)} s: ${late.why}`, tools);
    await clock.sleep(LOOK_EVERY_MS, signal);
  }
  throw signal.reason;
}

/** Returns why the service has failed for good. */
async function look(watch: Watch, apply: string, tools: GateTools): Promise<string | undefined> {
  const { target } = watch;
  let container: InspectedContainer | undefined;
  try {
    const id = await containerOf(target.service, apply, tools);
    container = id === undefined ? undefined : await tools.containers.inspect(id, tools.signal);
  } catch (error) {
    if (!(error instanceof ContainerEngineError) || !error.retryable) throw error;
    watch.wellSince = undefined;
    watch.why = error.message;
    return undefined; // The engine may come back within the deadline.
  }
  if (container === undefined) return 'is gone: its container was removed';
  if (container.restarts >= CRASHES_MAX) return `ends again and again (exit code ${container.exitCode}${container.outOfMemory ? ', out of memory' : ''})`; // (2)
  const health = await askHealth(target, container);
  if (health.kind === 'not-yet') {
    if (watch.wellSince !== undefined) tools.told({ name: target.service, phase: 'starting' });
    watch.wellSince = undefined;
    watch.why = health.why;
    return undefined;
  }
  if (watch.wellSince === undefined || watch.restarts !== container.restarts) {
    watch.wellSince = tools.clock.now();
    watch.restarts = container.restarts;
    tools.told({ name: target.service, phase: 'healthy' });
  }
  return undefined;
}

/** The one that this apply made, or the one that it woke. */
async function containerOf(service: string, apply: string, tools: GateTools): Promise<string | undefined> {
  const made = await madeBy(apply, service, tools);
  return (made ?? (await tools.containers.list(tools.signal)).find(({ name }) => name === containerName(service)))?.id;
}

async function failure(watch: Watch, apply: string, why: string, tools: GateTools): Promise<Outcome> {
  const { service } = watch.target;
  const lines = await lastLines(service, apply, tools);
  const message = `${service} ${why}.${lines === '' ? '' : ` Its last lines:\n${lines}`}`;
  tools.told({ name: service, phase: 'failed', message });
  return { kind: 'failed', failure: { code: 'service_unhealthy', message, service } };
}

async function lastLines(service: string, apply: string, tools: GateTools): Promise<string> {
  try {
    const id = await containerOf(service, apply, tools);
    const lines = id === undefined ? [] : await tools.containers.lines(id, LAST_LINES, tools.signal);
    return (await tools.redact(service, lines.join('\n'))).slice(-LINES_LENGTH_MAX);
  } catch {
    return ''; // They are for people; the failure stands without them.
  }
}
