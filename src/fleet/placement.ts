/**
 * Which node is given a job, or why none is.
 *
 * 1. Only nodes of the job's organisation are looked at, and only online ones are given anything. A job of no organisation belongs to
 *    whoever runs the whole fleet: any node may do it.
 * 2. GPU memory that was promised a moment ago counts as used: the node's next status will show it, its present one cannot.
 * 3. Among the nodes that fit, the one with the fewest recent placements; then the one with the most GPU memory free if the job asks
 *    for any; then by chance of the job's id. The same look gives the same node.
 * 4. The reason names the first thing that is missing, how near the fleet came, and nothing of another organisation.
 */
import { shareOf } from '../../machines/job/delays.ts';
import type { JobRequirements } from '../protocol/job.ts';
import { freeAfterPromises, type NodeFacts, type RecentPlacements } from './node-facts.ts';
import { memoryReason, nobodyOnline, serviceReason, tagReason, type Wanted } from './placement-reason.ts';

export interface PlacementRequest {
  readonly jobId: string;
  readonly orgId?: string;
  readonly requires: JobRequirements;
}

/** Why a job waits for a place: for programs and metrics. */
export const UNPLACED_CODES = ['no_nodes', 'none_online', 'node_unknown', 'node_not_online', 'tags', 'service', 'gpu_memory', 'fleet_unreadable'] as const;
export type UnplacedCode = (typeof UNPLACED_CODES)[number];

export type PlacementDecision = { readonly nodeId: string } | { readonly reason: string; readonly code: UnplacedCode };

const NOTHING_RECENT: RecentPlacements = { count: 0, promisedMb: [] };

export function placeJob(request: PlacementRequest, fleet: readonly NodeFacts[], recent: ReadonlyMap<string, RecentPlacements>): PlacementDecision {
  const { orgId, requires } = request;
  const own = orgId === undefined ? fleet : fleet.filter((node) => node.orgId === orgId); // (1)
  if (requires.node !== undefined) return placeOnNode(requires.node, request, own, recent);
  if (own.length === 0) return refused('no_nodes', `no node ${orgId === undefined ? '' : 'of this organisation '}has ever reported`);
  const online = own.filter(({ state }) => state === 'online');
  if (online.length === 0) return refused('none_online', nobodyOnline(own));
  return choose(request, online, recent);
}

function placeOnNode(nodeId: string, request: PlacementRequest, own: readonly NodeFacts[], recent: ReadonlyMap<string, RecentPlacements>): PlacementDecision {
  const node = own.find((each) => each.nodeId === nodeId);
  if (node === undefined) return refused('node_unknown', `node ${nodeId} has never reported${request.orgId === undefined ? '' : ' in this organisation'}`);
  if (node.state !== 'online') return refused('node_not_online', `node ${nodeId} is ${node.state}`);
  return choose(request, [node], recent);
}

interface Candidate {
  readonly node: NodeFacts;
  readonly recent: RecentPlacements;
  /** Free on its emptiest GPU, MiB, after what is promised; null when no GPU tells. Asked only for jobs that need some. */
  readonly freeMb: number | null;
}

/** Narrows the nodes requirement by requirement, so that the reason can name the first that none of those left meets. (4) */
function choose({ jobId, requires }: PlacementRequest, online: readonly NodeFacts[], recent: ReadonlyMap<string, RecentPlacements>): PlacementDecision {
  const { tags = [], service, gpuMemoryMb = 0, node } = requires;
  const wanted: Wanted = { tags, service, gpuMemoryMb, node };
  const tagged = online.filter((each) => tags.every((tag) => each.tags.has(tag)));
  if (tagged.length === 0) return refused('tags', tagReason(wanted, online));
  const serving = service === undefined ? tagged : tagged.filter((each) => each.services.get(service) === 'well');
  if (serving.length === 0) return refused('service', serviceReason(wanted, tagged));
  const candidates = serving.map((each) => candidate(each, recent.get(each.nodeId) ?? NOTHING_RECENT, gpuMemoryMb));
  const fitting = gpuMemoryMb <= 0 ? candidates : candidates.filter(({ freeMb }) => (freeMb ?? 0) >= gpuMemoryMb);
  const chosen = first(fitting, jobId);
  return chosen === undefined ? refused('gpu_memory', memoryReason(wanted, candidates)) : { nodeId: chosen.node.nodeId };
}

function candidate(node: NodeFacts, recent: RecentPlacements, gpuMemoryMb: number): Candidate {
  const free = gpuMemoryMb <= 0 ? [] : freeAfterPromises(node.gpusFreeMb, recent.promisedMb);
  return { node, recent, freeMb: free.length === 0 ? null : Math.max(...free) };
}

/** (3) */
function first(candidates: readonly Candidate[], jobId: string): Candidate | undefined {
  let best: Candidate | undefined;
  for (const each of candidates) if (best === undefined || precedes(each, best, jobId)) best = each;
  return best;
}

function precedes(left: Candidate, right: Candidate, jobId: string): boolean {
  if (left.recent.count !== right.recent.count) return left.recent.count < right.recent.count;
  if (left.freeMb !== right.freeMb) return (left.freeMb ?? 0) > (right.freeMb ?? 0);
  const [one, other] = [shareOf(`${jobId} ${left.node.nodeId}`), shareOf(`${jobId} ${right.node.nodeId}`)];
  return one === other ? left.node.nodeId < right.node.nodeId : one < other;
}

function refused(code: UnplacedCode, reason: string): PlacementDecision {
  return { code, reason };
}
