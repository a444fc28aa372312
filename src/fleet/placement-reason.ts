/**
 * Why a job has no place, in words that tell a person what to change.
 *
 * Each reason names what is missing, among how many, and how near the nearest came: "2 online nodes have tag gpu, none has
 * 24,000 MiB of GPU memory free (most: 18,200 on gpu-1)".
 */
import { NODE_STATES } from '../protocol/control-plane.ts';
import type { NodeFacts, RecentPlacements } from './node-facts.ts';

export interface Wanted {
  readonly tags: readonly string[];
  readonly service: string | undefined;
  readonly gpuMemoryMb: number;
  /** The job asks for this node alone. */
  readonly node: string | undefined;
}

/** `no node is online (3 offline, 1 degraded)`. */
export function nobodyOnline(nodes: readonly NodeFacts[]): string {
  const states = NODE_STATES.flatMap((state) => {
    const count = nodes.filter((node) => node.state === state).length;
    return count === 0 ? [] : [`${grouped(count)} ${state}`];
  });
  return `no node is online (${states.join(', ')})`;
}

export function tagReason({ tags, node }: Wanted, online: readonly NodeFacts[]): string {
  const missing = tags.filter((tag) => online.every((each) => !each.tags.has(tag)));
  if (node !== undefined) return `node ${node} does not have ${listed(missing)}`;
  // Each tag is somewhere, but no node has all of them.
  return `no online node has ${missing.length === 0 ? `${listed(tags)} together` : listed(missing, 'or')}`;
}

export function serviceReason(wanted: Wanted, tagged: readonly NodeFacts[]): string {
  const service = wanted.service ?? '';
  const ill = tagged.find((each) => each.services.get(service) === 'unhealthy');
  if (wanted.node !== undefined)
    return ill === undefined ? `service ${service} does not run on node ${wanted.node}` : `service ${service} is unhealthy on node ${wanted.node}`;
  if (ill !== undefined) return `service ${service} runs nowhere healthy (unhealthy on ${ill.nodeId})`;
  return wanted.tags.length === 0
    ? `service ${service} runs on no online node`
    : `${those({ ...wanted, service: undefined }, tagged.length)}, service ${service} runs on none of them`;
}

export function memoryReason(
  wanted: Wanted,
  candidates: readonly { readonly node: NodeFacts; readonly freeMb: number | null; readonly recent: RecentPlacements }[],
): string {
  const needed = `${grouped(wanted.gpuMemoryMb)} MiB of GPU memory free`;
  const most = candidates.reduce((best, each) => ((each.freeMb ?? -1) > (best.freeMb ?? -1) ? each : best));
  if (wanted.node !== undefined) return `node ${wanted.node} does not have ${needed}${nearest(most, '')}`;
  const anybody = wanted.tags.length === 0 && wanted.service === undefined;
  const lead = anybody
    ? `no online node has ${needed}`
    : `${those(wanted, candidates.length)}, ${candidates.length === 1 ? 'but it does not have' : 'none has'} ${needed}`;
  return lead + nearest(most, ` on ${most.node.nodeId}`);
}

/** How near the best one came, and whether it is only promises that stand in the way. */
function nearest(
  { node, freeMb, recent }: { readonly node: NodeFacts; readonly freeMb: number | null; readonly recent: RecentPlacements },
  where: string,
): string {
  if (freeMb === null) return node.hasGpu ? ' (its GPU memory is not reported)' : ' (no GPU is reported)';
  const promised = recent.promisedMb.reduce((sum, each) => sum + each, 0);
  const jobs = recent.promisedMb.length === 1 ? '1 job' : `${grouped(recent.promisedMb.length)} jobs`;
  return ` (most: ${grouped(freeMb)}${where}${promised === 0 ? '' : `, where ${grouped(promised)} are promised to ${jobs} placed a moment ago`})`;
}

/** `2 online nodes have tag gpu and run service vllm`. */
function those({ tags, service }: Wanted, count: number): string {
  const [nodes, have, run] = count === 1 ? ['1 online node', 'has', 'runs'] : [`${grouped(count)} online nodes`, 'have', 'run'];
  const parts = [...(tags.length === 0 ? [] : [`${have} ${listed(tags)}`]), ...(service === undefined ? [] : [`${run} service ${service}`])];
  return `${nodes} ${parts.join(' and ')}`;
}

/** `tag gpu`, `tags gpu and fast`. */
function listed(tags: readonly string[], word = 'and'): string {
  return tags.length === 1 ? `tag ${tags[0]}` : `tags ${tags.slice(0, -1).join(', ')} ${word} ${tags.at(-1)}`;
}

/** `24,000`. */
function grouped(value: number): string {
  return Math.round(value)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, ',');
}
