/** Node actors as the fleet's pages and programs see them (contracts 8). */
import { readNodeDocument } from '../contracts/node-document.ts';
import type { ActorReader, StoredView } from '../engine/read-ports.ts';
import { NODE_STATES, timestamp, type LiveTarget, type NodeQuery, type NodeState, type NodeView, type Page } from '../protocol/control-plane.ts';
import { actorKey, idOf } from '../protocol/ids.ts';
import type { Json, JsonObject } from '../protocol/json.ts';
import { decodeRecord } from '../protocol/stored-record.ts';

/** Pages of the index read to fill one page of an organisation's nodes. */
const PAGES_MAX = 20;
const CONNECTION = 'connection.';

export class Nodes {
  readonly #reader: Pick<ActorReader, 'getActor' | 'getActors' | 'listActors'>;

  constructor(reader: Pick<ActorReader, 'getActor' | 'getActors' | 'listActors'>) {
    this.#reader = reader;
  }

  async list({ state, orgId, cursor, limit }: NodeQuery): Promise<Page<NodeView>> {
    const items: NodeView[] = [];
    let next: string | null | undefined = cursor;
    for (let page = 0; page < PAGES_MAX && items.length < limit; page++) {
      const listed = await this.#reader.listActors({
        type: 'node',
        limit: limit - items.length,
        ...(state === undefined ? {} : { statePath: CONNECTION + state }),
        ...(next == null ? {} : { cursor: next }),
      });
      for (const view of await this.#reader.getActors(listed.items.map(({ key }) => key))) {
        const node = view === undefined ? undefined : nodeView(view);
        if (node === undefined) continue;
        // The index may be a commit ahead of or behind the record that was read after it.
        if ((orgId === undefined || node.orgId === orgId) && (state === undefined || node.state === state)) items.push(node);
      }
      next = listed.next;
      if (next === null) break;
    }
    return { items, next: next ?? null };
  }

  async get(nodeId: string): Promise<NodeView | undefined> {
    const view = await this.#reader.getActor(actorKey('node', nodeId));
    return view === undefined ? undefined : nodeView(view);
  }

  async liveTarget(nodeId: string): Promise<LiveTarget | undefined> {
    const node = await this.get(nodeId);
    if (node === undefined) return undefined;
    const { tailscale_ip, network_ip, status_port } = (node.status as { node?: JsonObject } | null)?.node ?? {};
    return {
      nodeId,
      orgId: node.orgId,
      ...(typeof tailscale_ip === 'string' ? { tailscaleIp: tailscale_ip } : {}),
      ...(typeof network_ip === 'string' ? { networkIp: network_ip } : {}),
      ...(typeof status_port === 'number' ? { statusPort: status_port } : {}),
    };
  }
}

interface NodeContext {
  readonly org?: string;
  readonly name?: string;
  readonly tags?: readonly string[];
}

/** Undefined for an actor that has not been shown in any state yet. */
function nodeView({ key, record: json, document }: StoredView): NodeView | undefined {
  const record = decodeRecord(json);
  const shown = Object.entries(record.entered).find(([path]) => isShown(path));
  if (shown === undefined) return undefined;
  const { org = null, name = idOf(key), tags = [] } = (record.snapshot as { context?: NodeContext }).context ?? {};
  const newest = document === null ? undefined : readNodeDocument(document);
  return {
    nodeId: idOf(key),
    name,
    orgId: org,
    state: shown[0].slice(CONNECTION.length) as NodeState,
    since: timestamp(shown[1]),
    lastSeenAt: newest === undefined ? null : timestamp(newest.lastSeenAt),
    tags,
    status: (newest?.status ?? null) as Json,
  };
}

function isShown(path: string): boolean {
  return path.startsWith(CONNECTION) && (NODE_STATES as readonly string[]).includes(path.slice(CONNECTION.length));
}
