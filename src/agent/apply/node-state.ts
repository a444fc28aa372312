/**
 * What this node was configured to be, kept on disk: read at the start, replaced as a whole by each apply that succeeded.
 *
 * A file that cannot be read as this is refused loudly: applying on top of nothing would take the node's services for somebody else's.
 */
import { z } from 'zod';
import { InvalidSettingError } from '../../protocol/errors.ts';
import { readText, writeDurably } from './durable-file.ts';
import type { ConfigReport, DeviceConfig, ServiceChoice } from '../../protocol/device-config.ts';
import type { ContainerSpec } from '../../../machines/apply/steps.ts';

export type NodeSettings = Omit<DeviceConfig, 'services' | 'replaceServices'>;

export interface AppliedService {
  readonly choice: ServiceChoice;
  readonly spec: ContainerSpec;
  readonly specHash: string;
}

/** An apply that has ended: a second delivery of the same is answered with its report. */
export interface FinishedApply {
  readonly key: string;
  readonly report: ConfigReport;
}

export interface NodeState {
  readonly format: 1;
  /** As which device the node was enrolled when it took these revisions up; null: as none. */
  readonly device: string | null;
  /** Of the configuration that the node stands at; null for one without a revision, or none. */
  readonly revision: number | null;
  /** The highest that a valid signature brought, whatever became of it: nothing older is taken. */
  readonly highestRevision: number | null;
  readonly settings: NodeSettings;
  /** What should run. */
  readonly services: readonly AppliedService[];
  /** Wanted and not started, because `autoStartServices` is false. */
  readonly recorded: readonly ServiceChoice[];
  /** Newest last. */
  readonly finished: readonly FinishedApply[];
}

export const FINISHED_MAX = 32;
export const EMPTY_STATE: NodeState = {
  format: 1,
  device: null,
  revision: null,
  highestRevision: null,
  settings: {},
  services: [],
  recorded: [],
  finished: [],
};

const stored = z.looseObject({
  format: z.literal(1),
  device: z.string().nullable().default(null),
  revision: z.number().nullable(),
  highestRevision: z.number().nullable(),
  settings: z.looseObject({}),
  services: z.array(z.looseObject({ specHash: z.string(), spec: z.looseObject({ service: z.string() }) })),
  recorded: z.array(z.looseObject({ name: z.string() })),
  finished: z.array(z.looseObject({ key: z.string() })),
});

/** {@link EMPTY_STATE} when there is no file. Throws InvalidSettingError when it is not ours. */
export async function loadNodeState(path: string): Promise<NodeState> {
  const text = await readText(path);
  if (text === undefined) return EMPTY_STATE;
  try {
    return stored.parse(JSON.parse(text)) as unknown as NodeState;
  } catch (cause) {
    throw new InvalidSettingError('CASTELLAN_AGENT_DIR', `holds ${path}, which is not what an agent of this version writes: ${(cause as Error).message}`);
  }
}

export async function saveNodeState(path: string, state: NodeState): Promise<void> {
  await writeDurably(path, JSON.stringify(state));
}

/** Revisions are a device's own: of a node that was enrolled anew they begin anew. What runs there is as it was. */
export function asDevice(state: NodeState, device: string | undefined): NodeState {
  return device === undefined || state.device === device ? state : { ...state, device, revision: null, highestRevision: null, finished: [] };
}

/** With the report of an apply that has ended. */
export function withFinished(state: NodeState, finished: FinishedApply, revision: number | null): NodeState {
  const others = state.finished.filter(({ key }) => key !== finished.key);
  const highestRevision = revision === null ? state.highestRevision : Math.max(revision, state.highestRevision ?? revision);
  return { ...state, highestRevision, finished: [...others, finished].slice(-FINISHED_MAX) };
}
