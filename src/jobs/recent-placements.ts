/**
 * What this process gave to which node lately: the part of the fleet's load that no status shows yet.
 *
 * 1. Bounded in time and number; the oldest is forgotten first. A job that is placed anew leaves its former node.
 * 2. A promise of GPU memory ends with its job, or with the window: by then the node's status shows what is used.
 */
import type { RecentPlacements } from '../fleet/node-facts.ts';

export interface RecentSettings {
  /** How long a placement counts. Two heartbeats of 30 s: what runs is in the node's status by then. */
  readonly windowMs: number;
  readonly placementsMax: number;
}

export const RECENT_DEFAULTS: RecentSettings = { windowMs: 60_000, placementsMax: 20_000 };

class OfNode implements RecentPlacements {
  readonly jobs = new Set<string>();
  readonly promises = new Map<string, number>();

  get count(): number {
    return this.jobs.size;
  }

  get promisedMb(): readonly number[] {
    return [...this.promises.values()];
  }
}

export class RecentlyPlaced {
  readonly #settings: RecentSettings;
  /** In the order of time. */
  readonly #placed = new Map<string, { readonly nodeId: string; readonly at: number }>();
  readonly #byNode = new Map<string, OfNode>();

  constructor(settings: RecentSettings = RECENT_DEFAULTS) {
    this.#settings = settings;
  }

  /** Live: changes with the next call. */
  get byNode(): ReadonlyMap<string, RecentPlacements> {
    return this.#byNode;
  }

  /** Jobs whose promises of GPU memory still count. */
  promising(): readonly string[] {
    return [...this.#byNode.values()].flatMap(({ promises }) => [...promises.keys()]);
  }

  remember(jobId: string, nodeId: string, gpuMemoryMb: number, now: number): void {
    this.#forget(jobId);
    this.#placed.set(jobId, { nodeId, at: now });
    let node = this.#byNode.get(nodeId);
    if (node === undefined) this.#byNode.set(nodeId, (node = new OfNode()));
    node.jobs.add(jobId);
    if (gpuMemoryMb > 0) node.promises.set(jobId, gpuMemoryMb);
    this.expire(now);
  }

  /** The job ended: its memory is free again, though it was placed a moment ago. */
  release(jobId: string): void {
    const nodeId = this.#placed.get(jobId)?.nodeId;
    if (nodeId !== undefined) this.#byNode.get(nodeId)?.promises.delete(jobId);
  }

  /** (1) */
  expire(now: number): void {
    for (const [jobId, { at }] of this.#placed) {
      if (this.#placed.size <= this.#settings.placementsMax && at > now - this.#settings.windowMs) return;
      this.#forget(jobId);
    }
  }

  #forget(jobId: string): void {
    const nodeId = this.#placed.get(jobId)?.nodeId;
    if (nodeId === undefined) return;
    this.#placed.delete(jobId);
    const node = this.#byNode.get(nodeId);
    node?.jobs.delete(jobId);
    node?.promises.delete(jobId);
    if (node?.jobs.size === 0) this.#byNode.delete(nodeId);
  }
}
