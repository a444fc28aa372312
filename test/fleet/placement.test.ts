import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { freeAfterPromises, nodeFacts, type NodeFacts, type RecentPlacements } from '../../src/fleet/node-facts.ts';
import { placeJob, type PlacementDecision } from '../../src/fleet/placement.ts';
import { NODE_STATES, type NodeState, type NodeView } from '../../src/protocol/control-plane.ts';
import type { JobRequirements } from '../../src/protocol/job.ts';
import type { Json } from '../../src/protocol/json.ts';

interface Given {
  readonly nodeId: string;
  readonly orgId?: string;
  readonly state?: NodeState;
  readonly tags?: readonly string[];
  /** `[total, used]` of each GPU. */
  readonly gpus?: readonly (readonly [number, number])[];
  readonly services?: readonly { readonly name: string; readonly status: string; readonly health?: string }[];
}

function node({ nodeId, orgId = 'acme', state = 'online', tags = [], gpus, services = [] }: Given): NodeFacts {
  return nodeFacts(
    view(nodeId, orgId, state, tags, {
      ...(gpus === undefined ? {} : { gpu: gpus.map(([total, used], index) => ({ index, name: 'GPU', memory_total_mb: total, memory_used_mb: used })) }),
      services: services.map((service) => ({ ...service, type: 'llm' })),
    }),
  );
}

function view(nodeId: string, orgId: string | null, state: NodeState, tags: readonly string[], status: Json): NodeView {
  return { nodeId, name: nodeId, orgId, state, since: '2026-01-01T00:00:00.000Z', lastSeenAt: null, tags, status };
}

function place(requires: JobRequirements, fleet: readonly NodeFacts[], recent: { readonly [nodeId: string]: RecentPlacements } = {}): PlacementDecision {
  return placeJob({ jobId: 'job-1', orgId: 'acme', requires }, fleet, new Map(Object.entries(recent)));
}

function reason(...args: Parameters<typeof place>): string {
  const decision = place(...args);
  return 'reason' in decision ? decision.reason : `placed on ${decision.nodeId}`;
}

describe('a job is given to a node that has what it asks for', () => {
  it('in tags, service and GPU memory together', () => {
    const fleet = [
      node({ nodeId: 'small', tags: ['gpu'], gpus: [[8_000, 0]], services: [{ name: 'vllm', status: 'running' }] }),
      node({ nodeId: 'stopped', tags: ['gpu'], gpus: [[24_000, 0]], services: [{ name: 'vllm', status: 'stopped' }] }),
      node({ nodeId: 'ill', tags: ['gpu'], gpus: [[24_000, 0]], services: [{ name: 'vllm', status: 'running', health: 'unhealthy' }] }),
      node({ nodeId: 'untagged', gpus: [[24_000, 0]], services: [{ name: 'vllm', status: 'running' }] }),
      node({ nodeId: 'silent', state: 'degraded', tags: ['gpu'], gpus: [[24_000, 0]], services: [{ name: 'vllm', status: 'running' }] }),
      node({ nodeId: 'fits', tags: ['gpu', 'eu'], gpus: [[24_000, 2_000]], services: [{ name: 'vllm', status: 'running', health: 'healthy' }] }),
    ];
    expect(place({ tags: ['gpu'], service: 'vllm', gpuMemoryMb: 20_000 }, fleet)).toEqual({ nodeId: 'fits' });
  });

  it('on one GPU, not on all of them together', () => {
    const fleet = [node({ nodeId: 'two-small', gpus: [[12_000, 0], [12_000, 0]] }), node({ nodeId: 'one-large', gpus: [[24_000, 3_000]] })]; // prettier-ignore
    expect(place({ gpuMemoryMb: 20_000 }, fleet)).toEqual({ nodeId: 'one-large' });
  });

  it('first to the one with the fewest recent placements, then to the one with the most memory free', () => {
    const fleet = [node({ nodeId: 'a', gpus: [[24_000, 0]] }), node({ nodeId: 'b', gpus: [[24_000, 9_000]] }), node({ nodeId: 'c', gpus: [[24_000, 4_000]] })];
    const recent = { a: { count: 1, promisedMb: [] } };
    expect(place({ gpuMemoryMb: 1_000 }, fleet, recent)).toEqual({ nodeId: 'c' });
    expect(place({ gpuMemoryMb: 1_000 }, fleet)).toEqual({ nodeId: 'a' });
  });

  it('by chance of its id when all are alike, so that several engines do not all choose the same', () => {
    const fleet = ['a', 'b', 'c', 'd'].map((nodeId) => node({ nodeId }));
    const counts = new Map<string, number>();
    for (let job = 0; job < 400; job++) {
      const decision = placeJob({ jobId: `job-${job}`, requires: {} }, fleet, new Map());
      if ('nodeId' in decision) counts.set(decision.nodeId, (counts.get(decision.nodeId) ?? 0) + 1);
    }
    for (const { nodeId } of fleet) expect(counts.get(nodeId)).toBeGreaterThan(60);
  });

  it('of its own organisation only; one of no organisation goes anywhere', () => {
    const fleet = [node({ nodeId: 'theirs', orgId: 'other' })];
    expect(place({ tags: [] }, fleet)).toMatchObject({ code: 'no_nodes' });
    expect(placeJob({ jobId: 'job-1', requires: {} }, fleet, new Map())).toEqual({ nodeId: 'theirs' });
  });

  it('counts memory that was promised a moment ago as used', () => {
    const fleet = [node({ nodeId: 'gpu-1', gpus: [[24_000, 0]] })];
    const recent = { 'gpu-1': { count: 1, promisedMb: [20_000] } };
    expect(place({ gpuMemoryMb: 4_000 }, fleet, recent)).toEqual({ nodeId: 'gpu-1' });
    expect(reason({ gpuMemoryMb: 4_001 }, fleet, recent)).toBe(
      'no online node has 4,001 MiB of GPU memory free (most: 4,000 on gpu-1, where 20,000 are promised to 1 job placed a moment ago)',
    );
  });
});

describe('the reason says what is missing and how near the fleet came', () => {
  const online = [
    node({ nodeId: 'gpu-1', tags: ['gpu'], gpus: [[24_000, 5_800]], services: [{ name: 'ollama', status: 'running' }] }),
    node({ nodeId: 'gpu-2', tags: ['gpu', 'eu'], gpus: [[24_000, 9_000]] }),
    node({ nodeId: 'cpu-1', tags: ['eu'] }),
    node({ nodeId: 'gpu-7', state: 'degraded', tags: ['gpu'] }),
    node({ nodeId: 'theirs', orgId: 'other', tags: ['h100'], gpus: [[80_000, 0]] }),
  ];

  it('of nodes', () => {
    expect(reason({ tags: ['gpu'] }, [])).toBe('no node of this organisation has ever reported');
    expect(reason({ tags: ['gpu'] }, [online[4] as NodeFacts])).toBe('no node of this organisation has ever reported');
    const silent = [node({ nodeId: 'a', state: 'offline' }), node({ nodeId: 'b', state: 'degraded' }), node({ nodeId: 'c', state: 'offline' })];
    expect(reason({}, silent)).toBe('no node is online (1 degraded, 2 offline)');
  });

  it('of the node that it names', () => {
    expect(reason({ node: 'gpu-7' }, online)).toBe('node gpu-7 is degraded');
    expect(reason({ node: 'gpu-9' }, online)).toBe('node gpu-9 has never reported in this organisation');
    expect(reason({ node: 'theirs' }, online)).toBe('node theirs has never reported in this organisation');
    expect(reason({ node: 'gpu-1', tags: ['gpu', 'eu'] }, online)).toBe('node gpu-1 does not have tag eu');
    expect(reason({ node: 'gpu-1', service: 'vllm' }, online)).toBe('service vllm does not run on node gpu-1');
    expect(reason({ node: 'gpu-1', gpuMemoryMb: 20_000 }, online)).toBe('node gpu-1 does not have 20,000 MiB of GPU memory free (most: 18,200)');
  });

  it('of tags', () => {
    expect(reason({ tags: ['h100'] }, online)).toBe('no online node has tag h100');
    expect(reason({ tags: ['h100', 'us', 'gpu'] }, online)).toBe('no online node has tags h100 or us');
    expect(reason({ tags: ['gpu', 'eu', 'us'] }, [...online, node({ nodeId: 'us-1', tags: ['us'] })])).toBe('no online node has tags gpu, eu and us together');
  });

  it('of a service', () => {
    expect(reason({ service: 'vllm' }, online)).toBe('service vllm runs on no online node');
    expect(reason({ service: 'vllm', tags: ['gpu'] }, online)).toBe('2 online nodes have tag gpu, service vllm runs on none of them');
    const ill = node({ nodeId: 'gpu-3', services: [{ name: 'vllm', status: 'running', health: 'unhealthy' }] });
    expect(reason({ service: 'vllm' }, [...online, ill])).toBe('service vllm runs nowhere healthy (unhealthy on gpu-3)');
  });

  it('of GPU memory', () => {
    expect(reason({ tags: ['gpu'], gpuMemoryMb: 24_000 }, online)).toBe(
      '2 online nodes have tag gpu, none has 24,000 MiB of GPU memory free (most: 18,200 on gpu-1)',
    );
    expect(reason({ service: 'ollama', gpuMemoryMb: 24_000 }, online)).toBe(
      '1 online node runs service ollama, but it does not have 24,000 MiB of GPU memory free (most: 18,200 on gpu-1)',
    );
    expect(reason({ gpuMemoryMb: 24_000 }, online)).toBe('no online node has 24,000 MiB of GPU memory free (most: 18,200 on gpu-1)');
    expect(reason({ node: 'cpu-1', gpuMemoryMb: 1 }, online)).toBe('node cpu-1 does not have 1 MiB of GPU memory free (no GPU is reported)');
    const mute = nodeFacts(view('mute', 'acme', 'online', [], { gpu: [{ index: 0, name: 'GPU' }] }));
    expect(reason({ gpuMemoryMb: 1 }, [mute])).toBe('no online node has 1 MiB of GPU memory free (its GPU memory is not reported)');
  });
});

describe('a status is not trusted', () => {
  it('of any shape gives facts', () => {
    fc.assert(
      fc.property(fc.oneof(fc.jsonValue(), fc.record({ gpu: fc.jsonValue(), services: fc.jsonValue() })), (status) => {
        const facts = nodeFacts(view('n', null, 'online', [], status as Json));
        for (const free of facts.gpusFreeMb) expect(free).toBeGreaterThanOrEqual(0);
      }),
    );
  });
});

describe('whatever the fleet and the job', () => {
  const names = ['n-1', 'n-2', 'n-3', 'n-4', 'n-5', 'n-6'];
  const tag = fc.constantFrom('gpu', 'eu', 'fast');
  const service = fc.constantFrom('vllm', 'ollama');
  const given = fc.record({
    orgId: fc.constantFrom('acme', 'other'),
    state: fc.constantFrom(...NODE_STATES),
    tags: fc.uniqueArray(tag),
    gpus: fc.array(fc.tuple(fc.constantFrom(8_000, 24_000, 80_000), fc.integer({ min: 0, max: 30_000 })), { maxLength: 3 }),
    services: fc.array(fc.record({ name: service, status: fc.constantFrom('running', 'stopped'), health: fc.constantFrom('ok', 'unhealthy') }), {
      maxLength: 2,
    }),
  });
  const fleets = fc.array(given, { maxLength: 6 }).map((all) => all.map((each, index) => node({ nodeId: names[index] as string, ...each })));
  const requirements = fc.record(
    { tags: fc.uniqueArray(tag), gpuMemoryMb: fc.integer({ min: 0, max: 40_000 }), node: fc.constantFrom(...names), service },
    { requiredKeys: [] },
  ) as fc.Arbitrary<JobRequirements>;
  const recents = fc.dictionary(
    fc.constantFrom(...names),
    fc.record({ count: fc.nat(5), promisedMb: fc.array(fc.integer({ min: 1, max: 30_000 }), { maxLength: 3 }) }),
  );

  function fits(facts: NodeFacts, { tags = [], gpuMemoryMb = 0, node: named, service: wanted }: JobRequirements, promised: readonly number[]): boolean {
    return (
      facts.orgId === 'acme' &&
      facts.state === 'online' &&
      (named === undefined || named === facts.nodeId) &&
      tags.every((each) => facts.tags.has(each)) &&
      (wanted === undefined || facts.services.get(wanted) === 'well') &&
      (gpuMemoryMb === 0 || freeAfterPromises(facts.gpusFreeMb, promised).some((free) => free >= gpuMemoryMb))
    );
  }

  it('a node is given the job exactly when one fits, and it is one of those with the fewest placements', () => {
    fc.assert(
      fc.property(fleets, requirements, recents, (fleet, requires, recent) => {
        const fitting = fleet.filter((facts) => fits(facts, requires, recent[facts.nodeId]?.promisedMb ?? []));
        const decision = place(requires, fleet, recent);
        if ('reason' in decision) {
          expect(fitting).toEqual([]);
          expect(decision.reason).not.toMatch(/undefined|NaN|null|Infinity/);
          expect(decision.reason.length).toBeLessThan(300);
        } else {
          const counts = new Map(fitting.map(({ nodeId }) => [nodeId, recent[nodeId]?.count ?? 0]));
          expect(counts.get(decision.nodeId)).toBe(Math.min(...counts.values()));
        }
      }),
      { numRuns: 500 },
    );
  });

  it('the order in which the nodes are listed does not matter', () => {
    fc.assert(
      fc.property(fleets, requirements, recents, (fleet, requires, recent) => {
        const [one, other] = [place(requires, fleet, recent), place(requires, fleet.toReversed(), recent)];
        if ('nodeId' in one) expect(other).toEqual(one);
        else expect(other).toMatchObject({ code: one.code });
      }),
    );
  });

  it('no GPU is promised more than it has, when every promise was one that fitted', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 80_000 }), { minLength: 1, maxLength: 4 }),
        fc.array(fc.integer({ min: 1, max: 40_000 })),
        (free, jobs) => {
          const promised: number[] = [];
          for (const job of jobs) if (freeAfterPromises(free, promised).some((room) => room >= job)) promised.push(job);
          const sum = (values: readonly number[]): number => values.reduce((total, each) => total + each, 0);
          expect(sum(freeAfterPromises(free, promised))).toBe(sum(free) - sum(promised));
        },
      ),
    );
  });

  it('jobs without special wishes are spread evenly', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 60 }), (nodes, jobs) => {
        const fleet = names.slice(0, nodes).map((nodeId) => node({ nodeId }));
        const counts = new Map<string, number>();
        for (let job = 0; job < jobs; job++) {
          const recent = new Map([...counts].map(([nodeId, count]) => [nodeId, { count, promisedMb: [] }]));
          const decision = placeJob({ jobId: `job-${job}`, orgId: 'acme', requires: {} }, fleet, recent);
          if ('reason' in decision) throw new Error(decision.reason);
          counts.set(decision.nodeId, (counts.get(decision.nodeId) ?? 0) + 1);
        }
        const each = fleet.map(({ nodeId }) => counts.get(nodeId) ?? 0);
        expect(Math.max(...each) - Math.min(...each)).toBeLessThanOrEqual(1);
      }),
    );
  });
});
