import { describe, expect, it } from 'vitest';
import type { PlaceInput } from '../../machines/job/events.ts';
import { Placer, type FleetReader } from '../../src/jobs/placer.ts';
import { RecentlyPlaced } from '../../src/jobs/recent-placements.ts';
import type { NodeQuery, NodeState, NodeView } from '../../src/protocol/control-plane.ts';

const NEVER = new AbortController().signal;

function view(nodeId: string, state: NodeState = 'online', freeMb = 24_000, orgId = 'acme'): NodeView {
  return {
    nodeId,
    name: nodeId,
    orgId,
    state,
    since: '2026-01-01T00:00:00.000Z',
    lastSeenAt: null,
    tags: ['gpu'],
    status: { gpu: [{ index: 0, name: 'GPU', memory_total_mb: 24_000, memory_used_mb: 24_000 - freeMb }] },
  };
}

/** A fleet and a clock in a test's hand. */
class World implements FleetReader {
  nodes: NodeView[] = [];
  now = 0;
  lists: NodeQuery[] = [];
  failing = false;
  /** While set, `listNodes` waits for it. */
  held: Promise<void> | undefined;
  readonly ended = new Set<string>();
  readonly placer = new Placer({
    fleet: this,
    clock: { now: () => this.now },
    ended: (jobIds) => Promise.resolve(jobIds.map((jobId) => this.ended.has(jobId))),
  });

  async listNodes(query: NodeQuery) {
    this.lists.push(query);
    await this.held;
    if (this.failing) throw new Error('Redis is away');
    const all = this.nodes.filter(({ state, orgId }) => (query.state ?? state) === state && (query.orgId ?? orgId) === orgId);
    const from = Number(query.cursor ?? 0);
    const end = from + query.limit;
    return { items: all.slice(from, end), next: end < all.length ? String(end) : null };
  }

  getNode(nodeId: string) {
    return Promise.resolve(this.nodes.find((node) => node.nodeId === nodeId));
  }

  place(jobId: string, requires: PlaceInput['requires'], signal = NEVER) {
    return this.placer.place({ jobId, orgId: 'acme', requires, tries: 1 }, signal);
  }
}

describe('the placer', () => {
  it('reads the fleet once for all who wait, and again after a second', async () => {
    const world = new World();
    world.nodes = [view('a'), view('b')];
    await Promise.all(Array.from({ length: 100 }, (_, job) => world.place(`job-${job}`, {})));
    expect(world.lists).toHaveLength(1);
    world.now = 999;
    await world.place('later', {});
    expect(world.lists).toHaveLength(1);
    world.now = 1_000;
    await world.place('later still', {});
    expect(world.lists).toHaveLength(2);
  });

  it('spends at most a tenth of the time reading', async () => {
    const world = new World();
    world.nodes = [view('a')];
    let free = (): void => undefined;
    world.held = new Promise((resolve) => (free = resolve));
    const placed = world.place('first', {});
    world.now = 700;
    free();
    await placed;
    world.now = 700 + 6_999;
    await world.place('second', {});
    expect(world.lists).toHaveLength(1);
    world.now++;
    await world.place('third', {});
    expect(world.lists).toHaveLength(2);
  });

  it('reads a fleet of several pages', async () => {
    const world = new World();
    world.nodes = Array.from({ length: 1_200 }, (_, index) => view(`n-${index}`));
    expect(await world.place('job', { node: 'n-1199' })).toEqual({ nodeId: 'n-1199' });
    expect(world.lists).toHaveLength(3);
  });

  it('spreads jobs that waited for the same look', async () => {
    const world = new World();
    world.nodes = [view('a'), view('b'), view('c')];
    const placed = await Promise.all(Array.from({ length: 30 }, (_, job) => world.place(`job-${job}`, { tags: ['gpu'] })));
    for (const nodeId of ['a', 'b', 'c']) expect(placed.filter((each) => 'nodeId' in each && each.nodeId === nodeId)).toHaveLength(10);
  });

  it('promises the same memory to one job only, until it ends or the window is over', async () => {
    const world = new World();
    world.nodes = [view('a')];
    expect(await world.place('first', { gpuMemoryMb: 20_000 })).toEqual({ nodeId: 'a' });
    expect(await world.place('second', { gpuMemoryMb: 20_000 })).toEqual({
      reason: 'no online node has 20,000 MiB of GPU memory free (most: 4,000 on a, where 20,000 are promised to 1 job placed a moment ago)',
    });
    world.ended.add('first');
    world.now = 1_000;
    expect(await world.place('second', { gpuMemoryMb: 20_000 })).toEqual({ nodeId: 'a' });
    world.now = 60_000;
    expect(await world.place('third', { gpuMemoryMb: 20_000 })).toHaveProperty('reason');
    world.now = 61_000;
    expect(await world.place('third', { gpuMemoryMb: 20_000 })).toEqual({ nodeId: 'a' });
  });

  it('lets go of the former node when a job is placed anew', async () => {
    const world = new World();
    world.nodes = [view('a')];
    await world.place('job', { gpuMemoryMb: 20_000 });
    world.nodes = [view('a', 'offline'), view('b')];
    world.now = 1_000;
    expect(await world.place('job', { gpuMemoryMb: 20_000 })).toEqual({ nodeId: 'b' });
    world.nodes = [view('a'), view('b')];
    world.now = 2_000;
    expect(await world.place('other', { gpuMemoryMb: 20_000 })).toEqual({ nodeId: 'a' });
  });

  it('says of nodes that are not online what they are', async () => {
    const world = new World();
    expect(await world.place('job', {})).toEqual({ reason: 'no node of this organisation has ever reported' });
    world.nodes = [view('a', 'offline'), view('b', 'degraded'), view('theirs', 'online', 24_000, 'other')];
    world.now = 1_000;
    expect(await world.place('job', {})).toEqual({ reason: 'no node is online (1 degraded, 1 offline)' });
    expect(await world.place('job', { node: 'b' })).toEqual({ reason: 'node b is degraded' });
    expect(await world.place('job', { node: 'theirs' })).toEqual({ reason: 'node theirs has never reported in this organisation' });
  });

  it('goes on with its last look while the fleet cannot be read, and not for ever', async () => {
    const world = new World();
    world.nodes = [view('a')];
    await world.place('first', {});
    world.failing = true;
    world.now = 10_000;
    expect(await world.place('second', {})).toEqual({ nodeId: 'a' });
    world.now = 20_000;
    expect(await world.place('third', {})).toEqual({ reason: 'the fleet cannot be read just now: Redis is away' });
    world.failing = false;
    world.now = 21_000;
    expect(await world.place('third', {})).toEqual({ nodeId: 'a' });
  });

  it('ends at once when its signal aborts, without keeping the place', async () => {
    const world = new World();
    world.nodes = [view('a')];
    let free = (): void => undefined;
    world.held = new Promise((resolve) => (free = resolve));
    const abort = new AbortController();
    const placing = world.place('job', { gpuMemoryMb: 20_000 }, abort.signal);
    const other = world.place('other', { gpuMemoryMb: 20_000 });
    abort.abort(new Error('the job was cancelled'));
    await expect(placing).rejects.toThrow('the job was cancelled');
    await expect(world.place('late', {}, abort.signal)).rejects.toThrow('the job was cancelled');
    free();
    expect(await other).toEqual({ nodeId: 'a' });
    expect(world.placer.figures().placed).toBe(1);
  });

  it('counts who waits by what is missing, as long as they are heard of', async () => {
    const world = new World();
    world.nodes = [view('a')];
    await Promise.all([world.place('one', { tags: ['h100'] }), world.place('two', { gpuMemoryMb: 90_000 }), world.place('three', { tags: ['h100'] })]);
    expect(world.placer.figures()).toEqual({ placed: 0, waiting: { tags: 2, gpu_memory: 1 } });
    world.nodes = [{ ...view('a'), tags: ['h100'] }];
    world.now = 1_000;
    await world.place('one', { tags: ['h100'] });
    expect(world.placer.figures()).toEqual({ placed: 1, waiting: { tags: 1, gpu_memory: 1 } });
    world.now = 301_000;
    expect(world.placer.figures().waiting).toEqual({});
  });
});

describe('recent placements', () => {
  it('are bounded in number, the oldest forgotten first', () => {
    const recent = new RecentlyPlaced({ windowMs: 1_000, placementsMax: 3 });
    for (let job = 0; job < 5; job++) recent.remember(`job-${job}`, job % 2 === 0 ? 'a' : 'b', 100, job);
    expect([...recent.byNode].map(([nodeId, { count, promisedMb }]) => [nodeId, count, promisedMb.length])).toEqual([
      ['a', 2, 2],
      ['b', 1, 1],
    ]);
    recent.expire(10_000);
    expect(recent.byNode.size).toBe(0);
  });
});
