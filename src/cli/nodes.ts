/** `castellan nodes`: the fleet as a table. */
import { Command, Option } from 'commander';
import { NODE_STATES, type NodeView } from '../protocol/control-plane.ts';
import { controlPlaneClient } from './control-plane-client.ts';
import { environmentWith } from './settings.ts';
import { age, jsonLine, renderTable } from './table.ts';

interface NodesFlags {
  readonly state?: string;
  readonly json?: boolean;
}

/** What the table shows of a status; all of it may be missing. */
interface ShownStatus {
  readonly system?: { readonly cpu_percent?: number; readonly memory_used_gb?: number; readonly memory_total_gb?: number };
  readonly gpu?: readonly { readonly utilization_percent?: number }[];
}

export function nodesCommand(): Command {
  return new Command('nodes')
    .description('list the nodes: state, since when, last seen, load')
    .addOption(new Option('--state <state>', 'only nodes in this state').choices(NODE_STATES))
    .option('--json', 'one JSON object a line, for programs')
    .action(async ({ state, json }: NodesFlags) => {
      const client = await controlPlaneClient(environmentWith({}));
      const rows: (readonly string[])[] = [];
      for await (const node of client.list<NodeView>('/api/fabric/nodes', { state })) {
        if (json) console.log(jsonLine(node));
        else rows.push(row(node, Date.now()));
      }
      if (!json) console.log(rows.length === 0 ? 'No nodes. A node appears with its first status.' : renderTable(TITLES, rows));
    });
}

const TITLES = ['node', 'name', 'state', 'since', 'last seen', 'cpu', 'memory', 'gpu', 'org', 'tags'];

function row(node: NodeView, now: number): readonly string[] {
  const { system = {}, gpu = [] } = (node.status ?? {}) as ShownStatus;
  const memory = system.memory_total_gb ? (100 * (system.memory_used_gb ?? 0)) / system.memory_total_gb : undefined;
  const busiest = gpu.reduce<number | undefined>((most, { utilization_percent: each }) => (each === undefined ? most : Math.max(most ?? 0, each)), undefined);
  return [
    node.nodeId,
    node.name,
    node.state,
    age(node.since, now),
    age(node.lastSeenAt, now),
    percent(system.cpu_percent),
    percent(memory),
    percent(busiest),
    node.orgId ?? '-',
    node.tags.join(','),
  ];
}

function percent(value: number | undefined): string {
  return value === undefined ? '-' : `${Math.round(value)}%`;
}
