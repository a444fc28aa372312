/** Generated: from the first state, along every event, each machine reaches every state, and no transition of it is dead. */
import { describe, expect, it } from 'vitest';
import { initialTransition, transition, type AnyMachineSnapshot, type AnyStateMachine, type AnyStateNode } from 'xstate';
import { fleetType } from '../../machines/fleet/definition.ts';
import { nodeType } from '../../machines/node/definition.ts';

type Event = { readonly type: string; readonly [field: string]: unknown };

/** More states than any of the machines has with the events below. */
const STATES_MAX = 3_000;

interface Explored {
  /** Ids of the state nodes that were reached. */
  readonly states: ReadonlySet<string>;
  /** `source --event--> target` of every transition that an event took; raised and eventless ones are not among them. */
  readonly taken: ReadonlySet<string>;
  /** `from → to` of the top region `connection`, where there is one. */
  readonly connections: ReadonlySet<string>;
}

function explore(machine: AnyStateMachine, input: object, events: readonly Event[], within: (snapshot: AnyMachineSnapshot) => boolean): Explored {
  const states = new Set<string>();
  const taken = new Set<string>();
  const connections = new Set<string>();
  const [first] = initialTransition(machine, input);
  const seen = new Set<string>();
  const queue: AnyMachineSnapshot[] = [first];
  for (let snapshot = queue.shift(); snapshot !== undefined; snapshot = queue.shift()) {
    for (const node of snapshot._nodes as AnyStateNode[]) states.add(node.id);
    for (const event of [...events, ...timersOf(snapshot)]) {
      for (const { source, target } of machine.getTransitionData(snapshot, event)) taken.add(edge(source, event.type, target));
      const [next] = transition(machine, snapshot, event);
      const [from, to] = [connectionOf(snapshot), connectionOf(next)];
      if (from !== to) connections.add(`${from} → ${to}`);
      const key = JSON.stringify([next.value, next.context]);
      if (seen.has(key) || !within(next)) continue;
      seen.add(key);
      expect(seen.size).toBeLessThan(STATES_MAX);
      queue.push(next);
    }
  }
  return { states, taken, connections };
}

function timersOf(snapshot: AnyMachineSnapshot): readonly Event[] {
  return (snapshot._nodes as AnyStateNode[]).flatMap((node) => node.after.map(({ eventType }) => ({ type: eventType })));
}

function connectionOf(snapshot: AnyMachineSnapshot): string | undefined {
  return (snapshot.value as { readonly connection?: string }).connection;
}

function edge(source: AnyStateNode, event: string, target: readonly AnyStateNode[] | undefined): string {
  return `${source.id} --${event}--> ${(target ?? []).map(({ id }) => id).join(', ') || 'stays'}`;
}

function nodesOf(root: AnyStateNode): readonly AnyStateNode[] {
  return [root, ...Object.values(root.states).flatMap(nodesOf)];
}

function declaredEdges(machine: AnyStateMachine, internal: (event: string) => boolean): readonly string[] {
  return nodesOf(machine.root).flatMap((node) =>
    [...node.transitions].flatMap(([event, transitions]) => (internal(event) ? [] : transitions.map(({ target }) => edge(node, event, target)))),
  );
}

describe('the node', () => {
  const { machine } = nodeType();
  const status = { type: 'status', orgId: 'a', name: 'n', services: 'ok', gpuTemperature: 20, diskPercent: 20 };
  const events: readonly Event[] = [
    status,
    { ...status, services: 'degraded' },
    { ...status, services: 'failed', gpuTemperature: 99, diskPercent: 99 },
    { ...status, orgId: 'b', name: 'm' },
    { type: 'verdict', verdict: 'offline' },
    { type: 'verdict', verdict: 'unknown' },
    { type: 'doubt', job: 'j' },
    { type: 'device', device: 'abcdefghij2345672345', orgId: 'a', gpuHigh: null },
  ];
  const explored = explore(machine, { id: 'n', org: 'a', name: 'n', tags: [] }, events, () => true);

  it('reaches every state', () => {
    expect([...explored.states].toSorted()).toEqual(
      nodesOf(machine.root)
        .map(({ id }) => id)
        .toSorted(),
    );
  });

  it('takes every transition that it declares', () => {
    expect([...explored.taken].toSorted()).toEqual([...new Set(declaredEdges(machine, (event) => event.startsWith('show.')))].toSorted());
  });

  it('shows exactly these changes of its connection', () => {
    expect([...explored.connections].toSorted()).toEqual(
      [
        'new → online',
        'online → degraded',
        'degraded → online',
        'degraded → offline',
        'degraded → unknown',
        'unknown → online',
        'unknown → offline',
        'offline → online',
      ].toSorted(),
    );
  });
});

describe('the fleet', () => {
  const { machine } = fleetType();
  const events: readonly Event[] = [...['joined', 'late', 'back', 'gone', 'left', 'release'].map((type) => ({ type })), { type: 'ask', nodeId: 'n' }];
  const possible = ({ context }: AnyMachineSnapshot) => {
    const { total, late } = context as { readonly total: number; readonly late: number };
    return late >= 0 && late <= total && total <= 8;
  };
  const explored = explore(machine, { org: 'a' }, events, possible);

  it('reaches every state', () => {
    expect([...explored.states].toSorted()).toEqual(
      nodesOf(machine.root)
        .map(({ id }) => id)
        .toSorted(),
    );
  });

  it('takes every transition that it declares', () => {
    expect([...explored.taken].toSorted()).toEqual([...new Set(declaredEdges(machine, () => false))].toSorted());
  });
});

describe('what a person reads', () => {
  const machines = { node: nodeType().machine, fleet: fleetType().machine };

  it.each(['node', 'fleet'] as const)('every state of the %s that can be stood in says what it means, and has a tag', (type) => {
    const silent = nodesOf(machines[type].root)
      .filter((node) => node.type === 'atomic')
      .filter((node) => typeof node.meta?.description !== 'string' || node.tags.length === 0);
    expect(silent.map(({ id }) => id)).toEqual([]);
  });
});
