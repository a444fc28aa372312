/** What placement goes by: a node's facts, read from a status that an outside program wrote, and what was promised on it since. */
import type { NodeState, NodeView } from '../protocol/control-plane.ts';
import type { Json, JsonObject } from '../protocol/json.ts';

/** What placement knows of a node. */
export interface NodeFacts {
  readonly nodeId: string;
  readonly orgId: string | null;
  readonly state: NodeState;
  readonly tags: ReadonlySet<string>;
  /** Free memory of each GPU that reports it, MiB. */
  readonly gpusFreeMb: readonly number[];
  /** Whether it has a GPU at all, reporting or not. */
  readonly hasGpu: boolean;
  /** Names of the services that run, and whether each is well. */
  readonly services: ReadonlyMap<string, 'well' | 'unhealthy'>;
}

/** What was given to a node lately. */
export interface RecentPlacements {
  readonly count: number;
  /** GPU memory promised to each of those jobs that asked for some and may not be using it yet, MiB, oldest first. */
  readonly promisedMb: readonly number[];
}

/** Only what placement asks for: a status is an outside program's, so nothing of its shape is taken for granted. */
export function nodeFacts({ nodeId, orgId, state, tags, status }: NodeView): NodeFacts {
  const { gpu, services } = isObject(status) ? status : {};
  const gpus = objectsOf(gpu);
  return {
    nodeId,
    orgId,
    state,
    tags: new Set(tags),
    gpusFreeMb: gpus.flatMap(({ memory_total_mb: total, memory_used_mb: used }) =>
      typeof total === 'number' && typeof used === 'number' && used >= 0 ? [Math.max(0, total - used)] : [],
    ),
    hasGpu: gpus.length > 0,
    services: new Map(
      objectsOf(services).flatMap(({ name, status: running, health }) =>
        typeof name === 'string' && running === 'running' ? [[name, health === 'unhealthy' ? 'unhealthy' : 'well'] as const] : [],
      ),
    ),
  };
}

/**
 * What is left of each GPU after the promises: each is taken from the smallest GPU that has room for it, as a node packs its jobs.
 * A promise that fits nowhere any more is most likely in use and seen already; it still takes what the fullest GPU could give.
 */
export function freeAfterPromises(gpusFreeMb: readonly number[], promisedMb: readonly number[]): readonly number[] {
  if (promisedMb.length === 0 || gpusFreeMb.length === 0) return gpusFreeMb;
  const left = [...gpusFreeMb];
  for (const promised of promisedMb) {
    let taken = -1;
    for (const [index, free] of left.entries()) {
      const best = taken === -1 ? undefined : (left[taken] as number);
      const better = best === undefined || (free >= promised ? best < promised || free < best : best < promised && free > best);
      if (better) taken = index;
    }
    left[taken] = Math.max(0, (left[taken] as number) - promised);
  }
  return left;
}

function objectsOf(value: Json | undefined): readonly JsonObject[] {
  return Array.isArray(value) ? (value as readonly Json[]).filter(isObject) : [];
}

function isObject(value: Json): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
