/**
 * The promise `place` of the job machine: looks at the fleet and names a node, or the reason why the job waits.
 *
 * 1. The fleet is read at most once a second, by one reader at a time, and never for more than a tenth of the time, however many jobs wait.
 * 2. A look that fails is replaced by the one before for a while; then the reason says so. Nothing is placed on what is long past.
 * 3. What was placed since is remembered here, per process: after a restart the first minute knows only what the statuses show.
 */
import type { PlaceInput, Placement } from '../../machines/job/events.ts';
import type { Clock } from '../engine/ports.ts';
import type { ActorReader } from '../engine/read-ports.ts';
import { nodeFacts, type NodeFacts } from '../fleet/node-facts.ts';
import { placeJob, type PlacementDecision, type UnplacedCode } from '../fleet/placement.ts';
import type { NodeQuery, NodeView, Page } from '../protocol/control-plane.ts';
import { actorKey } from '../protocol/ids.ts';
import { decodeRecord } from '../protocol/stored-record.ts';
import { RecentlyPlaced, type RecentSettings } from './recent-placements.ts';
import { isEnd } from './states.ts';

/** The node actors as they are shown: the control plane's list. */
export interface FleetReader {
  listNodes(query: NodeQuery): Promise<Page<NodeView>>;
  getNode(nodeId: string): Promise<NodeView | undefined>;
}

export interface PlacerPorts {
  readonly fleet: FleetReader;
  readonly clock: Pick<Clock, 'now'>;
  /** In the order asked: whether the job has ended, so that what was promised to it is free. Absent: promises last their whole window. */
  readonly ended?: (jobIds: readonly string[]) => Promise<readonly boolean[]>;
  readonly recent?: RecentSettings;
}

/** Since the start of this process, and now: for metrics. */
export interface PlacementFigures {
  readonly placed: number;
  /** Jobs that were looked at lately and have no place, by what is missing. */
  readonly waiting: { readonly [code in UnplacedCode]?: number };
}

const LOOK_MS_MIN = 1_000;
/** A look that took 300 ms is not repeated for 3 s. (1) */
const LOOK_SHARE = 10;
/** Placed on a fleet as it was so long ago: about the time in which a node that fell silent is noticed. (2) */
const LOOK_AGE_MS_MAX = 15_000;
const PAGE = 500;
/** Beyond it placement sees the first so many only: that many records are read and parsed at each look. */
const NODES_MAX = 20_000;
/** Nodes that are not online, read only to say why nothing fits. */
const SILENT_MAX = 200;
/** Promises asked about at each look. */
const ENDED_MAX = 1_000;
/** A job without a place is looked at again within this time, or it is gone. */
const WAITING_MS = 300_000;
const WAITING_MAX = 20_000;

interface Look {
  readonly at: number;
  readonly online: readonly NodeFacts[];
  /** All nodes of organisations that have none online, filled when a reason asks for them. */
  readonly silent: Map<string | undefined, Promise<readonly NodeFacts[]>>;
}

export class Placer {
  readonly #ports: PlacerPorts;
  readonly #recent: RecentlyPlaced;
  readonly #waiting = new Map<string, { readonly code: UnplacedCode; readonly at: number }>();
  #look: Look | undefined;
  #looking: Promise<void> | undefined;
  #lookAgainAt = 0;
  #failure = '';
  #placed = 0;

  constructor(ports: PlacerPorts) {
    this.#ports = ports;
    this.#recent = new RecentlyPlaced(ports.recent);
  }

  /** The implementation of the promise. Rejects only when the signal aborts. */
  readonly place = async (input: PlaceInput, signal: AbortSignal): Promise<Placement> => {
    await unlessAborted(this.#refresh(), signal);
    const decision = this.#decide(input);
    if ('nodeId' in decision) return decision;
    const nodes = await unlessAborted(this.#absent(input, decision.code), signal);
    const last = nodes === undefined ? decision : this.#decide(input, nodes);
    if ('nodeId' in last) return last;
    this.#wait(input.jobId, last.code);
    return { reason: last.reason };
  };

  figures(): PlacementFigures {
    const now = this.#ports.clock.now();
    const waiting: { [code in UnplacedCode]?: number } = {};
    for (const { code, at } of this.#waiting.values()) if (at > now - WAITING_MS) waiting[code] = (waiting[code] ?? 0) + 1;
    return { placed: this.#placed, waiting };
  }

  /** Decides and remembers in one go: those who waited for the same look must see one another's placements. */
  #decide(input: PlaceInput, nodes?: readonly NodeFacts[]): PlacementDecision {
    const now = this.#ports.clock.now();
    const look = this.#look;
    if (look === undefined || look.at < now - LOOK_AGE_MS_MAX)
      return { code: 'fleet_unreadable', reason: `the fleet cannot be read just now: ${this.#failure}` };
    this.#recent.expire(now);
    const decision = placeJob(input, nodes ?? look.online, this.#recent.byNode);
    if ('code' in decision) return decision;
    this.#waiting.delete(input.jobId);
    this.#placed++;
    this.#recent.remember(input.jobId, decision.nodeId, input.requires.gpuMemoryMb ?? 0, now);
    return decision;
  }

  /** Nodes that the look at those online cannot hold, when one of them may be the reason; undefined when none can, or they cannot be read. */
  async #absent({ requires, orgId }: PlaceInput, code: UnplacedCode): Promise<readonly NodeFacts[] | undefined> {
    try {
      if (code === 'node_unknown' && requires.node !== undefined) {
        const view = await this.#ports.fleet.getNode(requires.node);
        return view === undefined ? undefined : [nodeFacts(view)];
      }
      return code === 'no_nodes' && this.#look !== undefined ? await this.#silent(this.#look, orgId) : undefined;
    } catch {
      return undefined;
    }
  }

  /** At most so often, and one at a time. (1) Never rejects. */
  async #refresh(): Promise<void> {
    if (this.#looking === undefined && this.#ports.clock.now() < this.#lookAgainAt) return;
    this.#looking ??= this.#read().finally(() => (this.#looking = undefined));
    await this.#looking;
  }

  async #read(): Promise<void> {
    const began = this.#ports.clock.now();
    try {
      const online: NodeFacts[] = [];
      for (let cursor: string | null | undefined; cursor !== null && online.length < NODES_MAX;) {
        const page: Page<NodeView> = await this.#ports.fleet.listNodes({ state: 'online', limit: PAGE, ...(cursor === undefined ? {} : { cursor }) });
        for (const view of page.items) online.push(nodeFacts(view));
        cursor = page.next;
      }
      await this.#releaseEnded();
      this.#look = { at: this.#ports.clock.now(), online, silent: new Map() };
    } catch (error) {
      this.#failure = error instanceof Error ? error.message : String(error);
    }
    const now = this.#ports.clock.now();
    this.#lookAgainAt = now + Math.max(LOOK_MS_MIN, (now - began) * LOOK_SHARE);
  }

  async #releaseEnded(): Promise<void> {
    const promising = this.#recent.promising().slice(0, ENDED_MAX);
    if (promising.length === 0 || this.#ports.ended === undefined) return;
    const ended = await this.#ports.ended(promising);
    for (const [index, jobId] of promising.entries()) if (ended[index] === true) this.#recent.release(jobId);
  }

  #silent(look: Look, orgId: string | undefined): Promise<readonly NodeFacts[]> {
    let silent = look.silent.get(orgId);
    if (silent === undefined) {
      silent = this.#ports.fleet.listNodes({ limit: SILENT_MAX, ...(orgId === undefined ? {} : { orgId }) }).then(({ items }) => items.map(nodeFacts));
      look.silent.set(orgId, silent);
    }
    return silent;
  }

  #wait(jobId: string, code: UnplacedCode): void {
    const now = this.#ports.clock.now();
    this.#waiting.delete(jobId);
    this.#waiting.set(jobId, { code, at: now });
    for (const [oldest, { at }] of this.#waiting) {
      if (this.#waiting.size <= WAITING_MAX && at > now - WAITING_MS) return;
      this.#waiting.delete(oldest);
    }
  }
}

/** Asks the store which jobs have ended; one that is gone has. */
export function endedJobs(reader: Pick<ActorReader, 'getActors'>): (jobIds: readonly string[]) => Promise<readonly boolean[]> {
  return async (jobIds) => {
    const views = await reader.getActors(jobIds.map((jobId) => actorKey('job', jobId)));
    return views.map((view) => view === undefined || Object.keys(decodeRecord(view.record).entered).some(isEnd));
  };
}

/** The work goes on for those who share it. */
async function unlessAborted<Value>(work: Promise<Value>, signal: AbortSignal): Promise<Value> {
  signal.throwIfAborted();
  let abort: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason as Error);
    signal.addEventListener('abort', abort, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    if (abort !== undefined) signal.removeEventListener('abort', abort);
  }
}
