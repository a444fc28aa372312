/**
 * From what is wanted and what is there to the steps between: a pure function.
 *
 * 1. Services that a configuration does not name stay as they are, unless it says `replaceServices`.
 * 2. What runs as it is wanted is not touched. What is to be replaced stands parked until its successor has passed the gate.
 * 3. A container under a service's name that no apply made is somebody's own: the configuration is refused.
 */
import { createHash } from 'node:crypto';
import { containerSettings } from '../../provisioning/parameters.ts';
import { containerName } from './execute.ts';
import type { FoundContainer } from './containers.ts';
import type { AppliedService, NodeSettings, NodeState } from './node-state.ts';
import type { DeviceConfig, ServiceChoice, ServiceOutcome } from '../../protocol/device-config.ts';
import type { Json } from '../../protocol/json.ts';
import type { Catalogue } from '../../provisioning/node-catalogue.ts';
import type { CatalogueService } from '../../provisioning/catalogue.ts';
import type { Planned } from '../../../machines/apply/machine.ts';
import type { ContainerSpec, Failure, GateTarget, Step } from '../../../machines/apply/steps.ts';

export interface PlanInput {
  readonly state: NodeState;
  readonly config: DeviceConfig;
  readonly revision: number | null;
  readonly apply: string;
  readonly catalogue: Catalogue;
  readonly containers: readonly FoundContainer[];
  readonly hasGpu: boolean;
  /** Undefined: the ssh server is not switched. */
  readonly ssh: { readonly from: boolean; readonly to: boolean } | undefined;
}

export function planApply(input: PlanInput): Planned {
  const { state, config, revision, ssh } = input;
  const settings = mergedSettings(state.settings, config);
  const starts = settings.autoStartServices !== false;
  const wanted = config.services ?? (starts ? state.recorded : []);
  const replace = config.replaceServices === true;
  const sshSteps: readonly Step[] = ssh === undefined || ssh.from === ssh.to ? [] : [{ kind: 'ssh', enabled: ssh.to }];
  const sshUndo: readonly Step[] = sshSteps.length === 0 ? [] : [{ kind: 'ssh', enabled: ssh?.from === true }];

  if (!starts) {
    const recorded = config.services === undefined ? state.recorded : replace ? wanted : merged(state.recorded, wanted, ({ name }) => name);
    const next: NodeState = { ...state, revision, settings, recorded };
    const waiting = recorded.map(({ name }): ServiceOutcome => ({ name, phase: 'waiting' }));
    return { kind: 'planned', plan: { steps: sshSteps, undo: sshUndo, finish: [], gate: [], starts, services: waiting, next: next as unknown as Json } };
  }

  const parts: ServicePlan[] = [];
  for (const [index, choice] of wanted.entries()) {
    const part = planService(choice, index, input);
    if ('code' in part) return { kind: 'refused', failure: part };
    parts.push(part);
  }
  const dropped = replace ? servicesToDrop(wanted, input) : [];
  const services = merged(
    replace ? [] : state.services,
    parts.map(({ applied }) => applied),
    ({ choice }) => choice.name,
  );
  const next: NodeState = { ...state, revision, settings, services, recorded: [] };
  return {
    kind: 'planned',
    plan: {
      // What takes long and disturbs nobody comes first; ports and GPUs are free before anything new is started.
      steps: [
        ...parts.flatMap(({ pull }) => pull),
        ...dropped.map(toPark),
        ...parts.flatMap(({ park: before }) => before),
        ...parts.flatMap(({ bring }) => bring),
        ...sshSteps,
      ],
      undo: [...sshUndo, ...parts.flatMap(({ discard }) => discard), ...parts.flatMap(({ restore }) => restore), ...dropped.map(toRestore)],
      finish: [...parts.flatMap(({ remove }) => remove), ...dropped.map(toRemove)],
      gate: parts.flatMap(({ gate }) => gate),
      starts,
      services: [...outcomesOf(services, parts), ...dropped.map(({ service }): ServiceOutcome => ({ name: service, phase: 'stopped' }))],
      next: next as unknown as Json,
    },
  };
}

interface ServicePlan {
  readonly applied: AppliedService;
  readonly pull: readonly Step[];
  readonly park: readonly Step[];
  readonly bring: readonly Step[];
  readonly discard: readonly Step[];
  readonly restore: readonly Step[];
  readonly remove: readonly Step[];
  readonly gate: readonly GateTarget[];
}
interface Standing {
  readonly service: string;
  readonly id: string;
  readonly running: boolean;
}

const NOTHING = { pull: [], park: [], bring: [], discard: [], restore: [], remove: [], gate: [] } as const;

function planService(choice: ServiceChoice, index: number, { catalogue, containers, hasGpu, apply, revision }: PlanInput): ServicePlan | Failure {
  const { name } = choice;
  const field = `services[${index}]`;
  const service = catalogue.services.get(name);
  if (service === undefined || catalogue.vetoed.has(name))
    return { code: 'invalid_config', field, message: `The field ${field} names ${name}, which does not run here.` };
  if (service.gpu?.required === true && !hasGpu) {
    return { code: 'gpu_missing', field, service: name, message: `${service.title} needs a GPU, and this node has none that the container engine can use.` };
  }
  const spec = containerSpec(service, choice, hasGpu);
  const hash = specHash(spec);
  const applied: AppliedService = { choice, spec, specHash: hash };
  const gate = [{ service: name, deadlineMs: spec.startDeadlineMs, health: spec.health, ports: spec.ports }];
  const found = containers.find((each) => each.name === containerName(name));
  if (found !== undefined && found.service !== name) {
    const message = `There is a container ${containerName(name)} that was not made by a configuration. Remove or rename it to have ${name} run here.`;
    return { code: 'name_taken', field, service: name, message }; // (3)
  }
  if (found?.specHash === hash) {
    if (found.running) return { ...NOTHING, applied }; // (2)
    const standing = { service: name, id: found.id, running: false };
    return { ...NOTHING, applied, bring: [{ kind: 'resume', service: name, id: found.id }], restore: [toRestore(standing)], gate };
  }
  const before = found === undefined ? [] : [{ service: name, id: found.id, running: found.running }];
  return {
    applied,
    pull: [{ kind: 'pull', service: name, image: spec.image }],
    park: before.map(toPark),
    bring: [
      { kind: 'create', service: name, spec, specHash: hash, apply, revision },
      { kind: 'start', service: name, apply },
    ],
    discard: [{ kind: 'discard', service: name, apply }],
    restore: before.map(toRestore),
    remove: before.map(toRemove),
    gate,
  };
}

function toPark({ service, id }: Standing): Step {
  return { kind: 'park', service, id };
}
function toRestore(standing: Standing): Step {
  return { kind: 'restore', ...standing };
}
function toRemove({ service, id }: Standing): Step {
  return { kind: 'remove', service, id };
}

/** Those that an apply made and nobody names. */
function servicesToDrop(wanted: readonly ServiceChoice[], { containers }: PlanInput): readonly Standing[] {
  const kept = new Set(wanted.map(({ name }) => name));
  return containers.flatMap(({ id, name, service, running }) =>
    service === undefined || kept.has(service) || name !== containerName(service) ? [] : [{ service, id, running }],
  );
}

function outcomesOf(services: readonly AppliedService[], parts: readonly ServicePlan[]): readonly ServiceOutcome[] {
  const changing = new Set(parts.filter(({ bring }) => bring.length > 0).map(({ applied }) => applied.choice.name));
  return services.map(({ choice: { name } }) => ({ name, phase: changing.has(name) ? 'waiting' : 'unchanged' }));
}

/** An omitted field leaves the setting as it is. */
function mergedSettings(before: NodeSettings, { services: _services, replaceServices: _replace, ...given }: DeviceConfig): NodeSettings {
  return { ...before, ...given };
}

function merged<Item>(before: readonly Item[], added: readonly Item[], nameOf: (item: Item) => string): readonly Item[] {
  const names = new Set(added.map(nameOf));
  return [...before.filter((each) => !names.has(nameOf(each))), ...added];
}

export function containerSpec(service: CatalogueService, choice: ServiceChoice, hasGpu: boolean): ContainerSpec {
  const { command, env } = containerSettings(service, choice);
  const { memoryMb = null, cpus = null, pids, sharedMemoryMb = null } = service.limits;
  return {
    service: service.name,
    image: service.image,
    command: command ?? null,
    env,
    secrets: Object.keys(service.secrets ?? {}),
    user: service.user ?? null,
    ports: service.ports,
    volumes: service.volumes,
    gpu: service.gpu !== undefined && hasGpu,
    memoryMb,
    cpus,
    pids,
    sharedMemoryMb,
    readOnlyRoot: service.readOnlyRoot ?? false,
    capabilities: service.capabilities ?? [],
    health: service.health,
    startDeadlineMs: service.startDeadlineMs,
  };
}

/** Two specs with one hash make the same container. */
export function specHash(spec: ContainerSpec): string {
  return createHash('sha256').update(JSON.stringify(spec, sortedKeys)).digest('hex').slice(0, 32);
}

function sortedKeys(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).toSorted(([left], [right]) => (left < right ? -1 : 1)));
}
